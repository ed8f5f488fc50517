//! What a process in a container sees and may do. The default spec is ctr's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use hull_e2e::{Case, Image, Lab, Ran, Spec, Streams, procfs, target};

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

/// Runs it to its end in a world of its own.
fn run(spec: &Spec) -> Ran {
    let lab = Lab::new();
    let mut c = lab.container(spec);
    c.run_to_end()
}

/// What a script that must succeed prints.
#[track_caller]
fn print(spec: &Spec) -> String {
    let ran = run(spec);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    ran.stdout
}

#[test]
fn namespaces_are_its_own_where_asked_and_the_hosts_elsewhere() {
    let own = ["pid", "ipc", "uts", "mnt", "net"];
    let shared = ["user", "cgroup", "time"];
    let text = "for n in pid ipc uts mnt net user cgroup time; do readlink /proc/self/ns/$n; done";
    let seen = print(&script(text));
    for name in own {
        let host = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(
            !seen.contains(host.to_str().unwrap()),
            "{name} is the host's: {seen}"
        );
        assert!(seen.contains(&format!("{name}:[")), "{seen}");
    }
    for name in shared {
        let host = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(
            seen.contains(host.to_str().unwrap()),
            "{name} is not the host's: {seen}"
        );
    }
}

#[test]
fn cgroup_namespace_hides_the_path() {
    let seen = print(&script("cat /proc/self/cgroup").namespace("cgroup", None));
    for line in seen.lines() {
        let path = line.rsplit(':').next().unwrap();
        assert_eq!(path, "/", "{seen}");
    }
}

#[test]
fn init_is_pid_one_and_sees_only_its_own() {
    let seen = print(&script("echo $$; ls /proc | grep -c '^[0-9]'"));
    let numbers: Vec<u32> = seen.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers.first(), Some(&1));
    assert!(numbers.get(1).is_some_and(|count| *count <= 3), "{seen}");
}

#[test]
fn capabilities_are_exactly_those_of_the_spec() {
    // Docker's fourteen.
    let set = "00000000a80425fb";
    let seen = print(&script("cat /proc/self/status"));
    let field = |key| procfs::status_field(&seen, key).unwrap();
    for key in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(key), set, "{key}");
    }
    for key in ["CapInh", "CapAmb"] {
        assert_eq!(field(key), "0000000000000000", "{key}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Seccomp"), "0");
}

#[test]
fn exec_has_the_same_capabilities_and_none_inheritable() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    let seen = c.exec("e", ["cat", "/proc/self/status"]).stdout;
    let field = |key| procfs::status_field(&seen, key).unwrap();
    assert_eq!(field("CapEff"), "00000000a80425fb");
    assert_eq!(field("CapInh"), "0000000000000000");
    assert_eq!(field("NoNewPrivs"), "1");
}

