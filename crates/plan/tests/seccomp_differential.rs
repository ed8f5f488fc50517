//! The seccomp compiler against libseccomp: both compile the same profile the way runc drives
//! libseccomp, and both programs must answer the same to every syscall number and to arguments
//! around every value that a rule compares with.
//!
//! The oracle is Debian 12's libseccomp 2.5.4. It does not know calls newer than Linux 6.7, so a
//! profile is cut down to the names that it knows before both sides see it. The ENOSYS answer for
//! newer calls is not libseccomp's but runc's; the oracle adds it in front in the same way.
//! Where libseccomp answers against the rules of the profile (see `may_confuse_libseccomp`) or
//! where rules contradict each other, only the direct evaluation of the rules is compared with.
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test; arguments are cut on purpose"
)]

mod bpf;
mod oracle;

use bpf::{Call, run, verify};
use hull_plan::seccomp::compile;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator as Operator, LinuxSyscall, LinuxSyscallBuilder,
};
use oracle::{ABIS, EVERYWHERE, FlatRule, NAMES, Oracle, X32_BIT, X86, gateway};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What a comparison of two programs saw.
#[derive(Debug, Default)]
struct Seen {
    calls: usize,
    /// Calls for which rules hold that disagree: libseccomp's answer depends on its tree.
    overlaps: usize,
    /// Calls that libseccomp answers against its own rules.
    confused: usize,
    /// Profiles that libseccomp refuses, or never ends with.
    refused: usize,
}

/// Values around those that the profile compares argument `index` with.
fn boundary_values(args: &[LinuxSeccompArg], index: usize) -> Vec<u64> {
    let mut values = BTreeSet::from([0, 1, u64::MAX, 1 << 32, 0xffff_ffff]);
    for arg in args.iter().filter(|arg| arg.index() == index) {
        for value in [arg.value(), arg.value_two().unwrap_or(0)] {
            values.extend([
                value,
                value.wrapping_sub(1),
                value.wrapping_add(1),
                value ^ (1 << 32),
                value ^ (1 << 63),
                value & 0xffff_ffff,
                value | 0xffff_ffff_0000_0000,
                value.swap_bytes(),
                !value,
            ]);
        }
        values.insert(arg.value_two().unwrap_or(0) & arg.value() | !arg.value());
    }
    values.into_iter().collect()
}

fn holds(arg: &LinuxSeccompArg, args: &[u64; 6], wide: bool) -> bool {
    let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
    let (actual, value) = (cut(args[arg.index()]), cut(arg.value()));
    match arg.op() {
        Operator::ScmpCmpNe => actual != value,
        Operator::ScmpCmpLt => actual < value,
        Operator::ScmpCmpLe => actual <= value,
        Operator::ScmpCmpEq => actual == value,
        Operator::ScmpCmpGe => actual >= value,
        Operator::ScmpCmpGt => actual > value,
        Operator::ScmpCmpMaskedEq => actual & value == arg.value_two().unwrap_or(0) & value,
    }
}

/// The rules that concern a number, with the conditions that apply there.
fn rules_at(oracle: &Oracle, abi: usize, number: u32) -> Vec<(Vec<LinuxSeccompArg>, u32)> {
    if !oracle.lists(abi) {
        return Vec::new();
    }
    let name = NAMES[abi].get(&number);
    let visible = if ABIS[abi].wide {
        u64::MAX
    } else {
        0xffff_ffff
    };
    let counts =
        |arg: &LinuxSeccompArg| arg.op() != Operator::ScmpCmpMaskedEq || arg.value() & visible != 0;
    let through = |rule: &FlatRule| {
        let (gate, selector) = gateway(&rule.name).filter(|_| abi == X86)?;
        let mut args = vec![arg(0, Operator::ScmpCmpEq, selector, None)];
        args.extend(rule.args.iter().filter(|arg| arg.index() != 0));
        (gate == number).then_some((args, rule.action))
    };
    oracle
        .rules
        .iter()
        .filter_map(|rule| match name {
            Some(name) if *name == rule.name => Some((rule.args.clone(), rule.action)),
            _ => through(rule),
        })
        .map(|(args, action)| (args.into_iter().filter(counts).collect(), action))
        .collect()
}

