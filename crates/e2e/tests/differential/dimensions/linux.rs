//! Namespaces, names, kernel parameters, covered paths, device nodes, hooks.

use serde_json::{Value, json};

use super::{Dimension, many, one};
use crate::case::Draft;
use crate::random::Random;

pub(super) const DIMENSIONS: &[Dimension] = &[
    one("pid namespace", 75, |draft, random| {
        namespace(draft, random, "pid", "pid");
    }),
    one("network namespace", 75, |draft, random| {
        namespace(draft, random, "network", "net");
    }),
    one("ipc namespace", 70, |draft, random| {
        namespace(draft, random, "ipc", "ipc");
    }),
    one("uts namespace", 70, |draft, random| {
        namespace(draft, random, "uts", "uts");
    }),
    one("cgroup namespace", 50, |draft, random| {
        namespace(draft, random, "cgroup", "cgroup");
    }),
    one("order of namespaces", 30, order),
    one("hostname", 40, hostname),
    one("domainname", 20, domainname),
    many(3, "sysctl", 30, sysctl),
    many(4, "masked path", 50, masked),
    many(4, "readonly path", 40, readonly),
    many(3, "device", 25, device),
    one("rootfsPropagation", 30, propagation),
    one("readonly root", 25, |draft, _| {
        draft.set("/root/readonly", true);
    }),
    many(2, "hook", 15, hook),
    one("annotations", 30, annotations),
    one("unknown properties", 30, unknown),
];

/// A new one, or the holder's by its path.
fn namespace(draft: &mut Draft<'_>, random: &mut Random, kind: &str, file: &str) {
    let mut entry = json!({ "type": kind });
    // Who shares the holder's pids would be seen by the holder's other containers.
    if random.percent(15) {
        let path = format!("/proc/{}/ns/{file}", draft.places.holder);
        entry["path"] = Value::from(path);
    } else if random.percent(10) {
        entry["path"] = Value::from("");
    }
    draft.set("/linux/namespaces/-", entry);
}

fn order(draft: &mut Draft<'_>, random: &mut Random) {
    let mut namespaces = draft.spec.json()["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .clone();
    random.shuffle(&mut namespaces);
    draft.set("/linux/namespaces", namespaces);
}

fn hostname(draft: &mut Draft<'_>, random: &mut Random) {
    // The holder's name is that of every case that joins it.
    if draft.has_new_namespace("uts") {
        let long = "n".repeat(64);
        draft.set("/hostname", *random.pick(&["ship", "a.b.c", "", &long]));
    }
}

fn domainname(draft: &mut Draft<'_>, random: &mut Random) {
    if draft.has_new_namespace("uts") {
        draft.set("/domainname", *random.pick(&["harbour", "x.y", ""]));
    }
}

/// A kernel parameter: its name in a config, its path below `/proc/sys`, and values that it takes.
type Parameter = (&'static str, &'static str, &'static [&'static str]);

fn sysctl(draft: &mut Draft<'_>, random: &mut Random) {
    let network: [Parameter; 6] = [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward", &["0", "1"]),
        (
            "net/ipv4/ip_default_ttl",
            "net/ipv4/ip_default_ttl",
            &["63", "128"],
        ),
        (
            "net.ipv4.ping_group_range",
            "net/ipv4/ping_group_range",
            &["0 0", "1 1000"],
        ),
        ("net.core.somaxconn", "net/core/somaxconn", &["17", "4096"]),
        (
            "net.ipv4.conf.lo.forwarding",
            "net/ipv4/conf/lo/forwarding",
            &["0", "1"],
        ),
        (
            "net/ipv4/conf/lo/rp_filter",
            "net/ipv4/conf/lo/rp_filter",
            &["0"],
        ),
    ];
    let ipc: [Parameter; 5] = [
        ("kernel.msgmax", "kernel/msgmax", &["4321", "8192"]),
        ("kernel/shmmni", "kernel/shmmni", &["99"]),
        ("kernel.sem", "kernel/sem", &["250 32000 32 128"]),
        ("kernel.shm_rmid_forced", "kernel/shm_rmid_forced", &["1"]),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max", &["11"]),
    ];
    let uts: [Parameter; 1] = [("kernel.domainname", "kernel/domainname", &["by-sysctl"])];
    let (kind, list): (&str, &[Parameter]) = match random.below(8) {
        0..=3 => ("network", &network),
        4..=6 => ("ipc", &ipc),
        _ => ("uts", &uts),
    };
    let (name, path, values) = *random.pick(list);
    // runc writes them in the random order of a Go map, and a change of the one resets the other.
    let forwarding = draft.at("/linux/sysctl").to_string().contains("forward");
    if draft.has_new_namespace(kind) && !(forwarding && name.contains("forward")) {
        let mut given = draft.spec.json()["linux"]["sysctl"].clone();
        if !given.is_object() {
            given = json!({});
        }
        given[name] = Value::from(*random.pick(values));
        draft.set("/linux/sysctl", given);
        draft.read(&format!("/proc/sys/{path}"));
    }
}

