//! HTTP servers in containers. Clients are busybox's wget, in the container's own network.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::time::{Duration, Instant};

use hull_client::Stdio;
use hull_e2e::{
    Case, Container, Lab, Spec, Streams, eventually, is_one_clear_line, leaks, limit, procfs,
    read_output, target,
};

const INT: u32 = 2;
const TERM: u32 = 15;

/// What a user calls at once. The machine may be busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(2);

const P2: &str = "/wasm/http.wasm";
const P3: &str = "/wasm/http3.wasm";
const READY: &str = "hull-wasm: listening on http://0.0.0.0:8080 and [::]\n";

/// A container that says it listens.
fn serving<'lab>(lab: &'lab Lab, spec: &Spec) -> Container<'lab> {
    let mut c = lab.container_with(spec, Streams::OUTPUT);
    c.run();
    said(&mut c, "listening on http://");
    c
}

/// The next line that init writes to stderr, which has to hold this.
#[track_caller]
fn said(c: &mut Container<'_>, what: &str) -> String {
    let err = c.stdio.err.as_mut().unwrap();
    let line = err.read_until(b"\n", limit()).unwrap();
    let line = String::from_utf8(line).unwrap();
    assert!(line.contains(what), "{line:?}");
    line
}

fn url(path: &str) -> String {
    format!("http://127.0.0.1:8080{path}")
}

/// What the server answers, or wget's error.
fn get(c: &Container<'_>, path: &str) -> String {
    get_from(c, &url(path))
}

fn get_from(c: &Container<'_>, url: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let exec = format!("get{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let ran = c.exec(&exec, ["wget", "-q", "-O", "-", url]);
    ran.stdout + &ran.stderr
}

/// A client that waits for its answer.
fn begin(c: &Container<'_>, exec: &str, path: &str) -> Stdio {
    let stdio = c.add_exec(exec, ["wget", "-q", "-O", "-", &url(path)]);
    c.try_start(exec).unwrap();
    let pid = c.state().unwrap().pid;
    let queues = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
        let established = text
            .lines()
            .filter(|line| line.contains(":1F90 ") && line.contains(" 01 "));
        let queues = established.filter_map(|line| line.split_whitespace().nth(4));
        queues.map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("the client connects", || {
        (!queues().is_empty()).then_some(())
    });
    // For the client to ask, and then for the server to read all that was sent.
    std::thread::sleep(Duration::from_millis(200));
    eventually("the server has the request", || {
        let read = |queue: &String| queue == "00000000:00000000";
        queues().iter().all(read).then_some(())
    });
    stdio
}

#[test]
fn both_versions_answer() {
    for (guest, hello) in [
        (P2, "hello from wasi:http 0.2\n"),
        (P3, "hello from wasi:http 0.3\n"),
    ] {
        let lab = Lab::wasm();
        let mut c = lab.container_with(&Spec::new([guest]), Streams::OUTPUT);
        c.run();
        assert_eq!(said(&mut c, "listening"), READY);
        assert_eq!(get(&c, "/"), hello);
        // A fresh instance for each request of 0.2, the same one for those of 0.3 that follow within a second.
        if guest == P2 {
            assert_eq!(get(&c, "/count") + &get(&c, "/count"), "11");
        } else {
            eventually("an instance is used again", || {
                (get(&c, "/count") != "1").then_some(())
            });
        }
        let asked = Instant::now();
        c.kill(TERM).unwrap();
        assert_eq!(c.wait(), 143);
        let took = asked.elapsed();
        assert!(took < hull_e2e::slowed(AT_ONCE), "{took:?}");
    }
}

#[test]
fn a_trap_is_one_requests_affair() {
    let lab = Lab::wasm();
    let mut c = serving(&lab, &Spec::new([P2]));
    assert_eq!(
        get(&c, "/trap"),
        "wget: server returned error: HTTP/1.1 500 Internal Server Error\n"
    );
    said(
        &mut c,
        "hull-wasm: trap: wasm `unreachable` instruction executed",
    );
    assert_eq!(get(&c, "/"), "hello from wasi:http 0.2\n");
    c.kill(INT).unwrap();
    assert_eq!(c.wait(), 130);
}

#[test]
fn requests_in_flight_are_finished() {
    for guest in [P2, P3] {
        let lab = Lab::wasm();
        let c = serving(&lab, &Spec::new([guest]));
        let mut client = begin(&c, "client", "/slow");
        c.kill(TERM).unwrap();
        let (stdout, stderr) = read_output(&mut client);
        assert!(
            stdout.starts_with("hello from wasi:http"),
            "{stdout}{stderr}"
        );
        assert_eq!(c.wait(), 143);
    }
}

#[test]
fn the_drain_has_a_deadline() {
    for path in ["/sleep", "/loop"] {
        let lab = Lab::wasm();
        let spec = Spec::new([P2]).annotation("io.containerd.hull.wasm.http.drain-timeout", "1s");
        let c = serving(&lab, &spec);
        let _client = begin(&c, "client", path);
        let asked = Instant::now();
        c.kill(TERM).unwrap();
        assert_eq!(c.wait(), 143, "{path}");
        let took = asked.elapsed();
        assert!(took > Duration::from_millis(800), "{path}: {took:?}");
        assert!(
            took < hull_e2e::slowed(Duration::from_secs(8)),
            "{path}: {took:?}"
        );
    }
}

