//! The seccomp profile of a container: an allow list of our own, in the form of the OCI spec.

use serde_json::{Value, json};

/// Names of calls; the file says what they are and what is not among them.
const CALLS: &str = include_str!("seccomp.txt");

/// The CLONE_NEW* flags of [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html).
const CLONE_NEW: u64 = 0x7e02_0000;

/// Unix, IPv4, IPv6, netlink and packet sockets
/// ([socket(2)](https://man7.org/linux/man-pages/man2/socket.2.html)). Others load modules that few
/// have looked at.
const FAMILIES: [u64; 5] = [AF_UNIX, 2, 10, 16, 17];

/// What [personality(2)](https://man7.org/linux/man-pages/man2/personality.2.html) may be asked for:
/// Linux, Linux 32, both without address randomisation off, with uname of 2.6, and to tell.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The only family whose pairs programs use; others would load their modules for it as well.
const AF_UNIX: u64 = 1;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The value of `linux.seccomp` for a container with these capabilities.
pub(super) fn profile(capabilities: &[String]) -> Value {
    let granted = |name: &str| capabilities.iter().any(|capability| capability == name);
    let mut rules = vec![allow(&names(granted))];
    let argument = |value: u64, other: u64, op: &str| json!([{ "index": 0, "value": value, "valueTwo": other, "op": op }]);
    let on = |call: &str, args: Value| json!({ "names": [call], "action": "SCMP_ACT_ALLOW", "args": args });
    rules.extend(FAMILIES.map(|family| on("socket", argument(family, 0, "SCMP_CMP_EQ"))));
    rules.push(on("socketpair", argument(AF_UNIX, 0, "SCMP_CMP_EQ")));
    rules.extend(PERSONALITIES.map(|which| on("personality", argument(which, 0, "SCMP_CMP_EQ"))));
    if granted("CAP_SYS_ADMIN") {
        rules.push(allow(&["clone"]));
    } else {
        rules.push(on("clone", argument(CLONE_NEW, 0, "SCMP_CMP_MASKED_EQ")));
        // Its flags are in memory, where no filter sees them; C libraries fall back to clone.
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": rules,
    })
}

fn allow(names: &[&str]) -> Value {
    json!({ "names": names, "action": "SCMP_ACT_ALLOW" })
}

/// The names that hold without a condition, and those of capabilities that are granted.
fn names(granted: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut names = Vec::new();
    for line in CALLS.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        if let Some(condition) = line.strip_prefix("if ") {
            words = condition.split_whitespace();
            if !words.next().is_some_and(&granted) {
                continue;
            }
        }
        names.extend(words);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_a_capability_come_with_it() {
        let with = |capability: &str| names(|name| name == capability);
        assert!(!with("").contains(&"ptrace"));
        assert!(with("CAP_SYS_PTRACE").contains(&"ptrace"));
        assert!(with("").contains(&"read"));
        assert!(!with("").iter().any(|name| name.contains(['#', ':'])));
    }

    #[test]
    fn only_unix_sockets_come_in_pairs() {
        let profile = profile(&[]);
        let rules = profile.pointer("/syscalls").and_then(Value::as_array);
        let pairs: Vec<&Value> = rules
            .into_iter()
            .flatten()
            .filter(|rule| rule.to_string().contains("\"socketpair\""))
            .filter_map(|rule| rule.pointer("/args/0"))
            .collect();
        let unix = argument_is(AF_UNIX);
        assert_eq!(pairs, [&unix]);
        assert!(!names(|_| true).contains(&"socketpair"));
    }

    fn argument_is(value: u64) -> Value {
        json!({ "index": 0, "value": value, "valueTwo": 0, "op": "SCMP_CMP_EQ" })
    }

    #[test]
    fn no_call_that_makes_namespaces_or_mounts_is_allowed() {
        let names = names(|capability| crate::run::capabilities::DEFAULT.contains(&capability));
        for call in [
            "mount",
            "unshare",
            "setns",
            "bpf",
            "clone3",
            "io_uring_setup",
            "keyctl",
            "clone",
        ] {
            assert!(!names.contains(&call), "{call}");
        }
    }
}
