//! The differences that are meant between libseccomp's filters and hull's.

use serde_json::{Value, json};

use super::Rule;
use crate::case::Draft;
use crate::dimensions::seccomp;
use crate::runc;
use crate::seen::Difference;

pub(super) const RULES: &[Rule] = &[
    Rule {
        row: "seccomp-newer-calls",
        explains: |draft, one| {
            one.key.starts_with("call ")
                && (one.runc.as_deref() == Some("ENOSYS 38") || NEWER.contains(&one.key.as_str()))
                && !draft.at("/linux/seccomp").is_null()
        },
        specimen: |draft| {
            let rules = json!([
                { "names": seccomp::NEEDED, "action": "SCMP_ACT_ALLOW" },
                { "names": ["mseal"], "action": "SCMP_ACT_ALLOW" },
            ]);
            let profile = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules });
            draft.set("/linux/seccomp", profile);
        },
    },
    Rule {
        row: "seccomp-overlap",
        explains: |draft, one| {
            // Or libseccomp takes two equal conditions for one rule that is there already.
            let refused = refused_call(one).filter(|_| one.runc_says("file exists"));
            let call = match (one.key.strip_prefix("call "), refused) {
                (Some(call), _) => call.split('.').next().unwrap(),
                (None, Some(call)) => call,
                (None, None) => return false,
            };
            let mut answers = conditional(draft)
                .filter(|rule| names(rule).any(|name| name == call))
                .map(|rule| (&rule["action"], &rule["errnoRet"]));
            let first = answers.next();
            answers.any(|answer| Some(answer) != first)
        },
        specimen: |draft| {
            // Both of the last two hold for the probe's getpriority(0, 0).
            let rules = json!([
                { "names": seccomp::NEEDED, "action": "SCMP_ACT_ALLOW" },
                {
                    "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
                    "args": [
                        condition(3, "SCMP_CMP_NE", 64),
                        condition(1, "SCMP_CMP_LT", u32::MAX),
                    ],
                },
                {
                    "names": ["getpriority"], "action": "SCMP_ACT_ALLOW",
                    "args": [condition(3, "SCMP_CMP_NE", 1)],
                },
            ]);
            let profile = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules });
            draft.set("/linux/seccomp", profile);
        },
    },
    Rule {
        row: "seccomp-errno",
        explains: |_, one| one.refused_by_hull("takes no errno"),
        specimen: |draft| {
            let rule = json!([{ "names": ["times"], "action": "SCMP_ACT_KILL", "errnoRet": 1 }]);
            let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule });
            draft.set("/linux/seccomp", profile);
        },
    },
    Rule {
        row: "seccomp-endless",
        explains: |draft, one| {
            let rules =
                conditional(draft).filter(|rule| rule["args"].as_array().unwrap().len() > 1);
            let mut calls: Vec<&str> = rules.flat_map(names).collect();
            let count = calls.len();
            calls.sort_unstable();
            calls.dedup();
            one.refused_by_runc(runc::ENDLESS) && calls.len() < count
        },
        specimen: |draft| {
            let rule = |other: Value| {
                json!({
                    "names": ["fadvise64"], "action": "SCMP_ACT_ERRNO",
                    "args": [other, condition(0, "SCMP_CMP_LE", 64)],
                })
            };
            let rules = json!([
                rule(condition(3, "SCMP_CMP_GT", 0)),
                rule(condition(4, "SCMP_CMP_EQ", u32::MAX)),
            ]);
            let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules });
            draft.set("/linux/seccomp", profile);
        },
    },
];

/// A condition of a rule.
fn condition(index: u32, op: &str, value: u32) -> Value {
    json!({ "index": index, "op": op, "value": value })
}

/// The profile's rules that have conditions.
fn conditional<'a>(draft: &'a Draft<'_>) -> impl Iterator<Item = &'a Value> {
    let rules = draft.at("/linux/seccomp/syscalls").as_array();
    rules
        .into_iter()
        .flatten()
        .filter(|rule| !rule["args"].is_null())
}

/// The calls that a rule is for.
fn names(rule: &Value) -> impl Iterator<Item = &str> {
    let names = rule["names"].as_array();
    names.into_iter().flatten().filter_map(Value::as_str)
}

/// The call whose seccomp rule runc could not add.
fn refused_call(one: &Difference) -> Option<&str> {
    let after = "error adding seccomp rule for syscall ";
    let (_, rest) = one.runc.as_deref()?.split_once(after)?;
    rest.split(':').next()
}

/// Calls that libseccomp 2.5.4, with which runc is built here, does not know.
const NEWER: [&str; 3] = ["call fchmodat2", "call cachestat", "call mseal"];
