//! The system calls that are left to the runner once it has loaded its guest, as a classic BPF
//! program ([seccomp(2)](https://man7.org/linux/man-pages/man2/seccomp.2.html)).
//!
//! A guest makes no system calls itself; this is for the day on which wasmtime's sandbox has a hole.
//! What is left is what WASI needs on files, streams and clocks, and memory that is never
//! executable; and TCP and UDP, where the guest has a network. No processes, threads, other sockets, programs,
//! descriptors of others, or ways to look into them.

mod bpf;
#[cfg(test)]
mod tests;

use crate::net::Network;
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

/// Which system calls are left beside those of sockets that a guest may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    /// Those that a guest needs that runs once.
    Command,
    /// Those of a server.
    Server,
}

/// Whether a guest may make any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sockets {
    /// No system call of theirs is allowed.
    None,
    /// TCP and UDP over IPv4 and IPv6.
    Internet,
}

impl Sockets {
    /// Those of a guest with these rules.
    pub(crate) fn of(network: &Network) -> Self {
        if network.is_there() {
            Self::Internet
        } else {
            Self::None
        }
    }
}

/// For sockets that are there. Messages with descriptors or credentials are not sent.
const SOCKETS: [(&str, u32); 9] = [
    ("recvfrom", 45),
    ("sendto", 44),
    ("connect", 42),
    ("accept4", 288),
    ("bind", 49),
    ("listen", 50),
    ("getsockname", 51),
    ("getpeername", 52),
    ("shutdown", 48),
];

/// What a server needs beside, whatever its guest may do: its connections, and the timer of
/// [`hull_sys::last_call`]. It is listening already.
const SERVER: [(&str, u32); 6] = [
    ("recvfrom", 45),
    ("accept4", 288),
    ("shutdown", 48),
    ("getsockname", 51),
    ("getpeername", 52),
    ("setitimer", 38),
];

/// Families of addresses, kinds of sockets with `SOCK_CLOEXEC` and perhaps `SOCK_NONBLOCK`, protocols.
const FAMILIES: [u32; 2] = [
    2,  // AF_INET
    10, // AF_INET6
];
const KINDS: [u32; 4] = [
    0x8_0001, // SOCK_STREAM
    0x8_0801, 0x8_0002, // SOCK_DGRAM
    0x8_0802,
];
const PROTOCOLS: [u32; 3] = [
    0,  // the usual one
    6,  // IPPROTO_TCP
    17, // IPPROTO_UDP
];

/// Options of sockets: level and name. No filters, no other protocols on top.
const OPTIONS: [(u32, u32); 14] = [
    (1, 2),   // SO_REUSEADDR
    (1, 3),   // SO_TYPE
    (1, 4),   // SO_ERROR
    (1, 7),   // SO_SNDBUF
    (1, 8),   // SO_RCVBUF
    (1, 9),   // SO_KEEPALIVE
    (1, 30),  // SO_ACCEPTCONN
    (6, 1),   // TCP_NODELAY
    (6, 4),   // TCP_KEEPIDLE
    (6, 5),   // TCP_KEEPINTVL
    (6, 6),   // TCP_KEEPCNT
    (0, 2),   // IP_TTL
    (41, 16), // IPV6_UNICAST_HOPS
    (41, 26), // IPV6_V6ONLY
];

