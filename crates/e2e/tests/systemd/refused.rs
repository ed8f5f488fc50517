//! What is refused, with one clear line and nothing left.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::Options;
use hull_e2e::{Container, Lab, Spec, block, eventually, is_one_clear_line};
use protobuf::{Message, MessageField};

use crate::sleeper;
use crate::unit::{Unit, systemctl};

/// Fails the test unless Create fails with a line that has this in it.
#[track_caller]
fn expect_refused(c: &Container<'_>, what: &str) {
    let error = c.try_create().unwrap_err().to_string();
    is_one_clear_line(&error, &[what]);
}

#[test]
fn other_shapes_are_refused() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    for (path, why) in [
        ("system.slice:one", "not 2 parts"),
        ("system.slice:one:two:three", "not 4 parts"),
        ("system:one:two", "\"system\" is no slice"),
        ("a--b.slice:one:two", "\"a--b.slice\" is no slice"),
        ("system.slice:one:", "\"\" is no name of a scope"),
        (
            "system.slice:one:two.slice",
            "\"two.slice\" is no name of a scope",
        ),
        ("system.slice:../one:two", "is no name of a unit"),
    ] {
        let spec = sleeper().cgroup(path);
        std::fs::write(c.bundle.path().join("config.json"), spec.json().to_string()).unwrap();
        let error = c.try_create().unwrap_err().to_string();
        is_one_clear_line(
            &error,
            &["linux.cgroupsPath", "expected slice:prefix:name", why],
        );
    }
}

#[test]
fn option_for_systemd_wants_a_unit() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let options = Options {
        systemd_cgroup: true,
        ..Options::default()
    };
    let mut any = Any::new();
    any.type_url = "containerd.runc.v1.Options".to_owned();
    any.value = options.write_to_bytes().unwrap();
    let plain = lab.container(&sleeper());
    let named = lab.container(&unit.around(sleeper()));
    let create = |c: &Container<'_>| {
        let mut request = c.create_request();
        request.options = MessageField::some(any.clone());
        block(c.task.create(&request))
    };
    let error = create(&plain).unwrap_err().to_string();
    is_one_clear_line(
        &error,
        &["expected slice:prefix:name, because of option systemd_cgroup"],
    );
    create(&named).unwrap();
    unit.expect(&[("ActiveState", "active")]);
}

#[test]
fn unit_in_use_is_refused_and_goes_on() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let first = lab.container(&unit.around(sleeper()));
    first.run();
    let second = lab.container(&unit.around(sleeper()));
    expect_refused(&second, "container's cgroup is not empty");
    drop(second);
    unit.expect(&[("ActiveState", "active")]);
    assert_eq!(first.exec("e", ["true"]).status, 0);
}

/// The name may be taken by a unit with another cgroup.
#[test]
fn name_in_use_elsewhere_is_refused_and_goes_on() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let first = lab.container(&unit.around(sleeper()));
    first.run();
    let path = unit
        .cgroups_path()
        .replace("system.slice", "hulltest-else.slice");
    let second = lab.container(&sleeper().cgroup(&path));
    expect_refused(&second, "org.freedesktop.systemd1.UnitExists");
    drop(second);
    unit.expect(&[("ActiveState", "active")]);
}

/// A unit that failed keeps its name until somebody has looked.
#[test]
fn failed_unit_of_the_same_name_makes_way() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let text = "trap '' TERM; echo >/run/hulltest-ready; while :; do sleep 1; done";
    let mut stubborn = Command::new("systemd-run")
        .args([
            "--scope",
            "--property=TimeoutStopSec=1",
            "--unit",
            &unit.name(),
        ])
        .args(["sh", "-c", text])
        .spawn()
        .unwrap();
    eventually("the unit runs", || {
        std::fs::exists("/run/hulltest-ready")
            .unwrap()
            .then_some(())
    });
    systemctl(&["stop", &unit.name()]);
    stubborn.wait().unwrap();
    std::fs::remove_file("/run/hulltest-ready").unwrap();
    unit.expect(&[("ActiveState", "failed")]);
    let c = lab.container(&unit.around(sleeper()));
    c.run();
    unit.expect(&[("ActiveState", "active")]);
}

#[test]
fn failed_create_leaves_no_unit() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    // Before the unit is made, by the kernel when it is there, and with init in it.
    let before = sleeper()
        .resource("memory/limit", 1 << 26)
        .resource("memory/swap", 1 << 20);
    let there = sleeper().resource("cpu/cpus", "4000");
    let inside = Spec::new(["/no/such/program"]);
    for (spec, why) in [
        (before, "memory and swap"),
        (there, "cpuset.cpus"),
        (inside, "/no/such/program"),
    ] {
        let c = lab.container(&unit.around(spec));
        expect_refused(&c, why);
        unit.expect_gone();
        drop(c);
    }
    let c = lab.container(&unit.around(sleeper()));
    c.run();
    // The last one's job must not have left anything that ends this one.
    sleep(Duration::from_secs(1));
    unit.expect(&[("ActiveState", "active")]);
}
