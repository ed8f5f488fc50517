//! The way from a config to a plan: one line for each section, in the order of the plan.

use crate::process::Context;
use crate::{Host, Inputs, Invalid};
use crate::{
    attributes, config, devices, hooks, id_maps, mounts, namespaces, net_devices, payload, process,
    resources, root, scope, seccomp, state, sysctl, time_offsets, wasm,
};
use hull_abi::{ExecPlan, Plan, Resources, Seccomp, TRACE_ANNOTATION};
use oci_spec::runtime::{Linux, Spec};

/// Decides everything about a container.
///
/// # Errors
/// [`Invalid`] names the first field that is wrong or that we cannot honour.
// The daemon calls it in two places, which would double a large part of its binary.
#[inline(never)]
pub fn lower(inputs: &Inputs<'_>, host: &Host) -> Result<Plan, Invalid> {
    let mut warnings = Vec::new();
    let (spec, attributes) = config::spec(inputs.config, &mut warnings)?;
    let linux = spec
        .linux()
        .as_ref()
        .ok_or_else(|| Invalid::missing("linux"))?;
    let process = spec
        .process()
        .as_ref()
        .ok_or_else(|| Invalid::missing("process"))?;
    let namespaces = namespaces::lower(linux)?;
    let id_maps = id_maps::lower(linux, &namespaces)?;
    let label = mount_label(linux, host)?;
    let given = mounts::Given {
        maps: &id_maps,
        label,
    };
    let mounts = mounts::lower(&spec, inputs.bundle, given, &mut warnings)?;
    let dev_is_bound = devices::dev_is_bound(&mounts);
    let cgroup = scope::cgroup(linux, inputs)?;
    let context = Context {
        host,
        terminal: inputs.terminal,
        payload: payload::lower(&spec)?,
        seccomp: filter(linux, &oci_version(&spec)?, &mut warnings)?,
        attributes: attributes::lower(&attributes, None)?,
        init: None,
    };
    let process = process::lower(process, context, &mut warnings)?;
    id_maps::check_user(&process.user, &id_maps)?;
    Ok(Plan {
        bundle: inputs.bundle.to_owned(),
        state: state::lower(
            &oci_version(&spec)?,
            inputs.id,
            inputs.bundle,
            &annotations(&spec),
        ),
        root: root::lower(&spec, linux, inputs, &namespaces)?,
        hostname: root::uts_name(spec.hostname().as_ref(), "hostname", &namespaces)?,
        domainname: root::uts_name(spec.domainname().as_ref(), "domainname", &namespaces)?,
        mounts,
        devices: devices::lower(linux, &namespaces, dev_is_bound, &mut warnings)?,
        device_links: !dev_is_bound,
        masked_paths: root::covered_paths(linux.masked_paths(), "linux.maskedPaths")?,
        readonly_paths: root::covered_paths(linux.readonly_paths(), "linux.readonlyPaths")?,
        sysctls: sysctl::lower(linux, &namespaces)?,
        net_devices: net_devices::lower(linux, &namespaces)?,
        process,
        hooks: hooks::lower(&spec)?,
        cgroups_path: cgroup.path,
        scope: cgroup.scope,
        resources: new_resources(linux, &mut warnings)?,
        trace: trace(&spec)?,
        wasm: wasm::lower(&spec)?,
        time_offsets: time_offsets::lower(linux, &namespaces)?,
        id_maps,
        namespaces,
        warnings,
    })
}

