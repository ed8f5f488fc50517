//! Device rules as an eBPF program. Pure.
//!
//! The kernel calls the program with the kind of node, its numbers and the wanted access
//! (`struct bpf_cgroup_dev_ctx`,
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html#device-controller>); it returns 1 to allow.
//! Rules are gone through from the last to the first: what of the access a rule allows is settled,
//! a denied rest ends it, and whatever no rule speaks of is denied.

use hull_abi::{DeviceKind, DeviceRule};
use hull_sys::bpf::Instruction;

// Access and kinds as the context has them.
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;
const ACCESS_ALL: i32 = ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE;
const KIND_BLOCK: i32 = 1;
const KIND_CHAR: i32 = 2;

// Registers: the result, the context (then the kind), the access that is not settled yet.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const REST: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// Operation codes (include/uapi/linux/bpf.h): class, size or operation, source.
const LOAD_WORD: u8 = 0x61;
const MOVE_IMMEDIATE: u8 = 0xb7;
const MOVE_REGISTER_32: u8 = 0xbc;
const AND_32: u8 = 0x54;
const SHIFT_RIGHT_32: u8 = 0x74;
const JUMP_IF_NOT_EQUAL_32: u8 = 0x56;
const JUMP_IF_ANY_BIT_32: u8 = 0x46;
const JUMP: u8 = 0x05;
const EXIT: u8 = 0x95;

/// The program for rules of which the last match wins; `None` when it would allow everything.
pub(super) fn program(rules: &[DeviceRule]) -> Option<Vec<Instruction>> {
    let mut program = vec![
        // The first word is kind and access in 16 bits each.
        load(KIND, 0),
        register(MOVE_REGISTER_32, REST, KIND),
        immediate(SHIFT_RIGHT_32, REST, 16),
        immediate(AND_32, KIND, 0xffff),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    let prologue = program.len();
    for rule in rules.iter().rev() {
        let access = access_of(rule);
        if access == 0 {
            continue;
        }
        let everything =
            rule.kind == DeviceKind::All && rule.major.is_none() && rule.minor.is_none();
        if everything && access == ACCESS_ALL {
            // Earlier rules have nothing left to say.
            if rule.allow && program.len() == prologue {
                return None;
            }
            program.extend(result(rule.allow));
            return Some(program);
        }
        program.extend(one_rule(rule, access));
    }
    program.extend(result(false));
    Some(program)
}

/// Conditions that jump over the rule, and what it settles.
fn one_rule(rule: &DeviceRule, access: i32) -> Vec<Instruction> {
    let body = if rule.allow {
        allow(access)
    } else {
        deny(access)
    };
    let kind = match rule.kind {
        DeviceKind::All => None,
        DeviceKind::Char => Some(KIND_CHAR),
        DeviceKind::Block => Some(KIND_BLOCK),
    };
    let number = |number: Option<u32>| number.map(u32::cast_signed);
    let conditions = [
        (KIND, kind),
        (MAJOR, number(rule.major)),
        (MINOR, number(rule.minor)),
    ];
    let mut block = body;
    // From the last to the first, because each jumps over all that follow.
    for (from, value) in conditions.into_iter().rev() {
        let Some(value) = value else { continue };
        // A handful of instructions: this always fits.
        let offset = i16::try_from(block.len()).unwrap_or(i16::MAX);
        let test = Instruction {
            offset,
            ..immediate(JUMP_IF_NOT_EQUAL_32, from, value)
        };
        block.insert(0, test);
    }
    block
}

/// The allowed part is settled; with nothing left the access is allowed.
fn allow(access: i32) -> Vec<Instruction> {
    let [value, exit] = result(true);
    let some_left = Instruction {
        offset: 2,
        ..immediate(JUMP_IF_NOT_EQUAL_32, REST, 0)
    };
    vec![
        immediate(AND_32, REST, ACCESS_ALL & !access),
        some_left,
        value,
        exit,
    ]
}

/// A part that is still open and denied ends it.
fn deny(access: i32) -> Vec<Instruction> {
    let [value, exit] = result(false);
    let hit = Instruction {
        offset: 1,
        ..immediate(JUMP_IF_ANY_BIT_32, REST, access)
    };
    let past = Instruction {
        offset: 2,
        ..immediate(JUMP, 0, 0)
    };
    vec![hit, past, value, exit]
}

fn access_of(rule: &DeviceRule) -> i32 {
    let flag = |set: bool, bit: i32| if set { bit } else { 0 };
    flag(rule.mknod, ACCESS_MKNOD) | flag(rule.read, ACCESS_READ) | flag(rule.write, ACCESS_WRITE)
}

fn result(allow: bool) -> [Instruction; 2] {
    [
        immediate(MOVE_IMMEDIATE, RESULT, allow.into()),
        immediate(EXIT, 0, 0),
    ]
}

fn load(to: u8, offset: i16) -> Instruction {
    Instruction {
        offset,
        ..register(LOAD_WORD, to, CONTEXT)
    }
}

fn immediate(code: u8, to: u8, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: to,
        offset: 0,
        immediate,
    }
}

fn register(code: u8, to: u8, from: u8) -> Instruction {
    Instruction {
        code,
        registers: from << 4 | to,
        offset: 0,
        immediate: 0,
    }
}

#[cfg(test)]
mod tests;
