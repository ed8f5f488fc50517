//! Writing a filter program (<https://docs.kernel.org/userspace-api/seccomp_filter.html>).
//!
//! Classic BPF jumps only forwards, so the program is built from its end: whatever an instruction
//! jumps to is there already and its distance is known.

use super::profile::{Block, Comparison, Condition};
use hull_abi::SockFilter;

/// Load a word of `struct seccomp_data` (`BPF_LD | BPF_W | BPF_ABS`).
const LOAD: u16 = 0x20;
/// Accumulator &= k (`BPF_ALU | BPF_AND | BPF_K`).
const AND: u16 = 0x54;
/// Jump always (`BPF_JMP | BPF_JA`).
const ALWAYS: u16 = 0x05;
/// Jump if equal (`BPF_JMP | BPF_JEQ | BPF_K`).
const EQUAL: u16 = 0x15;
/// Jump if greater (`BPF_JMP | BPF_JGT | BPF_K`).
const GREATER: u16 = 0x25;
/// Jump if greater or equal (`BPF_JMP | BPF_JGE | BPF_K`).
const AT_LEAST: u16 = 0x35;
/// End with k (`BPF_RET | BPF_K`).
const RETURN: u16 = 0x06;

/// `offsetof(struct seccomp_data, nr)`.
const NUMBER: u32 = 0;
/// `offsetof(struct seccomp_data, arch)`.
const ARCH: u32 = 4;
/// `offsetof(struct seccomp_data, args)`; each takes 8 bytes, low half first on all our ABIs.
const ARGUMENTS: u32 = 16;

/// A place in the program, counted from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// Where a syscall number leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// To an action.
    Return(u32),
    /// To code that looks at the arguments.
    Code(Label),
}

/// A program under construction, last instruction first.
#[derive(Debug, Default)]
pub(super) struct Program {
    reversed: Vec<SockFilter>,
    /// The latest return of each action; there are few.
    returns: Vec<(u32, Label)>,
    blocks: Vec<(Block, Label)>,
}

impl Program {
    /// The code for a call's rules; equal blocks share it.
    pub(super) fn block(&mut self, block: Block) -> Target {
        if let Some((_, label)) = self.blocks.iter().find(|(known, _)| *known == block) {
            return Target::Code(*label);
        }
        let mut otherwise = self.returning(block.default);
        for rule in block.rules.iter().rev() {
            let mut holds = self.returning(rule.action);
            for condition in rule.conditions.iter().rev() {
                holds = self.condition(condition, block.is_64_bit, holds, otherwise);
            }
            otherwise = holds;
        }
        self.blocks.push((block, otherwise));
        Target::Code(otherwise)
    }

    /// The code of one architecture: finds the span that the number lies in. The spans are sorted
    /// and the first one begins at 0.
    pub(super) fn section(&mut self, spans: &[(u32, Target)]) -> Label {
        let search = self.search(spans);
        self.falling_to(search);
        self.push(LOAD, 0, 0, NUMBER)
    }

    /// The whole program: the sections by architecture, any other architecture gets `foreign`.
    pub(super) fn finish(mut self, sections: &[(u32, Label)], foreign: u32) -> Vec<SockFilter> {
        let mut next = self.push(RETURN, 0, 0, foreign);
        for (arch, section) in sections.iter().rev() {
            next = self.jump(EQUAL, *arch, *section, next);
        }
        self.push(LOAD, 0, 0, ARCH);
        self.reversed.reverse();
        self.reversed
    }

    /// A binary search in the number that is in the accumulator.
    fn search(&mut self, spans: &[(u32, Target)]) -> Label {
        match spans {
            [] => self.returning(super::KILL_THREAD),
            [(_, target)] => self.label(*target),
            [(_, around), (number, target), (next, after)]
                if around == after && number.checked_add(1) == Some(*next) =>
            {
                let other = self.label(*around);
                let target = self.label(*target);
                self.jump(EQUAL, *number, target, other)
            }
            _ => {
                let (lower, upper) = spans.split_at(spans.len() / 2);
                let pivot = upper.first().map_or(0, |span| span.0);
                let upper = self.search(upper);
                let lower = self.search(lower);
                self.jump(AT_LEAST, pivot, upper, lower)
            }
        }
    }

