//! The process that holds a pod's namespaces has nothing that a container of the pod could want.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use hull_e2e::sandbox::namespaces;
use hull_e2e::{Lab, Sandbox, cgroup, eventually, procfs};
use hull_proto::cri::{NamespaceMode, PodSandboxConfig};
use protobuf::EnumOrUnknown;

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap()
}

/// Starts the pod. The holder's first instructions run beside the answer.
fn run(pod: &Sandbox<'_>, config: &PodSandboxConfig) -> u32 {
    let pid = pod.run(config);
    eventually("it waits", || {
        let filtered = procfs::field(pid, "Seccomp")? == "2";
        let sleeps = procfs::field(pid, "State")?.starts_with('S');
        (filtered && sleeps).then_some(pid)
    })
}

#[test]
fn it_has_no_rights() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let pid = run(&pod, &pod.config());
    let status = read(pid, "status");
    let field = |key: &str| procfs::status_field(&status, key).unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    // What it allows: `hull_sys::holder`.
    assert_eq!(field("Seccomp"), "2");
    assert_eq!(field("Uid"), "65535\t65535\t65535\t65535");
    assert_eq!(field("Gid"), "65535\t65535\t65535\t65535");
    assert_eq!(field("Groups").trim(), "");
    // Not dumpable: what shows its inside in /proc is root's.
    assert_eq!(fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid(), 0);
    let group = cgroup::of_process(pid, "pids");
    assert_eq!(group, pod.cgroup());
}

#[test]
fn it_has_nothing_of_the_host() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let pid = run(&pod, &pod.config());
    assert_eq!(procfs::descriptors(pid), Vec::<String>::new());
    // One mount, the root, read-only and empty.
    let mounts = read(pid, "mountinfo");
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    let words: Vec<&str> = mounts.split(' ').collect();
    assert_eq!(words[4], "/");
    assert!(words[5].split(',').any(|word| word == "ro"), "{mounts}");
    let root = format!("/proc/{pid}/root/");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    assert!(fs::write(format!("{root}x"), "").is_err());
    // No file of the host is its program, and nobody can write to it.
    let exe = format!("/proc/{pid}/exe");
    assert!(
        fs::read_link(&exe)
            .unwrap()
            .starts_with("/memfd:hull-holder (deleted)")
    );
    assert!(fs::File::options().append(true).open(&exe).is_err());
    assert_eq!(read(pid, "environ"), "");
}

#[test]
fn it_costs_a_few_pages() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let pid = run(&pod, &pod.config());
    let rollup = read(pid, "smaps_rollup");
    let kib: u64 = procfs::status_field(&rollup, "Rss")
        .unwrap()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .unwrap();
    assert!(kib <= 32, "{rollup}");
    assert_eq!(
        fs::read_dir(format!("/proc/{pid}/task")).unwrap().count(),
        1
    );
}

/// Where the pod shares a PID namespace, its containers see the holder as process 1.
#[test]
fn neighbours_can_neither_look_into_it_nor_kill_it() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let mut config = pod.config();
    namespaces(&mut config).pid = EnumOrUnknown::new(NamespaceMode::POD);
    let pid = run(&pod, &config);
    let probe = "for file in environ mem maps root fd cwd exe; do \
                 [ -n \"$(ls /proc/1/$file/ 2>/dev/null)\" ] && echo ls $file; \
                 [ -n \"$(head -c 9 /proc/1/$file 2>/dev/null)\" ] && echo cat $file; \
                 [ -n \"$(readlink /proc/1/$file)\" ] && echo link $file; done; \
                 readlink /proc/1/ns/net; \
                 for signal in KILL STOP SEGV TERM INT CHLD HUP; do kill -$signal 1; done; cat /proc/1/comm; echo done";
    for uid in [0, 65_535] {
        let spec = pod.member(pid, &[("pid", "pid")], ["sh", "-c", probe]);
        let mut c = lab.container(&spec.user(uid, uid));
        let ran = c.run_to_end();
        let seen: Vec<&str> = ran.stdout.lines().collect();
        // Nothing of it but its name.
        assert_eq!(seen.len(), 2, "uid {uid}: {ran:?}");
        assert!(seen[0].contains("hull-sandbox"), "uid {uid}: {ran:?}");
    }
    assert!(!procfs::has_ended(pid));
    let state = procfs::field(pid, "State").unwrap();
    assert!(state.starts_with('S'), "{state}");
    assert_eq!(pod.status().unwrap().state, "SANDBOX_READY");
}

#[test]
fn it_reaps_what_is_left_to_it_and_ends_at_nothing_but_sigkill() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let mut config = pod.config();
    namespaces(&mut config).pid = EnumOrUnknown::new(NamespaceMode::POD);
    let pid = run(&pod, &config);
    // Orphans that outlive the process that made them, until nobody can write any more. They are given
    // the pipe open: who opens it by name after the last writer has gone would wait for ever.
    let text = "mkfifo /f; exec 3<>/f 4</f; \
                for i in 1 2 3 4 5; do (cat <&4 >/dev/null 3>&- &); done; \
                grep -l '^PPid:.1$' /proc/[0-9]*/status | wc -l; exec 3>&- 4<&-; exec sleep 600";
    let spec = pod.member(pid, &[("pid", "pid")], ["sh", "-c", text]);
    let mut c = lab.container(&spec);
    c.run();
    let orphans: u32 = c.read_until("\n").trim().parse().unwrap();
    assert!(orphans >= 5, "{orphans}");
    eventually("the orphans are reaped", || {
        procfs::children(pid).is_empty().then_some(())
    });
    let send = |signal| {
        let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
        nix::sys::signal::kill(pid, signal).unwrap();
    };
    send(nix::sys::signal::Signal::SIGTERM);
    send(nix::sys::signal::Signal::SIGINT);
    assert_eq!(c.exec("e", ["echo", "here"]).stdout, "here\n");
    send(nix::sys::signal::Signal::SIGKILL);
    assert_eq!(pod.wait().unwrap().exit_status, 137);
    // With process 1 the kernel ends all others of the namespace.
    assert_eq!(c.wait(), 137);
}

#[test]
fn it_is_among_the_last_to_be_killed_for_memory_where_that_may_be_asked() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let pid = run(&pod, &pod.config());
    let daemon = read(pod.shim_pid(), "status");
    let permitted = procfs::status_field(&daemon, "CapPrm").unwrap();
    let permitted = u64::from_str_radix(permitted, 16).unwrap();
    let expected = if permitted & (1 << 24) != 0 {
        "-998\n".to_owned()
    } else {
        read(pod.shim_pid(), "oom_score_adj")
    };
    assert_eq!(read(pid, "oom_score_adj"), expected);
}