#[test]
fn another_user_has_no_effective_capabilities() {
    let seen = print(&script("cat /proc/self/status").user(1000, 1000));
    let field = |key| procfs::status_field(&seen, key).unwrap();
    for key in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(field(key), "0000000000000000", "{key}");
    }
    assert_eq!(field("CapBnd"), "00000000a80425fb");
    assert_eq!(field("Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(field("Gid"), "1000\t1000\t1000\t1000");
}

/// A user's capabilities end with execve, which itself still has them, as under runc.
#[test]
fn capabilities_of_a_user_open_the_way_to_the_program() {
    let busybox = Image::Busybox.rootfs().join("bin/busybox");
    let spec = Spec::new(["/closed/busybox", "grep", "CapEff", "/proc/self/status"])
        .mount("tmpfs", Path::new("tmpfs"), "/closed", &["mode=700"])
        .mount("bind", &busybox, "/closed/busybox", &["bind", "ro"])
        .user(1000, 1000);
    assert_eq!(print(&spec), "CapEff:\t0000000000000000\n");

    let lab = Lab::new();
    let without = spec.set("/process/capabilities/effective", serde_json::json!([]));
    let refused = lab.container(&without).try_create().unwrap_err();
    let message = refused.message();
    assert!(message.contains("/closed/busybox"), "{message}");
    assert!(message.contains("permission denied"), "{message}");
}

#[test]
fn ambient_capability_survives_the_change_of_user() {
    let set = serde_json::json!(["CAP_NET_BIND_SERVICE"]);
    let spec = script("cat /proc/self/status").user(1000, 1000);
    let kinds = [
        "bounding",
        "effective",
        "permitted",
        "inheritable",
        "ambient",
    ];
    let spec = kinds.into_iter().fold(spec, |spec, kind| {
        spec.set(&format!("/process/capabilities/{kind}"), set.clone())
    });
    let seen = print(&spec);
    for key in ["CapPrm", "CapEff", "CapAmb", "CapInh", "CapBnd"] {
        assert_eq!(
            procfs::status_field(&seen, key),
            Some("0000000000000400"),
            "{key}"
        );
    }
}

#[test]
fn no_capabilities_object_means_no_capabilities() {
    if !target::is_hull() {
        eprintln!("runc keeps all of root's here: nothing is proved");
        return;
    }
    let seen = print(&script("cat /proc/self/status").unset("/process/capabilities"));
    for key in ["CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd"] {
        assert_eq!(
            procfs::status_field(&seen, key),
            Some("0000000000000000"),
            "{key}"
        );
    }
}

#[test]
fn no_new_privileges_is_on_or_off_as_the_spec_says() {
    for (wanted, shown) in [(false, "0"), (true, "1")] {
        let seen = print(&script("cat /proc/self/status").set("/process/noNewPrivileges", wanted));
        assert_eq!(procfs::status_field(&seen, "NoNewPrivs"), Some(shown));
    }
}

#[test]
fn init_has_three_descriptors() {
    let lab = Lab::new();
    let mut c = lab.container_with(&script("echo ready; sleep 600"), Streams::ALL);
    let pid = c.run();
    c.read_until("ready");
    let mut open: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"], "{:?}", procfs::descriptors(pid));
    let seen = c.exec("e", ["ls", "/proc/self/fd"]).stdout;
    // The fourth is ls's own, on the directory.
    assert_eq!(
        seen.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3"]
    );
}

#[test]
fn waiting_init_and_exec_leave_no_writable_host_binary_in_sight() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    let pid = c.create();
    // Before its exec the init is the runtime's binary: CVE-2019-5736.
    let exe = format!("/proc/{pid}/exe");
    let opened = fs::OpenOptions::new().write(true).open(&exe);
    let host = fs::metadata(target::shim_binary()).unwrap();
    let seen = fs::metadata(&exe).unwrap();
    let same_file = (host.dev(), host.ino()) == (seen.dev(), seen.ino());
    assert!(
        opened.is_err() && !same_file,
        "{exe}: {opened:?}, the host's file: {same_file}"
    );
}

#[test]
fn rlimits_are_set() {
    let spec = script("ulimit -n; ulimit -Hn; ulimit -c")
        .set("/process/rlimits/0/soft", 512)
        .set(
            "/process/rlimits/-",
            serde_json::json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0}),
        );
    assert_eq!(print(&spec), "512\n1024\n0\n");
}

#[test]
fn oom_score_adjustment_is_set() {
    let spec = script("cat /proc/self/oom_score_adj").set("/process/oomScoreAdj", 321);
    assert_eq!(print(&spec), "321\n");
}

/// Adds a name to the three sets that a program has by itself.
fn with_capability(spec: Spec, name: &str) -> Spec {
    ["bounding", "effective", "permitted"]
        .into_iter()
        .fold(spec, |spec, set| {
            spec.set(&format!("/process/capabilities/{set}/-"), name)
        })
}

#[test]
fn unknown_capability_is_ignored_with_a_warning() {
    let lab = Lab::new();
    let spec = with_capability(script("grep CapEff /proc/self/status"), "CAP_OF_THE_FUTURE");
    let mut c = lab.container(&spec);
    let ran = c.run_to_end();
    assert_eq!(ran.stdout, "CapEff:\t00000000a80425fb\n", "{ran:?}");
    let log = c.bundle.log();
    let line = format!(
        "level=warning msg=\"container {}: ignoring unknown capability \\\"CAP_OF_THE_FUTURE\\\"\"",
        c.id
    );
    assert_eq!(log.matches(&line).count(), 1, "{line}: {log}");
}

