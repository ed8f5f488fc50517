//! Holders and daemons that are killed.

use hull_e2e::{Lab, Sandbox, cgroup, eventually, is_one_clear_line, leaks, procfs};

#[test]
fn a_dead_holder_is_noticed() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let pid = pod.run(&pod.config());
    leaks::kill(pid);
    let exit = pod.wait().unwrap();
    assert_eq!(exit.exit_status, 137);
    let status = pod.status().unwrap();
    assert_eq!(status.state, "SANDBOX_NOTREADY");
    assert_eq!(status.exited_at, exit.exited_at);
    // A container that has namespaces of its own lives on, as it does when a pause container dies.
    pod.stop().unwrap();
}

#[test]
fn delete_cleans_up_after_a_killed_daemon() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let (files, state) = pod.with_cri();
    let pid = pod.run(&pod.config());
    assert!(files.join("hosts").exists() && state.join("shm").exists());
    lab.kill_daemon(pod.shim_pid());
    pod.wait_for_daemon();
    assert!(!procfs::has_ended(pid));
    for _ in 0..2 {
        let deleted = lab.binary().delete(&pod.id, pod.bundle()).unwrap();
        assert_eq!(deleted.exit_status, 137);
    }
    eventually("the holder is dead", || {
        procfs::has_ended(pid).then_some(())
    });
    assert!(cgroup::directories_naming(&pod.cgroup()).is_empty());
    assert!(procfs::mounts_naming(lab.tag()).is_empty());
    assert!(!files.exists() && !state.exists());
}

#[test]
fn delete_of_a_sandbox_that_is_gone_is_no_failure() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    pod.run(&pod.config());
    pod.shutdown().unwrap();
    pod.wait_for_daemon();
    lab.binary().delete(&pod.id, pod.bundle()).unwrap();
}

/// A daemon without its launcher goes on, and so does the pod.
#[test]
fn a_killed_launcher_harms_no_pod() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let pid = pod.run(&pod.config());
    for child in procfs::children(pod.shim_pid()) {
        if procfs::command_line(child).ends_with("launcher") {
            leaks::kill(child);
        }
    }
    let spec = pod.member(pid, &[("uts", "uts")], ["hostname"]);
    assert_eq!(lab.container(&spec).run_to_end().stdout, "the-pod\n");
    assert!(!procfs::has_ended(pid));
    pod.ping().unwrap();
}

/// Steps on the way to the gate that a sandbox has, in their order.
const CREATE: [&str; 11] = [
    "rootfs mount",
    "cgroup",
    "plan",
    "namespaces",
    "session",
    "rootfs",
    "pivot_root",
    "sysctl",
    "credentials",
    "program",
    "gate",
];

#[test]
fn every_step_of_a_sandbox_can_fail_or_die_and_leaves_nothing() {
    for step in CREATE {
        for what in ["fail", "kill"] {
            let lab = Lab::with_fault(&format!("{step}:{what}"));
            let pod = Sandbox::start_shim(&lab);
            let (files, state) = pod.with_cri();
            for _ in 0..2 {
                let error = pod
                    .try_create(&pod.create_request(&pod.config()))
                    .unwrap_err();
                let text = error.message();
                is_one_clear_line(text, &[]);
                assert!(what == "kill" || text.contains(step), "{step}: {text}");
                assert!(!files.exists() && !state.exists(), "{step}:{what}");
                assert!(procfs::mounts_naming(lab.tag()).is_empty(), "{step}:{what}");
                assert!(
                    cgroup::directories_naming(&pod.cgroup()).is_empty(),
                    "{step}"
                );
            }
        }
    }
}

#[test]
fn a_sandbox_that_does_not_start_can_be_shut_down() {
    for what in ["fail", "kill"] {
        let lab = Lab::with_fault(&format!("exec:{what}"));
        let pod = Sandbox::start_shim(&lab);
        pod.try_create(&pod.create_request(&pod.config())).unwrap();
        is_one_clear_line(pod.try_start().unwrap_err().message(), &[]);
        pod.wait().unwrap();
        assert_eq!(pod.status().unwrap().state, "SANDBOX_NOTREADY");
        pod.shutdown().unwrap();
        pod.wait_for_daemon();
    }
}

#[test]
fn delete_finishes_what_a_shutdown_left() {
    for step in ["cgroup removal", "rootfs umount"] {
        let lab = Lab::with_fault(&format!("{step}:kill"));
        let pod = Sandbox::start_shim(&lab);
        let (files, state) = pod.with_cri();
        pod.run(&pod.config());
        pod.shutdown().unwrap_err();
        // It can be asked again, but nobody does.
        pod.stop().unwrap();
        lab.kill_daemon(pod.shim_pid());
        pod.wait_for_daemon();
        let mut whole = lab.binary().clone();
        whole.env.retain(|(key, _)| key != "HULL_FAULT");
        whole.delete(&pod.id, pod.bundle()).unwrap();
        assert!(!files.exists() && !state.exists(), "{step}");
        assert!(
            cgroup::directories_naming(&pod.cgroup()).is_empty(),
            "{step}"
        );
    }
}
