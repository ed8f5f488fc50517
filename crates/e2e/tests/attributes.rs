//! How a container's processes are scheduled and where their memory comes from, as the kernel tells.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use hull_e2e::{Container, Lab, Spec, cgroup, is_one_clear_line, procfs};
use serde_json::{Value, json};

const SCHEDULER: &str = "/process/scheduler";

/// `SCHED_*` of `linux/sched.h`.
const FIFO: i64 = 1;
const BATCH: i64 = 3;
const DEADLINE: i64 = 6;

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

/// Nice value, real-time priority and policy of a process: fields 19, 40 and 41 of
/// proc_pid_stat(5).
fn scheduling(stat: &str) -> [i64; 3] {
    // After the name, which may have blanks, comes field 3.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    [16, 37, 38].map(|field| fields[field].trim().parse().unwrap())
}

fn scheduling_of(pid: u32) -> [i64; 3] {
    scheduling(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap())
}

/// What an exec prints.
#[track_caller]
fn exec<const N: usize>(c: &Container<'_>, name: &str, args: [&str; N]) -> String {
    let ran = c.exec(name, args);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    ran.stdout
}

/// What an exec of this container prints whose process has these members beside its arguments.
#[track_caller]
fn exec_with(c: &Container<'_>, name: &str, args: &[&str], members: &Value) -> String {
    let mut process = c.spec.process(args.iter().copied());
    for (key, value) in members.as_object().unwrap() {
        process[key] = value.clone();
    }
    let ran = c.exec_process(name, &process);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    ran.stdout
}

/// Creates it twice; both must fail with one line that has these parts, and leave nothing.
#[track_caller]
fn refuses(lab: &Lab, spec: &Spec, parts: &[&str]) {
    let c = lab.container(spec);
    for _ in 0..2 {
        let error = c.try_create().unwrap_err();
        is_one_clear_line(error.message(), parts);
        assert_eq!(lab.events().of(&c.id), []);
        let mounts = procfs::mounts_naming(&c.bundle.rootfs().display().to_string());
        assert!(mounts.is_empty(), "{mounts:#?}");
        let groups = cgroup::directories_naming(&c.cgroup());
        assert!(groups.is_empty(), "{groups:?}");
    }
}

#[test]
fn policy_and_nice_value_of_init_and_exec() {
    let lab = Lab::new();
    // Only whoever has CAP_SYS_NICE may take less than 0: the user has not, init on its way has.
    let spec = sleeper()
        .user(1000, 1000)
        .set(SCHEDULER, json!({ "policy": "SCHED_BATCH", "nice": -5 }));
    let c = lab.container(&spec);
    let pid = c.run();
    assert_eq!(scheduling_of(pid), [-5, 0, BATCH]);
    let stat = ["cat", "/proc/self/stat"];
    assert_eq!(scheduling(&exec(&c, "same", stat)), [-5, 0, BATCH]);
    let own = json!({ "scheduler": { "policy": "SCHED_OTHER", "nice": 3 } });
    assert_eq!(scheduling(&exec_with(&c, "own", &stat, &own)), [3, 0, 0]);
    assert_eq!(scheduling_of(c.shim_pid()), [0, 0, 0]);
}

#[test]
fn user_namespace_has_what_takes_no_right_of_the_host() {
    let lab = Lab::new();
    let mapped = |nice: i32| {
        sleeper()
            .user_namespace(200_000, 65_536)
            .set(SCHEDULER, json!({ "policy": "SCHED_BATCH", "nice": nice }))
            .set(
                "/process/ioPriority",
                json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 }),
            )
            .set(
                "/linux/memoryPolicy",
                json!({ "mode": "MPOL_BIND", "nodes": "0" }),
            )
    };
    let container = |nice| {
        let c = lab.container(&mapped(nice));
        chown(c.upper(), Some(200_000), Some(200_000)).unwrap();
        c
    };
    let c = container(5);
    assert_eq!(scheduling_of(c.run()), [5, 0, BATCH]);
    assert_eq!(exec(&c, "e", ["ionice"]), "best-effort: prio 6\n");
    let parts = [
        "process.scheduler SCHED_BATCH nice -5",
        "not permitted",
        "CAP_SYS_NICE",
    ];
    let error = container(-5).try_create().unwrap_err();
    is_one_clear_line(error.message(), &parts);
}

#[test]
fn process_without_a_scheduler_has_the_ordinary_one() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    assert_eq!(scheduling_of(c.run()), [0, 0, 0]);
}

#[test]
fn wasm_is_scheduled_too() {
    let lab = Lab::wasm();
    let spec = Spec::new(["/wasm/sleep.wasm"])
        .set(SCHEDULER, json!({ "policy": "SCHED_BATCH", "nice": 9 }));
    let mut c = lab.container(&spec);
    let pid = c.run();
    c.read_until("ready\n");
    assert_eq!(scheduling_of(pid), [9, 0, BATCH]);
}

