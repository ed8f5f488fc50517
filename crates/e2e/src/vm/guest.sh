#!/bin/sh
# PID 1 of the guest. Sets the machine up as systemd would, runs every line of /vm/plan
# ("FILE SECONDS ARGUMENTS"), tells the host on the second serial line, powers off. As it always waits
# for a child, it also takes the status of orphans.
set -e
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666,nosuid,noexec devpts /dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 shm /dev/shm
mount -t tmpfs -o nosuid,nodev,mode=755 run /run
mount -t tmpfs -o nosuid,nodev,mode=1777 tmp /tmp
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup /sys/fs/cgroup
mount -t securityfs securityfs /sys/kernel/security
mount --make-rshared /
hostname hull-vm
ip link set lo up

stty raw -F /dev/ttyS1
exec </dev/null >/dev/ttyS1 2>&1
# Exports variables and sets the arguments of the tests.
. /vm/settings
echo "vm: up after $(cut -d ' ' -f 1 /proc/uptime) s"
while read -r file seconds arguments; do
  echo "vm: begin $file"
  # What the file before may have done to us is not passed on.
  echo $$ >/sys/fs/cgroup/cgroup.procs
  status=0
  # Names of tests have no blanks.
  timeout -s KILL "$seconds" "/vm/tests/$file" $arguments "$@" </dev/null || status=$?
  echo "vm: end $file $status"
done </vm/plan
echo "vm: done"
# The line is empty only when the host has read it.
stty -F /dev/ttyS1 >/dev/null
sync
poweroff -f
