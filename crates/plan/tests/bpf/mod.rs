//! A classic BPF machine for seccomp programs: what the kernel would accept and answer
//! (`kernel/seccomp.c`, `seccomp_check_filter`; `net/core/filter.c`, `bpf_check_classic`).
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "part of tests; a bad program must fail them"
)]

use hull_abi::SockFilter;

/// `struct seccomp_data` without the instruction pointer, which no program looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// `AUDIT_ARCH_*`.
    pub(crate) arch: u32,
    /// Syscall number.
    pub(crate) nr: u32,
    /// Arguments.
    pub(crate) args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            16..64 if offset.is_multiple_of(4) => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) {
                    arg as u32
                } else {
                    (arg >> 32) as u32
                }
            }
            _ => panic!("load from offset {offset}"),
        }
    }
}

/// Checks what the kernel checks when a program is loaded.
pub(crate) fn verify(program: &[SockFilter]) {
    assert!(
        !program.is_empty() && program.len() <= 4096,
        "{} instructions",
        program.len()
    );
    for (at, i) in program.iter().enumerate() {
        let furthest = match i.code {
            0x20 => {
                assert!(i.k.is_multiple_of(4) && i.k < 64, "{at}: load from {}", i.k);
                continue;
            }
            0x54 | 0x06 => continue,
            0x05 => i.k as usize,
            0x15 | 0x25 | 0x35 | 0x45 => usize::from(i.jt.max(i.jf)),
            code => panic!("{at}: instruction {code:#x}"),
        };
        assert!(
            at + 1 + furthest < program.len(),
            "{at}: jump out of the program"
        );
    }
    assert_eq!(
        program.last().unwrap().code,
        0x06,
        "the last instruction returns"
    );
}

/// Runs a program; gives what it returns and how many instructions it took.
pub(crate) fn run(program: &[SockFilter], call: &Call) -> (u32, usize) {
    let (mut accumulator, mut at, mut steps) = (0_u32, 0_usize, 0_usize);
    loop {
        let i = program[at];
        at += 1;
        steps += 1;
        let taken = match i.code {
            0x06 => return (i.k, steps),
            0x20 => {
                accumulator = call.word(i.k);
                continue;
            }
            0x54 => {
                accumulator &= i.k;
                continue;
            }
            0x05 => {
                at += i.k as usize;
                continue;
            }
            0x15 => accumulator == i.k,
            0x25 => accumulator > i.k,
            0x35 => accumulator >= i.k,
            0x45 => accumulator & i.k != 0,
            code => panic!("instruction {code:#x}"),
        };
        at += usize::from(if taken { i.jt } else { i.jf });
    }
}
