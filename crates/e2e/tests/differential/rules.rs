//! The differences that are meant, one for each row of the table in `docs/differences.md`.
//!
//! A rule recognises its difference by the fact and by what the config asks for; there is none
//! without a row, no row without a rule, and a config for each in which it still shows.

mod seccomp;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;

use crate::case::{self, Draft};
use crate::seen::Difference;
use crate::world::SOURCES;

const DOCUMENT: &str = include_str!("../../../../docs/differences.md");

/// A difference that is meant.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    /// The first cell of its row.
    pub(crate) row: &'static str,
    /// Whether this difference is of its kind.
    pub(crate) explains: fn(&Draft<'_>, &Difference) -> bool,
    /// Makes a config in which it shows, of one that has nothing but a procfs.
    pub(crate) specimen: fn(&mut Draft<'_>),
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Rule> {
    GENERAL.iter().chain(seccomp::RULES)
}

const GENERAL: &[Rule] = &[
    Rule {
        row: "oom-score",
        explains: |draft, one| {
            one.key == "proc.oom_score_adj" && draft.at("/process/oomScoreAdj").is_null()
        },
        specimen: |_| {},
    },
    Rule {
        row: "ignored-signals",
        explains: |_, one| {
            let bits = |text: &Option<String>| number_of(text.as_deref(), 16);
            matches!(one.key.as_str(), "signals.ignored" | "status.SigIgn")
                && bits(&one.hull) == Some(0)
                && bits(&one.runc).is_some_and(|bits| bits != 0)
        },
        specimen: |_| {},
    },
    Rule {
        row: "hidden-proc",
        explains: |_, one| {
            one.refused_by_runc("/proc/sys/kernel/cap_last_cap: no such file")
                || one.refused_by_runc("unsafe procfs detected")
                || one.refused_by_runc("open sysctl ") && one.runc_says("read-only file system")
                || one.refused_by_runc("dstFd=/proc/")
        },
        specimen: |draft| {
            draft.set("/linux/maskedPaths", json!(["/proc/sys"]));
        },
    },
    Rule {
        row: "covered-below-file",
        explains: |_, one| one.refused_by_runc("not a directory") && one.runc_says("below-a-file"),
        specimen: |draft| {
            draft.set("/linux/maskedPaths", json!(["/data/file/below-a-file"]));
        },
    },
    Rule {
        row: "unified-controllers",
        explains: |_, one| one.key.starts_with("group unified hugetlb.") && one.runc.is_none(),
        specimen: |_| {},
    },
    Rule {
        row: "cgroup-view",
        explains: |draft, one| {
            let below = |key: &str| one.key.contains(key);
            (below(" /sys/fs/cgroup") || one.key == "mounts") && draft.has_cgroup_mount()
        },
        specimen: |draft| {
            draft.mount("cgroup", "cgroup", "/sys/fs/cgroup", &["ro"]);
        },
    },
    Rule {
        row: "default-device-listed",
        explains: |draft, one| {
            draft.lists_default_device()
                && (one.key == "group devices devices.list"
                    || one.refused_by_runc("/dev/null")
                    || one.runc_says("EPERM") && one.key.contains(" /dev/"))
        },
        specimen: |draft| {
            let random = json!({ "path": "/dev/random", "type": "c", "major": 1, "minor": 8 });
            draft.set("/linux/devices", json!([random]));
            draft.look("/dev/random");
        },
    },
    Rule {
        row: "shared-file-system",
        explains: |_, one| {
            let kinds = ["proc", "sysfs", "mqueue", "devpts"];
            let of_kind = |kind: &str| one.hull_says(&format!(" of {kind} "));
            let is_mount = one.key.starts_with("mount ") && kinds.into_iter().any(of_kind);
            // The file system is asked before the permissions of a file, the mount after them.
            let places = [" /proc/", " /sys/", " /dev/mqueue/"];
            let below = places.iter().any(|place| one.key.contains(place));
            let is_file = below && one.runc_says("EROFS") && one.hull_says("EACCES");
            one.hull_is_read_only() && (is_mount && one.runc_says("ro") || is_file)
        },
        specimen: |draft| {
            draft.set("/linux/namespaces/-", json!({ "type": "network" }));
            draft.mount("sysfs", "sysfs", "/sys", &["ro"]);
        },
    },
    Rule {
        row: "readonly-submounts",
        explains: |draft, one| {
            let below = |path: &str| one.key.contains(path);
            !draft.at("/linux/readonlyPaths").is_null()
                && (below("/data/") || below("/link/") || below("/absolute-link/"))
                && one.hull_is_read_only()
        },
        specimen: |draft| {
            draft.mount("ramfs", "ramfs", "/data/private", &[]);
            draft.set("/linux/readonlyPaths", json!(["/data"]));
        },
    },
    Rule {
        row: "device-denied-later",
        explains: |draft, one| {
            let rules = draft
                .at("/linux/resources/devices")
                .as_array()
                .into_iter()
                .flatten();
            let mut denials = rules.skip(1).filter(|rule| rule["allow"] == false);
            denials.next().is_some()
                && (one.key == "group devices devices.list"
                    || one.refused_by_hull("cgroup v1 cannot take")
                    || one.refused_by_runc("cannot punch hole in existing wildcard rule"))
        },
        specimen: |draft| {
            let all = json!({ "allow": false, "access": "rwm" });
            let allowed = json!({
                "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r",
            });
            let denied = json!({ "allow": false, "type": "c", "major": 1, "access": "rwm" });
            draft.set("/linux/resources/devices", json!([all, allowed, denied]));
        },
    },
    Rule {
        row: "device-mode",
        explains: |draft, one| {
            let devices = draft.at("/linux/devices").as_array().into_iter().flatten();
            let mut special = devices
                .filter(|device| device["fileMode"].as_u64().is_some_and(|mode| mode > 0o777));
            // A bind or link may show it elsewhere.
            let name = match one.key.as_str() {
                // Of a program without stdin.
                "fd.0" => "null",
                key => key.rsplit('/').next().unwrap(),
            };
            // `/dev/null` also covers masked files.
            let masks = |path: &str| path == "/dev/null" && one.hull_says("rdev 1:3");
            special.any(|device| {
                let path = device["path"].as_str().unwrap();
                path.ends_with(name) || masks(path)
            })
        },
        specimen: |draft| {
            let device = json!([{ "path": "/dev/pipe", "type": "p", "fileMode": 0o4755 }]);
            draft.set("/linux/devices", device);
        },
    },
    Rule {
        row: "no-capabilities",
        explains: |draft, one| {
            draft.at("/process/capabilities").is_null()
                && (one.key.starts_with("cap.")
                    || one.hull_says("EPERM")
                    || one.hull_says("EACCES"))
        },
        specimen: |draft| draft.unset("/process/capabilities"),
    },
    Rule {
        row: "readonly-nosymfollow",
        explains: |draft, one| {
            let flags = |text: &Option<String>| {
                let (_, flags) = text.as_deref()?.rsplit_once(" flags ")?;
                number_of(Some(flags), 16)
            };
            // ST_NOSYMFOLLOW.
            let file = flags(&one.hull).zip(flags(&one.runc));
            let lost = file.is_some_and(|(hull, runc)| hull == runc | 0x2000 && hull != runc)
                || one.key.starts_with("mount ") && one.hull_says("nosymfollow,");
            lost && !draft.at("/linux/readonlyPaths").is_null()
        },
        specimen: |draft| {
            draft.mount("ramfs", "ramfs", "/data", &["nosymfollow"]);
            draft.set("/linux/readonlyPaths", json!(["/data"]));
        },
    },
    Rule {
        row: "readonly-twice",
        explains: |draft, one| {
            let paths = draft.at("/linux/readonlyPaths").as_array();
            let paths: Vec<PathBuf> = paths.into_iter().flatten().map(case::plain).collect();
            let distinct: BTreeSet<&PathBuf> = paths.iter().collect();
            distinct.len() < paths.len() && one.key.starts_with("mount")
        },
        specimen: |draft| {
            draft.set("/linux/readonlyPaths", json!(["/data", "/data"]));
        },
    },
    Rule {
        row: "odd-destination",
        explains: |_, one| one.refused_by_runc("dst=/mnt/./odd/../place, flags=MS_RDONLY"),
        specimen: |draft| {
            draft.mount("tmpfs", "tmpfs", "/mnt/./odd/../place", &["ro"]);
        },
    },
    Rule {
        row: "covered-readonly-tmpfs",
        explains: |draft, one| {
            let mounts = draft.at("/mounts").as_array().into_iter().flatten();
            let tmpfs = mounts.filter(|mount| mount["type"] == "tmpfs");
            let readonly =
                tmpfs.filter(|mount| mount["options"].as_array().unwrap().contains(&json!("ro")));
            let about_a_place = ["mount ", "file ", "look ", "new "];
            let lost = one.refused_by_runc("MS_REMOUNT")
                && (one.runc_says("no such file or directory")
                    || one.runc_says("invalid argument"));
            (lost || about_a_place.iter().any(|kind| one.key.starts_with(kind)))
                && readonly.count() > 0
                && draft.has_covered_mount()
        },
        specimen: |draft| {
            draft.mount("tmpfs", "tmpfs", "/empty", &["ro", "mode=700"]);
            draft.mount("tmpfs", "tmpfs", "/empty", &["mode=711"]);
        },
    },
    Rule {
        row: "tmpcopyup-propagation",
        explains: |draft, one| {
            let mounts = draft.at("/mounts").as_array().into_iter().flatten();
            let copies = mounts.filter(|mount| {
                let options = mount["options"].as_array().unwrap();
                options.contains(&json!("tmpcopyup"))
            });
            let shared =
                |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(" shared"));
            // Where the root file system is on the mount that /tmp is on, as on disk, that one is
            // made private.
            let word = draft.at("/linux/rootfsPropagation").as_str();
            let cannot_move = one.refused_by_runc("failed to setup tmpdir")
                && matches!(word, Some("unbindable" | "runbindable"));
            copies.count() > 0
                && (cannot_move
                    || one.key.starts_with("mount ") && shared(&one.runc) != shared(&one.hull))
        },
        specimen: |draft| {
            let source = format!("{SOURCES}/directory");
            draft.mount("bind", &source, "/data", &["bind", "shared"]);
            draft.mount("tmpfs", "tmpfs", "/data/deep", &["tmpcopyup", "private"]);
        },
    },
    Rule {
        row: "directory-behind-link",
        explains: |_, one| one.refused_by_runc("mkdir /absolute-link: file exists"),
        specimen: |draft| {
            draft.mount("tmpfs", "tmpfs", "/data", &[]);
            draft.set("/process/cwd", "/absolute-link/deep");
        },
    },
    Rule {
        row: "rlimit-twice",
        explains: |_, one| one.refused_by_hull("invalid config: process.rlimits["),
        specimen: |draft| {
            let limit = json!({ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 });
            draft.set("/process/rlimits", json!([limit, limit]));
        },
    },
    Rule {
        row: "pids-negative",
        explains: |_, one| one.refused_by_hull("invalid config: linux.resources.pids.limit: "),
        specimen: |draft| draft.set("/linux/resources/pids/limit", -2),
    },
    Rule {
        row: "hook-version",
        explains: |_, one| one.key.starts_with("hook ") && one.key.ends_with(" ociVersion"),
        specimen: |draft| draft.hook("createRuntime"),
    },
    Rule {
        row: "hook-annotations",
        explains: |_, one| {
            one.key.starts_with("hook ")
                && one.key.ends_with(" annotations")
                && one.runc.is_none()
                && one.hull.as_deref() == Some("{}")
        },
        specimen: |draft| draft.hook("createRuntime"),
    },
    Rule {
        row: "hook-poststart-status",
        explains: |_, one| {
            one.key.starts_with("hook poststart ")
                && one.key.ends_with(" status")
                && one.hull.as_deref() == Some("\"running\"")
        },
        specimen: |draft| draft.hook("poststart"),
    },
    Rule {
        row: "hook-directory",
        explains: |_, one| {
            let kinds = ["hook createContainer ", "hook poststop "];
            kinds.iter().any(|kind| one.key.starts_with(kind))
                && matches!(one.hull.as_deref(), Some("BUNDLE" | "PWD=BUNDLE"))
        },
        specimen: |draft| draft.hook("createContainer"),
    },
    Rule {
        row: "huge-pages",
        explains: |_, one| one.refused_by_runc("cannot set hugetlb limit"),
        specimen: |draft| {
            let limit = json!([{ "pageSize": "2MB", "limit": 4 << 20 }]);
            draft.set("/linux/resources/hugepageLimits", limit);
        },
    },
    Rule {
        row: "oci-version",
        explains: |_, one| one.refused_by_hull("invalid config: ociVersion: "),
        specimen: |draft| draft.set("/ociVersion", "2.0.0"),
    },
    Rule {
        row: "nul",
        explains: |_, one| one.refused_by_hull("contains a NUL character"),
        specimen: |draft| draft.set("/process/args/-", "a\0b"),
    },
    Rule {
        row: "umask",
        explains: |_, one| one.refused_by_hull("invalid config: process.user.umask: "),
        specimen: |draft| draft.set("/process/user/umask", 0o10022),
    },
    Rule {
        row: "console-size",
        explains: |_, one| one.refused_by_hull("invalid config: process.consoleSize."),
        specimen: |draft| {
            draft.set(
                "/process/consoleSize",
                json!({ "width": 70_000, "height": 1 }),
            );
        },
    },
    Rule {
        row: "covered-relative",
        explains: |_, one| one.refused_by_hull("Paths[") && one.hull_says("is not absolute"),
        specimen: |draft| draft.set("/linux/readonlyPaths", json!(["data/private"])),
    },
    Rule {
        row: "device-relative",
        explains: |_, one| one.refused_by_hull("is not an absolute path of a file"),
        specimen: |draft| {
            let device = json!([{ "path": "dev/x", "type": "c", "major": 1, "minor": 3 }]);
            draft.set("/linux/devices", device);
        },
    },
    Rule {
        row: "device-access",
        explains: |_, one| one.refused_by_hull("is not made of r, w and m"),
        specimen: |draft| {
            let rule = json!({ "allow": true, "type": "c", "access": "rx" });
            draft.set("/linux/resources/devices/-", rule);
        },
    },
    Rule {
        row: "block-weight",
        explains: |_, one| one.refused_by_hull("blockIO.weight: "),
        specimen: |draft| draft.set("/linux/resources/blockIO/weight", 9),
    },
    Rule {
        row: "mapped-mount-number",
        explains: |draft, one| {
            let sorted = |text: &Option<String>| {
                let mut points: Vec<_> = text.iter().flat_map(|text| text.split(' ')).collect();
                points.sort_unstable();
                points.join(" ")
            };
            one.key == "mounts"
                && draft.opens_binds_early()
                && sorted(&one.runc) == sorted(&one.hull)
        },
        specimen: mapped_mount,
    },
    Rule {
        row: "mapped-mount-peers",
        explains: |draft, one| {
            let word = draft.at("/linux/rootfsPropagation").as_str();
            let shares = matches!(word, Some("shared" | "rshared")) && draft.opens_binds_early();
            let plain =
                |text: &Option<String>| text.as_ref().map(|text| text.replace("shared", ""));
            let same_but_shared = one.key.starts_with("mount ")
                && one.hull_says(" shared on ")
                && plain(&one.runc) == plain(&one.hull);
            // What is mounted on one of the peers, a mask of it, is mounted on the other too.
            let count =
                |text: &Option<String>| text.iter().flat_map(|text| text.split(' ')).count();
            let more = one.key == "mounts" && count(&one.hull) > count(&one.runc)
                || one.key.starts_with("mount ") && one.runc.is_none();
            // Below the others at that point: their numbers are other ones.
            let point = one
                .key
                .strip_prefix("mount ")
                .and_then(|key| key.split(' ').next());
            let covered = |list: &str| {
                let paths = draft.at(list).as_array();
                paths.is_some_and(|paths| paths.iter().any(|path| path.as_str() == point))
            };
            let renumbered = one.hull_says(" shared on ")
                && covered("/linux/maskedPaths")
                && covered("/linux/readonlyPaths");
            shares && (same_but_shared || more || renumbered)
        },
        specimen: |draft| {
            draft.set("/linux/rootfsPropagation", "shared");
            mapped_mount(draft);
        },
    },
    Rule {
        row: "keyring-search",
        explains: |draft, one| {
            one.key == "keyring"
                && draft.has_new_namespace("user")
                && one.runc_says(";3f130008;")
                && one.hull_says(";3f1b0000;")
        },
        specimen: |draft| {
            let all = json!([{ "containerID": 0, "hostID": 0, "size": 4_294_967_295_u32 }]);
            for kind in ["pid", "network", "user"] {
                draft.set("/linux/namespaces/-", json!({ "type": kind }));
            }
            draft.set("/linux/uidMappings", all.clone());
            draft.set("/linux/gidMappings", all);
        },
    },
    Rule {
        row: "scheduler-nice",
        explains: |_, one| one.refused_by_hull("process.scheduler.nice: only"),
        specimen: |draft| {
            let scheduler = json!({ "policy": "SCHED_IDLE", "nice": 5 });
            draft.set("/process/scheduler", scheduler);
        },
    },
];

fn mapped_mount(draft: &mut Draft<'_>) {
    let map = json!([{ "containerID": 0, "hostID": 7, "size": 9 }]);
    let mount = json!({
        "destination": "/mnt", "type": "bind", "source": format!("{SOURCES}/directory"),
        "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map,
    });
    draft.set("/mounts/-", mount);
}

/// The number in a fact.
fn number_of(text: Option<&str>, radix: u32) -> Option<u64> {
    let text = text?.trim_start_matches("\\x09").trim_start_matches("= ");
    u64::from_str_radix(text, radix).ok()
}

impl Difference {
    /// Whether runc refused the container in such words, and hull ran it.
    fn refused_by_runc(&self, words: &str) -> bool {
        self.key == "refused" && self.runc_says(words)
    }

    /// Whether hull refused the container in such words, and runc ran it.
    fn refused_by_hull(&self, words: &str) -> bool {
        self.key == "refused" && self.hull_says(words)
    }

    fn runc_says(&self, words: &str) -> bool {
        self.runc.as_ref().is_some_and(|text| text.contains(words))
    }

    /// Whether it is about a file or mount that is read-only in hull.
    fn hull_is_read_only(&self) -> bool {
        let flags = self
            .hull
            .as_ref()
            .and_then(|text| text.rsplit_once(" flags "));
        let flags = number_of(flags.map(|(_, flags)| flags), 16);
        self.hull_says("EROFS")
            || self.hull_says(",ro and")
            || self.hull_says(" with ro and")
            || flags.is_some_and(|flags| flags & 1 == 1)
    }

    fn hull_says(&self, words: &str) -> bool {
        self.hull.as_ref().is_some_and(|text| text.contains(words))
    }
}

/// The differences that no rule explains.
pub(crate) fn unexplained(draft: &Draft<'_>, differences: &[Difference]) -> Vec<Difference> {
    let explained =
        |difference: &&Difference| !all().any(|rule| (rule.explains)(draft, difference));
    differences.iter().filter(explained).cloned().collect()
}

/// The first cells of the table's rows.
pub(crate) fn documented() -> BTreeSet<String> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    rows.filter_map(|line| Some(line.split('`').nth(1)?.to_owned()))
        .collect()
}