/// What an argument must be.
#[derive(Debug, Clone, Copy)]
enum Condition {
    /// None of these bits.
    Without(u32),
    /// One of these values.
    OneOf(&'static [u32]),
    /// A null pointer.
    Null,
    /// With the two behind it one of each of [`FAMILIES`], [`KINDS`] and [`PROTOCOLS`].
    Socket,
    /// With the one behind it one of [`OPTIONS`].
    Option,
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

/// As [`CONDITIONAL`], for sockets that are made.
const CONDITIONAL_SOCKETS: [(&str, u32, u32, Condition); 3] = [
    ("socket", 41, 0, Condition::Socket),
    ("setsockopt", 54, 1, Condition::Option),
    ("getsockopt", 55, 1, Condition::Option),
];

/// As [`CONDITIONAL`], for servers. With an address, `sendto` and MSG_FASTOPEN connect a listening socket that
/// was shut down to anybody.
const CONDITIONAL_SERVER: [(&str, u32, u32, Condition); 3] = [
    ("sendto", 44, 4, Condition::Null),
    ("setsockopt", 54, 1, Condition::Option),
    ("getsockopt", 55, 1, Condition::Option),
];

/// The program. Numbers of another architecture or of x32 kill the process; what is not allowed
/// fails with EPERM, or with ENOSYS where callers know what to do without it. `mark` is what
/// [`hull_sys::opens::guard`] gave.
pub(crate) fn program(mark: u64, calls: Calls, sockets: Sockets) -> Vec<Instruction> {
    let mut program = vec![
        load(ARCHITECTURE),
        skip_if_equal(ARCH, 1),
        ret(KILL_PROCESS),
        load(NUMBER),
    ];
    program.extend(search(&ranges(mark, calls, sockets)));
    program
}

/// All numbers in ascending order, neighbours with the same decision as one range.
fn ranges(mark: u64, calls: Calls, sockets: Sockets) -> Vec<Range> {
    let (plain, conditional) = allowed(calls, sockets);
    let plain = plain.map(|(_, number)| (number, vec![ret(ALLOW)]));
    let conditional = conditional
        .map(|(_, number, argument, condition)| (number, check(argument, condition, mark)));
    let mut single: Vec<(u32, Vec<Instruction>)> = plain.chain(conditional).collect();
    single.sort_by_key(|&(number, _)| number);
    // A server's own calls are its guest's as well; what is allowed with any arguments comes first.
    single.dedup_by_key(|&mut (number, _)| number);

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

type Plain = (&'static str, u32);
type Conditional = (&'static str, u32, u32, Condition);

/// What is allowed with any arguments, and what with some; some calls are in both, or twice.
fn allowed(
    calls: Calls,
    sockets: Sockets,
) -> (
    impl Iterator<Item = Plain>,
    impl Iterator<Item = Conditional>,
) {
    let (own, own_conditional): (&[Plain], &[Conditional]) = match calls {
        Calls::Command => (&[], &[]),
        Calls::Server => (&SERVER, &CONDITIONAL_SERVER),
    };
    let (guests, guests_conditional): (&[Plain], &[Conditional]) = match sockets {
        Sockets::None => (&[], &[]),
        Sockets::Internet => (&SOCKETS, &CONDITIONAL_SOCKETS),
    };
    let plain = PLAIN.iter().chain(own).chain(guests);
    let conditional = CONDITIONAL.iter().chain(own_conditional);
    (
        plain.copied(),
        conditional.chain(guests_conditional).copied(),
    )
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
        Condition::Socket => {
            check.extend(one_of(&FAMILIES));
            check.push(load(low_half_of_argument(argument + 1)));
            check.extend(one_of(&KINDS));
            check.push(load(low_half_of_argument(argument + 2)));
            check.extend(one_of(&PROTOCOLS));
            check.push(ret(ALLOW));
            return check;
        }
        Condition::Null => check.extend([
            skip_unless_equal(0, 3),
            load(low_half_of_argument(argument) + 4),
            skip_unless_equal(0, 1),
            ret(ALLOW),
        ]),
        Condition::Option => {
            for (level, name) in OPTIONS {
                check.extend([
                    load(low_half_of_argument(argument)),
                    skip_unless_equal(level, 3),
                    load(low_half_of_argument(argument + 1)),
                    skip_unless_equal(name, 1),
                    ret(ALLOW),
                ]);
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

/// Goes on if what is loaded is one of these, and refuses otherwise.
fn one_of(values: &[u32]) -> Vec<Instruction> {
    let mut check: Vec<Instruction> = Vec::with_capacity(values.len() + 1);
    for (at, &value) in values.iter().enumerate() {
        // Over what is left of the list and the refusal behind it.
        let rest = u8::try_from(values.len() - at).unwrap_or(u8::MAX);
        check.push(skip_if_equal(value, rest));
    }
    check.push(ret(ERRNO | EPERM));
    check
}