#[test]
fn flag_keeps_the_priority_from_children() {
    let flags = ["SCHED_FLAG_RESET_ON_FORK"];
    let given = json!({ "policy": "SCHED_OTHER", "nice": -5, "flags": flags });
    let text = "cat /proc/$$/stat; cat /proc/self/stat; true";
    let lab = Lab::new();
    let ran = lab
        .container(&script(text).set(SCHEDULER, given))
        .run_to_end();
    let nice: Vec<i64> = ran.stdout.lines().map(|line| scheduling(line)[0]).collect();
    assert_eq!(nice, [-5, 0]);
}

/// Whether the kernel divides the time of real-time processes among cgroups, which only v1 can say.
fn real_time_is_divided() -> bool {
    let files = cgroup::hierarchies().into_iter();
    let mut files = files.map(|found| found.mount_point.join("cpu.rt_runtime_us"));
    files.any(|file| file.exists())
}

#[test]
fn real_time_takes_a_budget_where_cgroup_v1_divides_it() {
    let lab = Lab::new();
    // A budget is a part of the parent's, and only the root has one.
    let plain = sleeper()
        .cgroup(&format!("/{}-rt", lab.tag()))
        .set(SCHEDULER, json!({ "policy": "SCHED_FIFO", "priority": 10 }));
    let mut allowed = plain.clone();
    if real_time_is_divided() {
        let parts = [
            "SCHED_FIFO priority 10",
            "process.scheduler",
            "operation not permitted",
            "linux.resources.cpu.realtimeRuntime",
        ];
        refuses(&lab, &plain, &parts);
        allowed = plain
            .resource("cpu/realtimePeriod", 1_000_000)
            .resource("cpu/realtimeRuntime", 10_000);
    }
    let c = lab.container(&allowed);
    assert_eq!(scheduling_of(c.run())[1..], [10, FIFO]);
    let own = json!({ "scheduler": { "policy": "SCHED_RR", "priority": 20 } });
    let stat = exec_with(&c, "own", &["cat", "/proc/self/stat"], &own);
    assert_eq!(scheduling(&stat)[1..], [20, 2]);
}

#[test]
fn deadline_has_its_runtime() {
    let lab = Lab::new();
    let spec = sleeper().set(
        SCHEDULER,
        json!({
            "policy": "SCHED_DEADLINE",
            "runtime": 1_000_000, "deadline": 20_000_000, "period": 50_000_000,
        }),
    );
    let c = lab.container(&spec);
    let pid = c.run();
    assert_eq!(scheduling_of(pid)[2], DEADLINE);
    // What is left of the present period; the kernel would have refused the times in another order.
    let shown = fs::read_to_string(format!("/proc/{pid}/sched")).unwrap();
    let line = shown.lines().find(|line| line.starts_with("dl.runtime"));
    let left: i64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(left != 0 && left <= 1_000_000, "{left}");
}

