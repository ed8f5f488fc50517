//! Reading a profile: checked, with actions as the numbers that a filter returns.

use super::abi::{Abi, AuditArch};
use super::listener;
use crate::Invalid;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use std::collections::HashMap;

/// `EPERM`, the errno of the spec's examples and of runc where the profile names none.
const EPERM: u32 = 1;
/// `MAX_ERRNO` of the kernel: higher values would not be taken for an error.
const MAX_ERRNO: u32 = 4095;

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// `argument & mask == value`; the value has no bits outside the mask.
    Equal {
        /// The bits that count.
        mask: u64,
    },
    /// `argument > value`.
    Greater,
    /// `argument >= value`.
    AtLeast,
}

/// A test of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument, 0 to 5.
    pub(super) argument: u32,
    /// How it is compared.
    pub(super) comparison: Comparison,
    /// With what.
    pub(super) value: u64,
    /// Whether the condition holds if the comparison does, or if it does not.
    pub(super) holds_if: bool,
}

impl Condition {
    /// Whether no bit of the argument counts.
    fn is_always_true(&self, is_64_bit: bool) -> bool {
        let visible = if is_64_bit {
            u64::MAX
        } else {
            u64::from(u32::MAX)
        };
        matches!(self.comparison, Comparison::Equal { mask } if mask & visible == 0)
    }
}

/// What happens to a call when all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// All of them must hold; none means always.
    pub(super) conditions: Vec<Condition>,
    /// `SECCOMP_RET_*` with its data.
    pub(super) action: u32,
}

/// The outcome for one call: the first rule that holds decides, else the default action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// Never empty, and each has conditions.
    pub(super) rules: Vec<Rule>,
    /// If no rule holds.
    pub(super) default: u32,
    /// Whether arguments have 64 bits.
    pub(super) is_64_bit: bool,
}

/// What the profile has for a name.
#[derive(Debug, Default)]
struct Named {
    /// Indices of its rules.
    rules: Vec<usize>,
    /// Whether some ABI was seen to have such a call.
    is_known: bool,
}

/// What the profile says about a call that it names.
#[derive(Debug)]
pub(super) enum Decision {
    /// Nothing but the default action.
    Default,
    /// This action, whatever the arguments.
    Action(u32),
    /// The arguments decide.
    Block(Block),
}

/// A profile, checked.
#[derive(Debug)]
pub(super) struct Profile<'a> {
    /// The action for calls that no rule matches.
    pub(super) default: u32,
    /// Whether calls newer than the profile get ENOSYS.
    pub(super) hides_newer_calls: bool,
    /// The ABIs that are filtered; the others are killed. The native one comes first.
    pub(super) abis: Vec<Abi>,
    /// `SECCOMP_FILTER_FLAG_*` bits.
    pub(super) flags: u32,
    /// All rules, in profile order.
    rules: Vec<Rule>,
    by_name: HashMap<&'a str, Named>,
}

impl<'a> Profile<'a> {
    /// Reads and checks a profile; the strings are warnings.
    pub(super) fn new(profile: &'a LinuxSeccomp) -> Result<(Self, Vec<String>), Invalid> {
        let mut warnings = Vec::new();
        let action = profile.default_action();
        if action == Action::ScmpActNotify {
            let why = "SCMP_ACT_NOTIFY cannot be the default: hull's own calls before the agent is \
                there would wait for it";
            return Err(invalid("defaultAction".to_owned(), why.to_owned()));
        }
        let default = action_value(action, profile.default_errno_ret())
            .map_err(|why| invalid("defaultErrnoRet".to_owned(), why))?;
        let mut read = Self {
            default,
            hides_newer_calls: !lets_through(action),
            abis: abis(profile, &mut warnings),
            flags: flags(profile, &mut warnings),
            rules: Vec::new(),
            by_name: HashMap::new(),
        };
        for (index, syscall) in profile.syscalls().iter().flatten().enumerate() {
            read.add(syscall)
                .map_err(|(field, why)| invalid(format!("syscalls[{index}].{field}"), why))?;
        }
        Ok((read, warnings))
    }

    /// Adds an entry of `syscalls`; an error is the path inside the entry and what is wrong there.
    fn add(&mut self, syscall: &'a LinuxSyscall) -> Result<(), (String, String)> {
        let action = syscall.action();
        let value = action_value(action, syscall.errno_ret())
            .map_err(|why| ("errnoRet".to_owned(), why))?;
        let mut conditions = Vec::new();
        for (index, argument) in syscall.args().iter().flatten().enumerate() {
            let condition =
                condition(argument).map_err(|why| (format!("args[{index}].index"), why))?;
            conditions.push(condition);
        }
        let start = self.rules.len();
        // A rule that repeats the default is not kept, but its names still count as known to the
        // profile, which matters for what is newer.
        if value != self.default {
            self.rules
                .extend(alternatives(conditions).map(|conditions| Rule {
                    conditions,
                    action: value,
                }));
        }
        for (index, name) in syscall.names().iter().enumerate() {
            if name.is_empty() {
                return Err((format!("names[{index}]"), "it is empty".to_owned()));
            }
            if action == Action::ScmpActNotify && name == listener::NEEDED_CALL {
                let why = format!("SCMP_ACT_NOTIFY cannot be for {name}: it calls the agent");
                return Err((format!("names[{index}]"), why));
            }
            let named = self.by_name.entry(name).or_default();
            named.rules.extend(start..self.rules.len());
        }
        Ok(())
    }

