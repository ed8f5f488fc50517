//! The config of a container, with closed defaults.

use hull_client::Spec;
use serde_json::json;

use super::args::{ContainerArgs, Net};
use super::values::{Cpus, Mount, Source};
use super::wanted::{seccomp_file, variable};
use super::{RootFs, capabilities, seccomp};
use crate::error::Error;

/// The config that the arguments ask for, running `command`.
pub(super) fn of(
    verb: &str,
    args: &ContainerArgs,
    rootfs: &RootFs,
    command: &[String],
) -> Result<Spec, Error> {
    let spec = base(rootfs, command);
    let spec = process(spec, verb, args)?;
    let spec = resources(spec, args);
    let spec = match args.net {
        Net::None => spec,
        Net::Host => spec.without_namespace("network"),
    };
    let spec = spec.set("/root/readonly", args.read_only);
    let annotated = args.annotation.iter();
    let spec = annotated.fold(spec, |spec, given| {
        spec.annotation(&given.key, &given.value)
    });
    [&args.mount, &args.volume]
        .into_iter()
        .flatten()
        .try_fold(spec, |spec, mount| add_mount(spec, verb, mount))
}

/// The config of a container that is only created.
pub(super) fn of_module(rootfs: &RootFs) -> Spec {
    let command: Vec<String> = rootfs.module_path().into_iter().collect();
    base(rootfs, &command)
        .unset("/process/capabilities")
        .set("/root/readonly", true)
}

/// What every container has: ctr's config, a cgroup namespace, and the module if there is one.
fn base(rootfs: &RootFs, command: &[String]) -> Spec {
    let spec = Spec::new(command.iter().cloned()).namespace("cgroup", None);
    match rootfs {
        RootFs::Wasm { file, path } => {
            let options = ["bind", "ro", "nosuid", "nodev", "noexec", "rprivate"];
            spec.mount("bind", file, path, &options)
        }
        RootFs::Copy(_) | RootFs::Itself(_) => spec,
    }
}

fn process(mut spec: Spec, verb: &str, args: &ContainerArgs) -> Result<Spec, Error> {
    let set = capabilities::set(&args.cap_add, &args.cap_drop)?;
    for kind in ["bounding", "effective", "permitted"] {
        spec = spec.set(&format!("/process/capabilities/{kind}"), json!(set));
    }
    spec = match args.seccomp.as_str() {
        "none" => spec,
        "default" => spec.set("/linux/seccomp", seccomp::profile(&set)),
        path => spec.set("/linux/seccomp", seccomp_file(verb, path)?),
    };
    if let Some(user) = args.user {
        spec = spec.user(user.uid, user.gid);
    }
    if let Some(dir) = &args.workdir {
        if !dir.starts_with('/') {
            let what = format!("{verb}: --workdir {dir}");
            return Err(Error::usage(
                what,
                "it is no absolute path in the container",
            ));
        }
        spec = spec.cwd(dir);
    }
    if args.tty {
        let term = variable("TERM").unwrap_or_else(|| "xterm".to_owned());
        spec = spec.terminal().env("TERM", &term);
    }
    for entry in args.env.iter().filter_map(|env| env.entry(variable)) {
        spec = spec.set("/process/env/-", entry);
    }
    Ok(spec)
}

fn resources(mut spec: Spec, args: &ContainerArgs) -> Spec {
    if let Some(memory) = args.memory {
        // With swap in it the limit would be twice as large, and nobody would be killed in time.
        spec = spec
            .resource("memory/limit", memory.0)
            .resource("memory/swap", memory.0);
    }
    if let Some(cpus) = args.cpus {
        spec = spec
            .resource("cpu/period", Cpus::PERIOD_US)
            .resource("cpu/quota", cpus.quota_us());
    }
    if let Some(pids) = args.pids {
        spec = spec.resource("pids/limit", pids);
    }
    spec
}

fn add_mount(spec: Spec, verb: &str, mount: &Mount) -> Result<Spec, Error> {
    let to = &mount.destination;
    match &mount.source {
        Source::Bind(source) => {
            let real = source.canonicalize().map_err(|error| {
                Error::new(format!("{verb}: mount {} on {to}", source.display()), error)
                    .advise("make it first")
            })?;
            if real.to_str().is_none() {
                let what = format!("{verb}: mount {} on {to}", source.display());
                return Err(Error::new(what, "the path is not UTF-8"));
            }
            let mut options = vec!["rbind", "rprivate", "rnosuid", "rnodev"];
            if mount.read_only {
                options.push("rro");
            }
            Ok(spec.mount("bind", &real, to, &options))
        }
        Source::Tmpfs(size) => {
            let size = size.map(|bytes| format!("size={bytes}"));
            let mut options = vec!["nosuid", "nodev", "noexec", "mode=1777"];
            options.extend(size.as_deref());
            if mount.read_only {
                options.push("ro");
            }
            Ok(spec.mount("tmpfs", "tmpfs".as_ref(), to, &options))
        }
    }
}
