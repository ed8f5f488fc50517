//! The system calls that are left to the runner once it has loaded its guest, as a classic BPF
//! program ([seccomp(2)](https://man7.org/linux/man-pages/man2/seccomp.2.html)).
//!
//! A guest makes no system calls itself; this is for the day on which wasmtime's sandbox has a hole.
//! What is left is what WASI needs on files, streams and clocks, and memory that is never
//! executable. No processes, threads, sockets, programs, descriptors of others, or ways to look
//! into them.

mod bpf;
#[cfg(test)]
mod tests;

use bpf::{Range, load, ret, search, skip_if_bit, skip_if_equal, skip_unless_equal};
use hull_sys::seccomp::Instruction;

/// AUDIT_ARCH_X86_64 of linux/audit.h.
const ARCH: u32 = 0xc000_003e;
/// Numbers from here on belong to the x32 ABI.
const X32: u32 = 0x4000_0000;
/// The first system call that all architectures number alike (pidfd_send_signal, Linux 5.1). Callers
/// of these and newer ones expect kernels that lack them.
const NEW: u32 = 424;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const TRAP: u32 = 0x0003_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Offsets in `struct seccomp_data`. Arguments are little-endian 64-bit numbers.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn low_half_of_argument(index: u32) -> u32 {
    16 + 8 * index
}

/// Allowed with any arguments; those that a guest uses most come first.
const PLAIN: [(&str, u32); 56] = [
    ("write", 1),
    ("read", 0),
    ("pread64", 17),
    ("pwrite64", 18),
    ("clock_gettime", 228),
    ("getrandom", 318),
    ("close", 3),
    ("statx", 332),
    ("fstat", 5),
    ("newfstatat", 262),
    ("getdents64", 217),
    ("lseek", 8),
    ("readv", 19),
    ("writev", 20),
    ("preadv", 295),
    ("pwritev", 296),
    ("preadv2", 327),
    ("pwritev2", 328),
    ("readlinkat", 267),
    ("mkdirat", 258),
    ("unlinkat", 263),
    ("renameat", 264),
    ("renameat2", 316),
    ("linkat", 265),
    ("symlinkat", 266),
    ("utimensat", 280),
    ("faccessat", 269),
    ("faccessat2", 439),
    ("fstatfs", 138),
    ("ftruncate", 77),
    ("fallocate", 285),
    ("fadvise64", 221),
    ("fsync", 74),
    ("fdatasync", 75),
    ("poll", 7),
    ("ppoll", 271),
    ("epoll_wait", 232),
    ("epoll_pwait", 281),
    ("epoll_pwait2", 441),
    ("epoll_ctl", 233),
    ("nanosleep", 35),
    ("clock_nanosleep", 230),
    ("clock_getres", 229),
    ("gettimeofday", 96),
    ("sched_yield", 24),
    ("restart_syscall", 219),
    ("munmap", 11),
    ("mremap", 25),
    ("madvise", 28),
    ("brk", 12),
    ("futex", 202),
    ("sigaltstack", 131),
    ("rt_sigreturn", 15),
    ("rt_sigprocmask", 14),
    ("exit", 60),
    ("exit_group", 231),
];

/// What an argument must be.
#[derive(Debug, Clone, Copy)]
enum Condition {
    /// None of these bits.
    Without(u32),
    /// One of these values.
    OneOf(&'static [u32]),
    /// The secret of [`hull_sys::opens`]; else the call is trapped, so that what it opens is looked at.
    Marked,
}

const PROT_EXEC: u32 = 4;
/// What wasmtime-wasi and the standard library do: flags, and duplicates that are close-on-exec.
const FCNTL: [u32; 5] = [
    1,    // F_GETFD
    2,    // F_SETFD
    3,    // F_GETFL
    4,    // F_SETFL
    1030, // F_DUPFD_CLOEXEC
];
/// Whether a stream is a terminal, and its size. TIOCSTI above all is not among them.
const IOCTL: [u32; 2] = [
    0x5401, // TCGETS
    0x5413, // TIOCGWINSZ
];

/// What the handlers of hardware faults do when a fault is no trap: restore the default and fault
/// again. Those of other signals, which end us, stay as they are.
const SIGACTION: [u32; 4] = [
    4,  // SIGILL
    7,  // SIGBUS
    8,  // SIGFPE
    11, // SIGSEGV
];

/// Allowed if one argument is as told: name, number, index of the argument, condition.
const CONDITIONAL: [(&str, u32, u32, Condition); 7] = [
    ("openat2", 437, 5, Condition::Marked),
    ("openat", 257, 5, Condition::Marked),
    ("rt_sigaction", 13, 0, Condition::OneOf(&SIGACTION)),
    ("mmap", 9, 2, Condition::Without(PROT_EXEC)),
    ("mprotect", 10, 2, Condition::Without(PROT_EXEC)),
    ("fcntl", 72, 1, Condition::OneOf(&FCNTL)),
    ("ioctl", 16, 1, Condition::OneOf(&IOCTL)),
];

/// The program. Numbers of another architecture or of x32 kill the process; what is not allowed
/// fails with EPERM, or with ENOSYS where callers know what to do without it. `mark` is what
/// [`hull_sys::opens::guard`] gave.
pub(crate) fn program(mark: u64) -> Vec<Instruction> {
    let mut program = vec![
        load(ARCHITECTURE),
        skip_if_equal(ARCH, 1),
        ret(KILL_PROCESS),
        load(NUMBER),
    ];
    program.extend(search(&ranges(mark)));
    program
}

/// All numbers in ascending order, neighbours with the same decision as one range.
fn ranges(mark: u64) -> Vec<Range> {
    let plain = PLAIN.map(|(_, number)| (number, vec![ret(ALLOW)]));
    let conditional = CONDITIONAL
        .map(|(_, number, argument, condition)| (number, check(argument, condition, mark)));
    let mut single: Vec<(u32, Vec<Instruction>)> = plain.into_iter().chain(conditional).collect();
    single.sort_by_key(|&(number, _)| number);

    let refuse = |from: u32| ret(ERRNO | if from < NEW { EPERM } else { ENOSYS });
    let mut ranges: Vec<Range> = Vec::new();
    let mut add = |from, decision| {
        if ranges
            .last()
            .is_none_or(|last: &Range| last.decision != decision)
        {
            ranges.push(Range { from, decision });
        }
    };
    let mut next = 0;
    for (number, decision) in single {
        if next < NEW && NEW < number {
            add(next, vec![refuse(next)]);
            next = NEW;
        }
        if next < number {
            add(next, vec![refuse(next)]);
        }
        add(number, decision);
        next = number + 1;
    }
    add(next, vec![refuse(next)]);
    add(X32, vec![ret(KILL_PROCESS)]);
    ranges
}

/// Ends with a decision about one argument.
fn check(argument: u32, condition: Condition, mark: u64) -> Vec<Instruction> {
    let mut check = vec![load(low_half_of_argument(argument))];
    match condition {
        Condition::Without(bits) => check.extend([skip_if_bit(bits, 1), ret(ALLOW)]),
        Condition::OneOf(values) => {
            for &value in values {
                check.extend([skip_unless_equal(value, 1), ret(ALLOW)]);
            }
        }
        Condition::Marked => {
            let [low, high] = [mark, mark >> 32].map(|half| (half & 0xffff_ffff) as u32);
            check.extend([
                skip_unless_equal(low, 3),
                load(low_half_of_argument(argument) + 4),
                skip_unless_equal(high, 1),
                ret(ALLOW),
                ret(TRAP),
            ]);
            return check;
        }
    }
    check.push(ret(ERRNO | EPERM));
    check
}
