//! Which namespaces are whose.

use std::fs;

use hull_e2e::cri::{ContainerConfig, Mode, PodConfig, on_each};
use hull_e2e::eventually;

use crate::SERVER;

fn of_process(pid: u32, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    link.display().to_string()
}

#[test]
fn containers_share_what_is_the_pods_and_have_the_rest_alone() {
    on_each(|case| {
        let pod = case.pod();
        let one = pod.start(&ContainerConfig::shell(SERVER).called("one", 0));
        let other = pod.start(&ContainerConfig::shell(SERVER).called("other", 0));
        let own = std::process::id();
        for kind in ["net", "ipc", "uts"] {
            let of_pod = of_process(pod.pid(), kind);
            assert_eq!(of_process(one.pid(), kind), of_pod, "{kind}");
            assert_eq!(of_process(other.pid(), kind), of_pod, "{kind}");
            assert_ne!(of_process(own, kind), of_pod, "{kind}");
        }
        for kind in ["mnt", "pid"] {
            let all = [pod.pid(), one.pid(), other.pid(), own].map(|pid| of_process(pid, kind));
            for (at, this) in all.iter().enumerate() {
                assert!(!all[at + 1..].contains(this), "{kind}: {all:?}");
            }
        }
        one.shell("echo mine > /dev/shm/file; echo x > /only");
        assert_eq!(
            other.shell("cat /dev/shm/file; ls /only 2>&1 | wc -l"),
            "mine\n1\n"
        );
        assert!(!other.exec(&["test", "-e", "/only"]).text().contains('x'));
    });
}

#[test]
fn shared_pid_namespace_has_the_pause_process_first_and_it_reaps() {
    on_each(|case| {
        let config = PodConfig::new().namespaces(Mode::Pod, Mode::Pod, Mode::Pod);
        let pod = case.pod_with(&config);
        let config = ContainerConfig::shell(SERVER).namespaces(Mode::Pod, Mode::Pod, Mode::Pod);
        let one = pod.start(&config.clone().called("one", 0));
        let other = pod.start(&config.called("other", 0));
        assert_eq!(one.shell("cat /proc/1/cmdline | tr '\\0' ' '"), "/pause ");
        assert_eq!(of_process(other.pid(), "pid"), of_process(pod.pid(), "pid"));
        // An orphan whose parent is gone goes to the first process, and from there to nobody.
        one.shell("sh -c 'sleep 0.2 & exit 0'");
        eventually("the orphan is reaped", || {
            let list = other.shell("ps -o stat,args | grep -c '^Z' || true");
            (list == "0\n").then_some(())
        });
        // The end of one container leaves no process of it to the other.
        one.shell("sh -c 'setsid sleep 765 > /dev/null 2>&1 &'");
        assert!(other.shell("ps -o args").contains("sleep 765"));
        one.stop(30);
        one.wait();
        eventually("nothing of the stopped container is left", || {
            (!other.shell("ps -o args").contains("sleep 765")).then_some(())
        });
        assert_eq!(other.shell("echo still"), "still\n");
    });
}

/// What an ephemeral container of `kubectl debug --target` is.
#[test]
fn container_joins_the_processes_of_another_one() {
    on_each(|case| {
        let pod = case.pod();
        let target = pod.start(&ContainerConfig::shell(SERVER).called("target", 0));
        let text = "cat /proc/1/cmdline | tr '\\0' ' '; ls /proc/1/root/made; echo ready";
        target.shell("touch /made");
        let config = ContainerConfig::shell(text)
            .called("debug", 0)
            .namespaces(Mode::Pod, Mode::Target, Mode::Pod)
            .security("namespace_options/target_id", target.id())
            .security("capabilities/add_capabilities", vec!["SYS_PTRACE"]);
        let debug = pod.start(&config);
        let seen = debug.output();
        assert!(
            seen.starts_with("sh -c trap") && seen.contains("/proc/1/root/made"),
            "{seen}"
        );
        assert_eq!(target.shell("echo still"), "still\n");
    });
}

#[test]
fn hosts_namespaces_are_the_nodes() {
    on_each(|case| {
        // The first pod with an address makes the bridge.
        let _bridged = case.pod();
        let config = PodConfig::new()
            .namespaces(Mode::Node, Mode::Node, Mode::Node)
            .set("/hostname", "");
        let pod = case.pod_with(&config);
        let config = ContainerConfig::shell(SERVER).namespaces(Mode::Node, Mode::Node, Mode::Node);
        let c = pod.start(&config);
        let containerd = case.node().containerd().pid().unwrap();
        for kind in ["net", "pid", "ipc", "uts"] {
            let expected = of_process(containerd, kind);
            assert_eq!(of_process(c.pid(), kind), expected, "{kind}");
            let inside = c.shell(&format!("readlink /proc/self/ns/{kind}"));
            assert_eq!(inside.trim(), expected, "{kind}");
        }
        let devices = c.shell("ls /sys/class/net");
        assert!(devices.contains("hull0"), "{devices}");
        // Its end leaves no process, though no PID namespace ends with it.
        c.shell("setsid sleep 876 > /dev/null 2>&1 &");
        c.stop(30);
        c.wait();
        eventually("nothing of it is left", || {
            hull_e2e::procfs::processes_naming(c.id())
                .is_empty()
                .then_some(())
        });
    });
}
