//! The text of plans, and what is refused.

use super::source::Source;
use super::{PlanArgs, bpf, decide, text};
use crate::layout::Screen;
use hull_abi::{CgroupPaths, SockFilter, V1Path};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn args() -> PlanArgs {
    PlanArgs {
        config: PathBuf::from("-"),
        json: false,
        seccomp: false,
        id: None,
        namespace: "default".to_owned(),
    }
}

fn config() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "hostname": "box",
        "root": { "path": "rootfs", "readonly": true },
        "process": {
            "args": ["sh", "-c", "echo 'a b' \u{1b}[2J"],
            "cwd": "/tmp",
            "env": ["A=b c"],
            "user": { "uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 18 },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 10, "hard": u64::MAX }],
            "oomScoreAdj": 3,
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc",
              "options": ["nosuid", "noexec"] },
            { "destination": "/data", "source": "/srv", "options": ["rbind", "rro", "rslave"] },
        ],
        "hooks": { "poststop": [{ "path": "/bin/hook", "args": ["hook", "x y"], "timeout": 5 }] },
        "linux": {
            "cgroupsPath": "/a/b",
            "namespaces": [
                { "type": "mount" }, { "type": "pid" }, { "type": "uts" },
                { "type": "network", "path": "/proc/9/ns/net" },
            ],
            "maskedPaths": ["/proc/kcore"],
            "sysctl": { "kernel.domainname": "x" },
            "resources": {
                "memory": { "limit": 134_217_728, "swap": -1 },
                "cpu": { "quota": 150_000, "period": 100_000, "cpus": "0-1" },
                "pids": { "limit": 32 },
            },
        },
    })
}

fn source(config: &str) -> Source {
    Source {
        bytes: config.as_bytes().to_vec(),
        bundle: PathBuf::from("/run/bundles/web"),
    }
}

/// The text of a config, with a cgroup that does not depend on this machine.
fn rendered(config: &Value) -> String {
    let mut decided = decide(&args(), &source(&config.to_string())).unwrap();
    decided.cgroup = Ok(CgroupPaths {
        scope: None,
        unified: Some("/cg/a/b".to_owned()),
        v1: vec![V1Path {
            controllers: vec!["cpu".to_owned(), "cpuacct".to_owned()],
            path: "/cg1/a/b".to_owned(),
            mount: "/cg1".to_owned(),
        }],
    });
    text::render(&decided, &Screen::plain(None))
}

#[test]
fn a_plan_is_told_in_the_order_of_its_steps() {
    let want = r#"container        web
bundle           /run/bundles/web
cgroup           /a/b
                 unified      /cg/a/b
                 cpu,cpuacct  /cg1/a/b
limits           memory         128 MiB (134217728)
                 memory + swap  no limit
                 CPU time       1.5 CPUs (150000 of every 100000 µs)
                 CPUs           0-1
                 tasks          at most 32
"#;
    let text = rendered(&config());
    assert!(text.starts_with(want), "{text}");
    let want = r#"namespaces       new         mount, pid, uts
                 the host's  ipc, cgroup, user, time
                 joined      network /proc/9/ns/net
root             /run/bundles/web/rootfs, read-only, by pivot_root
mounts           /proc  proc   nosuid noexec
                 /data  rbind  /srv rro rslave
"#;
    assert!(text.contains(want), "{text}");
    let want = r#"names            host  box
sysctls          kernel/domainname  x
masked paths     /proc/kcore
resource limits  RLIMIT_NOFILE  10, at most unlimited
seccomp          no filter
user             uid:gid    7:8
                 umask      0022
                 groups     9 10
                 OOM score  3
capabilities     bounding, effective, permitted, inheritable, ambient: none
                 execve may grant more by set-user-id and file capabilities
program          arguments  sh -c "echo 'a b' \u{1b}[2J"
                 directory  /tmp
                 terminal   none
                 runs as    native or Wasm, by the first bytes of the program
environment      A=b c
poststop hooks   /bin/hook  hook "x y" (killed after 5 s)
"#;
    assert!(text.ends_with(want), "{text}");
}

#[test]
fn what_annotations_ask_of_wasm_is_told_where_it_differs() {
    assert!(!rendered(&config()).contains("\nWasm "));
    let mut config = config();
    let annotation = |name: &str| format!("io.containerd.hull.wasm.{name}");
    config["annotations"] = json!({
        annotation("world"): "http",
        annotation("preopens"): "/data=/d:ro;/tmp",
        annotation("net"): "10.0.0.0/8:443,db",
        annotation("timeout"): "90s",
        annotation("max-memory"): "64Mi",
        annotation("http.request-timeout"): "1500ms",
    });
    let want = r#"Wasm             world          server of HTTP requests
                 directories    /data as /d read-only, /tmp
                 network        only 10.0.0.0/8 port 443, db
                 ends after     90 s
                 linear memory  64 MiB (67108864)
                 answer within  1500 ms
"#;
    let text = rendered(&config);
    assert!(text.contains(want), "{text}");
}

#[test]
fn network_devices_and_propagation_are_told_in_the_words_of_the_spec() {
    let mut config = config();
    config["linux"]["netDevices"] = json!({ "eth1": { "name": "eth0" }, "wg0": {} });
    config["linux"]["rootfsPropagation"] = json!("rshared");
    let text = rendered(&config);
    let want = "network devices  eth1  as eth0\n                 wg0\n";
    assert!(text.contains(want), "{text}");
    assert!(text.contains(", by pivot_root, then rshared\n"), "{text}");
}

