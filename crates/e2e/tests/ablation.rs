//! Whether the tests would notice: the shim leaves out one part of the way into a container at a time,
//! and a named test must fail that passes otherwise. The shim here is built with fault points.

#![expect(clippy::unwrap_used, reason = "test code")]

use hull_e2e::pulse::in_parallel;
use hull_e2e::{cgroup, executables, target};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

/// Parts that are tried at once.
const THREADS: u32 = 2;

/// The part that is left out, and the file and the test that notice it.
const PARTS: [(&str, &str, &str); 46] = [
    (
        "join cgroup",
        "cgroup",
        "init_and_exec_are_in_the_cgroup_of_every_controller",
    ),
    (
        "join namespaces",
        "isolation",
        "network_namespace_is_joined_by_path",
    ),
    (
        "cgroup namespace",
        "isolation",
        "cgroup_namespace_hides_the_path",
    ),
    ("session", "isolation", "session_is_its_own"),
    ("oom score", "isolation", "oom_score_adjustment_is_set"),
    (
        "keyring",
        "odd_specs",
        "exec_joins_the_session_keyring_of_the_container",
    ),
    (
        "loopback",
        "isolation",
        "own_network_has_only_a_loopback_which_is_up",
    ),
    (
        "mounts",
        "isolation",
        "init_is_pid_one_and_sees_only_its_own",
    ),
    (
        "devices",
        "filesystem",
        "devices_are_the_default_ones_with_their_modes",
    ),
    (
        "prestart hooks",
        "hooks",
        "six_kinds_run_in_order_and_each_at_its_time",
    ),
    (
        "createRuntime hooks",
        "hooks",
        "six_kinds_run_in_order_and_each_at_its_time",
    ),
    (
        "createContainer hooks",
        "hooks",
        "six_kinds_run_in_order_and_each_at_its_time",
    ),
    (
        "pivot_root",
        "filesystem",
        "mountinfo_shows_no_path_of_the_host",
    ),
    ("host's tree away", "filesystem", "old_root_is_gone"),
    (
        "console",
        "io",
        "terminal_is_the_controlling_one_and_has_its_size",
    ),
    ("host name", "isolation", "hostname_and_domain_are_its_own"),
    ("sysctl", "isolation", "sysctl_of_its_own_namespaces_is_set"),
    (
        "read-only mounts",
        "odd_specs",
        "read_only_tmpfs_and_dev_have_all_that_belongs_in_them",
    ),
    (
        "read-only root",
        "filesystem",
        "read_only_root_with_writable_mounts",
    ),
    (
        "read-only paths",
        "filesystem",
        "read_only_paths_refuse_writes",
    ),
    ("masked paths", "filesystem", "masked_paths_are_empty"),
    (
        "close descriptors",
        "order",
        "with_no_new_privileges_the_filter_is_the_last_thing",
    ),
    (
        "scheduler",
        "attributes",
        "policy_and_nice_value_of_init_and_exec",
    ),
    ("I/O priority", "attributes", "io_priority_of_init_and_exec"),
    ("personality", "attributes", "personality_of_init_and_exec"),
    (
        "memory policy",
        "attributes",
        "memory_policy_of_init_and_exec",
    ),
    ("processors of an exec", "attributes", "processors_of_execs"),
    (
        "listener",
        "seccomp_agent",
        "agent_makes_refuses_and_lets_through",
    ),
    ("rlimits", "isolation", "rlimits_are_set"),
    (
        "bounding set",
        "isolation",
        "capabilities_are_exactly_those_of_the_spec",
    ),
    (
        "groups",
        "isolation",
        "supplementary_groups_are_exactly_those_of_the_spec",
    ),
    (
        "gid",
        "isolation",
        "supplementary_groups_are_exactly_those_of_the_spec",
    ),
    (
        "uid",
        "isolation",
        "another_user_has_no_effective_capabilities",
    ),
    ("umask", "isolation", "umask_is_022_unless_set"),
    (
        "capability sets",
        "isolation",
        "ambient_capability_survives_the_change_of_user",
    ),
    (
        "ambient set",
        "isolation",
        "ambient_capability_survives_the_change_of_user",
    ),
    (
        "no new privileges",
        "isolation",
        "no_new_privileges_is_on_or_off_as_the_spec_says",
    ),
    (
        "filter",
        "isolation",
        "seccomp_rule_of_the_spec_gives_its_errno",
    ),
    (
        "working directory",
        "seccomp_agent",
        "working_directory_that_root_may_not_enter_is_entered_as_the_user",
    ),
    (
        "startContainer hooks",
        "hooks",
        "six_kinds_run_in_order_and_each_at_its_time",
    ),
    (
        "root of users",
        "user_namespace",
        "default_mounts_are_its_own",
    ),
    (
        "propagation of devices",
        "user_namespace",
        "nothing_is_mounted_on_the_hosts_devices",
    ),
    (
        "propagation of copies",
        "user_namespace",
        "nothing_is_mounted_on_the_host_through_a_shared_volume",
    ),
    (
        "time offsets",
        "time_namespace",
        "clocks_are_shifted_for_init_and_exec_alone",
    ),
    ("owners of mounts", "idmap", "owners_are_exchanged"),
    ("signals", "isolation", "no_signal_is_blocked_or_ignored"),
];

