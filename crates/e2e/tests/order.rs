//! The order of the steps on the way into a container: as the process itself notes them, and as the
//! kernel sees its calls. Each pair of calls says why the first has to come before the second.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use hull_abi::{TRACE_ANNOTATION, TRACE_FILE, Trace, Who};
use hull_e2e::strace::Strace;
use hull_e2e::{HookKind, Lab, Spec, procfs};
use serde_json::json;

/// What the init process of [`everything`] notes. The filter ends the notes: it may forbid to ask for the
/// time.
const STEPS: [&str; 22] = [
    "plan",
    "join cgroup",
    "namespaces",
    "session",
    "keyring",
    "loopback",
    "rootfs",
    "mounts",
    "devices",
    "runtime hooks",
    "createContainer hooks",
    "pivot_root",
    "console",
    "sysctl",
    "read-only mounts",
    "read-only paths",
    "masked paths",
    "process attributes",
    "close descriptors",
    "credentials",
    "program",
    "seccomp",
];

/// How the calls begin that matter, what stands further back, and what they are called below.
const CALLS: [(&str, &str, &str); 24] = [
    ("unshare(", "CLONE_NEWCGROUP", "cgroup namespace"),
    ("keyctl(", "KEYCTL_JOIN_SESSION_KEYRING", "keyring"),
    ("mount(NULL, \"/\"", "MS_REC|MS_SLAVE", "propagation"),
    ("mknodat(", "", "device"),
    ("pivot_root(", "", "pivot"),
    ("umount2(", "MNT_DETACH", "host's tree away"),
    ("sethostname(", "", "host name"),
    (
        "openat2(",
        "\"sys/net/ipv4/ip_forward\"",
        "kernel parameter",
    ),
    ("mount_setattr(", "AT_RECURSIVE", "read-only path"),
    ("sched_setattr(0,", "", "scheduler"),
    ("ioprio_set(IOPRIO_WHO_PROCESS, 0", "", "I/O priority"),
    ("close_range(3,", "CLOSE_RANGE_CLOEXEC", "close-on-exec"),
    ("prlimit64(", "RLIMIT_CORE, {", "limit"),
    ("prctl(PR_CAPBSET_DROP", "", "bounding set"),
    ("prctl(PR_SET_KEEPCAPS", "", "keep capabilities"),
    ("setgroups(", "", "groups"),
    ("setresgid(", "", "gid"),
    ("setgid(", "", "gid"),
    ("setresuid(", "", "uid"),
    ("setuid(", "", "uid"),
    ("capset(", "", "capabilities"),
    ("prctl(PR_SET_NO_NEW_PRIVS", "", "no new privileges"),
    ("seccomp(SECCOMP_SET_MODE_FILTER", "", "filter"),
    ("execve(", "", "program"),
];

/// A container that needs every step.
fn everything(no_new_privileges: bool) -> Spec {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["swapon"], "action": "SCMP_ACT_ERRNO" }],
    });
    let limits = json!([{ "type": "RLIMIT_CORE", "soft": 1, "hard": 2 }]);
    Spec::new(["sleep", "600"])
        .user(1000, 1000)
        .annotation(TRACE_ANNOTATION, "yes")
        .hook(HookKind::CreateRuntime, "/bin/true", &["true"])
        .hook(HookKind::CreateContainer, "/bin/true", &["true"])
        .set("/process/noNewPrivileges", no_new_privileges)
        .set("/process/rlimits", limits)
        .set("/process/oomScoreAdj", 100)
        .set(
            "/process/scheduler",
            json!({ "policy": "SCHED_OTHER", "nice": -1 }),
        )
        .set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_RT" }))
        .set("/hostname", "box")
        .namespace("cgroup", None)
        .set("/root/readonly", true)
        .set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }))
        .set("/linux/seccomp", filter)
}

fn name(call: &str) -> Option<&'static str> {
    let fits =
        |(begin, later, _): &&(&str, &str, &str)| call.starts_with(begin) && call.contains(later);
    CALLS.iter().find(fits).map(|(_, _, name)| *name)
}

