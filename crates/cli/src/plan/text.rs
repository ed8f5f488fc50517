//! A plan for people, in the order in which it is carried out.

use super::{Decided, limits, mounts, process, wasm};
use crate::layout::{Cell, Paint, Row, Screen};
use hull_abi::{CgroupPaths, Device, Hook, IdRange, NamespaceKind, Plan};

/// Kinds of namespaces in the order of the spec, with the words of namespaces(7).
const NAMESPACES: [(NamespaceKind, &str); 8] = [
    (NamespaceKind::Mount, "mount"),
    (NamespaceKind::Pid, "pid"),
    (NamespaceKind::Network, "network"),
    (NamespaceKind::Ipc, "ipc"),
    (NamespaceKind::Uts, "uts"),
    (NamespaceKind::Cgroup, "cgroup"),
    (NamespaceKind::User, "user"),
    (NamespaceKind::Time, "time"),
];

/// `S_IFMT` and its values (inode(7)).
const FILE_TYPE: u32 = 0o170_000;
const BLOCK: u32 = 0o060_000;
const FIFO: u32 = 0o010_000;

/// A part of the plan: its name and its rows.
pub(super) struct Section {
    title: &'static str,
    rows: Vec<Row>,
}

impl Section {
    /// Rows of cells.
    pub(super) fn rows(title: &'static str, rows: Vec<Row>) -> Self {
        Self { title, rows }
    }

    /// A single line.
    pub(super) fn line(title: &'static str, text: impl AsRef<str>) -> Self {
        Self::rows(title, vec![vec![text.into()]])
    }

    /// One line for each item.
    pub(super) fn list<T: AsRef<str>>(title: &'static str, items: &[T]) -> Self {
        Self::rows(title, items.iter().map(|item| vec![item.into()]).collect())
    }
}

/// The whole plan. Sections of which nothing is wanted are left out.
pub(super) fn render(decided: &Decided, screen: &Screen) -> String {
    let plan = &decided.plan;
    let head = vec![
        Section::line("container", decided.id.as_str()),
        Section::line("bundle", &plan.bundle),
        Section::list("warnings", &plan.warnings),
        cgroup(plan, &decided.cgroup),
        limits::limits(&plan.resources),
        limits::device_rules(&plan.resources),
        namespaces(plan),
        root(plan),
        mounts::section(&plan.mounts),
        devices(plan),
        net_devices(plan),
        hooks(
            "runtime hooks",
            &[&plan.hooks.prestart, &plan.hooks.create_runtime],
        ),
        hooks("create hooks", &[&plan.hooks.create_container]),
    ];
    let inside = vec![
        names(plan),
        sysctls(plan),
        Section::list("read-only paths", &plan.readonly_paths),
        Section::list("masked paths", &plan.masked_paths),
    ];
    let after = vec![
        wasm::section(&plan.wasm),
        hooks("start hooks", &[&plan.hooks.start_container]),
        hooks("poststart hooks", &[&plan.hooks.poststart]),
        hooks("poststop hooks", &[&plan.hooks.poststop]),
    ];
    let process = process::sections(&plan.process, decided.seccomp_default.as_deref());
    let sections = head.into_iter().chain(inside).chain(process).chain(after);
    let sections: Vec<Section> = sections.filter(|part| !part.rows.is_empty()).collect();
    let width = sections.iter().map(|part| part.title.len()).max();
    sections
        .iter()
        .map(|section| show(section, width.unwrap_or(0), screen))
        .collect()
}

/// The title stands beside the first row only.
fn show(section: &Section, width: usize, screen: &Screen) -> String {
    let paint = match section.title {
        "warnings" => Paint::Doubtful,
        _ => Paint::Heading,
    };
    let rows: Vec<Row> = section
        .rows
        .iter()
        .enumerate()
        .map(|(at, row)| {
            let title = if at == 0 { section.title } else { "" };
            let mut cells = vec![Cell::new(format!("{title:width$}"), paint)];
            cells.extend(row.iter().cloned());
            cells
        })
        .collect();
    screen.rows(&rows)
}

fn cgroup(plan: &Plan, paths: &Result<CgroupPaths, String>) -> Section {
    let mut rows: Vec<Row> = vec![vec![(&plan.cgroups_path).into()]];
    if let Some(scope) = &plan.scope {
        rows.push(vec![
            "unit".into(),
            format!("{} in {}", scope.unit, scope.slice).into(),
        ]);
    }
    match paths {
        Ok(paths) => {
            let unified = paths
                .unified
                .iter()
                .map(|path| ("unified".to_owned(), path));
            let v1 = paths.v1.iter();
            let v1 = v1.map(|v1| (v1.controllers.join(","), &v1.path));
            rows.extend(
                unified
                    .chain(v1)
                    .map(|(held, path)| vec![held.into(), path.into()]),
            );
        }
        Err(cause) => rows.push(vec![format!("where it lies is not known: {cause}").into()]),
    }
    Section::rows("cgroup", rows)
}