/// Files and directories that are there, links, and what is not there.
const COVERED: [&str; 22] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sys",
    "/proc/sys/kernel",
    "/proc/irq",
    "/proc/bus",
    "/proc/sysrq-trigger",
    "/sys/firmware",
    "/sys/kernel",
    "/data",
    "/data/file",
    "/data/private",
    "/data/private/deep/file",
    "/not/there",
    "/link",
    "/absolute-link",
    "/tmp",
    "/data/file/below-a-file",
];

fn covered(draft: &mut Draft<'_>, random: &mut Random, list: &str) {
    let path = *random.pick(&COVERED);
    draft.set(&format!("/linux/{list}/-"), path);
    draft.look(path);
}

fn masked(draft: &mut Draft<'_>, random: &mut Random) {
    covered(draft, random, "maskedPaths");
}

fn readonly(draft: &mut Draft<'_>, random: &mut Random) {
    covered(draft, random, "readonlyPaths");
}

fn device(draft: &mut Draft<'_>, random: &mut Random) {
    let (path, kind, major, minor) = *random.pick(&[
        ("/dev/tun", "c", 10, 200),
        ("/dev/net/tun", "c", 10, 200),
        ("/dev/fuse", "c", 10, 229),
        ("/dev/unbuffered", "u", 1, 3),
        ("/dev/block", "b", 7, 7),
        ("/dev/pipe", "p", 0, 0),
        ("/dev/null", "c", 1, 3),
        ("/dev/random", "c", 1, 8),
        ("/data/zero", "c", 1, 5),
        ("/new/directory/full", "c", 1, 7),
    ]);
    let mut entry = json!({ "path": path, "type": kind, "major": major, "minor": minor });
    if random.percent(60) {
        let mode = *random.pick(&[0o600, 0o666, 0o444, 0o4755]);
        entry["fileMode"] = Value::from(mode);
    }
    if random.percent(40) {
        entry["uid"] = Value::from(*random.pick(&[0, 7, 1000]));
        entry["gid"] = Value::from(*random.pick(&[0, 5, 1000]));
    }
    draft.set("/linux/devices/-", entry);
    draft.look(path);
}

fn propagation(draft: &mut Draft<'_>, random: &mut Random) {
    let words = [
        "private", "rprivate", "slave", "rslave", "shared", "rshared", "",
    ];
    let mut word = *random.pick(&words);
    // Then much cannot be bound any more, with either runtime.
    if random.percent(10) {
        word = *random.pick(&["unbindable", "runbindable"]);
    }
    draft.set("/linux/rootfsPropagation", word);
}

/// A hook of the host that writes down what it is given.
fn hook(draft: &mut Draft<'_>, random: &mut Random) {
    let kinds = [
        "prestart",
        "createRuntime",
        "createContainer",
        "poststart",
        "poststop",
    ];
    let kind = *random.pick(&kinds);
    draft.hook(kind);
    let list = draft
        .at(&format!("/hooks/{kind}"))
        .as_array()
        .unwrap()
        .len();
    let last = format!("/hooks/{kind}/{}", list - 1);
    if random.percent(50) {
        draft.set(
            &format!("{last}/env"),
            json!(["ONE=1", "PATH=/usr/bin:/bin"]),
        );
    }
    if random.percent(30) {
        draft.set(&format!("{last}/timeout"), 60);
    }
}

fn annotations(draft: &mut Draft<'_>, random: &mut Random) {
    let pairs = [("a", "b"), ("org.example.key", ""), ("empty", "\n")];
    for (key, value) in random.some(&pairs, 60) {
        draft.spec = draft.spec.clone().annotation(key, value);
    }
}

fn unknown(draft: &mut Draft<'_>, random: &mut Random) {
    let places = [
        "/unknown",
        "/process/unknown",
        "/linux/unknown",
        "/linux/resources/unknown",
        "/root/unknown",
        "/linux/resources/memory/unknown",
        "/process/user/unknown",
    ];
    for place in random.some(&places, 40) {
        draft.set(place, json!({ "deep": [1, "x"] }));
    }
}
