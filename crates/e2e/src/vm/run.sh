#!/bin/sh
# Runs every line of /vm/plan ("FILE SECONDS ARGUMENTS"), tells the host on the second serial line,
# powers off. On one image this is PID 1, on the other a service.
set -e
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

hostname hull-vm
ip link set lo up
stty raw -F /dev/ttyS1
exec </dev/null >/dev/ttyS1 2>&1
# Exports variables and sets the arguments of the tests.
. /vm/settings
group=$(sed -n 's/^0:://p' /proc/self/cgroup)
echo "vm: up after $(cut -d ' ' -f 1 /proc/uptime) s"
while read -r file seconds arguments; do
  echo "vm: begin $file"
  # What the file before may have done to us is not passed on.
  echo $$ >"/sys/fs/cgroup$group/cgroup.procs"
  status=0
  # Names of tests have no blanks.
  timeout -s KILL "$seconds" "/vm/tests/$file" $arguments "$@" </dev/null || status=$?
  echo "vm: end $file $status"
done </vm/plan
echo "vm: done"
# The line is empty only when the host has read it.
stty -F /dev/ttyS1 >/dev/null
sync
busybox poweroff -f
