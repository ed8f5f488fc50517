//! libseccomp, driven as runc drives it, and runc's ENOSYS answer in front of it.

use crate::bpf::{Call, run};
use hull_abi::SockFilter;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
    error::SeccompErrno,
};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};
use std::panic;
use std::sync::LazyLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

pub(crate) const X32_BIT: u32 = 0x4000_0000;
pub(crate) const ENOSYS: u32 = 0x0005_0026;
/// Index of x86 in [`ABIS`].
pub(crate) const X86: usize = 1;
/// A call of every ABI.
pub(crate) const EVERYWHERE: &str = "getpid";

/// For one program; most take less than a millisecond.
const DEADLINE: Duration = Duration::from_secs(5);

/// An architecture as the profile, libseccomp and the kernel know it.
pub(crate) struct Abi {
    pub(crate) oci: Arch,
    pub(crate) scmp: ScmpArch,
    pub(crate) audit: u32,
    pub(crate) first: u32,
    pub(crate) wide: bool,
}

pub(crate) const ABIS: [Abi; 5] = [
    Abi {
        oci: Arch::ScmpArchX86_64,
        scmp: ScmpArch::X8664,
        audit: 0xc000_003e,
        first: 0,
        wide: true,
    },
    Abi {
        oci: Arch::ScmpArchX86,
        scmp: ScmpArch::X86,
        audit: 0x4000_0003,
        first: 0,
        wide: false,
    },
    Abi {
        oci: Arch::ScmpArchX32,
        scmp: ScmpArch::X32,
        audit: 0xc000_003e,
        first: X32_BIT,
        wide: false,
    },
    Abi {
        oci: Arch::ScmpArchAarch64,
        scmp: ScmpArch::Aarch64,
        audit: 0xc000_00b7,
        first: 0,
        wide: true,
    },
    Abi {
        oci: Arch::ScmpArchArm,
        scmp: ScmpArch::Arm,
        audit: 0x4000_0028,
        first: 0,
        wide: false,
    },
];

/// libseccomp's own numbers to names, by index in [`ABIS`].
pub(crate) static NAMES: LazyLock<Vec<BTreeMap<u32, String>>> = LazyLock::new(|| {
    ABIS.iter()
        .map(|abi| {
            (0..=600_u32)
                .chain(0x0f_0000..=0x0f_0006)
                .filter_map(|nr| {
                    let number = (nr | abi.first).cast_signed();
                    let name = ScmpSyscall::from(number).get_name_by_arch(abi.scmp).ok()?;
                    Some((nr, name))
                })
                .collect()
        })
        .collect()
});

fn known(name: &str) -> bool {
    NAMES
        .iter()
        .any(|names| names.values().any(|known| known == name))
}

fn scmp_action(action: Action, errno: Option<u32>) -> ScmpAction {
    match action {
        Action::ScmpActKill | Action::ScmpActKillThread => ScmpAction::KillThread,
        Action::ScmpActKillProcess => ScmpAction::KillProcess,
        Action::ScmpActTrap => ScmpAction::Trap,
        Action::ScmpActErrno => ScmpAction::Errno(errno.unwrap_or(1).cast_signed()),
        Action::ScmpActTrace => ScmpAction::Trace(errno.unwrap_or(1) as u16),
        Action::ScmpActLog => ScmpAction::Log,
        Action::ScmpActAllow => ScmpAction::Allow,
        Action::ScmpActNotify => ScmpAction::Notify,
    }
}

fn scmp_condition(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let (op, datum) = match arg.op() {
        Operator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        Operator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        Operator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        Operator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        Operator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        Operator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        Operator::ScmpCmpMaskedEq => (
            ScmpCompareOp::MaskedEqual(arg.value()),
            arg.value_two().unwrap_or(0),
        ),
    };
    ScmpArgCompare::new(arg.index() as u32, op, datum)
}

/// A rule as runc hands it to libseccomp.
#[derive(Clone)]
pub(crate) struct FlatRule {
    pub(crate) name: String,
    pub(crate) action: u32,
    pub(crate) scmp_action: ScmpAction,
    pub(crate) args: Vec<LinuxSeccompArg>,
}

