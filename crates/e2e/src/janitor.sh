# Waits for the end of the test process, however it ends, and removes what bears its tag.
# usage: sh -c JANITOR janitor TAG    (standard input: a pipe that the test process holds open)
tag=$1
cat >/dev/null

bears_tag() {
  grep -qsF "$tag" "$1/cgroup" && return
  tr '\0' '\n' <"$1/environ" 2>/dev/null | grep -qsF "$tag" && return
  tr '\0' '\n' <"$1/cmdline" 2>/dev/null | grep -qsF "$tag"
}

# A daemon that is killed cannot remove its socket.
socket_of() {
  tr '\0' '\n' <"$1/cmdline" 2>/dev/null | sed -n '/^-socket$/{n;p;}'
}

# Twice: the first round may see a process in the moment between its fork and its exec.
for round in 1 2; do
  for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    [ "$pid" = $$ ] && continue
    grep -qs "^PPid:[[:space:]]*$$\$" "$process/status" && continue
    bears_tag "$process" || continue
    socket=$(socket_of "$process")
    kill -9 "$pid" 2>/dev/null
    [ -z "$socket" ] || rm -f "$socket"
  done
done

grep -F "/run/$tag" /proc/self/mountinfo | cut -d ' ' -f 5 | tac | while read -r point; do
  umount -l "$point" 2>/dev/null
done
find /sys/fs/cgroup -depth -type d -path "*$tag*" -exec rmdir {} \; 2>/dev/null
rm -rf --one-file-system "/run/$tag"*
