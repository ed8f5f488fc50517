#!/usr/bin/env bash
# Installs the Debian packages given as arguments, or only says that they are there already, which
# needs neither root nor a network.
set -euo pipefail

fail() {
  echo "deps: $*" >&2
  exit 1
}

command -v dpkg-query >/dev/null || fail "no dpkg here; install what these packages hold: $*"

missing=()
for package in "$@"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  # A package of several architectures answers once for each.
  [[ $status == *installed* && $status != *not-installed* ]] || missing+=("$package")
done

if [[ ${#missing[@]} -eq 0 ]]; then
  echo "deps: all $# packages are installed"
  exit 0
fi

echo "deps: will install with apt-get: ${missing[*]}"
command -v apt-get >/dev/null || fail "no apt-get here; install these packages another way"
[[ $EUID -eq 0 ]] || fail "installing packages needs root: sudo make deps"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}"