/// The actions of all rules that hold for a call; one without conditions is alone.
fn holding(rules: &[(Vec<LinuxSeccompArg>, u32)], call: &Call, wide: bool) -> Vec<u32> {
    if let Some((_, action)) = rules.iter().find(|(args, _)| args.is_empty()) {
        return vec![*action];
    }
    let mut actions: Vec<u32> = rules
        .iter()
        .filter(|(args, _)| args.iter().all(|arg| holds(arg, &call.args, wide)))
        .map(|(_, action)| *action)
        .collect();
    actions.dedup();
    actions
}

/// Whether libseccomp 2.5.4 may get a call wrong. It keeps account of what is in the accumulator,
/// and loses it where a comparison goes on to the next rule from its false branch: that rule then
/// looks at the wrong half or at the wrong argument. This takes two rules, one of which has a
/// comparison with something to do in the false branch: one that is stored inverted (!=, <, <=), or
/// a 64-bit one for order (high halves are greater, or else equal and then …). E.g. `a2 < 0`
/// followed by `a2 > 1 << 32` holds for `a2 == 1`.
fn may_confuse_libseccomp(rules: &[(Vec<LinuxSeccompArg>, u32)], wide: bool) -> bool {
    let branches = |arg: &LinuxSeccompArg| match arg.op() {
        Operator::ScmpCmpNe | Operator::ScmpCmpLt | Operator::ScmpCmpLe => true,
        Operator::ScmpCmpGt | Operator::ScmpCmpGe => wide,
        Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => false,
    };
    rules.len() > 1 && rules.iter().any(|(args, _)| args.iter().any(branches))
}

/// Argument vectors: each boundary of each argument with the others low and high, and a fixed
/// pseudo-random mix of boundaries, so that several conditions meet.
fn argument_sets(args: &[LinuxSeccompArg]) -> Vec<[u64; 6]> {
    let mut sets = vec![[0; 6], [u64::MAX; 6]];
    if args.is_empty() {
        return sets;
    }
    let values: [Vec<u64>; 6] = std::array::from_fn(|index| boundary_values(args, index));
    for (index, values) in values.iter().enumerate() {
        for value in values {
            for rest in [0, u64::MAX] {
                let mut set = [rest; 6];
                set[index] = *value;
                sets.push(set);
            }
        }
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..400 {
        sets.push(std::array::from_fn(|index| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            values[index][(state >> 33) as usize % values[index].len()]
        }));
    }
    sets
}

/// Compares both programs over all ABIs, numbers and interesting arguments.
fn compare(profile: &LinuxSeccomp) -> Seen {
    let Some(oracle) = Oracle::new(profile) else {
        return Seen {
            refused: 1,
            ..Seen::default()
        };
    };
    let ours = compile(&oracle.profile).unwrap().0.program;
    verify(&ours);
    let mut seen = Seen::default();
    for (index, abi) in ABIS.iter().enumerate() {
        let edges = [0x0f_0000, 0x0f_0001, 0x0f_0005, 0x0f_ffff, X32_BIT - 1];
        // -1 belongs to the upper half of x86_64.
        let last = (index != 0).then_some(u32::MAX - abi.first);
        for number in (0..=600).chain(edges).chain(last) {
            let rules = rules_at(&oracle, index, number);
            let args: Vec<_> = rules
                .iter()
                .flat_map(|rule| rule.0.iter().copied())
                .collect();
            for args in argument_sets(&args) {
                let call = Call {
                    arch: abi.audit,
                    nr: abi.first + number,
                    args,
                };
                let (got, want) = (run(&ours, &call).0, oracle.answer(index, &call));
                seen.calls += 1;
                let actions = holding(&rules, &call, abi.wide);
                if let Some(first) = actions.first() {
                    assert_eq!(got, *first, "{call:x?}, rules {rules:#x?}");
                }
                if actions.len() > 1 {
                    seen.overlaps += 1;
                } else if got != want {
                    assert!(
                        actions.len() == 1 || got == oracle.otherwise(index, &call),
                        "{call:x?}: {got:#x} but no rule holds, rules {rules:#x?}"
                    );
                    assert!(
                        may_confuse_libseccomp(&rules, abi.wide),
                        "{:?} {call:x?}: ours {got:#x}, libseccomp {want:#x}, rules {rules:#x?}",
                        NAMES[index].get(&number),
                    );
                    seen.confused += 1;
                }
            }
        }
    }
    for arch in [0, 0x16, 0xc000_00f3, u32::MAX] {
        let call = Call {
            arch,
            nr: 1,
            args: [0; 6],
        };
        assert_eq!(run(&ours, &call).0, 0, "arch {arch:#x}");
    }
    seen
}

