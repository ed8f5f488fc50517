//! Pods without a pause image, where the kubelet's cgroup driver is systemd's.

use hull_e2e::{Lab, Sandbox, eventually, procfs};

use crate::unit::{group_of, systemctl};

#[test]
fn the_holder_is_in_a_scope_of_the_pods_slice() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let slice = "hulltestpods-one.slice";
    let path = format!("/hulltestpods.slice/{slice}");
    let mut config = pod.config();
    config.linux.mut_or_insert_default().cgroup_parent = path.clone();
    let holder = pod.run(&config);
    let unit = format!("cri-containerd-{}.scope", pod.id);
    assert_eq!(group_of(holder), format!("{path}/{unit}"));
    let shown = systemctl(&["show", "--property=Slice,ActiveState", &unit]);
    assert!(shown.contains(&format!("Slice={slice}")), "{shown}");
    // Of the slice, not of the scope.
    let metrics = pod.metrics().unwrap().metrics;
    assert_eq!(metrics.data.type_url, "io.containerd.cgroups.v2.Metrics");
    pod.stop().unwrap();
    assert!(procfs::has_ended(holder));
    pod.shutdown().unwrap();
    eventually("the scope is gone", || {
        let shown = systemctl(&["show", "--property=ActiveState", &unit]);
        shown.contains("inactive").then_some(())
    });
}
