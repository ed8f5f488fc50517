//! The process of a plan in words.

use super::attributes;
use super::text::Section;
use crate::layout::Row;
use hull_abi::{CapabilitySets, Payload, Process, Rlimit, Seccomp};

/// Names of the resource limits; the index is the number in `asm-generic/resource.h`.
const RLIMITS: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// `SECCOMP_FILTER_FLAG_*` of `linux/seccomp.h`.
const SECCOMP_FLAGS: [(u32, &str); 5] = [
    (1, "TSYNC"),
    (2, "LOG"),
    (4, "SPEC_ALLOW"),
    (8, "NEW_LISTENER"),
    (32, "WAIT_KILLABLE_RECV"),
];

/// What happens to the process, in order.
pub(super) fn sections(process: &Process, seccomp_default: Option<&str>) -> Vec<Section> {
    vec![
        attributes::section(&process.attributes),
        Section::rows(
            "resource limits",
            process.rlimits.iter().map(rlimit).collect(),
        ),
        label(process),
        Section::line(
            "seccomp",
            seccomp(process.seccomp.as_ref(), seccomp_default),
        ),
        user(process),
        capabilities(process),
        program(process),
        Section::list("environment", &process.env),
    ]
}

fn rlimit(limit: &Rlimit) -> Row {
    let name = usize::try_from(limit.resource)
        .ok()
        .and_then(|number| RLIMITS.get(number));
    let value = |value: u64| match value {
        u64::MAX => "unlimited".to_owned(),
        value => value.to_string(),
    };
    let name = name.map_or_else(
        || limit.resource.to_string(),
        |name| format!("RLIMIT_{name}"),
    );
    let text = format!("{}, at most {}", value(limit.soft), value(limit.hard));
    vec![name.into(), text.into()]
}

fn label(process: &Process) -> Section {
    let labels = [
        ("AppArmor", &process.apparmor_profile),
        ("SELinux", &process.selinux_label),
    ];
    let row = |(module, label): (&str, &Option<String>)| -> Option<Row> {
        Some(vec![module.into(), label.as_ref()?.into()])
    };
    Section::rows("label", labels.into_iter().filter_map(row).collect())
}

fn seccomp(filter: Option<&Seccomp>, default: Option<&str>) -> String {
    let Some(filter) = filter else {
        return "no filter".to_owned();
    };
    let flags: Vec<&str> = SECCOMP_FLAGS
        .into_iter()
        .filter_map(|(bit, name)| (filter.flags & bit != 0).then_some(name))
        .collect();
    let flags = match flags.as_slice() {
        [] => String::new(),
        flags => format!(", flags {}", flags.join(" ")),
    };
    let default = default.unwrap_or("none");
    let length = filter.program.len();
    let agent = match &filter.listener {
        Some(listener) => format!(", asks the agent at {}", listener.path),
        None => String::new(),
    };
    format!("{length} instructions, default action {default}{flags}{agent}")
}

fn user(process: &Process) -> Section {
    let user = &process.user;
    let mut rows: Vec<Row> = vec![
        vec![
            "uid:gid".into(),
            format!("{}:{}", user.uid, user.gid).into(),
        ],
        vec!["umask".into(), format!("{:04o}", user.umask).into()],
    ];
    if !user.additional_gids.is_empty() {
        let groups: Vec<String> = user.additional_gids.iter().map(u32::to_string).collect();
        rows.push(vec!["groups".into(), groups.join(" ").into()]);
    }
    if let Some(score) = process.oom_score_adj {
        rows.push(vec!["OOM score".into(), score.to_string().into()]);
    }
    Section::rows("user", rows)
}

/// Sets that are equal share a line.
fn capabilities(process: &Process) -> Section {
    let CapabilitySets {
        bounding,
        effective,
        inheritable,
        permitted,
        ambient,
    } = process.capabilities;
    let sets = [
        ("bounding", bounding),
        ("effective", effective),
        ("permitted", permitted),
        ("inheritable", inheritable),
        ("ambient", ambient),
    ];
    let mut lines: Vec<(Vec<&str>, u64)> = Vec::new();
    for (name, set) in sets {
        match lines.iter_mut().find(|(_, known)| *known == set) {
            Some((names, _)) => names.push(name),
            None => lines.push((vec![name], set)),
        }
    }
    let mut rows: Vec<Row> = lines
        .into_iter()
        .map(|(names, set)| vec![format!("{}: {}", names.join(", "), set_words(set)).into()])
        .collect();
    let privileges = if process.no_new_privileges {
        "execve never grants anything (no_new_privs)"
    } else {
        "execve may grant more by set-user-id and file capabilities"
    };
    rows.push(vec![privileges.into()]);
    Section::rows("capabilities", rows)
}

fn set_words(set: u64) -> String {
    let names: Vec<&str> = hull_plan::capability_names(set).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" ")
    }
}

fn program(process: &Process) -> Section {
    let payload = match process.payload {
        Payload::ByContent => "native or Wasm, by the first bytes of the program",
        Payload::Native => "native",
        Payload::Wasm => "Wasm",
        Payload::Compile => "the compiler",
        Payload::Hold => "the holder of a pod's namespaces",
    };
    let terminal = match (process.terminal, process.console_size) {
        (false, _) => "none".to_owned(),
        (true, None) => "a new one".to_owned(),
        (true, Some(size)) => format!("a new one, {} by {}", size.width, size.height),
    };
    let rows: [(&str, String); 4] = [
        ("arguments", words(&process.args)),
        ("directory", process.cwd.clone()),
        ("terminal", terminal),
        ("runs as", payload.to_owned()),
    ];
    let rows = rows
        .into_iter()
        .map(|(what, text)| vec![what.into(), text.into()]);
    Section::rows("program", rows.collect())
}

/// Arguments as one could type them: quoted where that tells them apart.
pub(super) fn words(args: &[String]) -> String {
    let plain = |arg: &str| {
        !arg.is_empty()
            && arg
                .chars()
                .all(|c| c.is_alphanumeric() || "_-./:=+,@%".contains(c))
    };
    let words = args.iter().map(|arg| {
        if plain(arg) {
            arg.clone()
        } else {
            format!("{arg:?}")
        }
    });
    words.collect::<Vec<String>>().join(" ")
}
