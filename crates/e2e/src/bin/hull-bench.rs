//! Measures hull beside containerd's runc shim: see `docs/performance.md`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    hull_e2e::bench::main()
}