    /// What happens to a call, or `None` if the profile does not name it, nor a call that can be
    /// made through it.
    pub(super) fn decide(&mut self, name: &str, abi: Abi) -> Option<Decision> {
        let gateway = abi.gateway(name);
        if gateway.is_empty() {
            let indices = recognise(&mut self.by_name, name)?;
            if let [index] = indices
                && let Some(Rule { conditions, action }) = self.rules.get(*index)
                && conditions.is_empty()
            {
                return Some(Decision::Action(*action));
            }
        }
        let mut is_named = false;
        let mut candidates: Vec<(usize, Rule)> = Vec::new();
        let itself = std::iter::once((name, None));
        let through = gateway
            .iter()
            .map(|(inner, selector)| (*inner, Some(*selector)));
        for (name, selector) in itself.chain(through) {
            let Some(indices) = recognise(&mut self.by_name, name) else {
                continue;
            };
            is_named = true;
            for index in indices {
                let rule = self.rules.get(*index).cloned().into_iter();
                candidates.extend(rule.map(|rule| match selector {
                    Some(selector) => (*index, through_gateway(rule, selector)),
                    None => (*index, rule),
                }));
            }
        }
        candidates.sort_by_key(|(index, _)| *index);
        is_named.then(|| self.combine(candidates, abi))
    }

    /// Combines the rules for one call, in profile order.
    fn combine(&self, candidates: Vec<(usize, Rule)>, abi: Abi) -> Decision {
        let mut rules: Vec<Rule> = Vec::new();
        for (_, mut rule) in candidates {
            rule.conditions
                .retain(|condition| !condition.is_always_true(abi.is_64_bit()));
            if rule.conditions.is_empty() {
                return Decision::Action(rule.action);
            }
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        if rules.is_empty() {
            return Decision::Default;
        }
        Decision::Block(Block {
            rules,
            default: self.default,
            is_64_bit: abi.is_64_bit(),
        })
    }

    /// The architectures to tell apart, the native one first.
    pub(super) fn audit_arches(&self) -> Vec<AuditArch> {
        let mut arches = Vec::new();
        for abi in &self.abis {
            if !arches.contains(&abi.audit_arch()) {
                arches.push(abi.audit_arch());
            }
        }
        arches
    }

    /// One line for each name that no ABI has, in alphabetical order. To be asked when all ABIs of
    /// the profile are done.
    pub(super) fn unknown_names(&self) -> Vec<String> {
        let unknown = self.by_name.iter().filter(|(_, named)| !named.is_known);
        let mut unknown: Vec<&str> = unknown.map(|(name, _)| *name).collect();
        if !unknown.is_empty() {
            for (known, _) in Abi::ALL.into_iter().flat_map(Abi::calls) {
                unknown.retain(|name| *name != known);
            }
        }
        unknown.sort_unstable();
        let line = |name| format!("linux.seccomp: unknown syscall {name:?} ignored");
        unknown.into_iter().map(line).collect()
    }
}

/// The indices of the rules for a name that some ABI has, or `None` if the profile lacks the name.
fn recognise<'m>(by_name: &'m mut HashMap<&str, Named>, name: &str) -> Option<&'m [usize]> {
    let named = by_name.get_mut(name)?;
    named.is_known = true;
    Some(&named.rules)
}

/// A rule for a call as a rule for the gateway that can make it: the first argument there selects
/// the call, the other conditions look at the gateway's own arguments.
fn through_gateway(mut rule: Rule, selector: u32) -> Rule {
    rule.conditions.retain(|condition| condition.argument != 0);
    rule.conditions.insert(
        0,
        Condition {
            argument: 0,
            comparison: Comparison::Equal { mask: u64::MAX },
            value: u64::from(selector),
            holds_if: true,
        },
    );
    rule
}

fn invalid(field: String, why: String) -> Invalid {
    Invalid {
        field: format!("linux.seccomp.{field}"),
        why,
    }
}

/// The ABIs of the profile. runc adds the native one too, since some profiles forget it.
fn abis(profile: &LinuxSeccomp, warnings: &mut Vec<String>) -> Vec<Abi> {
    let mut abis: Vec<Abi> = Abi::NATIVE.into_iter().collect();
    for arch in profile.architectures().iter().flatten() {
        match Abi::from_oci(*arch) {
            Some(abi) if !abis.contains(&abi) => abis.push(abi),
            Some(_) => {}
            None => warnings.push(format!("linux.seccomp: architecture {arch} ignored")),
        }
    }
    abis
}