#[test]
fn capabilities_have_names_and_equal_sets_share_a_line() {
    let mut config = config();
    config["process"]["capabilities"] = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_KILL"],
        "permitted": ["CAP_KILL"],
    });
    let text = rendered(&config);
    assert!(text.contains("bounding: CHOWN KILL\n"), "{text}");
    assert!(text.contains("effective, permitted: KILL\n"), "{text}");
    assert!(text.contains("inheritable, ambient: none\n"), "{text}");
}

#[test]
fn users_clocks_and_owners_are_told() {
    let mut config = config();
    config["process"]["user"] = json!({ "uid": 7, "gid": 8 });
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.extend([json!({ "type": "user" }), json!({ "type": "time" })]);
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": -5, "nanosecs": 7 } });
    config["mounts"][1]["options"] = json!(["rbind", "ridmap"]);
    let text = rendered(&config);
    for line in [
        "new         mount, pid, uts, user, time\n",
        "uids        0-65535 are the host's 100000-165535\n",
        "gids        0-65535 are the host's 100000-165535\n",
        "boottime    -5 s 7 ns\n",
        "/data  rbind  /srv ridmap\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn scheduling_is_told_where_there_is_something_to_tell() {
    let mut config = config();
    config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": -3 });
    config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 5 });
    config["process"]["execCPUAffinity"] = json!({ "initial": "0", "final": "1-2" });
    config["linux"]["personality"] = json!({ "domain": "LINUX32" });
    config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0,2" });
    let want = "\
scheduling       scheduler            SCHED_BATCH, nice -3
                 I/O priority         best effort, level 5
                 personality          Linux on a 32-bit machine
                 memory               MPOL_BIND, nodes 0,2
                 processors of execs  0 before they are in the cgroup
                 processors of execs  1-2 from then on
";
    let text = rendered(&config);
    assert!(text.contains(want), "{text}");
}

#[test]
fn an_agent_is_named() {
    let mut config = config();
    config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/run/agent.sock",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
    });
    let text = rendered(&config);
    let want = "flags SPEC_ALLOW NEW_LISTENER, asks the agent at /run/agent.sock\n";
    assert!(text.contains(want), "{text}");
}

#[test]
fn a_filter_is_listed_with_its_jumps() {
    let mut config = config();
    config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ALLOW" }],
    });
    let text = rendered(&config);
    let line = "instructions, default action SCMP_ACT_ERRNO, flags LOG\n";
    assert!(text.contains(line), "{text}");
    let decided = decide(&args(), &source(&config.to_string())).unwrap();
    let mut filter = decided.plan.process.seccomp.unwrap();
    let listing = bpf::listing(&filter);
    let start = "\nseccomp filter:\n    0  load architecture\n    1  if == 0xc000003e then ";
    assert!(listing.starts_with(start), "{listing}");
    for part in [
        "load call number",
        "return ALLOW",
        "return ERRNO EPERM",
        "return KILL_THREAD",
    ] {
        assert!(listing.contains(part), "{part}: {listing}");
    }
    // Every jump leads to an instruction that there is.
    let last = filter.program.len() - 1;
    for line in listing.lines().filter(|line| line.contains(" then ")) {
        let targets = line
            .split(' ')
            .filter_map(|word| word.parse::<usize>().ok());
        assert!(
            targets.clone().count() >= 2 && targets.max() <= Some(last),
            "{line}"
        );
    }
    let instruction = |code, k| SockFilter {
        code,
        jt: 1,
        jf: 2,
        k,
    };
    filter.program = vec![
        instruction(0x20, 36),
        instruction(0x05, 7),
        instruction(0x45, 4),
        instruction(0x06, 0x7ff0_0001),
        instruction(0x06, 0x0005_0fff),
        instruction(0x99, 5),
    ];
    let want = "\nseccomp filter:
    0  load argument 2, high half
    1  go to 9
    2  if has bits of 0x4 then 4 else 5
    3  return TRACE 1
    4  return ERRNO 4095
    5  code 0x0099 1 2 0x5
";
    assert_eq!(bpf::listing(&filter), want);
}

#[test]
fn what_the_shim_would_refuse_is_refused_in_its_words() {
    let mut config = config();
    config["linux"]["namespaces"] = json!([{ "type": "user" }]);
    let error = decide(&args(), &source(&config.to_string())).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("plan \"-\": invalid config: linux.namespaces"),
        "{text}"
    );
    let error = decide(&args(), &source("{\n  \"root\": }")).unwrap_err();
    assert!(
        error.to_string().ends_with("at line 2 column 11"),
        "{error}"
    );
    let mut config = self::config();
    config["linux"]["cgroupsPath"] = json!(format!("/{}", "x".repeat(300)));
    let error = decide(&args(), &source(&config.to_string())).unwrap_err();
    assert!(
        error.to_string().ends_with("has too long a component"),
        "{error}"
    );
}

#[test]
fn the_bundle_names_the_container() {
    let mut source = source("{}");
    assert_eq!(source.id().unwrap().as_str(), "web");
    for bundle in ["/", "/run/a b"] {
        source.bundle = PathBuf::from(bundle);
        assert_eq!(source.id().unwrap().as_str(), "container");
    }
    let missing = Source::read(Path::new("/nowhere/bundle")).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "plan \"/nowhere/bundle\": No such file or directory"
    );
}
