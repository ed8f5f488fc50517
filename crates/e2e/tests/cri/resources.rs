//! Limits and counters.

use std::path::Path;

use hull_e2e::cri::{Case, Container, ContainerConfig, Pod, PodConfig, on_each};
use hull_e2e::{Topic, cgroup, eventually};
use serde_json::{Value, json};

use crate::SERVER;

fn limit(pod: &Pod<'_>, c: &Container<'_>, controller: &str, v1: &str, v2: &str) -> String {
    let file = if cgroup::is_unified(controller) {
        v2
    } else {
        v1
    };
    let group = format!("{}/{}", pod.cgroup(), c.id());
    cgroup::read(controller, &group, file)
}

fn memory_limit(pod: &Pod<'_>, c: &Container<'_>) -> String {
    limit(pod, c, "memory", "memory.limit_in_bytes", "memory.max")
}

fn statistics(case: &Case, command: &str, id: &str) -> Value {
    let text = case.crictl(&[command, "--output", "json", "--id", id]).ok();
    serde_json::from_str::<Value>(&text).unwrap()["stats"][0].clone()
}

fn number(value: &Value) -> u64 {
    value["value"].as_str().unwrap_or("0").parse().unwrap()
}

#[test]
fn containers_and_pods_are_counted() {
    on_each(|case| {
        let pod = case.pod();
        let busy = "head -c 4000000 /dev/zero > /dev/shm/held; echo ready; \
                    trap 'exit 0' TERM; while :; do :; done";
        let c = pod.start(&ContainerConfig::shell(busy));
        c.wait_for("ready");
        eventually("the container's counters", || {
            let stats = statistics(case, "stats", c.id());
            let memory = number(&stats["memory"]["workingSetBytes"]);
            let cpu = number(&stats["cpu"]["usageCoreNanoSeconds"]);
            (memory >= 4_000_000 && cpu > 1_000_000).then_some(())
        });
        eventually("the pod's counters", || {
            let stats = statistics(case, "statsp", pod.id())["linux"].clone();
            let memory = number(&stats["memory"]["workingSetBytes"]);
            let processes = number(&stats["process"]["processCount"]);
            (memory >= 4_000_000 && processes >= 1).then_some(())
        });
    });
}

#[test]
fn limits_hold_and_are_changed_in_place() {
    on_each(|case| {
        let pod = case.pod();
        let resources = json!({
            "memory_limit_in_bytes": 67_108_864,
            "cpu_period": 100_000,
            "cpu_quota": 50_000,
            "cpu_shares": 256,
            "oom_score_adj": 900,
        });
        let config = ContainerConfig::shell(SERVER).set("/linux/resources", resources);
        let c = pod.start(&config);
        assert_eq!(memory_limit(&pod, &c), "67108864");
        let quota = || limit(&pod, &c, "cpu", "cpu.cfs_quota_us", "cpu.max");
        assert!(matches!(quota().as_str(), "50000" | "50000 100000"));
        assert_eq!(c.shell("cat /proc/1/oom_score_adj"), "900\n");
        let update = [
            ["update", "--memory", "134217728"].as_slice(),
            &["--cpu-quota", "70000", "--cpu-period", "100000", c.id()],
        ];
        case.crictl(&update.concat()).ok();
        assert_eq!(memory_limit(&pod, &c), "134217728");
        assert!(matches!(quota().as_str(), "70000" | "70000 100000"));
        let status = c.inspect()["status"]["resources"]["linux"].clone();
        // containerd 1.6 does not tell resources.
        if !status.is_null() {
            assert_eq!(status["memoryLimitInBytes"], "134217728");
        }
        assert_eq!(c.shell("echo still"), "still\n");
    });
}

#[test]
fn container_that_needs_too_much_memory_is_oom_killed() {
    on_each(|case| {
        let pod = case.pod();
        let limits = json!({ "memory_limit_in_bytes": 20_000_000 });
        let config = ContainerConfig::shell("exec tail /dev/zero");
        let c = pod.start(&config.clone().set("/linux/resources", limits.clone()));
        assert_eq!(c.wait(), (137, "OOMKilled".to_owned()));
        // A child of it, and the container ends by itself, soon after.
        let text = "tail /dev/zero; exit 4";
        let config = ContainerConfig::shell(text).set("/linux/resources", limits);
        let c = pod.start(&config.called("child", 0));
        assert_eq!(c.wait(), (4, "OOMKilled".to_owned()));
        let events = case.node().containerd().events();
        events.wait_for(Topic::Oom, c.id(), "");
    });
}

/// What the admission of a pod with `deploy/kubernetes/runtimeclass.yaml` tells the node.
#[test]
fn overhead_of_the_runtime_class_is_taken() {
    on_each(|case| {
        let overhead = crate::deploy::overhead();
        let config = PodConfig::new()
            .set(
                "/linux/overhead",
                json!({ "memory_limit_in_bytes": overhead, "cpu_shares": 2 }),
            )
            .set(
                "/linux/resources",
                json!({ "memory_limit_in_bytes": 33_554_432, "cpu_shares": 128 }),
            );
        let pod = case.pod_with(&config);
        let annotations = pod.inspect()["info"]["runtimeSpec"]["annotations"].clone();
        assert_eq!(
            annotations["io.kubernetes.cri.sandbox-memory"], "33554432",
            "{annotations}"
        );
        let c = pod.start(&ContainerConfig::shell("echo fine"));
        assert_eq!(c.output(), "fine\n");
    });
}

/// A kubelet gives a pod a cgroup with a limit, and its containers are below it.
#[test]
fn containers_are_in_the_cgroup_of_their_pod() {
    on_each(|case| {
        let pod = case.pod();
        let c = pod.start(&ContainerConfig::shell(SERVER));
        let expected = format!("{}/{}", pod.cgroup(), c.id());
        for controller in ["memory", "cpu", "pids"] {
            assert_eq!(cgroup::of_process(c.pid(), controller), expected);
            let place = cgroup::of_controller(controller).mount_point;
            assert!(place.join(Path::new(&expected[1..])).is_dir());
        }
        let of_pause = cgroup::of_process(pod.pid(), "memory");
        assert_eq!(of_pause, format!("{}/{}", pod.cgroup(), pod.id()));
    });
}