/// The flags for seccomp(2). A profile that has no list of flags gets `SPEC_ALLOW`, as in runc
/// since 1.2: without it, filtered processes pay for a mitigation that the kernel no longer
/// applies by default.
fn flags(profile: &LinuxSeccomp, warnings: &mut Vec<String>) -> u32 {
    const TSYNC: u32 = 1 << 0;
    const LOG: u32 = 1 << 1;
    const SPEC_ALLOW: u32 = 1 << 2;
    const WAIT_KILLABLE_RECV: u32 = 1 << 5;
    let Some(flags) = profile.flags() else {
        return SPEC_ALLOW;
    };
    let mut bits = 0;
    for flag in flags {
        bits |= match flag {
            Flag::SeccompFilterFlagTsync => TSYNC,
            Flag::SeccompFilterFlagLog => LOG,
            Flag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
            Flag::SeccompFilterFlagWaitKillableRecv if listener::is_wanted(profile) => {
                WAIT_KILLABLE_RECV
            }
            Flag::SeccompFilterFlagWaitKillableRecv => {
                // The kernel refuses this flag on a filter that has no listener.
                warnings.push(format!(
                    "linux.seccomp: flag {flag} ignored, nothing is notified"
                ));
                0
            }
        };
    }
    bits
}

/// Whether a default action lets calls through, so that newer ones need no ENOSYS. A tracer
/// decides about calls by itself.
fn lets_through(action: Action) -> bool {
    match action {
        Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace => true,
        Action::ScmpActKill
        | Action::ScmpActKillThread
        | Action::ScmpActKillProcess
        | Action::ScmpActTrap
        | Action::ScmpActErrno
        | Action::ScmpActNotify => false,
    }
}

/// What a filter returns for an action (`SECCOMP_RET_*` of `linux/seccomp.h`).
///
/// # Errors
/// What is wrong with the errno.
fn action_value(action: Action, errno: Option<u32>) -> Result<u32, String> {
    let value = match action {
        Action::ScmpActErrno => {
            return match errno.unwrap_or(EPERM) {
                errno @ 0..=MAX_ERRNO => Ok(0x0005_0000 | errno),
                errno => Err(format!("{errno} is not an errno")),
            };
        }
        Action::ScmpActTrace => {
            return match errno.unwrap_or(EPERM) {
                data @ 0..=0xffff => Ok(0x7ff0_0000 | data),
                data => Err(format!("{data} does not fit in 16 bits")),
            };
        }
        Action::ScmpActKill | Action::ScmpActKillThread => super::KILL_THREAD,
        Action::ScmpActKillProcess => 0x8000_0000,
        Action::ScmpActTrap => 0x0003_0000,
        Action::ScmpActNotify => 0x7fc0_0000,
        Action::ScmpActLog => 0x7ffc_0000,
        Action::ScmpActAllow => 0x7fff_0000,
    };
    match errno {
        None => Ok(value),
        Some(_) => Err(format!("{action} takes no errno")),
    }
}

/// The condition on one argument.
fn condition(argument: &LinuxSeccompArg) -> Result<Condition, String> {
    let index = match argument.index() {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 3,
        4 => 4,
        5 => 5,
        index => return Err(format!("{index} is not one of the arguments 0 to 5")),
    };
    let exact = Comparison::Equal { mask: u64::MAX };
    let value = argument.value();
    let (comparison, value, holds_if) = match argument.op() {
        Operator::ScmpCmpEq => (exact, value, true),
        Operator::ScmpCmpNe => (exact, value, false),
        Operator::ScmpCmpGt => (Comparison::Greater, value, true),
        Operator::ScmpCmpLe => (Comparison::Greater, value, false),
        Operator::ScmpCmpGe => (Comparison::AtLeast, value, true),
        Operator::ScmpCmpLt => (Comparison::AtLeast, value, false),
        // `value` is the mask here; bits outside it are cut from what is expected, as in libseccomp.
        Operator::ScmpCmpMaskedEq => (
            Comparison::Equal { mask: value },
            argument.value_two().unwrap_or(0) & value,
            true,
        ),
    };
    Ok(Condition {
        argument: index,
        comparison,
        value,
        holds_if,
    })
}

/// Splits the conditions of one entry into the rules that it stands for: one in which all must
/// hold, or one for each condition if some argument is tested twice.
fn alternatives(conditions: Vec<Condition>) -> impl Iterator<Item = Vec<Condition>> {
    let repeats = conditions.iter().enumerate().any(|(index, condition)| {
        conditions
            .iter()
            .skip(index + 1)
            .any(|other| other.argument == condition.argument)
    });
    let (all, each) = if repeats {
        (None, conditions)
    } else {
        (Some(conditions), Vec::new())
    };
    all.into_iter()
        .chain(each.into_iter().map(|condition| vec![condition]))
}
