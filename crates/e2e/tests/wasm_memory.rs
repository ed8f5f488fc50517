//! Memory limits of Wasm containers: a guest meets its limit in memory.grow, before the kernel
//! kills it.

#![expect(clippy::unwrap_used, reason = "test code")]

use hull_e2e::{
    Case, Lab, Ran, Spec, Streams, Topic, block, cgroup, eventually, in_own_network, limit,
};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

const MIB: u64 = 1 << 20;
/// Pages of 64 KiB in a MiB.
const PAGES: u64 = 16;

fn limited(args: &[&str], mib: u64) -> Spec {
    Spec::new(args.iter().copied()).resource("memory/limit", mib * MIB)
}

/// How often the kernel has killed a process of this cgroup.
fn kills(group: &str) -> u64 {
    let file = if cgroup::is_unified("memory") {
        "memory.events"
    } else {
        "memory.oom_control"
    };
    let text = cgroup::read("memory", group, file);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .unwrap();
    line.parse().unwrap()
}

#[test]
fn guest_that_takes_all_is_refused_and_goes_on() {
    let lab = Lab::wasm();
    let mut c = lab.container(&limited(&["/wasm/grow.wasm"], 32));
    let Ran {
        status,
        stdout,
        stderr,
    } = c.run_to_end();
    assert_eq!((status, stderr.as_str()), (0, ""));
    let pages: u64 = stdout.trim().parse().unwrap();
    let most = 32 * PAGES;
    assert!(
        (most * 3 / 5..=most).contains(&pages),
        "{pages} pages of at most {most}"
    );
    assert_eq!(kills(&c.cgroup()), 0);
    assert!(!lab.events().topics(&c.id).contains(&Topic::Oom));
}

#[test]
fn larger_limit_gives_more() {
    let lab = Lab::wasm();
    let pages = |mib| {
        let mut c = lab.container(&limited(&["/wasm/grow.wasm"], mib));
        let ran = c.run_to_end();
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{mib} MiB");
        assert_eq!(kills(&c.cgroup()), 0, "{mib} MiB");
        ran.stdout.trim().parse::<u64>().unwrap()
    };
    let (small, large) = (pages(16), pages(128));
    assert!(small <= 16 * PAGES, "{small}");
    assert!((100 * PAGES..=128 * PAGES).contains(&large), "{large}");
}

#[test]
fn ctr_flag_limits_the_guest() {
    let case = Case::wasm();
    let limit = (32 * MIB).to_string();
    let out = case
        .run(&["--memory-limit", &limit], &["/wasm/grow.wasm"])
        .ok();
    let pages: u64 = out.trim().parse().unwrap();
    assert!(pages <= 32 * PAGES, "{pages}");
}

#[test]
fn exec_has_the_limit_of_its_container() {
    let lab = Lab::wasm();
    let c = lab.container(&limited(&["sleep", "600"], 32));
    c.run();
    let ran = c.exec("e", ["/wasm/grow.wasm"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let pages: u64 = ran.stdout.trim().parse().unwrap();
    assert!(pages <= 32 * PAGES, "{pages}");
    assert_eq!(kills(&c.cgroup()), 0);
}

#[test]
fn memory_that_is_wanted_from_the_start_is_refused_in_one_line() {
    let lab = Lab::wasm();
    let mut c = lab.container(&limited(&["/wasm/big-memory.wasm"], 32));
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (126, ""), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("big-memory.wasm"), "{ran:?}");
    assert!(ran.stderr.contains("memory"), "{ran:?}");
    assert_eq!(kills(&c.cgroup()), 0);
}

#[test]
fn memory_that_nobody_touches_costs_nothing() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/big-memory.wasm"]));
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
}

/// Compiling takes far more memory than most guests: it must not be charged to them.
#[test]
fn compiling_is_not_charged_to_the_container() {
    let lab = Lab::wasm();
    let mut c = lab.container(&limited(&["/wasm/files.wasm", "read", "/etc/group"], 8));
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(kills(&c.cgroup()), 0);
}

#[test]
fn update_changes_the_limit_of_the_cgroup() {
    let lab = Lab::wasm();
    let mut c = lab.container(&limited(&["/wasm/sleep.wasm"], 64));
    c.run();
    c.read_until("ready\n");
    let resources = serde_json::json!({ "memory": { "limit": 48 * MIB } });
    block(c.task.update(&c.id, &resources)).unwrap();
    let file = if cgroup::is_unified("memory") {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    };
    let limit = cgroup::read("memory", &c.cgroup(), file);
    assert_eq!(limit, (48 * MIB).to_string());
}

/// A memory reserves gigabytes of addresses, of which it uses few.
#[test]
fn limit_of_addresses_is_a_clear_error() {
    let lab = Lab::wasm();
    let limit = serde_json::json!([{ "type": "RLIMIT_AS", "soft": 64 * MIB, "hard": 64 * MIB }]);
    let spec = Spec::new(["/wasm/hello.wasm"]).set("/process/rlimits", limit);
    let ran = lab.container(&spec).run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (126, ""), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("hello.wasm"), "{ran:?}");
    assert!(ran.stderr.contains("memory"), "{ran:?}");
}

#[test]
fn one_process_and_a_small_stack_are_enough() {
    let lab = Lab::wasm();
    let stack = 128 << 10;
    let limit = serde_json::json!([{ "type": "RLIMIT_STACK", "soft": stack, "hard": stack }]);
    let spec = |guest| {
        Spec::new([guest])
            .resource("pids/limit", 1)
            .set("/process/rlimits", limit.clone())
    };
    let ran = lab.container(&spec("/wasm/hello.wasm")).run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "hello from Wasm\n"));
    let ran = lab.container(&spec("/wasm/trap-stack.wasm")).run_to_end();
    assert_eq!(ran.status, 134, "{ran:?}");
    assert!(ran.stderr.contains("call stack exhausted"), "{ran:?}");
}

/// Requests that never end are held for their clients, but not more of them than there is memory for.
#[test]
fn clients_that_never_finish_do_not_end_a_server() {
    in_own_network(|| {
        let up = std::process::Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
        let lab = Lab::wasm();
        let spec = limited(&["/wasm/http.wasm"], 32).without_namespace("network");
        let mut c = lab.container_with(&spec, Streams::OUTPUT);
        c.run();
        let err = c.stdio.err.as_mut().unwrap();
        err.read_until(b"\n", limit()).unwrap();

        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        let connect = || TcpStream::connect_timeout(&server, limit());
        let beginning = format!(
            "GET / HTTP/1.1\r\nHost: test\r\nA: {}",
            "a".repeat(60 << 10)
        );
        let mut clients = Vec::new();
        for _ in 0..600 {
            let mut client = connect().unwrap();
            // Whoever waits for a place may not get rid of all of it.
            client.set_nonblocking(true).unwrap();
            _ = client.write(beginning.as_bytes());
            clients.push(client);
        }
        // Those that have places lose them, and the next ones get them.
        std::thread::sleep(std::time::Duration::from_secs(3));
        drop(clients);
        eventually("it answers", || {
            let mut client = connect().ok()?;
            client.set_read_timeout(Some(limit())).unwrap();
            client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).ok()?;
            answer.ends_with("hello from wasi:http 0.2\n").then_some(())
        });
        assert_eq!(kills(&c.cgroup()), 0);
        assert!(!lab.events().topics(&c.id).contains(&Topic::Oom));
    });
}
