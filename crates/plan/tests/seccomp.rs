//! What the seccomp compiler promises beyond libseccomp: ENOSYS for newer calls, flags, warnings,
//! errors that name the field, programs that stay short and that the kernel takes.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test")]

mod bpf;

use bpf::{Call, run, verify};
use hull_abi::Seccomp;
use hull_plan::seccomp::{compile, listener};
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const X32_BIT: u32 = 0x4000_0000;

const KILL: u32 = 0;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn parse(profile: Value) -> LinuxSeccomp {
    serde_json::from_value(profile).unwrap()
}

fn compiled(profile: Value) -> Seccomp {
    let filter = compile(&parse(profile)).unwrap().0;
    verify(&filter.program);
    filter
}

fn warnings(profile: Value) -> Vec<String> {
    compile(&parse(profile)).unwrap().1
}

fn error(profile: Value) -> String {
    compile(&parse(profile)).unwrap_err().to_string()
}

fn answer(filter: &Seccomp, arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    run(&filter.program, &Call { arch, nr, args }).0
}

fn allow(names: &[&str]) -> Value {
    json!({ "names": names, "action": "SCMP_ACT_ALLOW" })
}

fn containerd_default() -> LinuxSeccomp {
    serde_json::from_str(include_str!("data/containerd-default.json")).unwrap()
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    for (action, newer) in [
        ("SCMP_ACT_ERRNO", ENOSYS),
        ("SCMP_ACT_KILL", ENOSYS),
        ("SCMP_ACT_KILL_PROCESS", ENOSYS),
        ("SCMP_ACT_TRAP", ENOSYS),
        ("SCMP_ACT_ALLOW", ALLOW),
        ("SCMP_ACT_LOG", 0x7ffc_0000),
        ("SCMP_ACT_TRACE", 0x7ff0_0001),
    ] {
        let filter = compiled(json!({
            "defaultAction": action,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
            "syscalls": [allow(&["openat2", "ioctl"])],
        }));
        assert_eq!(answer(&filter, X86_64, 437, [0; 6]), ALLOW, "openat2");
        assert_eq!(
            answer(&filter, X86_64, 438, [0; 6]),
            newer,
            "{action}: pidfd_getfd"
        );
        assert_eq!(
            answer(&filter, X86_64, X32_BIT - 1, [0; 6]),
            newer,
            "{action}"
        );
        assert_eq!(
            answer(&filter, X86_64, X32_BIT + 514, [0; 6]),
            ALLOW,
            "ioctl of x32"
        );
        assert_eq!(
            answer(&filter, X86_64, X32_BIT + 515, [0; 6]),
            newer,
            "{action}: x32 readv"
        );
        let older = answer(&filter, X86_64, 1, [0; 6]);
        assert_eq!(
            older,
            answer(&filter, X86_64, 436, [0; 6]),
            "{action}: older calls agree"
        );
        assert_ne!(older, ENOSYS, "{action}: an older call gets the default");
    }
}

#[test]
fn default_errno_is_used_for_older_calls_only() {
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 13,
        "syscalls": [allow(&["openat2"])],
    }));
    assert_eq!(answer(&filter, X86_64, 0, [0; 6]), 0x0005_000d);
    assert_eq!(answer(&filter, X86_64, 438, [0; 6]), ENOSYS);
}

#[test]
fn calls_that_libseccomp_does_not_know_are_filtered() {
    let filter = compile(&containerd_default()).unwrap().0;
    for (name, nr) in [("statmount", 457), ("mseal", 462), ("removexattrat", 466)] {
        assert_eq!(answer(&filter, X86_64, nr, [0; 6]), ALLOW, "{name}");
        assert_eq!(answer(&filter, I386, nr, [0; 6]), ALLOW, "{name}");
        assert_eq!(
            answer(&filter, X86_64, X32_BIT + nr, [0; 6]),
            ALLOW,
            "{name}"
        );
    }
    assert_eq!(
        answer(&filter, X86_64, 467, [0; 6]),
        ENOSYS,
        "open_tree_attr"
    );
    assert_eq!(answer(&filter, X86_64, 165, [0; 6]), EPERM, "mount");
    assert_eq!(
        answer(&filter, X86_64, 435, [0; 6]),
        ENOSYS,
        "clone3 by rule"
    );
    let new_user_namespace = [0x1000_0000, 0, 0, 0, 0, 0];
    assert_eq!(answer(&filter, X86_64, 56, [0; 6]), ALLOW, "clone");
    assert_eq!(
        answer(&filter, X86_64, 56, new_user_namespace),
        EPERM,
        "clone(CLONE_NEWUSER)"
    );
}

