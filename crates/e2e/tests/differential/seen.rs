//! What a runtime made of a config, in a form in which two runtimes can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hull_e2e::cgroup;
use serde_json::Value;

use crate::world::{self, NAMESPACES, World};

/// Facts about a container: each has a key and a value.
pub(crate) type Facts = BTreeMap<String, String>;

/// The end of a runtime's work on a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The program ran, and this is what was seen inside and from outside.
    Ran(Facts),
    /// The container was refused, in these words.
    Refused(Refusal),
}

impl Seen {
    /// Why the program did not run to its end, if it did not.
    pub(crate) fn early_end(&self) -> Option<&str> {
        match self {
            Self::Ran(facts) if facts.contains_key("end") => None,
            Self::Ran(facts) => facts.get("stderr").map(String::as_str),
            Self::Refused(refusal) => Some(&refusal.text),
        }
    }
}

/// A refused container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What the runtime said.
    pub(crate) text: String,
    /// What it had changed and left: files of the root file system, cgroups.
    pub(crate) left: Vec<String>,
}

/// A fact on which two runtimes do not agree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    /// The fact; `refused` where only one of them ran the container.
    pub(crate) key: String,
    /// As runc has it.
    pub(crate) runc: Option<String>,
    /// As hull has it.
    pub(crate) hull: Option<String>,
}

/// All differences.
pub(crate) fn compare(runc: &Seen, hull: &Seen) -> Vec<Difference> {
    let difference = |key: &str, runc: Option<&String>, hull: Option<&String>| Difference {
        key: key.to_owned(),
        runc: runc.cloned(),
        hull: hull.cloned(),
    };
    match (runc, hull) {
        (Seen::Refused(_), Seen::Refused(_)) => Vec::new(),
        (Seen::Refused(refusal), Seen::Ran(_)) => {
            vec![difference("refused", Some(&refusal.text), None)]
        }
        (Seen::Ran(_), Seen::Refused(refusal)) => {
            vec![difference("refused", None, Some(&refusal.text))]
        }
        (Seen::Ran(runc), Seen::Ran(hull)) => {
            let keys = runc.keys().chain(hull.keys());
            let mut differences: Vec<Difference> = keys
                .filter(|key| runc.get(*key) != hull.get(*key))
                .map(|key| difference(key, runc.get(key), hull.get(key)))
                .collect();
            differences.sort();
            differences.dedup();
            differences
        }
    }
}

/// What one container is called and where it is, so that this can be taken out of what is seen.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    pub(crate) world: &'a World,
    /// Its id.
    pub(crate) id: &'a str,
    /// Its root file system.
    pub(crate) tree: &'a Path,
    /// Its bundle.
    pub(crate) bundle: &'a Path,
    /// Its cgroup, from the root of each hierarchy.
    pub(crate) cgroup: &'a str,
}

impl Names<'_> {
    /// A text in which names that differ from one container to the next are replaced.
    fn plain(&self, text: &str) -> String {
        let sources = world::sources_of(self.tree);
        [
            (sources.display().to_string(), "SOURCES"),
            (self.tree.display().to_string(), "TREE"),
            (self.bundle.display().to_string(), "BUNDLE"),
            (self.cgroup.to_owned(), "GROUP"),
            (self.id.to_owned(), "ID"),
        ]
        .into_iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(&from, to))
    }
}