fn namespaces(plan: &Plan) -> Section {
    let (mut new, mut inherited, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let mut joined: Vec<Row> = Vec::new();
    for (kind, word) in NAMESPACES {
        match plan.namespaces.iter().find(|own| own.kind == kind) {
            None => inherited.push(word),
            Some(own) => match &own.path {
                None => new.push(word),
                Some(path) => joined.push(vec!["joined".into(), format!("{word} {path}").into()]),
            },
        }
    }
    for (how, words) in [("new", &new), ("the host's", &inherited)] {
        if !words.is_empty() {
            rows.push(vec![how.into(), words.join(", ").into()]);
        }
    }
    rows.extend(joined);
    for (name, map) in [("uids", &plan.id_maps.uids), ("gids", &plan.id_maps.gids)] {
        rows.extend(map.iter().map(|range| id_range(name, range)));
    }
    for offset in &plan.time_offsets {
        let (seconds, nanoseconds) = (offset.seconds, offset.nanoseconds);
        let text = format!("{seconds} s {nanoseconds} ns");
        rows.push(vec![offset.clock.name().into(), text.into()]);
    }
    Section::rows("namespaces", rows)
}

/// First and last id, inside and on the host.
fn id_range(name: &str, range: &IdRange) -> Row {
    let last = |first: u32| u64::from(first) + u64::from(range.size) - 1;
    let IdRange {
        container, host, ..
    } = *range;
    let text = format!(
        "{container}-{} are the host's {host}-{}",
        last(container),
        last(host)
    );
    vec![name.into(), text.into()]
}

fn root(plan: &Plan) -> Section {
    let root = &plan.root;
    let access = if root.readonly {
        "read-only"
    } else {
        "writable"
    };
    let way = if root.pivot {
        "by pivot_root"
    } else {
        "by moving it"
    };
    let mut text = format!("{}, {access}, {way}", root.path);
    if let Some((propagation, recursive)) = root.propagation {
        let prefix = if recursive { "r" } else { "" };
        let word = mounts::propagation_word(propagation);
        text.push_str(&format!(", then {prefix}{word}"));
    }
    Section::line("root", text)
}

fn devices(plan: &Plan) -> Section {
    let mut rows: Vec<Row> = plan.devices.iter().map(device).collect();
    if plan.device_links {
        let links = "links ptmx, fd, stdin, stdout, stderr; console with a terminal";
        rows.push(vec!["/dev".into(), links.into()]);
    } else {
        rows.push(vec!["none: /dev is a bind mount".into()]);
    }
    Section::rows("devices", rows)
}

fn device(device: &Device) -> Row {
    let Device {
        major, minor, mode, ..
    } = device;
    let kind = match mode & FILE_TYPE {
        FIFO => "fifo".to_owned(),
        BLOCK => format!("b {major}:{minor}"),
        _ => format!("c {major}:{minor}"),
    };
    let permissions = format!("{:04o}", mode & 0o7777);
    let owner = format!("{}:{}", device.uid, device.gid);
    vec![
        (&device.path).into(),
        kind.into(),
        permissions.into(),
        owner.into(),
    ]
}

fn net_devices(plan: &Plan) -> Section {
    let rows = plan.net_devices.iter();
    let rows = rows.map(|device| {
        let inside = if device.host == device.name {
            String::new()
        } else {
            format!("as {}", device.name)
        };
        vec![(&device.host).into(), inside.into()]
    });
    Section::rows("network devices", rows.collect())
}

fn names(plan: &Plan) -> Section {
    let named = [("host", &plan.hostname), ("domain", &plan.domainname)];
    let row = |(what, name): (&str, &Option<String>)| -> Option<Row> {
        Some(vec![what.into(), name.as_ref()?.into()])
    };
    Section::rows("names", named.into_iter().filter_map(row).collect())
}

fn sysctls(plan: &Plan) -> Section {
    let rows = plan.sysctls.iter();
    let rows = rows.map(|sysctl| vec![(&sysctl.path).into(), (&sysctl.value).into()]);
    Section::rows("sysctls", rows.collect())
}

fn hooks(title: &'static str, lists: &[&Vec<Hook>]) -> Section {
    let rows = lists.iter().flat_map(|list| list.iter()).map(|hook| {
        let args = process::words(&hook.args);
        let limit = match hook.timeout_seconds {
            Some(seconds) => format!(" (killed after {seconds} s)"),
            None => String::new(),
        };
        vec![(&hook.path).into(), format!("{args}{limit}").into()]
    });
    Section::rows(title, rows.collect())
}
