//! What the compiler's seccomp filter allows, call by call.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test")]

mod bpf;

use bpf::{Call, run, verify};
use hull_abi::Seccomp;
use hull_plan::{CompileInputs, CompilerTask, compile_plan};
use std::collections::BTreeSet;
use syscalls::x86_64::Sysno;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn filter() -> Seccomp {
    let plan = compile_plan(&CompileInputs {
        cgroups_path: "/c",
        root: "/r",
        task: CompilerTask::Compile(&[]),
        cpus: 1,
        memory_bytes: 1 << 30,
        seconds: 1,
    });
    let filter = plan.process.seccomp.unwrap();
    verify(&filter.program);
    filter
}

fn answer(filter: &Seccomp, call: Sysno, args: [u64; 6]) -> u32 {
    let nr = u32::try_from(call.id()).unwrap();
    run(
        &filter.program,
        &Call {
            arch: X86_64,
            nr,
            args,
        },
    )
    .0
}

/// All calls that some of these argument lists let through.
fn reachable(filter: &Seccomp, lists: &[[u64; 6]]) -> BTreeSet<&'static str> {
    let allowed = |call: &Sysno| {
        lists
            .iter()
            .any(|args| answer(filter, *call, *args) == ALLOW)
    };
    Sysno::iter()
        .filter(allowed)
        .map(|call| call.name())
        .collect()
}

#[test]
fn only_these_calls_can_be_made_at_all() {
    let flags = 0x0001_0900;
    let lists = [
        [0; 6],
        [u64::MAX; 6],
        [flags, 0, 0, 0, 0, 0],
        [0x1002, 0, 0, 0, 0, 0],
        [3, 0, 0, 0, 0x1000, 0],
    ];
    let wanted = [
        "arch_prctl",
        "brk",
        "clock_gettime",
        "clone",
        "close",
        "execveat",
        "exit",
        "exit_group",
        "fstat",
        "futex",
        "getpid",
        "getrandom",
        "gettid",
        "lseek",
        "madvise",
        "mmap",
        "mprotect",
        "mremap",
        "munmap",
        "newfstatat",
        "poll",
        "prlimit64",
        "read",
        "restart_syscall",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "sched_getaffinity",
        "sched_yield",
        "set_robust_list",
        "set_tid_address",
        "sigaltstack",
        "statx",
        "tgkill",
        "write",
        "writev",
    ];
    assert_eq!(reachable(&filter(), &lists), BTreeSet::from(wanted));
}

#[test]
fn memory_never_becomes_executable() {
    let filter = filter();
    for call in [Sysno::mmap, Sysno::mprotect] {
        for (protection, want) in [
            (0, ALLOW),
            (1, ALLOW),
            (3, ALLOW),
            (4, EPERM),
            (5, EPERM),
            (7, EPERM),
        ] {
            assert_eq!(answer(&filter, call, [0, 4096, protection, 0, 0, 0]), want);
        }
    }
    assert_eq!(answer(&filter, Sysno::pkey_mprotect, [0; 6]), EPERM);
}

#[test]
fn clone_makes_threads_and_nothing_else() {
    let filter = filter();
    // What glibc asks for.
    let thread = 0x003d_0f00;
    assert_eq!(
        answer(&filter, Sysno::clone, [thread, 0, 0, 0, 0, 0]),
        ALLOW
    );
    for missing in [0x100, 0x800, 0x1_0000] {
        let flags = thread & !missing;
        assert_eq!(answer(&filter, Sysno::clone, [flags, 0, 0, 0, 0, 0]), EPERM);
    }
    for bit in (12..32).filter(|bit| (0x7e82_f000_u64 >> bit) & 1 == 1) {
        let flags = thread | 1 << bit;
        assert_eq!(
            answer(&filter, Sysno::clone, [flags, 0, 0, 0, 0, 0]),
            EPERM,
            "{bit}"
        );
    }
    assert_eq!(answer(&filter, Sysno::clone3, [0, 88, 0, 0, 0, 0]), ENOSYS);
    for call in [Sysno::fork, Sysno::vfork, Sysno::unshare, Sysno::setns] {
        assert_eq!(answer(&filter, call, [0; 6]), EPERM);
    }
}

#[test]
fn streams_cannot_be_executed() {
    let filter = filter();
    for (descriptor, flags, want) in [
        (3, 0x1000, ALLOW),
        (31, 0x1000, ALLOW),
        (0, 0x1000, EPERM),
        (1, 0x1000, EPERM),
        (2, 0x1000, EPERM),
        (3, 0, EPERM),
    ] {
        let args = [descriptor, 0, 0, 0, flags, 0];
        assert_eq!(
            answer(&filter, Sysno::execveat, args),
            want,
            "{descriptor} {flags:#x}"
        );
    }
    assert_eq!(answer(&filter, Sysno::execve, [0; 6]), EPERM);
}

#[test]
fn limits_are_read_and_not_set() {
    let filter = filter();
    let memory = 0x7f00_0000_1000;
    assert_eq!(
        answer(&filter, Sysno::prlimit64, [0, 3, 0, memory, 0, 0]),
        ALLOW
    );
    assert_eq!(
        answer(&filter, Sysno::prlimit64, [0, 3, memory, 0, 0, 0]),
        EPERM
    );
    assert_eq!(
        answer(&filter, Sysno::prlimit64, [7, 3, 0, memory, 0, 0]),
        EPERM
    );
    assert_eq!(
        answer(&filter, Sysno::setrlimit, [3, memory, 0, 0, 0, 0]),
        EPERM
    );
}

#[test]
fn other_abis_kill_and_newer_calls_do_not_exist() {
    let filter = filter();
    let on = |arch, nr| {
        run(
            &filter.program,
            &Call {
                arch,
                nr,
                args: [0; 6],
            },
        )
        .0
    };
    assert_eq!(on(I386, 1), 0, "32 bit");
    assert_eq!(on(X86_64, 0x4000_0000), 0, "x32");
    assert_eq!(on(X86_64, 0x3fff_ffff), ENOSYS);
}