/// Decides everything about an additional process of a container, given the `Process` JSON of an
/// Exec request.
///
/// The filter is the container's. An LSM label, limits, scheduling, the OOM score and the umask are
/// those of init where the request has none, as in runc; capabilities are exactly the request's.
///
/// # Errors
/// [`Invalid`] names the first field that is wrong or that we cannot honour.
pub fn lower_exec(
    process_json: &[u8],
    terminal: bool,
    init: &Plan,
    host: &Host,
) -> Result<ExecPlan, Invalid> {
    let mut warnings = Vec::new();
    let (process, attributes) = config::process(process_json, &mut warnings)?;
    let context = Context {
        host,
        terminal,
        payload: payload::of_exec(init.process.payload),
        seccomp: init.process.seccomp.clone(),
        attributes: attributes::lower(&attributes, Some(&init.process.attributes))?,
        init: Some(&init.process),
    };
    let process = process::lower(&process, context, &mut warnings)?;
    id_maps::check_user(&process.user, &init.id_maps)?;
    Ok(ExecPlan {
        process,
        namespaces: init
            .namespaces
            .iter()
            .map(|namespace| namespace.kind)
            .collect(),
    })
}

/// Lowers the `LinuxResources` JSON of an Update request, and says what was ignored. Device rules
/// are left alone where the request has none.
///
/// # Errors
/// [`Invalid`] names the first field that is wrong or that we cannot honour.
pub fn lower_resources(json: &[u8]) -> Result<(Resources, Vec<String>), Invalid> {
    let mut warnings = Vec::new();
    let given = config::resources(json)?;
    let mut lowered = resources::lower(&given, &mut warnings)?;
    if given.devices().is_some() {
        lowered.devices = Some(resources::device_rules_of(Some(&given))?);
    }
    Ok((lowered, warnings))
}

fn new_resources(linux: &Linux, warnings: &mut Vec<String>) -> Result<Resources, Invalid> {
    let given = linux.resources().as_ref();
    let mut lowered = match given {
        Some(given) => resources::lower(given, warnings)?,
        None => Resources::default(),
    };
    lowered.devices = Some(resources::device_rules_of(given)?);
    Ok(lowered)
}

fn filter(
    linux: &Linux,
    oci_version: &str,
    warnings: &mut Vec<String>,
) -> Result<Option<Seccomp>, Invalid> {
    let Some(profile) = linux.seccomp() else {
        return Ok(None);
    };
    let (mut filter, ignored) = seccomp::compile(profile)?;
    filter.listener = seccomp::listener(profile, oci_version)?;
    warnings.extend(ignored);
    Ok(Some(filter))
}

/// The label of the container's file systems; an empty one counts as absent.
fn mount_label<'a>(linux: &'a Linux, host: &Host) -> Result<Option<&'a str>, Invalid> {
    let given = linux.mount_label().as_deref();
    let given = given.filter(|label| !label.is_empty());
    if given.is_some() && !host.selinux {
        let why = "a label is given, but SELinux is not enabled on this host";
        return Err(Invalid::new("linux.mountLabel", why));
    }
    Ok(given)
}

/// Whether the annotation asks for a trace.
fn trace(spec: &Spec) -> Result<bool, Invalid> {
    let given = spec.annotations().as_ref();
    match given
        .and_then(|given| given.get(TRACE_ANNOTATION))
        .map(String::as_str)
    {
        None | Some("no") => Ok(false),
        Some("yes") => Ok(true),
        Some(other) => Err(Invalid::new(
            format!("annotations[{TRACE_ANNOTATION:?}]"),
            format!("{other:?} is not \"yes\" or \"no\""),
        )),
    }
}

/// Version 1 of the spec in any minor version; newer ones only add fields.
fn oci_version(spec: &Spec) -> Result<String, Invalid> {
    let version = spec.version();
    let mut numbers = version.splitn(3, '.');
    let (major, minor, patch) = (numbers.next(), numbers.next(), numbers.next());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let starts_with_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    if major == Some("1") && minor.is_some_and(is_number) && patch.is_some_and(starts_with_digit) {
        return Ok(version.clone());
    }
    Err(Invalid::new(
        "ociVersion",
        format!("{version:?} is not a version 1.x.y of the spec"),
    ))
}

fn annotations(spec: &Spec) -> Vec<(String, String)> {
    let mut annotations: Vec<(String, String)> = spec
        .annotations()
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    annotations.sort();
    annotations
}
