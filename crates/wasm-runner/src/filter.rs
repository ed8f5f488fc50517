//! The system calls that are left to the runner once it has loaded its guest, as a classic BPF
//! program ([seccomp(2)](https://man7.org/linux/man-pages/man2/seccomp.2.html)).
//!
//! A guest makes no system calls itself; this is for the day on which wasmtime's sandbox has a hole.
//! What is left is what WASI needs on files, streams and clocks, and memory that is never
//! executable. No processes, threads, sockets, programs, descriptors of others, or ways to look
//! into them.

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
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Offsets in `struct seccomp_data`. Arguments are little-endian 64-bit numbers.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn low_half_of_argument(index: u32) -> u32 {
    16 + 8 * index
}

/// Allowed with any arguments; those that a guest uses most come first.
const PLAIN: [(&str, u32); 58] = [
    ("write", 1),
    ("read", 0),
    ("pread64", 17),
    ("pwrite64", 18),
    ("clock_gettime", 228),
    ("getrandom", 318),
    ("openat2", 437),
    ("openat", 257),
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
const CONDITIONAL: [(&str, u32, u32, Condition); 5] = [
    ("rt_sigaction", 13, 0, Condition::OneOf(&SIGACTION)),
    ("mmap", 9, 2, Condition::Without(PROT_EXEC)),
    ("mprotect", 10, 2, Condition::Without(PROT_EXEC)),
    ("fcntl", 72, 1, Condition::OneOf(&FCNTL)),
    ("ioctl", 16, 1, Condition::OneOf(&IOCTL)),
];

/// The program. Numbers of another architecture or of x32 kill the process; what is not allowed
/// fails with EPERM, or with ENOSYS where callers know what to do without it.
pub(crate) fn program() -> Vec<Instruction> {
    let mut program = vec![
        load(ARCHITECTURE),
        skip_if_equal(ARCH, 1),
        ret(KILL_PROCESS),
        load(NUMBER),
    ];
    program.extend(search(&ranges()));
    program
}

/// What is done about the numbers from one on, up to the next range.
#[derive(Debug, Clone, PartialEq)]
struct Range {
    from: u32,
    decision: Vec<Instruction>,
}

/// All numbers in ascending order, neighbours with the same decision as one range.
fn ranges() -> Vec<Range> {
    let plain = PLAIN.map(|(_, number)| (number, vec![ret(ALLOW)]));
    let conditional =
        CONDITIONAL.map(|(_, number, argument, condition)| (number, check(argument, condition)));
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

/// A binary search: the kernel runs the program for every number when it is loaded, to know in
/// advance which ones are always allowed, so a list would cost a tenth of the runner's whole start.
fn search(ranges: &[Range]) -> Vec<Instruction> {
    match ranges {
        [] => Vec::new(),
        [only] => only.decision.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let from = high.first().map_or(0, |range| range.from);
            let low = search(low);
            let mut program = match u8::try_from(low.len()) {
                Ok(length) => vec![skip_unless_less(from, length)],
                // Conditional jumps reach no further than 255 instructions.
                Err(_) => vec![skip_if_less(from, 1), jump(low.len())],
            };
            program.extend(low);
            program.extend(search(high));
            program
        }
    }
}

/// Ends with a decision about one argument.
fn check(argument: u32, condition: Condition) -> Vec<Instruction> {
    let mut check = vec![load(low_half_of_argument(argument))];
    match condition {
        Condition::Without(bits) => check.extend([skip_if_bit(bits, 1), ret(ALLOW)]),
        Condition::OneOf(values) => {
            for &value in values {
                check.extend([skip_unless_equal(value, 1), ret(ALLOW)]);
            }
        }
    }
    check.push(ret(ERRNO | EPERM));
    check
}

// Codes of linux/bpf_common.h: class | mode or operation | source.
const LD_W_ABS: u16 = 0x20;
const JMP_JA: u16 = 0x05;
const JMP_JEQ_K: u16 = 0x15;
const JMP_JGE_K: u16 = 0x35;
const JMP_JSET_K: u16 = 0x45;
const RET_K: u16 = 0x06;

fn load(offset: u32) -> Instruction {
    (LD_W_ABS, 0, 0, offset)
}

fn ret(value: u32) -> Instruction {
    (RET_K, 0, 0, value)
}

fn skip_if_equal(value: u32, count: u8) -> Instruction {
    (JMP_JEQ_K, count, 0, value)
}

fn skip_unless_equal(value: u32, count: u8) -> Instruction {
    (JMP_JEQ_K, 0, count, value)
}

fn skip_if_less(value: u32, count: u8) -> Instruction {
    (JMP_JGE_K, 0, count, value)
}

fn skip_unless_less(value: u32, count: u8) -> Instruction {
    (JMP_JGE_K, count, 0, value)
}

fn jump(count: usize) -> Instruction {
    (JMP_JA, 0, 0, u32::try_from(count).unwrap_or(u32::MAX))
}

fn skip_if_bit(bits: u32, count: u8) -> Instruction {
    (JMP_JSET_K, count, 0, bits)
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]
mod tests {
    use super::*;
    use syscalls::x86_64::Sysno;

    /// What the kernel would do with the program.
    fn decide(architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_le_bytes());
        data.extend(architecture.to_le_bytes());
        data.extend(0u64.to_le_bytes());
        arguments.iter().for_each(|a| data.extend(a.to_le_bytes()));

        let program = program();
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let (code, on_true, on_false, operand) = program[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { on_true } else { on_false });
            match code {
                LD_W_ABS => {
                    let offset = usize::try_from(operand).unwrap();
                    let word = data[offset..offset + 4].try_into().unwrap();
                    accumulator = u32::from_le_bytes(word);
                }
                JMP_JA => at += usize::try_from(operand).unwrap(),
                JMP_JEQ_K => at += jump(accumulator == operand),
                JMP_JGE_K => at += jump(accumulator >= operand),
                JMP_JSET_K => at += jump(accumulator & operand != 0),
                RET_K => return operand,
                other => panic!("unknown code {other:#x}"),
            }
        }
    }

    fn call(number: Sysno, arguments: [u64; 6]) -> u32 {
        decide(ARCH, u32::try_from(number.id()).unwrap(), arguments)
    }

    #[test]
    fn the_names_are_those_of_the_numbers() {
        let conditional = CONDITIONAL.iter().map(|&(name, number, ..)| (name, number));
        for (name, number) in PLAIN.into_iter().chain(conditional) {
            let sysno = Sysno::new(usize::try_from(number).unwrap()).unwrap();
            assert_eq!(sysno.name(), name);
        }
    }

    #[test]
    fn exactly_the_lists_are_allowed() {
        for number in 0..1000 {
            let plain = PLAIN.iter().any(|&(_, n)| n == number);
            let conditional = CONDITIONAL.iter().any(|&(_, n, ..)| n == number);
            let decision = decide(ARCH, number, [u64::MAX; 6]);
            if plain {
                assert_eq!(decision, ALLOW, "{number}");
            } else if number < NEW || conditional {
                assert_eq!(decision, ERRNO | EPERM, "{number}");
            } else {
                assert_eq!(decision, ERRNO | ENOSYS, "{number}");
            }
        }
    }

    #[test]
    fn what_makes_processes_or_reaches_out_is_refused() {
        for number in [
            Sysno::execve,
            Sysno::execveat,
            Sysno::clone,
            Sysno::clone3,
            Sysno::fork,
            Sysno::vfork,
            Sysno::socket,
            Sysno::connect,
            Sysno::ptrace,
            Sysno::process_vm_writev,
            Sysno::kill,
            Sysno::tgkill,
            Sysno::mount,
            Sysno::open_by_handle_at,
            Sysno::pkey_mprotect,
            Sysno::memfd_create,
            Sysno::prctl,
            Sysno::seccomp,
            Sysno::bpf,
            Sysno::io_uring_setup,
            Sysno::userfaultfd,
            Sysno::unshare,
            Sysno::setns,
            Sysno::pidfd_getfd,
            Sysno::shmat,
        ] {
            assert_ne!(call(number, [0; 6]), ALLOW, "{number}");
        }
    }

    #[test]
    fn memory_is_never_executable() {
        for number in [Sysno::mmap, Sysno::mprotect] {
            assert_eq!(call(number, [0, 4096, 3, 0, 0, 0]), ALLOW);
            for protection in [4, 5, 7, 1 << 40 | 4] {
                let decision = call(number, [0, 4096, protection, 0, 0, 0]);
                assert_eq!(decision, ERRNO | EPERM, "{number} {protection:#x}");
            }
        }
    }

    #[test]
    fn only_harmless_controls_of_descriptors() {
        assert_eq!(call(Sysno::fcntl, [0, 1030, 3, 0, 0, 0]), ALLOW);
        for command in [0, 8, 10, 1024, 1026, 1033] {
            assert_eq!(call(Sysno::fcntl, [0, command, 0, 0, 0, 0]), ERRNO | EPERM);
        }
        assert_eq!(call(Sysno::ioctl, [0, 0x5401, 0, 0, 0, 0]), ALLOW);
        assert_eq!(call(Sysno::ioctl, [0, 0x5412, 0, 0, 0, 0]), ERRNO | EPERM);
    }

    #[test]
    fn signals_that_end_us_keep_their_handlers() {
        assert_eq!(call(Sysno::rt_sigaction, [11, 0, 0, 8, 0, 0]), ALLOW);
        assert_eq!(
            call(Sysno::rt_sigaction, [15, 0, 0, 8, 0, 0]),
            ERRNO | EPERM
        );
    }

    #[test]
    fn a_decision_is_near() {
        assert!(program().len() < 200, "{}", program().len());
    }

    #[test]
    fn other_architectures_are_killed() {
        assert_eq!(decide(0x4000_0003, 1, [0; 6]), KILL_PROCESS);
        assert_eq!(decide(ARCH, X32 | 1, [0; 6]), KILL_PROCESS);
        assert_eq!(decide(ARCH, u32::MAX, [0; 6]), KILL_PROCESS);
    }
}
