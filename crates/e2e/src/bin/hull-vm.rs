//! Runs end-to-end tests in a virtual machine with unified cgroups: `hull-vm --help`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    hull_e2e::vm::main()
}