    /// The test of one condition. Loads what it needs; the accumulator is lost.
    fn condition(&mut self, condition: &Condition, wide: bool, yes: Label, no: Label) -> Label {
        let Condition {
            argument,
            comparison,
            value,
            holds_if,
        } = *condition;
        let (yes, no) = if holds_if { (yes, no) } else { (no, yes) };
        let low_at = ARGUMENTS + argument * 8;
        let high_at = low_at + 4;
        let (value_high, value_low) = halves(value);
        match comparison {
            Comparison::Equal { mask } => {
                let (mask_high, mask_low) = halves(mask);
                let low = self.masked_equal(low_at, mask_low, value_low, (yes, no));
                if wide {
                    self.masked_equal(high_at, mask_high, value_high, (low, no))
                } else {
                    low
                }
            }
            Comparison::Greater | Comparison::AtLeast => {
                let operation = if comparison == Comparison::Greater {
                    GREATER
                } else {
                    AT_LEAST
                };
                self.jump(operation, value_low, yes, no);
                let low = self.push(LOAD, 0, 0, low_at);
                if !wide {
                    return low;
                }
                let equal = self.jump(EQUAL, value_high, low, no);
                self.jump(GREATER, value_high, yes, equal);
                self.push(LOAD, 0, 0, high_at)
            }
        }
    }

    /// Whether the masked word at an offset is equal to a value without bits outside the mask.
    fn masked_equal(&mut self, at: u32, mask: u32, value: u32, exits: (Label, Label)) -> Label {
        if mask == 0 {
            return exits.0;
        }
        self.jump(EQUAL, value, exits.0, exits.1);
        if mask != u32::MAX {
            self.push(AND, 0, 0, mask);
        }
        self.push(LOAD, 0, 0, at)
    }

    fn label(&mut self, target: Target) -> Label {
        match target {
            Target::Return(action) => self.returning(action),
            Target::Code(label) => label,
        }
    }

    /// The nearest instruction that returns an action.
    fn returning(&mut self, action: u32) -> Label {
        match self.returns.iter().find(|(known, _)| *known == action) {
            Some((_, label)) => *label,
            None => self.push_return(action),
        }
    }

    fn push_return(&mut self, action: u32) -> Label {
        let label = self.push(RETURN, 0, 0, action);
        self.returns.retain(|(known, _)| *known != action);
        self.returns.push((action, label));
        label
    }

    /// A conditional jump, with a stepping stone where a target is out of its reach.
    fn jump(&mut self, operation: u16, operand: u32, mut yes: Label, mut no: Label) -> Label {
        loop {
            match (self.short_distance(yes), self.short_distance(no)) {
                (Some(jt), Some(jf)) => return self.push(operation, jt, jf, operand),
                (None, _) => yes = self.stepping_stone(yes),
                (_, None) => no = self.stepping_stone(no),
            }
        }
    }

    /// A copy of a far return, or an unconditional jump, which reaches any distance.
    fn stepping_stone(&mut self, to: Label) -> Label {
        match self.reversed.get(to.0) {
            Some(SockFilter {
                code: RETURN, k, ..
            }) => {
                let action = *k;
                let nearest = self.returning(action);
                if self.short_distance(nearest).is_some() && nearest != to {
                    nearest
                } else {
                    self.push_return(action)
                }
            }
            _ => self.push(ALWAYS, 0, 0, self.distance(to)),
        }
    }

    /// Makes the next instruction fall through to a label.
    fn falling_to(&mut self, to: Label) {
        if self.distance(to) != 0 {
            self.stepping_stone(to);
        }
    }

    /// How many instructions lie between the next instruction and a label.
    fn distance(&self, to: Label) -> u32 {
        // A program too long for u32 is refused for its length.
        u32::try_from(self.reversed.len() - 1 - to.0).unwrap_or(u32::MAX)
    }

    fn short_distance(&self, to: Label) -> Option<u8> {
        u8::try_from(self.distance(to)).ok()
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(SockFilter { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }
}

/// High and low half.
#[expect(
    clippy::cast_possible_truncation,
    reason = "taking halves is the purpose"
)]
fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}
