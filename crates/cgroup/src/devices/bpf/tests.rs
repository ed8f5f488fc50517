//! The program run by an interpreter, against the rules read as they are meant.

use super::*;
use proptest::prelude::*;

/// Runs a program like the kernel, on a context of three words. Panics on what the kernel's
/// verifier would refuse: unknown codes, loops, running off the end.
fn run(program: &[Instruction], context: [u32; 3]) -> bool {
    let mut registers = [0u32; 11];
    let mut at = 0usize;
    let mut budget = program.len();
    loop {
        budget = budget.checked_sub(1).expect("no instruction runs twice");
        let i = program[at];
        let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
        let operand = i.immediate.cast_unsigned();
        let mut jump = false;
        match i.code {
            LOAD_WORD => {
                assert_eq!(from, 1, "only the context can be read");
                registers[to] = context[usize::try_from(i.offset).unwrap() / 4];
            }
            MOVE_IMMEDIATE => registers[to] = operand,
            MOVE_REGISTER_32 => registers[to] = registers[from],
            AND_32 => registers[to] &= operand,
            SHIFT_RIGHT_32 => registers[to] >>= operand,
            JUMP_IF_NOT_EQUAL_32 => jump = registers[to] != operand,
            JUMP_IF_ANY_BIT_32 => jump = registers[to] & operand != 0,
            JUMP => jump = true,
            EXIT => return registers[0] == 1,
            code => panic!("unknown code {code:#x}"),
        }
        at += 1 + if jump {
            usize::try_from(i.offset).unwrap()
        } else {
            0
        };
    }
}

/// Each bit of the access by itself: the last rule that matches and has the bit decides.
fn meant(rules: &[DeviceRule], kind: i32, major: u32, minor: u32, access: i32) -> bool {
    [ACCESS_MKNOD, ACCESS_READ, ACCESS_WRITE]
        .into_iter()
        .filter(|bit| access & bit != 0)
        .all(|bit| {
            let matches = |rule: &&DeviceRule| {
                let kinds = match rule.kind {
                    DeviceKind::All => true,
                    DeviceKind::Char => kind == KIND_CHAR,
                    DeviceKind::Block => kind == KIND_BLOCK,
                };
                kinds
                    && rule.major.is_none_or(|number| number == major)
                    && rule.minor.is_none_or(|number| number == minor)
                    && access_of(rule) & bit != 0
            };
            rules.iter().rfind(matches).is_some_and(|rule| rule.allow)
        })
}

fn asked(rules: &[DeviceRule], kind: i32, major: u32, minor: u32, access: i32) -> bool {
    let word = (access << 16 | kind).cast_unsigned();
    program(rules).is_none_or(|program| run(&program, [word, major, minor]))
}

fn rules() -> impl Strategy<Value = Vec<DeviceRule>> {
    let kind = prop_oneof![
        Just(DeviceKind::All),
        Just(DeviceKind::Char),
        Just(DeviceKind::Block)
    ];
    let number = || proptest::option::of(prop_oneof![0u32..3, Just(u32::MAX), Just(1 << 31)]);
    let rule = (any::<bool>(), kind, number(), number(), any::<[bool; 3]>()).prop_map(
        |(allow, kind, major, minor, [read, write, mknod])| DeviceRule {
            allow,
            kind,
            major,
            minor,
            read,
            write,
            mknod,
        },
    );
    proptest::collection::vec(rule, 0..12)
}

proptest! {
    #[test]
    fn program_decides_as_the_rules_mean(rules in rules()) {
        for kind in [KIND_BLOCK, KIND_CHAR] {
            for major in [0, 1, 2, 7, 1 << 31, u32::MAX] {
                for minor in [0, 2, u32::MAX] {
                    for access in 1..=ACCESS_ALL {
                        let want = meant(&rules, kind, major, minor, access);
                        prop_assert_eq!(asked(&rules, kind, major, minor, access), want);
                    }
                }
            }
        }
    }
}

fn everything(allow: bool) -> DeviceRule {
    let kind = DeviceKind::All;
    DeviceRule {
        allow,
        kind,
        major: None,
        minor: None,
        read: true,
        write: true,
        mknod: true,
    }
}

#[test]
fn no_rules_deny_everything() {
    assert!(!asked(&[], KIND_CHAR, 1, 3, ACCESS_READ));
}

#[test]
fn everything_allowed_needs_no_program() {
    assert_eq!(program(&[everything(false), everything(true)]), None);
    assert!(program(&[everything(true), everything(false)]).is_some());
}

#[test]
fn rules_before_a_full_wildcard_are_left_out() {
    let null = DeviceRule {
        kind: DeviceKind::Char,
        major: Some(1),
        ..everything(true)
    };
    let short = program(&[everything(false), null]).unwrap();
    let long = program(&[null, null, everything(false), null]).unwrap();
    assert_eq!(short, long);
}
