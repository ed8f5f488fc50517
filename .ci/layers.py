#!/usr/bin/env python3
"""Checks that the crates depend on each other and on the outside only as designed.

Crates follow process and trust boundaries, so an arrow that is not listed here moves code or a
dependency over a boundary. Every kind of dependency counts (normal, build and dev), whether it is
optional or not. Also checked: only the crates named here may hold unsafe code.
"""

import json
import pathlib
import re
import subprocess
import sys

# Which of our crates each crate may use. A crate that is absent here fails the check.
ARROWS = {
    "hull-shim": {"launcher", "plan", "cgroup", "artifact", "proto", "abi", "sys"},
    "hull-launcher": {"artifact", "cgroup", "abi", "sys"},
    "hull-cgroup": {"abi", "sys"},
    "hull-plan": {"abi"},
    "hull-artifact": {"abi", "sys"},
    "hull-wasm-runner": {"wasm-engine", "artifact", "abi", "sys"},
    "hull-wasm-compiler": {"wasm-engine", "artifact", "abi", "sys"},
    "hull-client": {"abi", "proto"},
    "hull-cli": {"client", "plan", "cgroup", "artifact", "abi", "sys"},
    "hull-e2e": {"client", "abi", "proto"},
    "hull-abi": set(),
    "hull-sys": set(),
    "hull-proto": set(),
    "hull-wasm-engine": set(),
    "hull-images": set(),
    # A tool of the bench: only the outside crate that it stands for.
    "hull-null-shim": set(),
}

# Which of our crates may use an outside crate; crates that are absent here are free.
EDGE = {"shim", "proto", "client", "cli", "e2e"}
WASM = {"wasm-engine", "wasm-runner", "wasm-compiler"}
OUTSIDE = {
    "oci-spec": {"plan", "cli", "e2e"},
    "protobuf": EDGE,
    "containerd-shim": {"null-shim"},
    "containerd-shim-protos": EDGE,
    "ttrpc": EDGE,
    "tokio": {"shim", "launcher", "client", "wasm-runner", "cli", "e2e"},
    "libc": {"sys"},
    "wasmtime": WASM,
    "wasmtime-wasi": WASM,
    "wasmtime-wasi-http": WASM,
}

# hull-wasm-runner has the one block that loads a compiled artifact.
UNSAFE = {"sys", "wasm-runner"}
FORBID = re.compile(r"^#!\[forbid\(unsafe_code\)\]$", re.MULTILINE)


def short(name):
    """hull-plan -> plan."""
    return name.removeprefix("hull-")


def dependency_problems(package):
    """Arrows of one crate that the tables above do not list."""
    name = package["name"]
    if name not in ARROWS:
        yield f"{name}: not in the tables of .ci/layers.py, so nothing says what it may use"
        return
    for dependency in package["dependencies"]:
        target, kind = dependency["name"], dependency["kind"] or "normal"
        if "path" in dependency:
            if short(target) not in ARROWS[name]:
                yield f"{name} -> {target} ({kind}): not an arrow of the design"
        elif target in OUTSIDE and short(name) not in OUTSIDE[target]:
            users = ", ".join(sorted(OUTSIDE[target]))
            yield f"{name} -> {target} ({kind}): only for {users}"
        # With the launcher's client alone may tokio come in, on the daemon's side.
        if (name, target, kind) == ("hull-launcher", "tokio", "normal"):
            if not dependency["optional"]:
                yield f"{name} -> {target}: must be optional, the launcher process has no tokio"


def unsafe_problems(package):
    """Libraries and binaries that do not forbid unsafe code."""
    if short(package["name"]) in UNSAFE:
        return
    for target in package["targets"]:
        if not {"lib", "bin", "proc-macro"} & set(target["kind"]):
            continue
        path = pathlib.Path(target["src_path"])
        if not FORBID.search(path.read_text(encoding="utf-8")):
            yield f"{package['name']}: {path.name} of {target['name']} lacks forbid(unsafe_code)"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--locked"]
    metadata = json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True).stdout)
    packages = metadata["packages"]
    problems = [
        problem
        for package in packages
        for problem in [*dependency_problems(package), *unsafe_problems(package)]
    ]
    for problem in problems:
        print(f"layers: {problem}", file=sys.stderr)
    if not problems:
        print(f"layers: {len(packages)} crates, every arrow as designed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
