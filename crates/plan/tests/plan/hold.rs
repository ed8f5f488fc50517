//! Pods without a pause image.

use hull_abi::{CapabilitySets, ContainerId, IdMaps, IdRange, NamespaceKind, Payload, Plan};
use hull_plan::{Host, Invalid, PodInputs, PodNetwork, PodUsers, lower_pod};

const HOST: Host = Host {
    last_capability: 40,
    grantable_capabilities: (1 << 41) - 1,
    default_apparmor: false,
    selinux: false,
};

fn lower(change: impl FnOnce(&mut PodInputs<'_>)) -> Result<Plan, Invalid> {
    lower_with(&[], change)
}

fn lower_with(
    sysctls: &[(String, String)],
    change: impl FnOnce(&mut PodInputs<'_>),
) -> Result<Plan, Invalid> {
    let id = ContainerId::parse("s1").unwrap();
    let mut inputs = PodInputs {
        id: &id,
        namespace: "k8s.io",
        bundle: "/b/s1",
        root: "/run/hull/empty",
        hostname: "pod",
        cgroup_parent: "/kubepods/pod1",
        network: PodNetwork::Joined("/run/netns/n"),
        host_pid: false,
        host_ipc: false,
        users: None,
        sysctls,
        oom_score_adj: Some(-998),
    };
    change(&mut inputs);
    lower_pod(&inputs, &HOST)
}

fn kinds(plan: &Plan) -> Vec<(NamespaceKind, Option<&str>)> {
    let all = plan.namespaces.iter();
    all.map(|n| (n.kind, n.path.as_deref())).collect()
}

#[test]
fn the_holder_of_a_pod_has_namespaces_and_nothing_else() {
    let plan = lower(|_| {}).unwrap();
    assert_eq!(
        kinds(&plan),
        [
            (NamespaceKind::Mount, None),
            (NamespaceKind::Cgroup, None),
            (NamespaceKind::Pid, None),
            (NamespaceKind::Ipc, None),
            (NamespaceKind::Network, Some("/run/netns/n")),
            (NamespaceKind::Uts, None),
        ]
    );
    assert_eq!(plan.process.payload, Payload::Hold);
    assert_eq!(plan.process.capabilities, CapabilitySets::default());
    assert!(plan.process.no_new_privileges && plan.root.readonly);
    assert_eq!(plan.process.user.uid, 65_535);
    assert_eq!(plan.process.oom_score_adj, Some(-998));
    assert!(plan.mounts.is_empty() && plan.devices.is_empty() && !plan.device_links);
    assert_eq!(plan.hostname.as_deref(), Some("pod"));
    assert_eq!(plan.cgroups_path, "/kubepods/pod1/s1");
    let sysctls: Vec<_> = plan.sysctls.iter().map(|s| s.path.as_str()).collect();
    assert_eq!(
        sysctls,
        [
            "net/ipv4/ip_unprivileged_port_start",
            "net/ipv4/ping_group_range"
        ]
    );
}

#[test]
fn what_a_pod_shares_with_the_host_is_left_alone() {
    let plan = lower(|pod| {
        pod.network = PodNetwork::Host;
        pod.host_pid = true;
        pod.host_ipc = true;
    })
    .unwrap();
    let own = [(NamespaceKind::Mount, None), (NamespaceKind::Cgroup, None)];
    assert_eq!(kinds(&plan), own);
    assert_eq!(plan.hostname, None);
    assert!(plan.sysctls.is_empty());
}

#[test]
fn a_pod_of_users_has_their_maps() {
    let range = IdRange {
        container: 0,
        host: 100_000,
        size: 65_536,
    };
    let maps = IdMaps {
        uids: vec![range],
        gids: vec![range],
    };
    for path in [None, Some("/proc/1/fd/3")] {
        let maps = maps.clone();
        let plan = lower(|pod| pod.users = Some(PodUsers { maps, path })).unwrap();
        assert!(kinds(&plan).contains(&(NamespaceKind::User, path)));
        let sysctls: Vec<_> = plan.sysctls.iter().map(|s| s.path.as_str()).collect();
        assert_eq!(sysctls, ["net/ipv4/ip_unprivileged_port_start"]);
    }
}

#[test]
fn parameters_of_the_host_are_refused() {
    for (name, host_ipc) in [
        ("kernel.panic", false),
        ("vm.swappiness", false),
        ("kernel.shmmax", true),
    ] {
        let given = [(name.to_owned(), "1".to_owned())];
        let error = lower_with(&given, |pod| pod.host_ipc = host_ipc);
        let text = error.unwrap_err().to_string();
        assert!(text.contains(name), "{text}");
        assert!(text.contains("would change the host"), "{text}");
    }
    let own = [(
        "net.ipv4.ip_unprivileged_port_start".to_owned(),
        "80".to_owned(),
    )];
    let plan = lower_with(&own, |_| {}).unwrap();
    assert!(plan.sysctls.iter().any(|s| s.value == "80"));
}
