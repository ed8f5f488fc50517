//! The process: who it is, what it may, what it is given.

use hull_client::CAPABILITIES;
use serde_json::{Value, json};

use super::{Dimension, many, one};
use crate::case::Draft;
use crate::random::Random;

pub(super) const DIMENSIONS: &[Dimension] = &[
    one("user", 50, user),
    one("additionalGids", 40, groups),
    one("umask", 30, umask),
    one("capabilities", 80, capabilities),
    one("noNewPrivileges", 50, no_new_privileges),
    many(3, "rlimit", 30, rlimit),
    one("oomScoreAdj", 30, oom_score),
    one("environment", 60, environment),
    one("directory", 40, directory),
    one("arguments", 50, arguments),
    one("console size", 10, console),
];

fn user(draft: &mut Draft<'_>, random: &mut Random) {
    let ids = [0, 1, 7, 1000, 65_534, 2_000_000_000, 4_294_967_294_u32];
    draft.set("/process/user/uid", *random.pick(&ids));
    draft.set("/process/user/gid", *random.pick(&ids));
}

fn groups(draft: &mut Draft<'_>, random: &mut Random) {
    let groups = random.some(&[0, 5, 7, 1000, 1000, 4_000_000_000_u32], 40);
    draft.set("/process/user/additionalGids", groups);
}

fn umask(draft: &mut Draft<'_>, random: &mut Random) {
    draft.set("/process/user/umask", *random.pick(&[0, 0o22, 0o77, 0o777]));
}

fn capabilities(draft: &mut Draft<'_>, random: &mut Random) {
    let all = [
        &CAPABILITIES[..],
        &[
            "CAP_SYS_ADMIN",
            "CAP_NET_ADMIN",
            "CAP_SYS_PTRACE",
            "CAP_SYS_NICE",
        ],
    ]
    .concat();
    let bounding = random.some(&all, 60);
    let permitted = random.some(&all, 60);
    let effective = random.some(&permitted, 80);
    // capset(2) takes no others.
    let mut inheritable = random.some(&permitted, 40);
    inheritable.retain(|name| bounding.contains(name));
    let ambient = random.some(&inheritable, 50);
    let mut sets = json!({
        "bounding": bounding, "permitted": permitted, "effective": effective,
        "inheritable": inheritable, "ambient": ambient,
    });
    // Any of them may be absent.
    for set in random.some(&["ambient", "effective"], 25) {
        sets.as_object_mut().unwrap().remove(set);
    }
    if random.percent(20) {
        let unknown = "CAP_OF_THE_FUTURE".into();
        sets["bounding"].as_array_mut().unwrap().push(unknown);
    }
    draft.set("/process/capabilities", sets);
}

fn no_new_privileges(draft: &mut Draft<'_>, random: &mut Random) {
    draft.set("/process/noNewPrivileges", random.percent(50));
}

/// Limits that every host may set: no higher than what root has anyway.
fn rlimit(draft: &mut Draft<'_>, random: &mut Random) {
    let (name, highest) = *random.pick(&[
        ("RLIMIT_NOFILE", 1024_u64),
        ("RLIMIT_CORE", 1 << 30),
        ("RLIMIT_NPROC", 10_000),
        ("RLIMIT_STACK", 64 << 20),
        ("RLIMIT_FSIZE", u64::MAX),
        ("RLIMIT_CPU", 1000),
        ("RLIMIT_DATA", u64::MAX),
        ("RLIMIT_RSS", 1 << 40),
        ("RLIMIT_MEMLOCK", 65_536),
        ("RLIMIT_AS", 1 << 42),
        ("RLIMIT_LOCKS", 99),
        ("RLIMIT_SIGPENDING", 1000),
        ("RLIMIT_MSGQUEUE", 800_000),
        ("RLIMIT_NICE", 0),
        ("RLIMIT_RTPRIO", 0),
        ("RLIMIT_RTTIME", 1_000_000),
    ]);
    let given = draft.spec.json()["process"]["rlimits"].as_array().unwrap();
    if given.iter().any(|limit| limit["type"] == name) {
        return;
    }
    let soft = if random.percent(50) {
        highest
    } else {
        highest - highest / 4
    };
    draft.set(
        "/process/rlimits/-",
        json!({ "type": name, "soft": soft, "hard": highest }),
    );
}

fn oom_score(draft: &mut Draft<'_>, random: &mut Random) {
    draft.set("/process/oomScoreAdj", random.within(0, 1000));
}

fn environment(draft: &mut Draft<'_>, random: &mut Random) {
    let entries = [
        "ONE=1",
        "TWO=2",
        "ONE=again",
        "EMPTY=",
        "EQUALS=a=b",
        "HOME=/elsewhere",
        "HOME=",
        "LINES=a\nb",
        "TERM=dumb",
        "PATH=/bin:/data",
        "lower=case",
        "UTF=\u{e4}\u{2713}",
    ];
    let mut env: Vec<Value> = random
        .some(&entries, 30)
        .into_iter()
        .map(Value::from)
        .collect();
    random.shuffle(&mut env);
    if random.percent(10) {
        draft.unset("/process/env");
    } else {
        draft.set("/process/env", env);
    }
}

fn directory(draft: &mut Draft<'_>, random: &mut Random) {
    let places = [
        "/",
        "/data",
        "/data/private",
        "/link",
        "/absolute-link/deep",
        "/tmp",
        "/not/yet/there",
        "/data/../etc",
        "/home/user",
        "/proc/self",
        "//data//",
    ];
    draft.set("/process/cwd", *random.pick(&places));
}

fn arguments(draft: &mut Draft<'_>, random: &mut Random) {
    let words = [
        "",
        "one",
        "two words",
        "-flag",
        "line\nbreak",
        "\u{fc}",
        "$HOME",
        "\"quoted\"",
    ];
    let mut args = vec!["/probe"];
    args.extend(random.some(&words, 40));
    // Found by its name, relative to the directory, or with an odd path.
    if random.percent(20) {
        args[0] = *random.pick(&["/../probe", "//probe", "/data/../probe"]);
    }
    draft.set("/process/args", args);
}

fn console(draft: &mut Draft<'_>, random: &mut Random) {
    let size = random.within(0, 200);
    draft.set(
        "/process/consoleSize",
        json!({ "width": size, "height": size }),
    );
}
