# Waits for the end of the test process, however it ends, and removes what bears its tag.
# usage: sh -c JANITOR janitor TAG    (standard input: a pipe that the test process holds open)
tag=$1
cat >/dev/null

# One process looks through all: there may be hundreds of processes, and as many of us.
bearing_tag() {
  grep -lsaF -- "$tag" /proc/[0-9]*/cgroup /proc/[0-9]*/environ /proc/[0-9]*/cmdline |
    cut -d / -f 3 | sort -u
}

# A daemon that is killed cannot remove its socket.
socket_of() {
  tr '\0' '\n' <"$1/cmdline" 2>/dev/null | sed -n '/^-socket$/{n;p;}'
}

# Twice: the first round may see a process in the moment between its fork and its exec.
for round in 1 2; do
  for pid in $(bearing_tag); do
    [ "$pid" = $$ ] && continue
    socket=$(socket_of "/proc/$pid")
    kill -9 "$pid" 2>/dev/null
    [ -z "$socket" ] || rm -f "$socket"
  done
done

grep -F "/run/$tag" /proc/self/mountinfo | cut -d ' ' -f 5 | tac | while read -r point; do
  umount -l "$point" 2>/dev/null
done
find /sys/fs/cgroup -depth -type d -path "*$tag*" -exec rmdir {} \; 2>/dev/null
rm -rf --one-file-system "/run/$tag"*
