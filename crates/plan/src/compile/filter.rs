//! The system calls of the compiler, found by watching it.
//!
//! The filter is there before the compiler is executed, so it also allows the last steps of the
//! process on its way there: reading and writing its sync socket, closing descriptors, resetting
//! signals and the execution itself.

use crate::seccomp;
use hull_abi::{Seccomp, SockFilter};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Operator, LinuxSyscallBuilder,
};

/// Calls that touch nothing but the process itself and its streams, whatever their arguments. None
/// of them makes a descriptor.
const HARMLESS: [&str; 31] = [
    // Streams.
    "close",
    "fstat",
    "lseek",
    "newfstatat",
    "poll",
    "read",
    "statx",
    "write",
    "writev",
    // Memory.
    "brk",
    "madvise",
    "mremap",
    "munmap",
    // Threads and their clocks.
    "clock_gettime",
    "futex",
    "getpid",
    "getrandom",
    "gettid",
    "rseq",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    // Signals and the end. The only process to be seen is the compiler itself.
    "exit",
    "exit_group",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "tgkill",
];

const PROT_EXEC: u64 = 4;
const ARCH_SET_FS: u64 = 0x1002;
const AT_EMPTY_PATH: u64 = 0x1000;
const ENOSYS: u32 = 38;

/// `CLONE_VM | CLONE_SIGHAND | CLONE_THREAD`, without which it would be a new process.
const THREAD: u64 = 0x0001_0900;
/// All namespaces, `CLONE_PIDFD` (a new descriptor), `CLONE_PTRACE`, `CLONE_VFORK`, `CLONE_PARENT`
/// and `CLONE_UNTRACED`.
const NO_THREAD: u64 = 0x7e82_f000;

/// The filter of every compiler: what is not allowed fails with `EPERM`.
pub(super) fn filter() -> Seccomp {
    let compiled = profile().map(|profile| seccomp::compile(&profile));
    match compiled {
        Ok(Ok((filter, _))) => filter,
        // Only a mistake in the constants here could be the cause, and a test would find it; then
        // nothing is allowed rather than everything.
        Ok(Err(_)) | Err(_) => Seccomp {
            program: vec![KILL],
            flags: 0,
            listener: None,
        },
    }
}

/// Kills the thread, whatever it calls: `BPF_RET` with `SECCOMP_RET_KILL_THREAD`.
const KILL: SockFilter = SockFilter {
    code: 0x06,
    jt: 0,
    jf: 0,
    k: 0,
};

fn profile() -> Result<LinuxSeccomp, OciSpecError> {
    let rules = vec![
        rule(&HARMLESS, []).build()?,
        // Memory is written or executed, never both, so injected code does not run.
        rule(&["mmap", "mprotect"], [masked(2, PROT_EXEC, 0)?]).build()?,
        rule(&["arch_prctl"], [equal(0, ARCH_SET_FS)?]).build()?,
        // Reading the own limits.
        rule(&["prlimit64"], [equal(0, 0)?, equal(2, 0)?]).build()?,
        rule(&["clone"], [masked(0, THREAD | NO_THREAD, THREAD)?]).build()?,
        // Its flags are in memory, where no filter sees them: the C library falls back to clone.
        rule(&["clone3"], [])
            .action(Action::ScmpActErrno)
            .errno_ret(ENOSYS)
            .build()?,
        // The way in, by a descriptor that is no stream: the compiler has no others, so it cannot
        // execute what it reads or writes.
        rule(
            &["execveat"],
            [above(0, 2)?, masked(4, AT_EMPTY_PATH, AT_EMPTY_PATH)?],
        )
        .build()?,
    ];
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(Action::ScmpActErrno)
        .set_syscalls(Some(rules));
    Ok(profile)
}

fn rule<const N: usize>(names: &[&str], args: [LinuxSeccompArg; N]) -> LinuxSyscallBuilder {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    LinuxSyscallBuilder::default()
        .names(names)
        .action(Action::ScmpActAllow)
        .args(args)
}

fn equal(index: usize, value: u64) -> Result<LinuxSeccompArg, OciSpecError> {
    let arg = LinuxSeccompArgBuilder::default().index(index).value(value);
    arg.op(Operator::ScmpCmpEq).build()
}

fn above(index: usize, value: u64) -> Result<LinuxSeccompArg, OciSpecError> {
    let arg = LinuxSeccompArgBuilder::default().index(index).value(value);
    arg.op(Operator::ScmpCmpGt).build()
}

/// The bits of `mask` have exactly this value.
fn masked(index: usize, mask: u64, value: u64) -> Result<LinuxSeccompArg, OciSpecError> {
    let arg = LinuxSeccompArgBuilder::default().index(index).value(mask);
    arg.op(Operator::ScmpCmpMaskedEq).value_two(value).build()
}