/// A shim that was started without a right has none to give.
#[test]
fn capability_that_the_shim_lacks_is_ignored_with_a_warning() {
    let lab = Lab::new();
    let binary = lab.dir().join("shim-without-sys-time");
    let real = target::shim_binary();
    let text = format!(
        "#!/bin/sh\nexec setpriv --bounding-set -sys_time {} \"$@\"\n",
        real.display()
    );
    fs::write(&binary, text).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let lab = lab.with_binary(&binary);
    let spec = with_capability(script("grep CapEff /proc/self/status"), "CAP_SYS_TIME");
    let mut c = lab.container(&spec);
    let ran = c.run_to_end();
    assert_eq!(ran.stdout, "CapEff:\t00000000a80425fb\n", "{ran:?}");
    let log = c.bundle.log();
    let line = "ignoring capability CAP_SYS_TIME: the shim does not have it";
    assert!(log.contains(line) && log.contains("level=warning"), "{log}");
}

#[test]
fn exec_has_the_umask_of_its_container_or_its_own() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]).set("/process/user/umask", 0o077));
    c.run();
    let mut process = c.spec.process(["sh", "-c", "umask"]);
    process["user"] = serde_json::json!({ "uid": 0, "gid": 0 });
    assert_eq!(c.exec_process("same", &process).stdout, "0077\n");
    process["user"]["umask"] = 0o002.into();
    assert_eq!(c.exec_process("own", &process).stdout, "0002\n");
}

/// The largest ids there are, which no file of the image knows.
#[test]
fn user_and_groups_that_nobody_knows() {
    const LAST: u32 = u32::MAX - 1;
    let groups = [LAST, 7, LAST - 1];
    let text = "id -u; id -g; grep ^Groups /proc/self/status; echo $HOME";
    let spec = script(text)
        .user(LAST, LAST - 1)
        .set("/process/user/additionalGids", groups.to_vec());
    let lab = Lab::new();
    let ran = lab.container(&spec.clone()).run_to_end();
    let want = format!("{LAST}\n{}\nGroups:\t7 {} {LAST} \n/\n", LAST - 1, LAST - 1);
    assert_eq!(ran.stdout, want, "{ran:?}");

    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    let mut process = c.spec.process(["sh", "-c", text]);
    process["user"] = spec.json()["process"]["user"].clone();
    assert_eq!(c.exec_process("e", &process).stdout, want);
}

/// Entered before the user changes, whose rights would not do.
#[test]
fn working_directory_that_only_root_may_enter() {
    let spec = script("pwd; ls; echo $?").user(1000, 1000).cwd("/root");
    let ran = run(&spec);
    assert_eq!(ran.stdout, "/root\n1\n", "{ran:?}");
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]).user(1000, 1000));
    c.run();
    let mut process = c.spec.process(["pwd"]);
    process["cwd"] = "/root".into();
    assert_eq!(c.exec_process("e", &process).stdout, "/root\n");
}

#[test]
fn working_directory_that_is_made_is_roots_and_for_all() {
    let text = "pwd; stat -c '%u:%g %a' /made /made/here";
    let spec = script(text)
        .user(1000, 1000)
        .cwd("/made/here")
        .set("/process/user/umask", 0o077);
    assert_eq!(print(&spec), "/made/here\n0:0 755\n0:0 755\n");
}

#[test]
fn umask_is_022_unless_set() {
    assert_eq!(print(&script("umask")), "0022\n");
    assert_eq!(
        print(&script("umask").set("/process/user/umask", 0o027)),
        "0027\n"
    );
}

#[test]
fn supplementary_groups_are_exactly_those_of_the_spec() {
    let spec = script("id -G")
        .user(5, 6)
        .set("/process/user/additionalGids", vec![7, 8]);
    assert_eq!(print(&spec), "6 7 8\n");
    assert_eq!(
        print(&script("cat /proc/self/status | grep Groups")).trim(),
        "Groups:"
    );
}

#[test]
fn sysctl_of_its_own_namespaces_is_set() {
    let sysctl = serde_json::json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "4321" });
    let spec = script("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax")
        .set("/linux/sysctl", sysctl);
    assert_eq!(print(&spec), "1\n4321\n");
}

#[test]
fn sysctl_that_resets_others_comes_before_them() {
    let one = "net/ipv4/conf/lo/forwarding";
    let sysctl = serde_json::json!({ "net.ipv4.ip_forward": "1", one: "0" });
    let spec = script(&format!(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/{one}"
    ))
    .set("/linux/sysctl", sysctl);
    assert_eq!(print(&spec), "1\n0\n");
}