#[test]
fn kill_asks_nobody() {
    let lab = Lab::wasm();
    let c = serving(&lab, &Spec::new([P2]));
    let _client = begin(&c, "client", "/sleep");
    let asked = Instant::now();
    assert_eq!(c.kill_and_wait(), 137);
    assert!(asked.elapsed() < hull_e2e::slowed(AT_ONCE));
}

#[test]
fn the_address_is_the_annotations_or_the_ports() {
    let lab = Lab::wasm();
    let annotation = "io.containerd.hull.wasm.http.addr";
    let mut spec = Spec::new([P2]).env("PORT", "9001");
    let mut c = lab.container_with(&spec, Streams::OUTPUT);
    c.run();
    assert_eq!(
        said(&mut c, "listening"),
        "hull-wasm: listening on http://0.0.0.0:9001 and [::]\n"
    );
    for host in ["127.0.0.1", "[::1]"] {
        let hello = get_from(&c, &format!("http://{host}:9001/"));
        assert_eq!(hello, "hello from wasi:http 0.2\n");
    }
    drop(c);
    spec = spec.annotation(annotation, "127.0.0.1:9002");
    let mut c = lab.container_with(&spec, Streams::OUTPUT);
    c.run();
    assert_eq!(
        said(&mut c, "listening"),
        "hull-wasm: listening on http://127.0.0.1:9002\n"
    );
    assert_eq!(
        get_from(&c, "http://127.0.0.1:9002/"),
        "hello from wasi:http 0.2\n"
    );
}

#[test]
fn a_port_that_cannot_be_had_is_one_line() {
    let lab = Lab::wasm();
    let c = serving(&lab, &Spec::new([P2]));
    let second = c.exec("second", [P2]);
    assert_eq!(second.status, 126);
    assert_eq!(
        second.stderr,
        "hull-wasm: /wasm/http.wasm: cannot listen on 0.0.0.0:8080: the port is in use\n"
    );
    let mut wrong = c.spec.process([P2]);
    wrong["env"] = serde_json::json!(["PORT=http"]);
    let wrong = c.exec_process("wrong", &wrong);
    assert_eq!(wrong.status, 126);
    assert_eq!(
        wrong.stderr,
        "hull-wasm: /wasm/http.wasm: cannot listen on PORT: \"http\" in the environment is no port (0 to 65535)\n"
    );
}

#[test]
fn threads_are_as_many_as_the_limits_leave() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    // One that only waits beside those that work, where there are several.
    let several = if cpus == 1 { 1 } else { cpus + 1 };
    let threads = |spec: Spec| {
        let lab = Lab::wasm();
        let c = serving(&lab, &spec);
        assert_eq!(get(&c, "/"), "hello from wasi:http 0.2\n");
        let pid = c.state().unwrap().pid;
        std::fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap()
            .count()
    };
    let server = || Spec::new([P2]);
    assert_eq!(threads(server()), several);
    let half = server()
        .resource("cpu/quota", 50_000)
        .resource("cpu/period", 100_000);
    assert_eq!(threads(half), 1);
    assert_eq!(threads(server().resource("cpu/cpus", "0")), 1);
}

/// It is a thread that cannot be had, and the server does with fewer.
#[test]
fn a_limit_of_processes_holds() {
    let lab = Lab::wasm();
    let mut c = lab.container_with(&Spec::new([P2]).resource("pids/limit", 1), Streams::OUTPUT);
    c.run();
    said(&mut c, "listening");
    let pid = c.state().unwrap().pid;
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .count();
    assert_eq!(threads, 1);
}

#[test]
fn a_handler_has_what_a_command_has() {
    let lab = Lab::wasm();
    let mut spec = Spec::new([P2]).user(1000, 1000).set("/root/readonly", true);
    spec = spec.set(
        "/process/env",
        serde_json::json!(["GREETING=good day", "PATH=/bin"]),
    );
    let mut c = serving(&lab, &spec);
    assert_eq!(get(&c, "/env"), "good day");
    assert_eq!(get(&c, "/log"), "hello from wasi:http 0.2\n");
    assert_eq!(c.read_until("\n"), "a request\n");
    let pid = c.state().unwrap().pid;
    assert!(!procfs::has_ended(pid));
}

#[test]
fn what_annotations_say_of_requests_holds() {
    let lab = Lab::wasm();
    let with = |what: &str, value: &str| {
        Spec::new([P2]).annotation(&format!("io.containerd.hull.wasm.http.{what}"), value)
    };
    let c = serving(&lab, &with("request-timeout", "500ms"));
    let late = "wget: server returned error: HTTP/1.1 504 Gateway Timeout\n";
    assert_eq!(get(&c, "/sleep"), late);
    let c = serving(&lab, &with("max-body", "4"));
    let post = |body: &str| {
        let post = ["wget", "-q", "-O", "-", "--post-data", body, &url("/")];
        let ran = c.exec(&format!("post-{body}"), post);
        ran.stdout + &ran.stderr
    };
    assert_eq!(post("four"), "hello from wasi:http 0.2\n");
    let refused = post("fiver");
    assert!(refused.contains("413 Payload Too Large"), "{refused}");
}

