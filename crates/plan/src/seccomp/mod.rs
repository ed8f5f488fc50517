//! An OCI seccomp profile becomes a classic BPF program.
//!
//! The program answers what runc would answer with libseccomp, with the same rules
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#seccomp>):
//!
//! - A call of an architecture that the profile does not list kills the thread. The architecture
//!   of the host is always listed. x32 is the upper half of the numbers of `x86_64`.
//! - A rule with the default action is ignored, because it cannot change anything.
//! - Of all rules for one call, the first one without conditions decides alone; rules with
//!   conditions, wherever they stand, are dropped then. A comparison with mask 0 is no condition.
//! - Without such a rule, the call gets the action of a rule whose conditions all hold, or else the
//!   default action. Rules that hold at the same time and disagree are tried in profile order.
//!   Here libseccomp differs: it tries them in the order of its tree, which sorts by argument,
//!   operator and value, and it refuses two rules that differ in the action only.
//! - One rule that tests an argument more than once means "or" for all its conditions, as in runc.
//! - 32-bit ABIs, x32 included, see the low half of each argument and compare it with the low half
//!   of the profile's value.
//! - On x86 a rule for a call that `socketcall(2)` or `ipc(2)` can make as well is a rule for these
//!   too. A condition on the first argument gives way to the selector of the call, the others look
//!   at what these calls have in the same registers, so they mean little there.
//! - Calls with higher numbers than all that the profile names for the ABI are newer than the
//!   profile and get ENOSYS, so that the C library falls back, unless the default action lets
//!   calls through. This is not in libseccomp; runc puts it in front.

mod abi;
mod emit;
mod listener;
mod profile;

use crate::Invalid;
use abi::Abi;
use emit::{Program, Target};
use hull_abi::Seccomp;
use oci_spec::runtime::LinuxSeccomp;
use profile::{Decision, Profile};

pub use listener::listener;

/// `BPF_MAXINSNS` of `linux/bpf_common.h`: the kernel refuses longer programs.
const MAX_INSTRUCTIONS: usize = 4096;
/// `SECCOMP_RET_KILL_THREAD`, libseccomp's answer to a foreign architecture.
const KILL_THREAD: u32 = 0;
/// `SECCOMP_RET_ERRNO` with `ENOSYS`.
const ENOSYS: u32 = 0x0005_0000 | 38;
/// `__X32_SYSCALL_BIT` of `asm/unistd.h`.
const X32_BIT: u32 = 0x4000_0000;

/// Compiles a profile to the program for this machine and the flags for seccomp(2), together with
/// one line for each thing in the profile that has no effect here. Who listens is for [`listener`] to
/// say.
///
/// # Errors
/// Names the field: an action, errno, flag or condition that cannot be used, or a profile whose
/// program would be longer than the kernel takes.
pub fn compile(profile: &LinuxSeccomp) -> Result<(Seccomp, Vec<String>), Invalid> {
    let asks = listener::is_wanted(profile);
    let (mut profile, mut warnings) = Profile::new(profile)?;
    let mut program = Program::default();
    let mut sections = Vec::new();
    for arch in profile.audit_arches() {
        let mut spans = Vec::new();
        for (abi, first) in arch.abis() {
            if profile.abis.contains(abi) {
                add_abi(&mut profile, *abi, *first, &mut program, &mut spans);
            } else {
                add_foreign(&profile, *first, &mut spans);
            }
        }
        // A span that leads where the one before it leads is a part of it.
        spans.dedup_by_key(|span| span.1);
        sections.push((arch.token(), program.section(&spans)));
    }
    let program = program.finish(&sections, KILL_THREAD);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(Invalid {
            field: "linux.seccomp.syscalls".to_owned(),
            why: format!(
                "the filter would need {} instructions, the kernel takes {MAX_INSTRUCTIONS}",
                program.len()
            ),
        });
    }
    warnings.extend(profile.unknown_names());
    Ok((
        Seccomp {
            program,
            flags: if asks {
                listener::flags(profile.flags)
            } else {
                profile.flags
            },
            listener: None,
        },
        warnings,
    ))
}

/// The numbers of an ABI that is not allowed at all. -1 is not a call: a tracer stores it to skip
/// one, and the filter runs again on it (seccomp(2), "SECCOMP_RET_TRACE").
fn add_foreign(profile: &Profile<'_>, first: u32, spans: &mut Vec<(u32, Target)>) {
    spans.push((first, Target::Return(KILL_THREAD)));
    if first == X32_BIT {
        spans.push((u32::MAX, Target::Return(profile.default)));
    }
}

/// Covers the numbers of one ABI, from `first` on, with spans of equal outcome.
fn add_abi(
    profile: &mut Profile<'_>,
    abi: Abi,
    first: u32,
    program: &mut Program,
    spans: &mut Vec<(u32, Target)>,
) {
    let default = Target::Return(profile.default);
    let mut newest = 0;
    let mut calls = Vec::new();
    for (name, number) in abi.calls() {
        let Some(decision) = profile.decide(name, abi) else {
            continue;
        };
        if !abi.is_private(number) {
            newest = newest.max(number);
        }
        let target = match decision {
            Decision::Default => continue,
            Decision::Action(action) => Target::Return(action),
            Decision::Block(block) => program.block(block),
        };
        calls.push((first.saturating_add(number), target));
    }
    let newer = first.saturating_add(newest).saturating_add(1);
    let background = |number| {
        let is_newer = profile.hides_newer_calls && newest != 0 && number >= newer;
        (
            number,
            if is_newer {
                Target::Return(ENOSYS)
            } else {
                default
            },
        )
    };
    let start = spans.len();
    spans.push(background(first));
    spans.push(background(newer));
    spans.extend(
        calls
            .iter()
            .map(|(number, _)| background(number.saturating_add(1))),
    );
    spans.extend(calls);
    // Stable: of equal starts the call, which was pushed last, stays last and wins.
    spans
        .get_mut(start..)
        .unwrap_or_default()
        .sort_by_key(|span| span.0);
    spans.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 = later.1;
        }
        same
    });
}