#[test]
fn hostname_and_domain_are_its_own() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(
        print(&script("hostname").set("/hostname", "ship")),
        "ship\n"
    );
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
        host
    );
}

#[test]
fn network_namespace_is_joined_by_path() {
    let lab = Lab::new();
    let holder = lab.container(&Spec::new(["sleep", "600"]));
    let pid = holder.run();
    let path = format!("/proc/{pid}/ns/net");
    let spec = script("readlink /proc/self/ns/net").namespace("network", Some(Path::new(&path)));
    let mut joined = lab.container(&spec);
    let expected = fs::read_link(&path).unwrap();
    assert_eq!(
        joined.run_to_end().stdout.trim(),
        expected.to_str().unwrap()
    );
}

#[test]
fn pid_namespace_is_joined_by_path() {
    let lab = Lab::new();
    let holder = lab.container(&Spec::new(["sleep", "600"]));
    let pid = holder.run();
    let path = format!("/proc/{pid}/ns/pid");
    let spec = script("readlink /proc/self/ns/pid; tr '\\0' ' ' </proc/1/cmdline")
        .namespace("pid", Some(Path::new(&path)));
    let mut joined = lab.container(&spec);
    let seen = joined.run_to_end().stdout;
    let expected = fs::read_link(&path).unwrap();
    assert_eq!(seen, format!("{}\nsleep 600 ", expected.display()));
}

#[test]
fn own_network_has_only_a_loopback_which_is_up() {
    let seen = print(&script("ls /sys/class/net; cat /sys/class/net/lo/flags"));
    // IFF_LOOPBACK and IFF_UP.
    assert_eq!(seen, "lo\n0x9\n");
}

#[test]
fn session_is_its_own() {
    // Fields 5 to 7 of stat: process group, session, terminal.
    assert_eq!(print(&script("cut -d ' ' -f 5-7 /proc/1/stat")), "1 1 0\n");
}

#[test]
fn no_signal_is_blocked_or_ignored() {
    let seen = print(&Spec::new(["cat", "/proc/self/status"]));
    for key in ["SigBlk", "SigIgn"] {
        // The two that the C library keeps to itself (32 and 33) are no exception.
        assert_eq!(
            procfs::status_field(&seen, key),
            Some("0000000000000000"),
            "{key}"
        );
    }
}

#[test]
fn environment_holds_only_what_the_spec_gives() {
    let seen = print(&Spec::new(["env"]).env("ONE", "1"));
    let mut lines: Vec<&str> = seen.lines().collect();
    lines.sort_unstable();
    let allowed = ["HOME=/root", "ONE=1"];
    lines.retain(|line| !line.starts_with("PATH="));
    assert!(lines.iter().all(|line| allowed.contains(line)), "{seen}");
    assert!(lines.contains(&"ONE=1"), "{seen}");
}

#[test]
fn default_seccomp_profile_is_on_and_refuses() {
    let case = Case::new();
    let status = case.run(&["--seccomp"], &["cat", "/proc/self/status"]).ok();
    assert_eq!(procfs::status_field(&status, "Seccomp"), Some("2"));
    // A user namespace needs no capability: only the filter refuses it.
    let out = case.run(&["--seccomp"], &["unshare", "-U", "true"]);
    assert!(
        out.code != 0 && out.stderr.contains("not permitted"),
        "{}",
        out.stderr
    );
    case.run(&[], &["unshare", "-U", "true"]).expect(0);
    assert_eq!(
        case.run(&["--seccomp"], &["sh", "-c", "echo fine"]).ok(),
        "fine\n"
    );
}

#[test]
fn seccomp_rule_of_the_spec_gives_its_errno() {
    let seccomp = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }],
    });
    let ran = run(&script("touch /tmp/fine && mkdir /tmp/d").set("/linux/seccomp", seccomp));
    assert!(
        ran.status == 1 && ran.stderr.contains("No space left on device"),
        "{ran:?}"
    );
}

#[test]
fn exec_is_under_the_same_seccomp_filter() {
    let seccomp = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }],
    });
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]).set("/linux/seccomp", seccomp));
    c.run();
    let ran = c.exec("e", ["mkdir", "/tmp/d"]);
    assert!(
        ran.status == 1 && ran.stderr.contains("No space left on device"),
        "{ran:?}"
    );
}