/// Facts out of what the probe wrote.
pub(crate) fn facts(output: &str, names: &Names<'_>) -> Facts {
    let mut facts = Facts::new();
    let mut mounts = Mounts::default();
    for line in output.lines() {
        let (key, value) = match line.split_once(' ') {
            // Keys of two words, the second of which is a path or a name.
            Some((first @ ("file" | "look" | "read" | "call" | "new"), rest)) => {
                let (second, value) = rest.split_once(' ').unwrap_or((rest, ""));
                (format!("{first} {second}"), value)
            }
            Some((key, value)) => (key.to_owned(), value),
            None => (line.to_owned(), ""),
        };
        let value = names.plain(value);
        match key.as_str() {
            "mount" => mounts.add(&value),
            "cgroup" => {
                let (hierarchy, path) = value.rsplit_once(':').unwrap();
                let (_, controllers) = hierarchy.split_once(':').unwrap();
                facts.insert(format!("cgroup {controllers}"), path.to_owned());
            }
            _ if key.starts_with("ns.") => {
                let whose = whose_namespace(key.trim_start_matches("ns."), &value, names.world);
                facts.insert(key, whose);
            }
            // Numbers that the kernel gives out.
            "proc.autogroup" | "status.NSpid" | "cwd" => {
                drop(facts.insert(key, without_numbers(&value)));
            }
            _ => drop(facts.insert(key, value)),
        }
    }
    facts.extend(mounts.facts());
    facts
}

/// The text with every number but 1 and 0 replaced.
fn without_numbers(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_digit());
    words
        .map(|word| {
            let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
            if !matches!(digits, "" | "0" | "1") {
                word.replace(digits, "N")
            } else {
                word.to_owned()
            }
        })
        .collect()
}

fn whose_namespace(kind: &str, seen: &str, world: &World) -> String {
    assert!(NAMESPACES.contains(&kind), "{kind}");
    let of = |process: &str| {
        fs::read_link(format!("/proc/{process}/ns/{kind}"))
            .is_ok_and(|link| link.to_string_lossy() == seen)
    };
    if !seen.contains('[') {
        seen.to_owned()
    } else if of("self") {
        "the host's".to_owned()
    } else if of(&world.places.holder.to_string()) {
        "the holder's".to_owned()
    } else {
        "new".to_owned()
    }
}

/// The lines of mountinfo, without numbers.
#[derive(Debug, Default)]
struct Mounts {
    /// Id and point, in the order of the lines.
    points: Vec<(String, String)>,
    /// Parent's id and the rest, in the same order.
    rest: Vec<(String, String)>,
}

impl Mounts {
    /// Takes a line of
    /// [mountinfo](https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html).
    fn add(&mut self, line: &str) {
        let (mount, system) = line.split_once(" - ").unwrap();
        let mount: Vec<&str> = mount.split(' ').collect();
        let system: Vec<&str> = system.split(' ').collect();
        let sorted = |options: &str| {
            let mut words: Vec<&str> = options.split(',').collect();
            words.sort_unstable();
            words.join(",")
        };
        // Numbers of peer groups.
        let propagation: Vec<&str> = mount[6..]
            .iter()
            .filter_map(|word| word.split(':').next())
            .collect();
        let rest = format!(
            "{} of {} {} with {} and {}, {}",
            mount[3],
            system[0],
            system[1],
            sorted(mount[5]),
            sorted(system[2]),
            propagation.join(" ")
        );
        self.points.push((mount[0].to_owned(), mount[4].to_owned()));
        self.rest.push((mount[1].to_owned(), rest));
    }

    /// How many mounts the path to this one from the top leads through.
    fn depth(&self, at: usize) -> usize {
        let parent = &self.rest[at].0;
        let above = self.points.iter().position(|(id, _)| id == parent);
        above.map_or(0, |above| 1 + self.depth(above))
    }

    /// The point of the mount on which this one is.
    fn parent(&self, at: usize) -> &str {
        let parent = &self.rest[at].0;
        let found = self.points.iter().find(|(id, _)| id == parent);
        found.map_or("outside", |(_, point)| point)
    }

    /// How many mounts at the same point on one of the same parent's point are below this one: the
    /// lines are in the order in which the mounts were made, which need not be that in which they
    /// were put there.
    fn number(&self, at: usize) -> usize {
        let place = |at: usize| (self.depth(at), at);
        let point = |at: usize| (&self.points[at].1, self.parent(at));
        let same = (0..self.points.len()).filter(|other| point(*other) == point(at));
        same.filter(|other| place(*other) < place(at)).count()
    }