#[test]
fn instances_get_no_more_memory_than_the_container_has() {
    let lab = Lab::wasm();
    let mib = |mib: u64| Spec::new([P2]).resource("memory/limit", mib << 20);
    let c = serving(&lab, &mib(48));
    // 64 MiB more are refused in the guest, and nobody is killed.
    assert_eq!(get(&c, "/grow"), "less");
    assert_eq!(get(&c, "/"), "hello from wasi:http 0.2\n");
    let c = serving(&lab, &mib(160));
    assert_eq!(get(&c, "/grow"), "more");
}

#[test]
fn containerd_stops_it_as_any_container() {
    let case = Case::wasm();
    // Under containerd's own filter of system calls.
    let id = case.run_detached(&["--null-io", "--seccomp"], &[P2]);
    let hello = ["wget", "-q", "-O", "-", "http://127.0.0.1:8080/"];
    eventually("it answers", || {
        let got = case.exec(&id, &hello).stdout;
        (got == b"hello from wasi:http 0.2\n").then_some(())
    });
    case.ctr(&["task", "kill", "--signal", "SIGTERM", &id]).ok();
    let exit = case.containerd().events();
    let exit = exit.wait_for(hull_e2e::Topic::Exit, &id, "");
    assert_eq!(exit.status, 143);
    case.ctr(&["task", "delete", &id]).expect(0);
    case.ctr(&["container", "delete", &id]).ok();
}

/// `hull stats` with these arguments, of containers of this test.
fn try_stats(lab: &Lab, args: &[&str]) -> std::process::Output {
    let hull = target::bin_dir().join("hull");
    std::process::Command::new(hull)
        .args(["stats", "--namespace", lab.tag()])
        .args(args)
        .output()
        .unwrap()
}

/// What it prints.
fn stats(lab: &Lab, args: &[&str]) -> String {
    let output = try_stats(lab, args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn stats_tell_what_was_asked_and_are_gone_with_the_container() {
    let lab = Lab::wasm();
    let c = serving(&lab, &Spec::new([P2]).resource("memory/limit", 64 << 20));
    for path in ["/", "/", "/trap"] {
        get(&c, path);
    }
    let _client = begin(&c, "client", "/sleep");
    let text = stats(&lab, &["--openmetrics", &c.id]);
    for line in [
        "hull_http_requests_total{class=\"2xx\"} 2",
        "hull_http_requests_total{class=\"5xx\"} 1",
        "hull_http_request_duration_seconds_count 3",
        "hull_http_in_flight 1",
        "hull_http_connections 1",
        "hull_wasm_traps_total 1",
        "hull_wasm_instances 1",
        "hull_wasm_instantiations_total 4",
        "hull_wasm_memory_bytes 262144",
        "# EOF",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}:\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&stats(&lab, &["--json", &c.id])).unwrap();
    let server = &json["servers"][0];
    assert_eq!(server["id"], c.id.as_str());
    assert_eq!(server["metrics"]["hull_http_in_flight"], 1.0);
    assert!(
        server["cgroup"]["memory_bytes"].as_u64().unwrap() > 1 << 20,
        "{server}"
    );
    let table = stats(&lab, &[]);
    let row = table.lines().find(|line| line.contains(&c.id)).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    // Requests, of those 5xx, refused, traps, in flight, instances.
    assert_eq!(words[2..8], ["3", "1", "0", "1", "1", "1"], "{row}");

    c.kill_and_wait();
    c.delete().unwrap();
    assert!(!stats(&lab, &[]).contains(&c.id));
    let output = try_stats(&lab, &[&c.id]);
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8(output.stderr).unwrap();
    is_one_clear_line(said.trim_end(), &[&c.id, "no Wasm server of this name"]);
}

/// Whoever listens there is in the container's hands; a stopped one is silent for as long as it is waited for.
#[test]
fn stats_do_not_wait_for_a_guest_that_computes() {
    let lab = Lab::wasm();
    let spec = Spec::new([P2]).resource("cpu/cpus", "0");
    let c = serving(&lab, &spec);
    let _client = begin(&c, "client", "/loop");
    let asked = Instant::now();
    let json: serde_json::Value = serde_json::from_str(&stats(&lab, &["--json", &c.id])).unwrap();
    assert!(json["servers"][0]["silent_because"].is_string(), "{json}");
    assert!(asked.elapsed() < hull_e2e::slowed(Duration::from_secs(6)));
}

/// `delete` finds the socket by the state file.
#[test]
fn a_killed_daemon_leaves_no_socket() {
    let lab = Lab::wasm();
    let c = serving(&lab, &Spec::new([P2]));
    assert!(stats(&lab, &[]).contains(&c.id));
    let id = c.id.clone();
    lab.expect_lost_events();
    leaks::kill(c.shim_pid());
    c.wait_for_daemon();
    drop(c);
    assert!(!stats(&lab, &[]).contains(&id));
}
