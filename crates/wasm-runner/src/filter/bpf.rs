//! Classic BPF: instructions, and a search over ranges of numbers
//! ([kernel documentation](https://docs.kernel.org/networking/filter.html)).

use hull_sys::seccomp::Instruction;

/// What is done about the numbers from one on, up to the next range.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Range {
    pub(super) from: u32,
    pub(super) decision: Vec<Instruction>,
}

/// A binary search: the kernel runs the program for every number when it is loaded, to know in
/// advance which ones are always allowed, so a list would cost a tenth of the runner's whole start.
pub(super) fn search(ranges: &[Range]) -> Vec<Instruction> {
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

// Codes of linux/bpf_common.h: class | mode or operation | source.
pub(super) const LD_W_ABS: u16 = 0x20;
pub(super) const JMP_JA: u16 = 0x05;
pub(super) const JMP_JEQ_K: u16 = 0x15;
pub(super) const JMP_JGE_K: u16 = 0x35;
pub(super) const JMP_JSET_K: u16 = 0x45;
pub(super) const RET_K: u16 = 0x06;

pub(super) fn load(offset: u32) -> Instruction {
    (LD_W_ABS, 0, 0, offset)
}

pub(super) fn ret(value: u32) -> Instruction {
    (RET_K, 0, 0, value)
}

pub(super) fn skip_if_equal(value: u32, count: u8) -> Instruction {
    (JMP_JEQ_K, count, 0, value)
}

pub(super) fn skip_unless_equal(value: u32, count: u8) -> Instruction {
    (JMP_JEQ_K, 0, count, value)
}

pub(super) fn skip_if_less(value: u32, count: u8) -> Instruction {
    (JMP_JGE_K, 0, count, value)
}

pub(super) fn skip_unless_less(value: u32, count: u8) -> Instruction {
    (JMP_JGE_K, count, 0, value)
}

pub(super) fn jump(count: usize) -> Instruction {
    (JMP_JA, 0, 0, u32::try_from(count).unwrap_or(u32::MAX))
}

pub(super) fn skip_if_bit(bits: u32, count: u8) -> Instruction {
    (JMP_JSET_K, count, 0, bits)
}
