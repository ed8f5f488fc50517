#!/usr/bin/env bash
# Builds the real clients that the tests drive beside Debian's containerd 1.6: containerd 2.x with
# its ctr and runc shim, runc, and crictl. They come from their Go modules at the versions pinned here, so
# that nothing is downloaded as a binary and the Go checksum database vouches for the sources.
#
# usage: clients.sh DIR     (binaries and one stamp file per module go to DIR)
set -euo pipefail

containerd_version=v2.4.2
runc_version=v1.5.2
cri_tools_version=v1.36.0
# What the go directive of the newest of the modules above asks for.
minimum_go=1.26.6

fail() {
  echo "clients: $*" >&2
  exit 1
}

# built DIR STAMP VERSION BINARY…: whether DIR holds these binaries from exactly this version.
built() {
  local stamp=$1/.$2.stamp binary
  [[ -f $stamp && $(<"$stamp") == "$3" ]] || return 1
  for binary in "${@:4}"; do
    [[ -x $dir/$binary ]] || return 1
  done
}

require_go() {
  command -v go >/dev/null || fail "needs Go $minimum_go or newer in PATH, found none"
  local found
  found=$(GOTOOLCHAIN=local go env GOVERSION)
  found=${found#go}
  [[ $(printf '%s\n' "$minimum_go" "$found" | sort -V | head -n 1) == "$minimum_go" ]] ||
    fail "needs Go $minimum_go or newer, found $found"
}

# install_go STAMP VERSION LDFLAGS TAGS PACKAGE…: go install, then the stamp.
install_go() {
  local name=$1 version=$2 ldflags=$3 tags=$4 package
  require_go
  for package in "${@:5}"; do
    echo "clients: building ${package##*/} $version" >&2
    GOBIN=$dir GOTOOLCHAIN=local GOFLAGS='' nice go install -trimpath -tags "$tags" \
      -ldflags "-s -w $ldflags" "$package@$version"
  done
  echo "$version" >"$dir/.$name.stamp"
}

[[ $# -eq 1 ]] || fail "usage: clients.sh DIR"
mkdir -p "$1"
dir=$(cd "$1" && pwd)

if ! built "$dir" runc "$runc_version" runc; then
  # runc's nsenter is C, and its seccomp support links libseccomp. Static, like its releases and
  # the rest here, so that it also runs where there is nothing but the binary.
  command -v cc >/dev/null || fail "runc needs a C compiler (make deps installs one)"
  pkg-config --exists libseccomp || fail "runc needs libseccomp-dev and pkg-config (make deps)"
  CGO_ENABLED=1 install_go runc "$runc_version" "-extldflags=-static" seccomp,netgo,osusergo \
    github.com/opencontainers/runc
fi

containerd=github.com/containerd/containerd/v2
if ! built "$dir" containerd "$containerd_version" containerd ctr containerd-shim-runc-v2; then
  CGO_ENABLED=0 install_go containerd "$containerd_version" \
    "-X $containerd/version.Version=$containerd_version" "" \
    "$containerd/cmd/ctr" "$containerd/cmd/containerd-shim-runc-v2" "$containerd/cmd/containerd"
fi

# Built in the module's own directory, so that its go.sum and its replacements are the ones that count.
if ! built "$dir" crictl "$cri_tools_version" crictl; then
  require_go
  echo "clients: building crictl $cri_tools_version" >&2
  export GOTOOLCHAIN=local GOFLAGS=''
  # Elsewhere than in a module, or go would read that one's go.mod.
  source=$(cd / && go mod download -json "sigs.k8s.io/cri-tools@$cri_tools_version" |
    sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  CGO_ENABLED=0 nice go build -C "$source" -mod=readonly -trimpath -buildvcs=false \
    -ldflags "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$cri_tools_version" \
    -o "$dir/crictl" ./cmd/crictl
  echo "$cri_tools_version" >"$dir/.crictl.stamp"
fi