/// A directory of binaries whose shim has fault points.
fn binaries() -> PathBuf {
    let dir = target::private_dir(&target::unique_tag());
    std::fs::create_dir_all(&dir).unwrap();
    let shim = dir.join("containerd-shim-hull-v1");
    std::os::unix::fs::symlink(target::fault_binary(), shim).unwrap();
    dir
}

/// Runs one test, without a part of the shim.
fn run(executable: &Path, test: &str, binaries: &Path, left_out: &str) -> Output {
    Command::new(executable)
        .args(["--exact", test])
        .env("HULL_BIN_DIR", binaries)
        .env("HULL_LEAVE_OUT", left_out)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    format!("{}: {out}{err}", output.status)
}

#[test]
fn no_part_of_the_way_into_a_container_can_be_left_out_unnoticed() {
    let mut files: BTreeMap<&str, PathBuf> =
        PARTS.map(|(_, file, _)| (file, PathBuf::new())).into();
    let names: Vec<&str> = files.keys().copied().collect();
    let built = executables::build(&names).unwrap();
    files
        .values_mut()
        .zip(built)
        .for_each(|(path, built)| *path = built);
    let binaries = binaries();
    let unnoticed = Mutex::new(Vec::new());
    // A process is born in its unified cgroup: only those of v1 are to be joined.
    let joins = cgroup::hierarchies()
        .iter()
        .any(|hierarchy| !hierarchy.unified);
    let parts: Vec<_> = PARTS
        .iter()
        .filter(|(part, ..)| joins || *part != "join cgroup")
        .collect();
    let count = u32::try_from(parts.len()).unwrap();
    in_parallel(THREADS, count, |number| {
        let (part, file, test) = parts[usize::try_from(number).unwrap()];
        let complete = told(&run(&files[file], test, &binaries, ""));
        assert!(
            complete.contains("1 passed; 0 failed"),
            "{test}: {complete}"
        );
        let without = told(&run(&files[file], test, &binaries, part));
        if !without.contains("0 passed; 1 failed") {
            let told = format!("{part}: {file}::{test}: {without}");
            unnoticed.lock().unwrap().push(told);
        }
    });
    let unnoticed = unnoticed.into_inner().unwrap();
    std::fs::remove_dir_all(binaries).unwrap();
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}

/// What there is another way for: without the first one, the tests still pass.
#[test]
fn an_exec_can_join_one_namespace_after_the_other() {
    let files = ["user_namespace", "odd_specs", "time_namespace"];
    let built = executables::build(&files).unwrap();
    let binaries = binaries();
    let tests = [
        "exec_has_the_containers_ids_and_nothing_of_the_host",
        "exec_in_the_second_of_a_pod_is_in_its_root_and_the_pods_namespaces",
        "clocks_are_shifted_for_init_and_exec_alone",
    ];
    for (file, test) in built.iter().zip(tests) {
        let one_by_one = told(&run(file, test, &binaries, "join at once"));
        assert!(
            one_by_one.contains("1 passed; 0 failed"),
            "{test}: {one_by_one}"
        );
    }
    std::fs::remove_dir_all(binaries).unwrap();
}
