//! Seccomp profiles over the calls that the probe tries.

use serde_json::{Value, json};

use super::{Dimension, one};
use crate::case::Draft;
use crate::random::Random;

pub(super) const DIMENSIONS: &[Dimension] = &[one("seccomp", 45, seccomp)];

/// What the probe and both runtimes make between the filter and the end, and must be let through.
pub(crate) const NEEDED: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "capget",
    "capset",
    "chdir",
    "clock_gettime",
    "clone",
    "close",
    "close_range",
    "dup2",
    "dup3",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "eventfd2",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "faccessat2",
    "fchdir",
    "fchown",
    "fcntl",
    "fork",
    "fstat",
    "fstatfs",
    "futex",
    "get_mempolicy",
    "get_robust_list",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getrandom",
    "getresgid",
    "getresuid",
    "getsid",
    "gettid",
    "getuid",
    "ioctl",
    "ioprio_get",
    "lstat",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "nanosleep",
    "newfstatat",
    "open",
    "openat",
    "pipe2",
    "prctl",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "recvfrom",
    "rmdir",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_getattr",
    "seccomp",
    "sendmsg",
    "sendto",
    "set_robust_list",
    "set_tid_address",
    "setgid",
    "setgroups",
    "setresgid",
    "setresuid",
    "setuid",
    "sigaltstack",
    "socket",
    "stat",
    "statfs",
    "statx",
    "symlinkat",
    "tgkill",
    "umask",
    "uname",
    "unlink",
    "vfork",
    "wait4",
    "waitid",
    "write",
    "writev",
    "getrlimit",
    "setrlimit",
    "recvmsg",
    "poll",
    "ppoll",
    "lseek",
    "mkdir",
    "mkdirat",
    "unlinkat",
    "personality",
    "keyctl",
    "kill",
    "sched_yield",
    "openat2",
    "pselect6",
    "mincore",
    "timer_create",
    "timer_settime",
    "timer_delete",
];

/// What the probe tries and nobody needs.
const TRIED: &[&str] = &[
    "getpriority",
    "sysinfo",
    "times",
    "copy_file_range",
    "fadvise64",
    "chmod",
    "fchmodat2",
    "mount",
    "umount2",
    "move_mount",
    "ptrace",
    "bpf",
    "unshare",
    "setns",
    "io_uring_setup",
    "clone3",
    "pidfd_open",
    "process_madvise",
    "cachestat",
    "mseal",
    "no_such_call",
];

fn seccomp(draft: &mut Draft<'_>, random: &mut Random) {
    let allows = random.percent(50);
    let mut profile = if allows {
        json!({ "defaultAction": "SCMP_ACT_ALLOW" })
    } else {
        let action = *random.pick(&[
            "SCMP_ACT_ERRNO",
            "SCMP_ACT_ERRNO",
            "SCMP_ACT_KILL",
            "SCMP_ACT_KILL_PROCESS",
            "SCMP_ACT_TRAP",
        ]);
        json!({
            "defaultAction": action,
            "syscalls": [{ "names": NEEDED, "action": "SCMP_ACT_ALLOW" }],
        })
    };
    if profile["defaultAction"] == "SCMP_ACT_ERRNO" && random.percent(40) {
        profile["defaultErrnoRet"] = (*random.pick(&[1, 38, 95])).into();
    }
    if random.percent(60) {
        let all = [
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_X86",
            "SCMP_ARCH_X32",
            "SCMP_ARCH_AARCH64",
        ];
        profile["architectures"] = json!(random.some(&all, 60));
    }
    if random.percent(25) {
        let all = [
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_TSYNC",
        ];
        profile["flags"] = json!(random.some(&all, 40));
    }
    for _ in 0..random.below(5) {
        let rule = rule(random, allows);
        let rules = &mut profile["syscalls"];
        if rules.is_null() {
            *rules = json!([]);
        }
        rules.as_array_mut().unwrap().push(rule);
    }
    draft.set("/linux/seccomp", profile);
}

fn rule(random: &mut Random, allows: bool) -> Value {
    // Conditions only on calls that do nothing for the probe or a runtime with such arguments.
    let conditional = random.percent(50);
    let names: Vec<&str> = if conditional {
        vec![*random.pick(&["getpriority", "copy_file_range", "fadvise64"])]
    } else {
        random.some(TRIED, 20)
    };
    let names = if names.is_empty() {
        vec!["times"]
    } else {
        names
    };
    let action = if allows {
        *random.pick(&[
            "SCMP_ACT_ERRNO",
            "SCMP_ACT_KILL_PROCESS",
            "SCMP_ACT_TRAP",
            "SCMP_ACT_LOG",
        ])
    } else {
        *random.pick(&["SCMP_ACT_ALLOW", "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"])
    };
    let mut rule = json!({ "names": names, "action": action });
    if action == "SCMP_ACT_ERRNO" && random.percent(60) {
        rule["errnoRet"] = (*random.pick(&[1, 2, 38, 40])).into();
    }
    if conditional {
        let conditions: Vec<Value> = (0..=random.below(2)).map(|_| condition(random)).collect();
        rule["args"] = json!(conditions);
    }
    rule
}

fn condition(random: &mut Random) -> Value {
    let operators = [
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    ];
    let values = [0, 1, 9, 16, 64, 65, 0xffff_ffff, 0x8000_0000_0000_0000_u64];
    json!({
        "index": random.below(5),
        "op": *random.pick(&operators),
        "value": *random.pick(&values),
        "valueTwo": *random.pick(&values),
    })
}
