//! containerd 2.x with `sandboxer = "shim"`, driven by crictl as the kubelet would. All of `cri` can run
//! like that: `HULL_E2E_SANDBOXER=yes cargo test -p hull-e2e --test cri` (what it says of pause containers
//! fails then).

use std::fs;

use hull_e2e::cri::{ContainerConfig, Mode, Pod, PodConfig, on_own_sandboxes, on_sandboxes};
use hull_e2e::{Image, cgroup, eventually, leaks, procfs};
use serde_json::json;

const SLEEP: &str = "echo ready; exec sleep 600";

fn state(pod: &Pod<'_>) -> String {
    let state = pod.inspect()["status"]["state"].clone();
    state.as_str().unwrap().to_owned()
}

#[test]
fn a_pod_runs_without_a_pause_image() {
    on_sandboxes(|case| {
        let config = PodConfig::new().set(
            "/dns_config",
            json!({ "servers": ["10.9.8.7"], "searches": ["a.svc"] }),
        );
        let pod = case.pod_with(&config);
        let shown = pod.inspect();
        assert_eq!(shown["status"]["state"], "SANDBOX_READY");
        assert_eq!(shown["info"]["processStatus"], "running");
        assert_eq!(shown["info"]["image"], "");
        let holder = pod.pid();
        assert!(procfs::command_line(holder).contains(pod.id()));

        let script = "hostname; cat /etc/hostname /etc/resolv.conf; grep -c localhost /etc/hosts; \
                      grep ' /dev/shm ' /proc/mounts; readlink /proc/self/ns/ipc; \
                      ip addr show eth0 | grep inet; echo ready; exec sleep 600";
        let start = |name| pod.start(&ContainerConfig::shell(script).called(name, 0));
        let (first, second) = (start("first"), start("second"));
        let seen = first.wait_for("ready");
        let ipc = fs::read_link(format!("/proc/{holder}/ns/ipc")).unwrap();
        for expected in [
            "pod\npod\n",
            "nameserver 10.9.8.7",
            "search a.svc",
            "shm /dev/shm tmpfs",
            ipc.to_str().unwrap(),
            &pod.address(),
        ] {
            assert!(seen.contains(expected), "{expected}: {seen}");
        }
        assert_eq!(second.wait_for("ready"), seen);
        first.shell("echo hello >/dev/shm/x");
        assert_eq!(second.shell("cat /dev/shm/x"), "hello\n");
        // One daemon for all of them.
        let parent = |pid| procfs::parent(pid).unwrap();
        assert_eq!(parent(first.pid()), parent(holder));

        first.stop(1);
        assert_eq!(state(&pod), "SANDBOX_READY");
        pod.stop();
        assert_eq!(state(&pod), "SANDBOX_NOTREADY");
        assert_eq!(second.inspect()["status"]["state"], "CONTAINER_EXITED");
        let (id, group) = (pod.id().to_owned(), pod.cgroup());
        pod.remove();
        assert!(procfs::has_ended(holder));
        assert!(cgroup::directories_naming(&format!("{group}/{id}")).is_empty());
    });
}

#[test]
fn native_and_wasm_reach_each_other_in_a_pod() {
    on_sandboxes(|case| {
        let pod = case.pod();
        let native = pod.start(&ContainerConfig::shell(SLEEP).called("native", 0));
        native.wait_for("ready");
        let wasm = ContainerConfig::new(Image::Wasm, ["/wasm/hello.wasm"]).called("wasm", 0);
        assert!(!pod.start(&wasm).output().is_empty());
        assert_eq!(native.shell("hostname"), "pod\n");
    });
}

#[test]
fn a_pod_with_a_shared_pid_namespace_has_the_holder_as_process_1() {
    on_sandboxes(|case| {
        let (network, ipc) = (Mode::Pod, Mode::Pod);
        let pod = case.pod_with(&PodConfig::new().namespaces(network, Mode::Pod, ipc));
        let script = "cat /proc/1/comm; [ $$ != 1 ] && echo other";
        let container = ContainerConfig::shell(script).namespaces(network, Mode::Pod, ipc);
        assert_eq!(pod.start(&container).output(), "hull-sandbox\nother\n");
    });
}

/// With a network of CNI's in a user namespace of containerd's making.
#[test]
fn root_of_a_pod_of_users_is_nobody_on_the_host() {
    on_sandboxes(|case| {
        let map = json!([{ "host_id": 300_000, "container_id": 0, "length": 65_536 }]);
        let users = json!({ "mode": 0, "uids": map, "gids": map });
        let option = "/linux/security_context/namespace_options/userns_options";
        let pod = case.pod_with(&PodConfig::new().set(option, users.clone()));
        let uid = |pid| procfs::field(pid, "Uid").unwrap();
        assert!(uid(pod.pid()).starts_with("365535\t"));
        let c = pod.start(&ContainerConfig::shell(SLEEP).set(option, users));
        c.wait_for("ready");
        assert!(uid(c.pid()).starts_with("300000\t"));
        assert_eq!(
            c.shell("id -u; touch /etc/hostname /made && echo may"),
            "0\nmay\n"
        );
    });
}

#[test]
fn a_dead_holder_ends_the_pod_and_a_dead_daemon_everything() {
    on_sandboxes(|case| {
        let not_ready = |pod: &Pod<'_>| {
            eventually("the pod is not ready", || {
                // Until containerd knows of the death of a daemon it says that it cannot ask.
                let shown = case.crictl(&["inspectp", pod.id()]);
                shown.text().contains("SANDBOX_NOTREADY").then_some(())
            });
        };
        let pod = case.pod();
        leaks::kill(pod.pid());
        not_ready(&pod);
        // A kubelet makes a new one then.
        pod.remove();

        let pod = case.pod();
        let c = pod.start(&ContainerConfig::shell(SLEEP));
        c.wait_for("ready");
        let (holder, init) = (pod.pid(), c.pid());
        case.expect_lost_events();
        leaks::kill(procfs::parent(holder).unwrap());
        eventually("all is gone", || {
            (procfs::has_ended(holder) && procfs::has_ended(init)).then_some(())
        });
        not_ready(&pod);
        assert_eq!(c.wait().0, 255);
    });
}

#[test]
fn pods_outlive_containerd_and_what_dies_meanwhile_is_known_afterwards() {
    on_own_sandboxes(|case| {
        let (pod, other) = (case.pod(), case.pod());
        let c = pod.start(&ContainerConfig::shell(SLEEP));
        c.wait_for("ready");
        let (holder, of_other) = (pod.pid(), other.pid());
        let daemon = procfs::parent(holder).unwrap();
        case.node().restart(|| leaks::kill(of_other));
        assert_eq!((state(&pod).as_str(), pod.pid()), ("SANDBOX_READY", holder));
        assert_eq!(state(&other), "SANDBOX_NOTREADY");
        assert_eq!(c.shell("echo works"), "works\n");
        let new = pod.start(&ContainerConfig::shell("hostname").called("new", 0));
        assert_eq!(new.output(), "pod\n");
        other.remove();
        case.node().restart(|| leaks::kill(daemon));
        assert_eq!(state(&pod), "SANDBOX_NOTREADY");
        eventually("all is gone", || procfs::has_ended(holder).then_some(()));
        pod.remove();
    });
}