#[test]
fn unlisted_architectures_are_killed_but_not_the_native_one() {
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_AARCH64"],
        "syscalls": [allow(&["read", "close"])],
    }));
    assert_eq!(answer(&filter, X86_64, 0, [0; 6]), ALLOW);
    assert_eq!(
        answer(&filter, X86_64, X32_BIT, [0; 6]),
        KILL,
        "x32 is not listed"
    );
    assert_eq!(answer(&filter, I386, 3, [0; 6]), KILL);
    assert_eq!(
        answer(&filter, 0xc000_00b7, 63, [0; 6]),
        ALLOW,
        "read of aarch64"
    );
    assert_eq!(
        answer(&filter, X86_64, u32::MAX, [0; 6]),
        EPERM,
        "-1: skipped by a tracer"
    );
}

#[test]
fn rules_that_disagree_are_tried_in_profile_order() {
    let rule = |value: u32, op: &str, action: &str| {
        let args = json!([{ "index": 0, "value": value, "op": op }]);
        json!({ "names": ["personality"], "action": action, "args": args })
    };
    let trap = rule(5, "SCMP_CMP_EQ", "SCMP_ACT_TRAP");
    let allow = rule(3, "SCMP_CMP_GT", "SCMP_ACT_ALLOW");
    for (rules, five) in [([&trap, &allow], 0x0003_0000), ([&allow, &trap], ALLOW)] {
        let filter = compiled(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules }));
        assert_eq!(answer(&filter, X86_64, 135, [5, 0, 0, 0, 0, 0]), five);
        assert_eq!(answer(&filter, X86_64, 135, [6, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(answer(&filter, X86_64, 135, [3, 0, 0, 0, 0, 0]), EPERM);
    }
}

#[test]
fn flags() {
    let flags = |flags: Value| {
        let mut profile = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
        profile["flags"] = flags;
        let (filter, warnings) = compile(&parse(profile)).unwrap();
        (filter.flags, warnings.len())
    };
    assert_eq!(flags(Value::Null), (4, 0), "no list: SPEC_ALLOW, as runc");
    assert_eq!(flags(json!([])), (0, 0));
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_TSYNC"])), (1, 0));
    assert_eq!(
        flags(json!([
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW"
        ])),
        (6, 0)
    );
    assert_eq!(
        flags(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])),
        (0, 1),
        "no listener"
    );
}

fn asking(changes: Value) -> Value {
    let mut profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/run/agent.sock",
        "listenerMetadata": "a \"b\"",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
    });
    for (key, value) in changes.as_object().unwrap() {
        profile[key] = value.clone();
    }
    profile
}

#[test]
fn a_filter_that_asks_an_agent_has_a_listener_and_no_tsync() {
    let flags = |names: Value| compiled(asking(json!({ "flags": names }))).flags;
    assert_eq!(flags(json!([])), 8);
    let all = json!([
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ]);
    assert_eq!(flags(all.clone()), 8 | 2 | 4 | 32);
    assert!(warnings(asking(json!({ "flags": all }))).is_empty());
    let filter = compiled(asking(json!({})));
    assert_eq!(answer(&filter, X86_64, 83, [0; 6]), 0x7fc0_0000, "mkdir");
    assert_eq!(answer(&filter, X86_64, 84, [0; 6]), ALLOW, "rmdir");
}

#[test]
fn an_agent_is_told_what_the_profile_says_and_looked_for_only_if_it_is_asked() {
    let found = |profile| listener(&parse(profile), "1.1.0");
    let agent = found(asking(json!({}))).unwrap().unwrap();
    assert_eq!(agent.path, "/run/agent.sock");
    let told: Value = serde_json::from_str(&agent.render(7, r#"{"id":"c"}"#)).unwrap();
    let wanted = json!({
        "ociVersion": "1.1.0", "fds": ["seccompFd"], "pid": 7, "metadata": "a \"b\"",
        "state": { "id": "c" },
    });
    assert_eq!(told, wanted);
    let agent = found(asking(json!({ "listenerMetadata": "" }))).unwrap();
    assert!(!agent.unwrap().head.contains("metadata"));

    let unasked = json!({ "syscalls": [allow(&["mkdir"])], "listenerPath": "nonsense" });
    assert_eq!(found(asking(unasked.clone())), Ok(None));
    assert_eq!(compiled(asking(unasked)).flags, 4);
    for (path, why) in [
        (
            json!(""),
            "a rule has SCMP_ACT_NOTIFY, but no agent is named",
        ),
        (
            json!("run/agent.sock"),
            "\"run/agent.sock\" is not absolute",
        ),
        (
            json!(format!("/{}", "a".repeat(107))),
            "it is longer than 107 bytes",
        ),
    ] {
        let error = found(asking(json!({ "listenerPath": path }))).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("invalid config: linux.seccomp.listenerPath: {why}")
        );
    }
    assert!(
        found(asking(
            json!({ "listenerPath": format!("/{}", "a".repeat(106)) })
        ))
        .is_ok()
    );
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_S390X"],
        "syscalls": [allow(&["read", "chown32", "no_such_call", "breakpoint"])],
    });
    let warnings = warnings(profile);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("S390X"), "{warnings:?}");
    assert!(warnings[1].contains("\"no_such_call\""), "{warnings:?}");
}

