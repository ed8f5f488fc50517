//! `SCMP_ACT_NOTIFY`: a real agent decides about system calls of a container.

#![expect(clippy::unwrap_used, reason = "test code: a panic is how a test fails")]

mod agent;

use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use agent::Agent;
use hull_e2e::time::look_until;
use hull_e2e::{Lab, Spec, eventually, is_one_clear_line, procfs};
use serde_json::{Value, json};

/// Numbers of x86-64.
const MKDIR: u32 = 83;
const EXECVE: u32 = 59;
const CHDIR: u32 = 80;

/// Asks the agent at this path about some calls; everything else is allowed.
fn asking(spec: &Spec, agent: &Path, calls: &[&str]) -> Spec {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": agent,
        "listenerMetadata": "for \"tests\"",
        "syscalls": [{ "names": calls, "action": "SCMP_ACT_NOTIFY" }],
    });
    spec.clone()
        .set("/linux/seccomp", profile)
        .annotation("org.example.key", "value")
}

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

/// Without no_new_privs the filter is loaded before the credentials change.
fn with_late_and_early_filter(spec: &Spec) -> [Spec; 2] {
    [true, false].map(|late| spec.clone().set("/process/noNewPrivileges", late))
}

/// What the agent was asked about this call: the paths.
fn paths(agent: &Agent, call: u32) -> Vec<String> {
    let asked = agent.asked();
    let of_call = asked.iter().filter_map(|line| {
        let mut words = line.splitn(3, ' ').skip(1);
        (words.next() == Some(&call.to_string())).then(|| words.next().unwrap().to_owned())
    });
    of_call.collect()
}

/// Waits until the agent has written that it was asked about this call with these paths, and no others.
#[track_caller]
fn was_asked(agent: &Agent, call: u32, expected: &[&str]) {
    let look = || (paths(agent, call) == expected).then_some(());
    if look_until(Duration::from_secs(10), look).is_none() {
        assert_eq!(paths(agent, call), expected);
    }
}

/// What the agent was told, once it has written that it was told so often.
fn states(agent: &Agent, count: usize) -> Vec<Value> {
    eventually("states", || {
        let states = agent.states();
        (states.len() >= count).then_some(states)
    })
}

#[test]
fn agent_makes_refuses_and_lets_through() {
    // Nobody but root may write there, which the agent is and the container is not.
    let text = "for name in made errno other; do mkdir /etc/$name; echo $?; done";
    for spec in with_late_and_early_filter(&script(text).user(1000, 1000)) {
        let lab = Lab::new();
        let agent = Agent::start(lab.dir());
        let spec = asking(&spec, agent.socket(), &["mkdir"]);
        let mut c = lab.container(&spec);
        let ran = c.run_to_end();
        assert!(ran.stdout.starts_with("0\n1\n1\n"), "{ran:?}");
        assert!(
            ran.stderr.contains("/etc/errno': No medium found"),
            "{ran:?}"
        );
        assert!(
            ran.stderr.contains("/etc/other': Permission denied"),
            "{ran:?}"
        );
        assert!(c.upper().join("etc/made").is_dir());
        assert!(!c.upper().join("etc/errno").exists());
        was_asked(&agent, MKDIR, &["/etc/made", "/etc/errno", "/etc/other"]);
    }
}