fn arg(index: usize, op: Operator, value: u64, two: Option<u64>) -> LinuxSeccompArg {
    let builder = LinuxSeccompArgBuilder::default()
        .index(index)
        .op(op)
        .value(value);
    match two {
        Some(two) => builder.value_two(two).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

fn rule(
    names: &[&str],
    action: Action,
    errno: Option<u32>,
    args: Vec<LinuxSeccompArg>,
) -> LinuxSyscall {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let builder = LinuxSyscallBuilder::default()
        .names(names)
        .action(action)
        .args(args);
    match errno {
        Some(errno) => builder.errno_ret(errno).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

fn profile(default: Action, arches: &[Arch], rules: Vec<LinuxSyscall>) -> LinuxSeccomp {
    LinuxSeccompBuilder::default()
        .default_action(default)
        .architectures(arches)
        .syscalls(rules)
        .build()
        .unwrap()
}

const ALL_ARCHES: [Arch; 5] = [
    Arch::ScmpArchX86_64,
    Arch::ScmpArchX86,
    Arch::ScmpArchX32,
    Arch::ScmpArchAarch64,
    Arch::ScmpArchArm,
];

fn containerd_default() -> LinuxSeccomp {
    serde_json::from_str(include_str!("data/containerd-default.json")).unwrap()
}

#[test]
fn containerd_default_profile() {
    let seen = compare(&containerd_default());
    assert_eq!(
        (seen.overlaps, seen.confused, seen.refused),
        (0, 0, 0),
        "{seen:?}"
    );
    assert!(seen.calls > 5_000, "{seen:?}");
}

#[test]
fn every_name_on_every_architecture() {
    let names: BTreeSet<&str> = NAMES
        .iter()
        .flat_map(BTreeMap::values)
        .map(String::as_str)
        .collect();
    let rules = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            rule(
                &[name],
                Action::ScmpActErrno,
                Some(1000 + index as u32),
                vec![],
            )
        })
        .collect();
    compare(&profile(Action::ScmpActKill, &ALL_ARCHES, rules));
}

#[test]
fn every_operator() {
    use Operator::{
        ScmpCmpEq, ScmpCmpGe, ScmpCmpGt, ScmpCmpLe, ScmpCmpLt, ScmpCmpMaskedEq, ScmpCmpNe,
    };
    let values = [
        0,
        1,
        7,
        0xffff_fffe,
        0xffff_ffff,
        1 << 32,
        0x1_0000_0007,
        u64::MAX - 1,
        u64::MAX,
    ];
    for op in [
        ScmpCmpEq,
        ScmpCmpNe,
        ScmpCmpGt,
        ScmpCmpGe,
        ScmpCmpLt,
        ScmpCmpLe,
        ScmpCmpMaskedEq,
    ] {
        for value in values {
            let two = (op == ScmpCmpMaskedEq).then_some(0x8000_0001_0000_0003);
            let allow = rule(
                &["getpriority"],
                Action::ScmpActAllow,
                None,
                vec![arg(1, op, value, two)],
            );
            let seen = compare(&profile(Action::ScmpActErrno, &ALL_ARCHES, vec![allow]));
            assert_eq!(
                (seen.overlaps, seen.confused, seen.refused),
                (0, 0, 0),
                "{op:?} {value:#x}: {seen:?}"
            );
        }
    }
}

/// ARM's own calls lie above all numbers: one that is named gets the default action where no rule
/// holds, not ENOSYS. libseccomp gets these two rules wrong, so the rules themselves decide.
#[test]
fn private_call_of_arm_that_no_rule_holds_for() {
    let rules = vec![
        rule(
            &["set_tls"],
            Action::ScmpActLog,
            None,
            vec![
                arg(0, Operator::ScmpCmpLt, 0x1_0000_0001, None),
                arg(1, Operator::ScmpCmpEq, 0, None),
            ],
        ),
        rule(
            &["set_tls"],
            Action::ScmpActAllow,
            None,
            vec![arg(0, Operator::ScmpCmpGt, 0x1_0000_0002, None)],
        ),
        rule(&[EVERYWHERE], Action::ScmpActErrno, Some(4000), vec![]),
    ];
    let seen = compare(&profile(Action::ScmpActErrno, &[Arch::ScmpArchArm], rules));
    assert!(seen.confused > 0, "{seen:?}");
}

/// libseccomp never comes to an end with these two rules, and with it runc; hull does what they say.
#[test]
fn rules_with_which_libseccomp_never_ends() {
    let below = || arg(0, Operator::ScmpCmpLe, 64, None);
    let conditions = [
        vec![arg(3, Operator::ScmpCmpGt, 0, None), below()],
        vec![arg(4, Operator::ScmpCmpEq, 0xffff_ffff, None), below()],
    ];
    let rules = conditions.map(|args| rule(&["fadvise64"], Action::ScmpActErrno, None, args));
    let profile = profile(Action::ScmpActAllow, &[], rules.to_vec());
    assert!(Oracle::new(&profile).is_none());
    let program = compile(&profile).unwrap().0.program;
    verify(&program);
    let answer = |args| {
        let call = Call {
            arch: ABIS[0].audit,
            nr: 221,
            args,
        };
        run(&program, &call).0
    };
    let (allow, errno) = (0x7fff_0000, 0x0005_0001);
    assert_eq!(answer([64, 0, 0, 1, 0, 0]), errno);
    assert_eq!(answer([65, 0, 0, 1, 0, 0]), allow);
    assert_eq!(answer([64, 0, 0, 0, 0xffff_ffff, 0]), errno);
    assert_eq!(answer([64, 0, 0, 0, 1, 0]), allow);
}

fn any_action() -> impl Strategy<Value = (Action, Option<u32>)> {
    prop_oneof![
        4 => Just((Action::ScmpActAllow, None)),
        4 => prop_oneof![Just(None), (0..200_u32).prop_map(Some)]
            .prop_map(|errno| (Action::ScmpActErrno, errno)),
        1 => Just((Action::ScmpActKillThread, None)),
        1 => Just((Action::ScmpActKillProcess, None)),
        1 => Just((Action::ScmpActTrap, None)),
        1 => Just((Action::ScmpActLog, None)),
        1 => (0..0xffff_u32).prop_map(|data| (Action::ScmpActTrace, Some(data))),
    ]
}

fn any_arg() -> impl Strategy<Value = LinuxSeccompArg> {
    use Operator::{
        ScmpCmpEq, ScmpCmpGe, ScmpCmpGt, ScmpCmpLe, ScmpCmpLt, ScmpCmpMaskedEq, ScmpCmpNe,
    };
    let op = proptest::sample::select(vec![
        ScmpCmpEq,
        ScmpCmpNe,
        ScmpCmpGt,
        ScmpCmpGe,
        ScmpCmpLt,
        ScmpCmpLe,
        ScmpCmpMaskedEq,
    ]);
    let value = || {
        prop_oneof![
            3 => 0..4_u64,
            1 => (0..64_u32).prop_map(|bit| 1 << bit),
            1 => (0..4_u64).prop_map(|low| 0x1_0000_0000 | low),
            1 => (0..3_u64).prop_map(|below| u64::MAX - below),
            1 => any::<u64>(),
        ]
    };
    (0..6_usize, op, value(), value()).prop_map(|(index, op, value, two)| {
        arg(index, op, value, (op == ScmpCmpMaskedEq).then_some(two))
    })
}

/// Few names, so that rules meet; some are missing on some ABIs or go through a gateway on x86.
fn any_rule() -> impl Strategy<Value = LinuxSyscall> {
    let name = proptest::sample::select(vec![
        "read",
        "clone",
        "personality",
        "socket",
        "accept",
        "socketcall",
        "semop",
        "shmat",
        "ipc",
        "mmap2",
        "ioctl",
        "arch_prctl",
        "set_tls",
        "statx",
        "no_such_call",
    ]);
    let names = proptest::collection::vec(name, 1..3);
    let args = prop_oneof![
        1 => Just(Vec::new()),
        3 => proptest::collection::vec(any_arg(), 1..3),
    ];
    // Not as a default action, which is refused.
    let action = prop_oneof![
        12 => any_action(),
        1 => Just((Action::ScmpActNotify, None)),
    ];
    (names, action, args)
        .prop_map(|(names, (action, errno), args)| rule(&names, action, errno, args))
}

fn any_profile() -> impl Strategy<Value = LinuxSeccomp> {
    let arches = proptest::sample::subsequence(ALL_ARCHES.to_vec(), 0..=5);
    (
        any_action(),
        arches,
        proptest::collection::vec(any_rule(), 0..8),
    )
        .prop_map(|((default, errno), arches, mut rules)| {
            rules.push(rule(
                &[EVERYWHERE],
                Action::ScmpActErrno,
                Some(4000),
                vec![],
            ));
            let mut profile = profile(default, &arches, rules);
            profile.set_default_errno_ret(errno);
            profile
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_profiles(profile in any_profile()) {
        compare(&profile);
    }
}