#[test]
fn errors_name_the_field() {
    let with_rule = |rule: Value| {
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_KILL" }, rule],
        })
    };
    let cases = [
        (
            json!({ "defaultAction": "SCMP_ACT_NOTIFY" }),
            "linux.seccomp.defaultAction: ",
            "cannot be the default",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1 }),
            "linux.seccomp.defaultErrnoRet: ",
            "takes no errno",
        ),
        (
            with_rule(json!({ "names": ["read", "write"], "action": "SCMP_ACT_NOTIFY" })),
            "linux.seccomp.syscalls[1].names[1]: ",
            "cannot be for write",
        ),
        (
            with_rule(json!({ "names": ["read"], "action": "SCMP_ACT_NOTIFY", "errnoRet": 1 })),
            "linux.seccomp.syscalls[1].errnoRet: ",
            "takes no errno",
        ),
        (
            with_rule(json!({ "names": ["read"], "action": "SCMP_ACT_TRAP", "errnoRet": 1 })),
            "linux.seccomp.syscalls[1].errnoRet: ",
            "takes no errno",
        ),
        (
            with_rule(json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 })),
            "linux.seccomp.syscalls[1].errnoRet: ",
            "4096 is not an errno",
        ),
        (
            with_rule(json!({ "names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536 })),
            "linux.seccomp.syscalls[1].errnoRet: ",
            "16 bits",
        ),
        (
            with_rule(json!({ "names": [""], "action": "SCMP_ACT_ERRNO" })),
            "linux.seccomp.syscalls[1].names[0]: ",
            "empty",
        ),
        (
            with_rule(json!({
                "names": ["read"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" }],
            })),
            "linux.seccomp.syscalls[1].args[0].index: ",
            "6 is not one of",
        ),
    ];
    for (profile, field, why) in cases {
        let error = error(profile);
        assert!(
            error.starts_with(&format!("invalid config: {field}")),
            "{error}"
        );
        assert!(error.contains(why), "{error}");
    }
}

/// `count` rules for one call, each with two 64-bit comparisons.
fn long_profile(count: u64) -> Value {
    let rules: Vec<Value> = (0..count)
        .map(|value| {
            json!({
                "names": ["ioctl"],
                "action": if value % 2 == 0 { "SCMP_ACT_ALLOW" } else { "SCMP_ACT_TRAP" },
                "args": [
                    { "index": 0, "value": value << 32 | value, "op": "SCMP_CMP_EQ" },
                    { "index": 1, "value": value, "op": "SCMP_CMP_GE" },
                ],
            })
        })
        .chain([allow(&["read", "openat2"])])
        .collect();
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules })
}

#[test]
fn jumps_reach_any_distance() {
    let filter = compiled(long_profile(400));
    assert!(filter.program.len() > 3000, "{}", filter.program.len());
    for value in 0..400_u64 {
        let args = [value << 32 | value, value, 0, 0, 0, 0];
        let want = if value % 2 == 0 { ALLOW } else { 0x0003_0000 };
        assert_eq!(answer(&filter, X86_64, 16, args), want, "{value}");
        let other = [value << 32 | (value + 1), value, 0, 0, 0, 0];
        assert_eq!(answer(&filter, X86_64, 16, other), EPERM, "{value}");
    }
    assert_eq!(answer(&filter, X86_64, 0, [0; 6]), ALLOW, "read");
    assert_eq!(answer(&filter, X86_64, 1, [0; 6]), EPERM, "write");
    assert_eq!(answer(&filter, X86_64, 438, [0; 6]), ENOSYS);
    assert_eq!(answer(&filter, I386, 1, [0; 6]), KILL);
}

#[test]
fn programs_that_the_kernel_would_refuse_are_invalid() {
    let error = error(long_profile(600));
    assert!(
        error.contains("linux.seccomp.syscalls: the filter would need"),
        "{error}"
    );
}

#[test]
fn every_call_is_decided_in_few_steps() {
    let filter = compile(&containerd_default()).unwrap().0;
    assert!(
        filter.program.len() < 500,
        "{} instructions",
        filter.program.len()
    );
    for nr in (0..600).chain(X32_BIT..X32_BIT + 600) {
        let call = Call {
            arch: X86_64,
            nr,
            args: [0; 6],
        };
        let (_, steps) = run(&filter.program, &call);
        let conditional = [41, 56, 135].contains(&(nr & !X32_BIT));
        assert!(steps <= 14 || conditional, "{nr:#x}: {steps} steps");
    }
}
