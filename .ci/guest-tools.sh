#!/usr/bin/env bash
# Installs the tools that make the large test guests: componentize-py from PyPI, componentize-js and jco from
# npm. Their versions and digests are pinned in test-images/full; nothing of theirs runs while it is installed.
#
# usage: guest-tools.sh DIR     (DIR/python and DIR/node_modules, and one stamp file)
set -euo pipefail

fail() {
  echo "guest-tools: $*" >&2
  exit 1
}

[[ $# -eq 1 ]] || fail "usage: guest-tools.sh DIR"
pins=$(cd "$(dirname "${BASH_SOURCE[0]}")/../test-images/full" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)

stamp=$(cd "$pins" && cat requirements.txt package-lock.json | sha256sum)
[[ -f $dir/.stamp && $(<"$dir/.stamp") == "$stamp" ]] && exit 0

command -v npm >/dev/null || fail "needs Node.js 20 or newer with npm, found none"
node=$(node --version)
[[ ${node#v} == [2-9][0-9].* ]] || fail "needs Node.js 20 or newer, found $node"
python3 -c 'import ensurepip, venv' 2>/dev/null ||
  fail "needs Python 3 with venv and pip (Debian's package python3-venv)"

echo "guest-tools: installing into $dir" >&2
rm -f "$dir/.stamp"
python3 -m venv --clear "$dir/python"
"$dir/python/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
  --require-hashes --requirement "$pins/requirements.txt"
cp "$pins/package.json" "$pins/package-lock.json" "$dir"
# Not `npm ci`: it wants what it leaves out, the optional packages of other machines, in the lock file too.
(cd "$dir" && npm install --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
echo "$stamp" >"$dir/.stamp"
