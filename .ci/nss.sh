#!/usr/bin/env bash
# Fails when a binary has one of glibc's name-service entry points linked in.
#
# Static linking does not keep the name service out: getaddrinfo and getpwnam load libnss_*.so from
# the file system they find themselves in, which for a process in a container's root is the image's.
# So nothing of ours may look up hosts, users, groups or services through glibc. (dlopen itself is
# in every static glibc binary, through iconv, and is not called.)
#
# usage: nss.sh BINARY…     (with symbols: the release profile keeps them, `make install` strips)
set -euo pipefail

entry_points='getaddrinfo|getnameinfo|gai_[a-z]+'
entry_points+='|gethostby(name2?|addr)|gethostent|sethostent'
entry_points+='|getpw(nam|uid|ent)|setpwent|getgr(nam|gid|ent|ouplist)|setgrent|initgroups'
entry_points+='|getsp(nam|ent)|getsg(nam|ent)'
entry_points+='|getserv(byname|byport|ent)|getproto(byname|bynumber|ent)|getnet(byname|byaddr|ent)'
entry_points+='|getrpc(byname|bynumber|ent)|ether_(hostton|ntohost)|innetgr|getnetgrent'
# Whatever the door, a lookup goes through one of these.
entry_points+='|__nss_[a-z_]*lookup[0-9]?|__nss_module_(load|get_function)|__nss_database_get'

failed=0
for binary in "$@"; do
  symbols=$(nm --format=just-symbols "$binary" 2>/dev/null || true)
  if ! grep -qx main <<<"$symbols"; then
    echo "nss: $binary has no symbols to look through" >&2
    failed=1
    continue
  fi
  found=$(grep -xE "(__)?($entry_points)(_r)?" <<<"$symbols" | sort -u | tr '\n' ' ' || true)
  if [[ -n $found ]]; then
    echo "nss: $binary links glibc's name service: $found" >&2
    failed=1
  fi
done
[[ $failed -eq 0 ]] && echo "nss: no name service in ${*##*/}"
exit $failed