/// Runs [`everything`]; gives the steps that init noted and its calls by name.
fn observed(no_new_privileges: bool) -> (Vec<String>, Vec<&'static str>) {
    let lab = Lab::new();
    let c = lab.container(&everything(no_new_privileges));
    let mut family = procfs::children(c.shim_pid());
    family.push(c.shim_pid());
    let strace = Strace::attach(&family, "all", &lab.dir().join("strace"));
    let pid = c.run();
    let json = std::fs::read(c.bundle.path().join(TRACE_FILE)).unwrap();
    // Its limits are set from outside, while it waits for that.
    let from_outside = format!("prlimit64({pid}, ");
    let calls: Vec<String> = strace
        .calls()
        .into_iter()
        .filter(|(caller, call)| *caller == pid || call.starts_with(&from_outside))
        .map(|(_, call)| call)
        .collect();
    c.kill_and_wait();
    let trace: Trace = serde_json::from_slice(&json).unwrap();
    let own = trace.marks.into_iter().filter(|mark| mark.who == Who::Init);
    let steps = own.map(|mark| mark.what.into_owned()).collect();
    let mut names: Vec<&'static str> = calls.iter().filter_map(|call| name(call)).collect();
    // What the program itself calls is its own affair.
    let ours = names.iter().position(|name| *name == "program");
    names.truncate(ours.map_or(names.len(), |at| at + 1));
    (steps, names)
}

/// Every `first` comes before every `second`, and both happen.
#[track_caller]
fn before(calls: &[&str], first: &str, second: &str) {
    let last = calls.iter().rposition(|call| *call == first);
    let next = calls.iter().position(|call| *call == second);
    let (Some(last), Some(next)) = (last, next) else {
        panic!("{first:?} or {second:?} is missing in {calls:#?}");
    };
    assert!(last < next, "{second:?} before {first:?} in {calls:#?}");
}

/// What holds with and without `noNewPrivileges`.
#[track_caller]
fn common(calls: &[&str]) {
    // Its root is where the process is then; nothing that needs the host's view comes after it.
    before(calls, "cgroup namespace", "propagation");
    // The keyring belongs to whoever makes it.
    before(calls, "keyring", "uid");
    // No mount of the container's goes to the host.
    before(calls, "propagation", "pivot");
    before(calls, "device", "pivot");
    // With the host's tree gone nothing can lead there.
    before(calls, "pivot", "host's tree away");
    before(calls, "host's tree away", "host name");
    // Through a procfs of our own, while /proc/sys is not read-only yet.
    before(calls, "host's tree away", "kernel parameter");
    before(calls, "kernel parameter", "read-only path");
    before(calls, "read-only path", "close-on-exec");
    // Nothing is inherited that the container's credentials could be used on.
    before(calls, "close-on-exec", "bounding set");
    // What takes away the right to do the next thing comes after it.
    before(calls, "limit", "uid");
    before(calls, "scheduler", "uid");
    before(calls, "I/O priority", "uid");
    // A filter may forbid them.
    before(calls, "scheduler", "filter");
    before(calls, "I/O priority", "filter");
    before(calls, "bounding set", "groups");
    before(calls, "keep capabilities", "uid");
    before(calls, "groups", "gid");
    before(calls, "gid", "uid");
    before(calls, "uid", "capabilities");
    before(calls, "capabilities", "program");
}

#[test]
fn with_no_new_privileges_the_filter_is_the_last_thing() {
    let (steps, calls) = observed(true);
    assert_eq!(steps, STEPS);
    common(&calls);
    // Whoever cannot gain privileges may load a filter, and then it need not allow what is above.
    before(&calls, "no new privileges", "filter");
    before(&calls, "capabilities", "filter");
    before(&calls, "filter", "program");
}

#[test]
fn without_it_the_filter_is_loaded_while_the_process_may() {
    let (steps, calls) = observed(false);
    let end = STEPS
        .iter()
        .position(|step| *step == "credentials")
        .unwrap();
    let (expected, _) = STEPS.split_at(end);
    assert_eq!(steps, expected);
    common(&calls);
    before(&calls, "filter", "bounding set");
    before(&calls, "filter", "uid");
    assert!(!calls.contains(&"no new privileges"), "{calls:#?}");
}
