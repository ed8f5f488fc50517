//! `hull plan`: what the shim would do for a config, decided on this host and not done.

mod attributes;
mod bpf;
mod limits;
mod mounts;
mod process;
mod source;
mod text;
mod wasm;

use crate::error::Error;
use crate::layout::Screen;
use crate::output;
use hull_abi::{CgroupPaths, ContainerId, Plan};
use hull_cgroup::Layout;
use hull_plan::{Host, Inputs};
use nix::unistd::geteuid;
use source::Source;
use std::path::PathBuf;
use std::process::ExitCode;

/// The config is read, and the shim would refuse it.
const REFUSED: u8 = 1;

/// Arguments of `hull plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hull plan ./bundle
  hull plan --json config.json | jq .mounts
  ctr c info --spec ID | hull plan -

The text follows the order in which things are done. Nothing is done, and no root
is needed.
Exit code: 0, or 1 where the shim would refuse the config.")]
pub(crate) struct PlanArgs {
    /// A config.json, the bundle directory that holds one, or - for standard input
    config: PathBuf,
    /// Print the plan itself
    #[arg(long)]
    json: bool,
    /// Add the seccomp filter, one instruction a line
    #[arg(long, conflicts_with = "json")]
    seccomp: bool,
    /// The container's id [default: name of the bundle]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The containerd namespace, part of some cgroup paths
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
}

/// A config, decided.
#[derive(Debug)]
struct Decided {
    plan: Plan,
    id: ContainerId,
    /// Where the cgroup would be; the cause where this host does not tell.
    cgroup: Result<CgroupPaths, String>,
    /// `linux.seccomp.defaultAction` as it stands in the config.
    seccomp_default: Option<String>,
}

/// Prints what would be done.
///
/// # Errors
/// When the config cannot be read, or the shim would refuse it.
pub(crate) fn run(args: &PlanArgs) -> Result<ExitCode, Error> {
    let source = Source::read(&args.config)?;
    let decided = decide(args, &source)?;
    if args.json {
        output::print_json(&decided.plan)?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::of_stdout();
    output::print(&text::render(&decided, &screen))?;
    if args.seccomp {
        match &decided.plan.process.seccomp {
            Some(filter) => output::print(&bpf::listing(filter))?,
            None => output::print("\nThere is no seccomp filter.\n")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn decide(args: &PlanArgs, source: &Source) -> Result<Decided, Error> {
    let what = || format!("plan {:?}", args.config);
    let id = match &args.id {
        Some(id) => ContainerId::parse(id).map_err(|e| Error::usage(what(), e))?,
        None => source.id()?,
    };
    let bundle = source.bundle.to_str();
    let inputs = Inputs {
        config: &source.bytes,
        bundle: bundle.ok_or_else(|| Error::new(what(), "the bundle's path is not UTF-8"))?,
        id: &id,
        namespace: &args.namespace,
        rootfs: None,
        no_pivot: false,
        terminal: source.terminal(),
    };
    let facts =
        facts().map_err(|errno| Error::new("ask the kernel what it can do", errno.desc()))?;
    let refused = |error: &dyn std::fmt::Display| Error::new(what(), error).with_code(REFUSED);
    let plan = hull_plan::lower(&inputs, &facts).map_err(|error| refused(&error))?;
    let cgroup = match Layout::detect() {
        Ok(layout) => Ok(layout
            .place(&plan.cgroups_path, plan.scope.as_ref())
            .map_err(|error| refused(&error))?),
        Err(error) => Err(error.to_string()),
    };
    Ok(Decided {
        plan,
        id,
        cgroup,
        seccomp_default: source.seccomp_default(),
    })
}

/// What the shim's daemon would know of this host. Without root nobody can tell what it could give
/// away, so that is taken to be everything.
fn facts() -> Result<Host, hull_sys::Errno> {
    let grantable_capabilities = if geteuid().is_root() {
        hull_sys::cred::capabilities()?.permitted
    } else {
        u64::MAX
    };
    Ok(Host {
        last_capability: hull_sys::cred::last_capability()?,
        grantable_capabilities,
        default_apparmor: hull_sys::lsm::apparmor(),
        selinux: hull_sys::lsm::selinux(),
    })
}

#[cfg(test)]
mod tests;
