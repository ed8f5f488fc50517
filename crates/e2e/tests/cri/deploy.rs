//! The files below `deploy`: the nodes of these tests run with hull's part of containerd's configuration, and
//! here is what no node reads.

use hull_e2e::containerd::Release;
use hull_e2e::cri::config::{HULL_V2, HULL_V3};
use hull_e2e::cri::{PodConfig, on_each};
use hull_e2e::target;

const CLASS: &str = include_str!("../../../../deploy/kubernetes/runtimeclass.yaml");

/// What runtimeclass.yaml says of a key that is in it once.
fn value(key: &str) -> &'static str {
    let line = CLASS
        .lines()
        .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
    line.unwrap()
}

/// The memory of a pod's overhead, in bytes.
pub(crate) fn overhead() -> u64 {
    let memory = value("memory").trim_matches('"');
    let mebibytes: u64 = memory.strip_suffix("Mi").unwrap().parse().unwrap();
    mebibytes * 1024 * 1024
}

#[test]
fn runtime_class_names_the_table_of_the_configuration() {
    assert_eq!((value("kind"), value("handler")), ("RuntimeClass", "hull"));
    for (text, plugin) in [
        (HULL_V2, "io.containerd.grpc.v1.cri"),
        (HULL_V3, "io.containerd.cri.v1.runtime"),
    ] {
        let table = format!(
            "[plugins.\"{plugin}\".containerd.runtimes.{}]",
            value("handler")
        );
        assert!(text.contains(&table), "{table}");
        assert!(text.contains(&format!("runtime_type = {:?}", target::HULL)));
    }
}

#[test]
fn node_knows_the_handler_and_refuses_others() {
    on_each(|case| {
        let info = case.crictl(&["info"]).ok();
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        let runtime = &info["config"]["containerd"]["runtimes"]["hull"];
        assert_eq!(runtime["runtimeType"], target::HULL, "{runtime}");
        // What 2.x tells kubelets of a handler, it has from the shim itself.
        if case.node().release() == Release::Newest {
            let handlers = info["runtimeHandlers"].as_array().unwrap();
            let hull = handlers.iter().find(|one| one["name"] == "hull").unwrap();
            for feature in ["recursive_read_only_mounts", "user_namespaces"] {
                assert_eq!(hull["features"][feature], true, "{hull}");
            }
        }
        let pod = case.pod();
        let status = pod.inspect()["status"].clone();
        assert_eq!(status["runtimeHandler"], value("handler"));
        assert_eq!(status["state"], "SANDBOX_READY");
        let other = case.try_pod_of("other", &PodConfig::new());
        assert!(
            other.code != 0 && other.stderr.contains("no runtime for"),
            "{other:?}"
        );
    });
}