/// What libseccomp makes of a profile.
pub(crate) struct Oracle {
    pub(crate) program: Vec<SockFilter>,
    /// Highest number that the profile names, by index in [`ABIS`]; none without ENOSYS stub.
    pub(crate) newest: Vec<Option<u32>>,
    /// The profile without the names that libseccomp does not know.
    pub(crate) profile: LinuxSeccomp,
    pub(crate) rules: Vec<FlatRule>,
}

impl Oracle {
    /// `None` if libseccomp refuses the profile, for which runc refuses the container, or never
    /// comes to an end with it, for which runc hangs.
    pub(crate) fn new(profile: &LinuxSeccomp) -> Option<Self> {
        let mut entries = Vec::new();
        for entry in profile.syscalls().iter().flatten() {
            for name in entry.names().iter().filter(|name| known(name)) {
                let mut one = entry.clone();
                one.set_names(vec![name.clone()]);
                entries.push(one);
            }
        }
        let stub = !matches!(
            profile.default_action(),
            Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace
        );
        let names: BTreeSet<&str> = entries
            .iter()
            .map(|entry| entry.names()[0].as_str())
            .collect();
        let mut newest = NAMES
            .iter()
            .map(|table| {
                let named = table
                    .iter()
                    .filter(|(nr, name)| **nr < 0x0f_0000 && names.contains(name.as_str()));
                named.map(|(nr, _)| *nr).max().unwrap_or(0)
            })
            .collect::<Vec<u32>>();
        // A rule for `accept` is one for `socketcall` on x86. runc does not count this, so its
        // ENOSYS covers the rule if the profile names no higher number.
        for (gate, _) in names.iter().filter_map(|name| gateway(name)) {
            newest[X86] = newest[X86].max(gate);
        }
        let newest = newest
            .into_iter()
            .map(|nr| (stub && nr != 0).then_some(nr))
            .collect();
        let default = scmp_action(profile.default_action(), profile.default_errno_ret());
        let rules: Vec<FlatRule> = entries
            .iter()
            .filter(|entry| scmp_action(entry.action(), entry.errno_ret()) != default)
            .flat_map(flatten)
            .collect();
        let mut profile = profile.clone();
        profile.set_syscalls(Some(entries));
        let program = filter_in_time(&profile, &rules)?;
        Some(Self {
            program,
            newest,
            profile,
            rules,
        })
    }

    pub(crate) fn answer(&self, abi: usize, call: &Call) -> u32 {
        if self.lists(abi) && self.is_newer(abi, call) {
            ENOSYS
        } else {
            run(&self.program, call).0
        }
    }

    /// What a call gets that no rule holds for.
    pub(crate) fn otherwise(&self, abi: usize, call: &Call) -> u32 {
        if !self.lists(abi) {
            0
        } else if self.is_newer(abi, call) {
            ENOSYS
        } else {
            let default = self.profile.default_action();
            default.as_u32(self.profile.default_errno_ret())
        }
    }

    /// Whether a call is above all that the profile names, so that it gets ENOSYS.
    fn is_newer(&self, abi: usize, call: &Call) -> bool {
        self.newest[abi].is_some_and(|newest| call.nr - ABIS[abi].first > newest)
            && !self.is_private(abi, call)
    }

    /// Whether the profile covers an ABI; the native one always.
    pub(crate) fn lists(&self, abi: usize) -> bool {
        lists(&self.profile, abi)
    }

    /// ARM's private calls lie above all others and are not newer.
    fn is_private(&self, abi: usize, call: &Call) -> bool {
        ABIS[abi].oci == Arch::ScmpArchArm
            && self
                .rules
                .iter()
                .any(|rule| NAMES[abi].get(&call.nr) == Some(&rule.name))
    }
}

