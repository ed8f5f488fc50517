//! Processes of Exec requests.

use crate::{host, lower_value, with};
use hull_abi::{NamespaceKind, Rlimit};
use hull_plan::lower_exec;
use serde_json::{Value, json};

fn init() -> hull_abi::Plan {
    let mut plan = lower_value(&with(&[
        (
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "pid" }]),
        ),
        ("/process/apparmorProfile", json!("profile")),
        ("/process/oomScoreAdj", json!(500)),
        (
            "/process/rlimits",
            json!([{ "type": "RLIMIT_CORE", "soft": 1, "hard": 2 }]),
        ),
        ("/process/user", json!({ "umask": 0o077 })),
        (
            "/process/capabilities",
            json!({ "bounding": ["CAP_CHOWN"] }),
        ),
    ]))
    .unwrap();
    plan.process.seccomp = Some(hull_abi::Seccomp {
        program: Vec::new(),
        flags: 7,
        listener: None,
    });
    plan
}

fn exec(process: &Value) -> Result<hull_abi::ExecPlan, hull_plan::Invalid> {
    let terminal = process
        .get("terminal")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    lower_exec(process.to_string().as_bytes(), terminal, &init(), &host())
}

#[test]
fn what_an_exec_leaves_open_is_as_in_init() {
    let plan = exec(&json!({ "args": ["ls"], "cwd": "/tmp" })).unwrap();
    assert_eq!(plan.namespaces, [NamespaceKind::Mount, NamespaceKind::Pid]);
    assert_eq!(plan.process.seccomp.unwrap().flags, 7);
    assert_eq!(plan.process.apparmor_profile.as_deref(), Some("profile"));
    assert_eq!(plan.process.oom_score_adj, Some(500));
    assert_eq!(
        plan.process.rlimits,
        [Rlimit {
            resource: 4,
            soft: 1,
            hard: 2
        }]
    );
    assert_eq!(plan.process.user.umask, 0o077);
}

#[test]
fn what_an_exec_says_holds() {
    let plan = exec(&json!({
        "args": ["ls"],
        "cwd": "/tmp",
        "terminal": true,
        "consoleSize": { "width": 80, "height": 24 },
        "user": { "uid": 1, "gid": 2, "umask": 0 },
        "apparmorProfile": "other",
        "oomScoreAdj": -1,
        "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 3, "hard": 3 }],
    }))
    .unwrap();
    assert!(plan.process.terminal);
    assert_eq!(
        plan.process
            .console_size
            .map(|size| (size.width, size.height)),
        Some((80, 24))
    );
    assert_eq!(
        (
            plan.process.user.uid,
            plan.process.user.gid,
            plan.process.user.umask
        ),
        (1, 2, 0)
    );
    assert_eq!(plan.process.apparmor_profile.as_deref(), Some("other"));
    assert_eq!(plan.process.oom_score_adj, Some(-1));
    assert_eq!(
        plan.process.rlimits,
        [Rlimit {
            resource: 7,
            soft: 3,
            hard: 3
        }]
    );
}

#[test]
fn an_exec_without_capabilities_has_none() {
    let plan = exec(&json!({ "args": ["ls"], "cwd": "/" })).unwrap();
    assert_eq!(
        plan.process.capabilities,
        hull_abi::CapabilitySets::default()
    );
    let process = json!({ "args": ["ls"], "cwd": "/", "capabilities": { "bounding": ["KILL"] } });
    assert_eq!(
        exec(&process).unwrap().process.capabilities.bounding,
        1 << 5
    );
}

#[test]
fn mistakes_are_named() {
    for (process, want) in [
        (json!({ "cwd": "/" }), "process.args: it is empty"),
        (
            json!({ "args": ["a"], "cwd": "b" }),
            "process.cwd: \"b\" is not absolute",
        ),
        (
            json!({ "args": ["a\0"], "cwd": "/" }),
            "process.args[0]: it contains a NUL character",
        ),
        (
            json!({ "args": ["a"], "cwd": "/", "scheduler": { "policy": "SCHED_RR" } }),
            "process.scheduler.priority: 0 is not between 1 and 99",
        ),
        (
            json!({ "args": ["a"], "cwd": "/", "user": { "uid": -1 } }),
            "process.user.uid: invalid value: integer `-1`, expected u32",
        ),
        (json!([]), "process: it is not a JSON object"),
    ] {
        let message = exec(&process).unwrap_err().to_string();
        assert_eq!(message, format!("invalid config: {want}"));
    }
}
