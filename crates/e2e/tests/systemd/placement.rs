//! Where the unit is and what is in it.

use hull_e2e::{Case, Lab, eventually, target};

use crate::sleeper;
use crate::unit::{Unit, group_of, systemctl};

#[test]
fn init_is_born_in_the_unit_and_alone_there() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let c = lab.container(&unit.around(sleeper()));
    let pid = c.create();
    assert_eq!(group_of(pid), unit.group());
    // The process that made the unit has left.
    unit.expect_files(&[("cgroup.procs", &pid.to_string())]);
    c.start();
    unit.expect(&[
        ("ActiveState", "active"),
        ("SubState", "running"),
        ("Slice", "system.slice"),
        ("ControlGroup", &unit.group()),
        ("Delegate", "yes"),
        ("DefaultDependencies", "no"),
        ("Description", &format!("hull container {}", unit.name())),
        ("Transient", "yes"),
        ("MemoryAccounting", "yes"),
        ("TasksAccounting", "yes"),
    ]);
    let controllers = unit.file("cgroup.controllers");
    for controller in ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"] {
        assert!(controllers.contains(controller), "{controllers}");
    }
}

#[test]
fn exec_is_born_in_the_unit() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let c = lab.container(&unit.around(sleeper()));
    c.run();
    let _stdio = c.add_exec("e", ["sleep", "600"]);
    let pid = c.try_start("e").unwrap();
    assert_eq!(group_of(pid), unit.group());
    let ran = c.exec("f", ["cat", "/proc/self/cgroup"]);
    assert_eq!(ran.stdout.trim(), format!("0::{}", unit.group()));
}

#[test]
fn slices_nest_by_their_names_and_end_with_their_last_unit() {
    let lab = Lab::new();
    let unit = Unit::new(&lab, "hulltest-one-two.slice");
    let c = lab.container(&unit.around(sleeper().resource("memory/limit", 1 << 26)));
    let pid = c.run();
    assert_eq!(
        group_of(pid),
        format!(
            "/hulltest.slice/hulltest-one.slice/hulltest-one-two.slice/{}",
            unit.name()
        )
    );
    unit.expect_files(&[("memory.max", "67108864")]);
    c.kill_and_wait();
    c.delete().unwrap();
    unit.expect_gone();
    systemctl(&["stop", "hulltest.slice"]);
    let slice = std::path::Path::new("/sys/fs/cgroup/hulltest.slice");
    eventually("the slices are gone", || (!slice.exists()).then_some(()));
}

#[test]
fn unit_in_the_root_slice_is_at_the_root() {
    let lab = Lab::new();
    let unit = format!("{}-root.scope", lab.tag());
    let path = format!("-.slice:{}:root", lab.tag());
    let c = lab.container(&sleeper().cgroup(&path));
    assert_eq!(group_of(c.run()), format!("/{unit}"));
}

/// What CRI passes for a pod, in the slice that the kubelet has made.
#[test]
fn containers_of_a_pod_are_beside_each_other() {
    let lab = Lab::new();
    let slice = "kubepods-burstable-pod0a1b_2c.slice";
    let units = [Unit::new(&lab, slice), Unit::new(&lab, slice)];
    let group = lab.id("pod");
    let containers = units.each_ref().map(|unit| {
        let spec = sleeper().annotation("io.kubernetes.cri.sandbox-id", &group);
        let c = lab.container(&unit.around(spec));
        assert_eq!(group_of(c.run()), unit.group());
        c
    });
    let [first, second] = &containers;
    first.kill_and_wait();
    first.delete().unwrap();
    units[0].expect_gone();
    units[1].expect(&[("ActiveState", "active")]);
    assert!(second.exec("e", ["true"]).status == 0);
    drop(containers);
    systemctl(&["stop", "kubepods.slice"]);
}

#[test]
fn ctr_names_a_unit() {
    let case = Case::new();
    let tag = target::unique_tag();
    let path = format!("system.slice:{tag}:ctr");
    let id = case.run_detached(&["--cgroup", &path], &["sleep", "600"]);
    let group = format!("/system.slice/{tag}-ctr.scope");
    assert_eq!(group_of(case.pid(&id)), group);
    let ran = case.exec(&id, &["cat", "/proc/self/cgroup"]).ok();
    assert_eq!(ran.trim(), format!("0::{group}"));
    case.remove(&id);
    let shown = systemctl(&["show", "--property=LoadState", &format!("{tag}-ctr.scope")]);
    assert_eq!(shown, "LoadState=not-found\n");
}