#[test]
fn agent_is_told_of_the_process_and_its_container() {
    let lab = Lab::new();
    let agent = Agent::start(lab.dir());
    let c = lab.container(&asking(
        &script("mkdir /tmp/made; exec sleep 600"),
        agent.socket(),
        &["mkdir"],
    ));
    let pid = c.create();
    // It has the listener before Create has answered, and writes so soon after.
    let told_of_init = states(&agent, 1);
    let state = |status: &str| {
        json!({
            "ociVersion": "1.0.2",
            "id": c.id,
            "status": status,
            "pid": pid,
            "bundle": c.bundle.path(),
            "annotations": { "org.example.key": "value" },
        })
    };
    let told = |pid: &Value, status| {
        json!({
            "ociVersion": "1.0.2",
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": "for \"tests\"",
            "state": state(status),
        })
    };
    assert_eq!(told_of_init, [told(&json!(pid), "creating")]);
    c.start();
    eventually("mkdir of init", || paths(&agent, MKDIR).pop());

    let ran = c.exec("e", ["mkdir", "/tmp/made-by-exec"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let states = states(&agent, 2);
    assert_eq!(states.len(), 2);
    let of_exec = states[1]["pid"].clone();
    assert_ne!(of_exec, json!(pid));
    assert_eq!(states[1], told(&of_exec, "running"));
    was_asked(&agent, MKDIR, &["/tmp/made", "/tmp/made-by-exec"]);
    let last = agent.asked().pop().unwrap();
    assert_eq!(last, format!("{of_exec} {MKDIR} /tmp/made-by-exec"));
}

#[test]
fn every_other_call_of_the_way_to_the_program_may_be_asked_about() {
    // All that init does between filter and program, but for the write that tells of the listener.
    let calls = [
        "read",
        "close",
        "execve",
        "brk",
        "mmap",
        "munmap",
        "rt_sigaction",
        "rt_sigprocmask",
        "setresuid",
        "setuid",
        "setgroups",
        "capset",
        "prctl",
        "chdir",
        "getcwd",
        "openat",
        "fcntl",
    ];
    let plain = script("echo started").user(1000, 1000);
    for spec in with_late_and_early_filter(&plain) {
        let lab = Lab::new();
        let agent = Agent::start(lab.dir());
        let spec = asking(&spec, agent.socket(), &calls);
        let c = &mut lab.container(&spec);
        let ran = c.run_to_end();
        assert_eq!(
            (ran.status, ran.stdout.as_str()),
            (0, "started\n"),
            "{ran:?}"
        );
        eventually("execve of the program", || {
            let execs = paths(&agent, EXECVE);
            execs.iter().any(|path| path == "/bin/sh").then_some(())
        });
    }
}

#[test]
fn processes_of_a_user_namespace_are_asked_about_too() {
    for spec in with_late_and_early_filter(&script("mkdir /etc/made; exec sleep 600")) {
        let lab = Lab::new();
        let agent = Agent::start(lab.dir());
        let spec = asking(&spec, agent.socket(), &["mkdir"]).user_namespace(200_000, 65_536);
        let c = lab.container(&spec);
        chown(c.upper(), Some(200_000), Some(200_000)).unwrap();
        c.run();
        was_asked(&agent, MKDIR, &["/etc/made"]);
        let ran = c.exec("e", ["mkdir", "/etc/made-too"]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
        assert!(c.upper().join("etc/made-too").is_dir());
    }
}

/// Some directories only the user may enter, as on a file system that gives root no rights. The agent
/// stands in for one: it refuses the first attempt.
#[test]
fn working_directory_that_root_may_not_enter_is_entered_as_the_user() {
    for cwd in ["/eacces", "/eperm"] {
        let lab = Lab::new();
        let agent = Agent::start(lab.dir());
        let spec = script("pwd; exec sleep 600")
            .user(1000, 1000)
            .cwd(cwd)
            .set("/process/noNewPrivileges", false);
        let spec = asking(&spec, agent.socket(), &["chdir"]);
        let mut c = lab.container(&spec);
        c.run();
        assert_eq!(c.read_until("\n"), format!("{cwd}\n"));
        was_asked(&agent, CHDIR, &[cwd; 2]);
        let ran = c.exec("e", ["pwd"]);
        assert_eq!(ran.stdout, format!("{cwd}\n"), "{ran:?}");
        was_asked(&agent, CHDIR, &[cwd; 4]);
    }
}

#[test]
fn listener_is_not_passed_on() {
    let lab = Lab::new();
    let agent = Agent::start(lab.dir());
    let c = lab.container(&asking(
        &Spec::new(["sleep", "600"]),
        agent.socket(),
        &["mkdir"],
    ));
    let pid = c.run();
    for owner in [pid, c.shim_pid()] {
        let open = procfs::open_files(owner);
        let listeners = open.iter().filter(|file| file.contains("seccomp"));
        assert_eq!(listeners.count(), 0, "{open:?}");
    }
}

#[test]
fn all_flags_together() {
    let lab = Lab::new();
    let agent = Agent::start(lab.dir());
    let flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"];
    let flags = flags.map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}"));
    let spec = asking(&script("mkdir /tmp/made"), agent.socket(), &["mkdir"])
        .set("/linux/seccomp/flags", flags.to_vec());
    let ran = lab.container(&spec).run_to_end();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    was_asked(&agent, MKDIR, &["/tmp/made"]);
}

/// More than a socket takes at once.
#[test]
fn long_state_arrives_whole() {
    let lab = Lab::new();
    let agent = Agent::start(lab.dir());
    let long = "x".repeat(600_000);
    let spec = asking(&script("mkdir /tmp/made"), agent.socket(), &["mkdir"])
        .annotation("org.example.long", &long);
    let ran = lab.container(&spec).run_to_end();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let states = states(&agent, 1);
    assert_eq!(states[0]["state"]["annotations"]["org.example.long"], long);
}

/// Creates it twice; both must fail with one line that has these parts, and leave nothing.
#[track_caller]
fn refuses(lab: &Lab, spec: &Spec, parts: &[&str]) {
    let c = lab.container(spec);
    for _ in 0..2 {
        let error = c.try_create().unwrap_err();
        is_one_clear_line(error.message(), parts);
        assert_eq!(lab.events().of(&c.id), []);
        let mounts = procfs::mounts_naming(&c.bundle.rootfs().display().to_string());
        assert!(mounts.is_empty(), "{mounts:#?}");
    }
    c.reconfigure(&script("exit 4"));
    c.run();
    assert_eq!(c.wait(), 4);
}

#[test]
fn absent_agent_fails_the_create() {
    let lab = Lab::new();
    let socket = lab.dir().join("nobody.sock");
    for spec in with_late_and_early_filter(&script("true")) {
        let asks = asking(&spec, &socket, &["mkdir"]);
        let path = socket.to_str().unwrap();
        refuses(&lab, &asks, &["seccomp", "agent", path, "no such file"]);
    }
    // A file that is no socket, and a socket that nobody listens on.
    std::fs::write(&socket, "").unwrap();
    let asks = asking(&script("true"), &socket, &["mkdir"]);
    refuses(&lab, &asks, &["seccomp", "agent", "refused"]);
    std::fs::remove_file(&socket).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    refuses(&lab, &asks, &["seccomp", "agent", "refused"]);
}

#[test]
fn agent_that_is_gone_fails_the_exec_and_no_more() {
    let lab = Lab::new();
    let agent = Agent::start(lab.dir());
    let c = lab.container(&asking(
        &Spec::new(["sleep", "600"]),
        agent.socket(),
        &["mkdir"],
    ));
    c.run();
    drop(agent);
    let _stdio = c.add_exec("e", ["true"]);
    let error = c.try_start("e").unwrap_err();
    is_one_clear_line(error.message(), &["seccomp", "agent", "refused"]);
    eventually("launcher and init are left", || {
        (procfs::children(c.shim_pid()).len() == 2).then_some(())
    });
    // The container goes on, and so do execs once there is an agent again.
    std::fs::remove_file(lab.dir().join("agent.sock")).unwrap();
    let again = Agent::start(lab.dir());
    assert_eq!(c.exec("f", ["mkdir", "/tmp/made"]).status, 0);
    was_asked(&again, MKDIR, &["/tmp/made"]);
}

#[test]
fn agent_that_answers_nothing_does_not_keep_the_container_from_being_killed() {
    let lab = Lab::new();
    // Connections wait in the queue: the listener is never used.
    let socket = lab.dir().join("idle.sock");
    let _idle = UnixListener::bind(&socket).unwrap();
    let c = lab.container(&asking(
        &script("mkdir /tmp/x; exec sleep 600"),
        &socket,
        &["mkdir"],
    ));
    c.run();
    assert_eq!(c.kill_and_wait(), 137);
    c.delete().unwrap();
}

#[test]
fn profiles_that_would_wait_for_ever_are_refused() {
    let lab = Lab::new();
    let socket = lab.dir().join("nobody.sock");
    let write = asking(&script("true"), &socket, &["read", "write"]);
    refuses(
        &lab,
        &write,
        &["linux.seccomp.syscalls[0].names[1]", "write"],
    );
    let default = asking(&script("true"), &socket, &["mkdir"])
        .set("/linux/seccomp/defaultAction", "SCMP_ACT_NOTIFY");
    refuses(&lab, &default, &["linux.seccomp.defaultAction"]);
    let nobody = asking(&script("true"), &socket, &["mkdir"]).unset("/linux/seccomp/listenerPath");
    refuses(&lab, &nobody, &["linux.seccomp.listenerPath", "no agent"]);
}

#[test]
fn socket_of_an_agent_that_nobody_asks_is_not_even_looked_for() {
    let lab = Lab::new();
    let spec = asking(
        &script("mkdir /tmp/x"),
        Path::new("/no/such.sock"),
        &["mkdir"],
    )
    .set("/linux/seccomp/syscalls/0/action", "SCMP_ACT_ALLOW");
    assert_eq!(lab.container(&spec).run_to_end().status, 0);
}