#[test]
fn io_priority_of_init_and_exec() {
    for (class, priority, shown) in [
        ("IOPRIO_CLASS_RT", 2, "realtime: prio 2"),
        ("IOPRIO_CLASS_BE", 7, "best-effort: prio 7"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        let lab = Lab::new();
        let spec = script("ionice; echo; exec sleep 600").user(1000, 1000).set(
            "/process/ioPriority",
            json!({ "class": class, "priority": priority }),
        );
        let mut c = lab.container(&spec);
        c.run();
        let seen = c.read_until("\n\n");
        assert!(seen.starts_with(shown), "{class}: {seen}");
        assert!(exec(&c, "same", ["ionice"]).starts_with(shown), "{class}");
        let own = json!({ "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 1 } });
        let seen = exec_with(&c, "own", &["ionice"], &own);
        assert_eq!(seen, "best-effort: prio 1\n");
    }
}

#[test]
fn personality_of_init_and_exec() {
    for (domain, machine) in [("LINUX", "x86_64\n"), ("LINUX32", "i686\n")] {
        let lab = Lab::new();
        let spec = script("uname -m; exec sleep 600")
            .set("/linux/personality", json!({ "domain": domain }));
        let mut c = lab.container(&spec);
        c.run();
        assert_eq!(c.read_until("\n"), machine);
        assert_eq!(exec(&c, "e", ["uname", "-m"]), machine);
    }
}

/// The policies that numa_maps has for the mappings of a process.
fn memory_policies(numa_maps: &str) -> Vec<String> {
    let second = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
    let mut all: Vec<String> = numa_maps.lines().map(second).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn memory_policy_of_init_and_exec() {
    for (policy, shown) in [
        (json!({ "mode": "MPOL_DEFAULT" }), "default"),
        (json!({ "mode": "MPOL_LOCAL" }), "local"),
        (
            json!({ "mode": "MPOL_PREFERRED", "nodes": "0" }),
            "prefer:0",
        ),
        (
            json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0" }),
            "interleave:0",
        ),
        (
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }),
            "bind=static:0",
        ),
        (
            json!({ "mode": "MPOL_PREFERRED_MANY", "nodes": "0" }),
            "prefer (many):0",
        ),
    ] {
        let lab = Lab::new();
        let spec = script("cat /proc/self/numa_maps; echo end; exec sleep 600")
            .set("/linux/memoryPolicy", policy.clone());
        let mut c = lab.container(&spec);
        c.run();
        let of_init = c.read_until("end\n");
        let of_exec = exec(&c, "e", ["cat", "/proc/self/numa_maps"]);
        // A name of two words is cut at the blank.
        let first = shown.split(' ').next().unwrap();
        for maps in [of_init.trim_end_matches("end\n"), &of_exec] {
            assert_eq!(memory_policies(maps), [first], "{policy}: {maps}");
            assert!(maps.contains(shown), "{policy}: {maps}");
        }
    }
}

#[test]
fn memory_policy_that_the_kernel_does_not_take() {
    let lab = Lab::new();
    let spec = sleeper().set(
        "/linux/memoryPolicy",
        json!({ "mode": "MPOL_BIND", "nodes": "1000-1001" }),
    );
    let parts = [
        "linux.memoryPolicy",
        "MPOL_BIND nodes 1000-1001",
        "invalid argument",
    ];
    refuses(&lab, &spec, &parts);
}

/// The first two numbers of the kernel's version.
fn kernel() -> (u32, u32) {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = text.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// The processors that a process may use.
fn cpus(status: &str) -> String {
    procfs::status_field(status, "Cpus_allowed_list")
        .unwrap()
        .to_owned()
}

#[test]
fn processors_of_execs() {
    let lab = Lab::new();
    let status = ["cat", "/proc/self/status"];
    let spec = script("cat /proc/self/status; echo end; exec sleep 600").set(
        "/process/execCPUAffinity",
        json!({ "initial": "0", "final": "1" }),
    );
    let mut c = lab.container(&spec);
    c.run();
    // Not of init.
    let every = cpus(&c.read_until("end\n"));
    assert_eq!(every, cpus(&fs::read_to_string("/proc/1/status").unwrap()));
    assert_ne!(every, "1");
    assert_eq!(cpus(&exec(&c, "same", status)), "1");
    let own = |members: Value| json!({ "execCPUAffinity": members });
    let with = |name, members| cpus(&exec_with(&c, name, &status, &own(members)));
    assert_eq!(with("final", json!({ "final": "0" })), "0");
    // hull changes nothing after the cgroup was joined. Kernels that remember what was asked for keep
    // what its cpuset allows of that; others give all of the cpuset.
    let kept = if kernel() >= (6, 2) {
        "0"
    } else {
        every.as_str()
    };
    assert_eq!(with("initial", json!({ "initial": "0" })), kept);
    assert_eq!(
        with("both", json!({ "initial": "1", "final": "0,1" })),
        "0-1"
    );
}

#[test]
fn processors_that_do_not_exist_fail_the_exec_and_no_more() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    for when in ["initial", "final"] {
        let mut process = c.spec.process(["true"]);
        process["execCPUAffinity"] = json!({ when: "8000-8191" });
        let name = format!("{when}-e");
        let _stdio = c.add_exec_with(&name, &process, hull_e2e::Streams::OUTPUT);
        let error = c.try_start(&name).unwrap_err();
        let field = format!("process.execCPUAffinity.{when}");
        is_one_clear_line(error.message(), &[&field, "8000-8191", "invalid argument"]);
    }
    // The launcher is not bound to anything by what failed, nor by what worked.
    let every = cpus(&fs::read_to_string("/proc/1/status").unwrap());
    let bound = json!({ "execCPUAffinity": { "initial": "0" } });
    exec_with(&c, "bound", &["true"], &bound);
    assert_eq!(cpus(&exec(&c, "free", ["cat", "/proc/self/status"])), every);
}

#[test]
fn nonsense_is_refused_by_name() {
    let lab = Lab::new();
    for (path, value, parts) in [
        (
            SCHEDULER,
            json!({ "policy": "SCHED_OTHER", "priority": 5 }),
            ["process.scheduler.priority", "SCHED_FIFO"],
        ),
        (
            "/process/ioPriority",
            json!({ "class": "IOPRIO_CLASS_BE", "priority": 9 }),
            ["process.ioPriority.priority", "9"],
        ),
        (
            "/linux/personality",
            json!({ "domain": "LINUX", "flags": ["X"] }),
            ["linux.personality.flags", "not supported"],
        ),
        (
            "/linux/memoryPolicy",
            json!({ "mode": "MPOL_BIND" }),
            ["linux.memoryPolicy.nodes", "needs"],
        ),
    ] {
        refuses(&lab, &sleeper().set(path, value), &parts);
    }
    assert!(
        Path::new("/proc/self/numa_maps").exists(),
        "the kernel has NUMA"
    );
}