/// libseccomp's program for a profile, unless it takes for ever.
///
/// libseccomp 2.5.4 never returns from adding the second of some two rules for one call: it walks a
/// list of conditions that it has bent into a ring. Its thread is left to itself.
fn filter_in_time(profile: &LinuxSeccomp, rules: &[FlatRule]) -> Option<Vec<SockFilter>> {
    let (profile, rules) = (profile.clone(), rules.to_vec());
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        // Nobody listens any more after the deadline.
        drop(sender.send(filter(&profile, &rules)));
    });
    match receiver.recv_timeout(DEADLINE) {
        Ok(program) => program,
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => panic::resume_unwind(thread.join().unwrap_err()),
    }
}

/// Drives libseccomp as runc does.
fn filter(profile: &LinuxSeccomp, rules: &[FlatRule]) -> Option<Vec<SockFilter>> {
    let default = scmp_action(profile.default_action(), profile.default_errno_ret());
    let mut filter = ScmpFilterContext::new(default).unwrap();
    for (index, abi) in ABIS.iter().enumerate() {
        if lists(profile, index) {
            filter.add_arch(abi.scmp).unwrap();
        }
    }
    // On a foreign architecture 2.5.4 loads the syscall number in the code for the rule of the
    // highest priority; if that one is for a call that does not exist there, it is left out,
    // and no rule matches. So a call that exists everywhere gets the highest priority.
    if rules.iter().any(|rule| rule.name == EVERYWHERE) {
        let syscall = ScmpSyscall::from_name(EVERYWHERE).unwrap();
        filter.set_syscall_priority(syscall, 255).unwrap();
    }
    for rule in rules {
        let syscall = ScmpSyscall::from_name(&rule.name).unwrap();
        let conditions: Vec<ScmpArgCompare> = rule.args.iter().map(scmp_condition).collect();
        let result = if conditions.is_empty() {
            filter.add_rule(rule.scmp_action, syscall)
        } else {
            filter.add_rule_conditional(rule.scmp_action, syscall, &conditions)
        };
        if let Err(error) = result {
            assert_eq!(error.errno(), Some(SeccompErrno::EEXIST), "{error}");
            return None;
        }
    }
    Some(export(&filter))
}

/// Whether a profile covers an ABI; the native one always.
fn lists(profile: &LinuxSeccomp, abi: usize) -> bool {
    let mut arches = profile.architectures().iter().flatten();
    abi == 0 || arches.any(|arch| *arch == ABIS[abi].oci)
}

/// The libseccomp rules that runc makes of an entry with one name.
fn flatten(entry: &LinuxSyscall) -> Vec<FlatRule> {
    let args = entry.args().clone().unwrap_or_default();
    let indices: BTreeSet<usize> = args.iter().map(LinuxSeccompArg::index).collect();
    let alternatives: Vec<Vec<LinuxSeccompArg>> = if indices.len() < args.len() {
        args.iter().map(|arg| vec![*arg]).collect()
    } else {
        vec![args]
    };
    alternatives
        .into_iter()
        .map(|args| FlatRule {
            name: entry.names()[0].clone(),
            action: entry.action().as_u32(entry.errno_ret()),
            scmp_action: scmp_action(entry.action(), entry.errno_ret()),
            args,
        })
        .collect()
}

fn export(filter: &ScmpFilterContext) -> Vec<SockFilter> {
    let mut file = tempfile::tempfile().unwrap();
    filter.export_bpf(&file).unwrap();
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
        .chunks_exact(8)
        .map(|b| SockFilter {
            code: u16::from_ne_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        })
        .collect()
}

/// The call that `name` is a part of on x86, and the first argument that selects it there.
/// libseccomp numbers such calls -101 to -120 (socketcall) and -201 to -224 (ipc).
pub(crate) fn gateway(name: &str) -> Option<(u32, u64)> {
    let number = ScmpSyscall::from_name_by_arch(name, ScmpArch::X86)
        .ok()?
        .as_raw_syscall();
    match number {
        -120..=-101 => Some((102, u64::from((-number - 100).unsigned_abs()))),
        -224..=-201 => Some((117, u64::from((-number - 200).unsigned_abs()))),
        _ => None,
    }
}
