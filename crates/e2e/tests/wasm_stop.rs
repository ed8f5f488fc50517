//! Stopping a Wasm container: at once, whatever the guest is doing.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::time::{Duration, Instant};

use hull_e2e::{Case, Lab, Spec, Streams, block, procfs};

const INT: u32 = 2;
const KILL: u32 = 9;
const TERM: u32 = 15;

/// What a user calls at once. The machine may be busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A guest that says that it is there and what it then does not stop doing.
#[track_caller]
fn stops(guest: &str, mark: &str, signal: u32, status: u32) {
    let lab = Lab::wasm();
    let mut c = lab.container_with(&Spec::new([guest]), Streams::ALL);
    let pid = c.run();
    c.read_until(mark);
    let asked = Instant::now();
    c.kill(signal).unwrap();
    assert_eq!(c.wait(), status);
    assert!(
        asked.elapsed() < hull_e2e::slowed(AT_ONCE),
        "{:?}",
        asked.elapsed()
    );
    assert!(procfs::has_ended(pid));
    let said = c.stdio.err.as_mut().unwrap().read_available();
    assert_eq!(String::from_utf8_lossy(&said), "");
}

#[test]
fn term_ends_a_tight_loop() {
    stops("/wasm/loop.wasm", "ready\n", TERM, 143);
}

/// Process 1 hears of no signal for which it has no handler yet.
#[test]
fn term_right_after_the_start_is_not_lost() {
    let lab = Lab::wasm();
    for _ in 0..20 {
        let c = lab.container(&Spec::new(["/wasm/loop.wasm"]));
        c.run();
        c.kill(TERM).unwrap();
        assert_eq!(c.wait(), 143);
        c.delete().unwrap();
    }
}

#[test]
fn interrupt_ends_a_tight_loop() {
    stops("/wasm/loop.wasm", "ready\n", INT, 130);
}

#[test]
fn kill_ends_a_tight_loop() {
    stops("/wasm/loop.wasm", "ready\n", KILL, 137);
}

#[test]
fn term_ends_a_sleeper() {
    stops("/wasm/sleep.wasm", "ready\n", TERM, 143);
}

#[test]
fn interrupt_ends_a_sleeper() {
    stops("/wasm/sleep.wasm", "ready\n", INT, 130);
}

#[test]
fn kill_ends_a_sleeper() {
    stops("/wasm/sleep.wasm", "ready\n", KILL, 137);
}

#[test]
fn term_ends_a_reader_and_what_it_wrote_is_there() {
    stops("/wasm/partial.wasm", "partial", TERM, 143);
}

#[test]
fn interrupt_ends_a_reader() {
    stops("/wasm/partial.wasm", "partial", INT, 130);
}

#[test]
fn kill_ends_a_reader() {
    stops("/wasm/partial.wasm", "partial", KILL, 137);
}

#[test]
fn term_ends_an_exec_and_not_its_container() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/sleep.wasm"]));
    c.run();
    c.read_until("ready\n");
    let mut stdio = c.add_exec("e", ["/wasm/loop.wasm"]);
    c.try_start("e").unwrap();
    let out = stdio.out.as_mut().unwrap();
    out.read_until(b"ready\n", hull_e2e::limit()).unwrap();
    block(c.task.kill(&c.id, "e", TERM)).unwrap();
    assert_eq!(c.wait_exec("e"), 143);
    assert_eq!(c.exec("f", ["echo", "fine"]).stdout, "fine\n");
}

#[test]
fn init_ends_with_its_execs() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/loop.wasm"]));
    c.run();
    c.read_until("ready\n");
    let _native = c.add_exec("n", ["sleep", "600"]);
    c.try_start("n").unwrap();
    let _wasm = c.add_exec("w", ["/wasm/sleep.wasm"]);
    c.try_start("w").unwrap();
    c.kill(TERM).unwrap();
    assert_eq!(c.wait(), 143);
    assert_eq!(c.wait_exec("n"), 137);
    assert_eq!(c.wait_exec("w"), 137);
}

#[test]
fn ctr_kill_stops_it_as_any_container() {
    let case = Case::wasm();
    let id = case.run_detached(&["--null-io"], &["/wasm/loop.wasm"]);
    case.ctr(&["task", "kill", "--signal", "SIGTERM", &id]).ok();
    let exit = case
        .containerd()
        .events()
        .wait_for(hull_e2e::Topic::Exit, &id, "");
    assert_eq!(exit.status, 143);
    let deleted = case.ctr(&["task", "delete", &id]).expect(0);
    assert!(deleted.stderr.contains("143"), "{}", deleted.stderr);
    case.ctr(&["container", "delete", &id]).ok();
}

#[test]
fn kill_before_start_ends_it() {
    let lab = Lab::wasm();
    let c = lab.container(&Spec::new(["/wasm/hello.wasm"]));
    c.create();
    c.kill(KILL).unwrap();
    assert_eq!(c.wait(), 137);
}