    fn facts(self) -> Facts {
        let mut facts = Facts::new();
        for (at, ((_, point), (_, rest))) in self.points.iter().zip(&self.rest).enumerate() {
            let (parent, number) = (self.parent(at), self.number(at));
            let value = format!("{rest} on {parent}");
            facts.insert(format!("mount {point} on {parent} {number}"), value);
        }
        let order: Vec<&str> = self
            .points
            .iter()
            .map(|(_, point)| point.as_str())
            .collect();
        facts.insert("mounts".to_owned(), order.join(" "));
        facts
    }
}

/// Settings in cgroup files, which are the same for equal limits. What counts is left out.
const SETTINGS: [&str; 26] = [
    "cpu.shares",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpu.cfs_burst_us",
    "cpu.idle",
    "cpuset.cpus",
    "cpuset.mems",
    "cpuset.cpu_exclusive",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.swappiness",
    "memory.use_hierarchy",
    "pids.max",
    "blkio.weight",
    "blkio.bfq.weight",
    "blkio.throttle.read_bps_device",
    "blkio.throttle.write_bps_device",
    "blkio.throttle.read_iops_device",
    "blkio.throttle.write_iops_device",
    "devices.list",
    "freezer.self_freezing",
    "notify_on_release",
    "cgroup.clone_children",
    "cgroup.subtree_control",
    "cgroup.type",
];

/// The settings of a container's cgroups, read on the host.
pub(crate) fn limits(names: &Names<'_>) -> Facts {
    let mut facts = Facts::new();
    for hierarchy in cgroup::hierarchies() {
        let dir = hierarchy
            .mount_point
            .join(names.cgroup.trim_start_matches('/'));
        let place = if hierarchy.unified {
            "unified".to_owned()
        } else {
            hierarchy.controllers.join(",")
        };
        facts.insert(
            format!("group {place}"),
            if dir.is_dir() { "there" } else { "absent" }.to_owned(),
        );
        let huge: Vec<String> = fs::read_dir(&dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("hugetlb.") && name.ends_with("max"))
            .collect();
        for file in SETTINGS
            .iter()
            .copied()
            .chain(huge.iter().map(String::as_str))
        {
            if let Ok(text) = fs::read_to_string(dir.join(file)) {
                let mut lines: Vec<&str> = text.trim().lines().collect();
                lines.sort_unstable();
                facts.insert(format!("group {place} {file}"), lines.join("; "));
            }
        }
        if let Ok(text) = fs::read_to_string(dir.join("memory.oom_control")) {
            let killer = text
                .lines()
                .find(|line| line.starts_with("oom_kill_disable"));
            facts.insert(
                format!("group {place} memory.oom_control"),
                killer.unwrap_or_default().to_owned(),
            );
        }
    }
    facts
}

/// What hooks wrote down: their directory, environment and the container's state.
pub(crate) fn hooks(names: &Names<'_>) -> Facts {
    let dir = world::sources_of(names.tree);
    let mut facts = Facts::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(kind) = name.strip_prefix("hook-") else {
            continue;
        };
        let text = fs::read_to_string(entry.path()).unwrap();
        for (number, line) in text.lines().enumerate() {
            let key = format!("hook {kind} {number}");
            match serde_json::from_str::<Value>(line) {
                Ok(mut state) => {
                    if let Some(pid) = state.get_mut("pid") {
                        *pid = Value::from(if *pid == 0 { "0" } else { "N" });
                    }
                    for (member, value) in state.as_object().into_iter().flatten() {
                        let value = names.plain(&value.to_string());
                        facts.insert(format!("{key} {member}"), value);
                    }
                }
                Err(_) => drop(facts.insert(key, names.plain(line))),
            }
        }
    }
    facts
}

/// What the root file system and the bound directories look like afterwards, on the host.
pub(crate) fn tree_facts(tree: &Path) -> Facts {
    let sources = world::sources_of(tree);
    let of = |dir: &Path, kind: &'static str| {
        let listing = world::listing(dir).into_iter();
        listing.map(move |(path, text)| (format!("{kind} {path}"), text))
    };
    of(tree, "tree").chain(of(&sources, "source")).collect()
}
