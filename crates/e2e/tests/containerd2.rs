//! The newest containerd 2.x, built by `make clients`. `make test CLIENTS=no` leaves these out.

#![expect(clippy::print_stderr, reason = "says what was left out")]

use std::env;

use hull_e2e::{Case, Containerd, Image, Topic, target};

/// A case with containerd 2.x, or nothing where its tests are left out on purpose.
fn case() -> Option<Case> {
    case_of(Image::Busybox)
}

/// The same with another image.
fn case_of(image: Image) -> Option<Case> {
    if env::var_os("HULL_CLIENTS").is_some_and(|dir| dir.is_empty()) {
        eprintln!("CLIENTS=no: nothing is proved about containerd 2.x");
        return None;
    }
    Some(Case::with_image(Containerd::shared_newest(), image))
}

#[test]
fn containerd_is_of_the_second_generation() {
    let Some(case) = case() else { return };
    let version = case.ctr(&["version"]).ok();
    assert_eq!(version.matches("Version:  v2.").count(), 2, "{version}");
}

#[test]
fn output_and_exit_codes() {
    let Some(case) = case() else { return };
    let out = case
        .run(&[], &["sh", "-c", "echo out; echo err >&2"])
        .expect(0);
    // ctr itself warns of the age of cgroup v1.
    assert_eq!(
        (out.text().as_str(), out.stderr.lines().last()),
        ("out\n", Some("err"))
    );
    case.run(&[], &["sh", "-c", "exit 7"]).expect(7);
}

#[test]
fn short_output_is_never_lost() {
    let Some(case) = case() else { return };
    for number in 0..20 {
        assert_eq!(
            case.run(&[], &["echo", &number.to_string()]).ok(),
            format!("{number}\n")
        );
    }
}

#[test]
fn twenty_megabytes_arrive_whole() {
    let Some(case) = case() else { return };
    let out = case.run(&[], &["seq", "1", "2500000"]).expect(0);
    assert_eq!(
        out.stdout.iter().filter(|byte| **byte == b'\n').count(),
        2_500_000
    );
    assert!(out.stdout.ends_with(b"\n2500000\n"));
}

#[test]
fn exec_in_a_running_container() {
    let Some(case) = case() else { return };
    let id = case.run_detached(&[], &["sleep", "600"]);
    assert_eq!(
        case.exec(&id, &["sh", "-c", "echo inside; exit 3"])
            .expect(3)
            .text(),
        "inside\n"
    );
    let missing = case.exec(&id, &["/no/such/program"]);
    assert!(
        missing.code != 0 && missing.stderr.contains("/no/such/program"),
        "{missing:?}"
    );
    assert_eq!(case.exec(&id, &["echo", "still"]).ok(), "still\n");
    case.remove(&id);
}

#[test]
fn events_are_whole_and_in_order() {
    let Some(case) = case() else { return };
    let id = case.run_detached(&["--null-io"], &["sleep", "600"]);
    case.exec(&id, &["true"]).expect(0);
    case.remove(&id);
    let events = case.containerd().events();
    events.wait_for(Topic::Delete, &id, "");
    let expected = [
        Topic::Create,
        Topic::Start,
        Topic::ExecAdded,
        Topic::ExecStarted,
        Topic::Exit,
        Topic::Exit,
        Topic::Delete,
    ];
    let mut topics = Vec::new();
    for event in events.of(&id) {
        // Some shims tell of an exec's deletion too.
        if event.topic != Topic::Delete || event.exec.is_empty() {
            topics.push(event.topic);
        }
    }
    assert_eq!(topics, expected);
}

#[test]
fn failed_create_shows_one_line_and_frees_the_id() {
    let Some(case) = case() else { return };
    let out = case.run(&[], &["/no/such/program"]);
    assert_ne!(out.code, 0);
    let text = out
        .stderr
        .split_once("failed to create shim task: ")
        .unwrap()
        .1;
    assert!(text.contains("/no/such/program"), "{text}");
    assert!(
        text.trim().lines().count() == 1 || !target::is_hull(),
        "{text}"
    );
    assert_eq!(case.run(&[], &["echo", "fine"]).ok(), "fine\n");
}

#[test]
fn pause_resume_and_metrics() {
    let Some(case) = case() else { return };
    let id = case.run_detached(&["--null-io"], &["sleep", "600"]);
    case.ctr(&["task", "pause", &id]).ok();
    let list = case.ctr(&["task", "ls"]).ok();
    assert!(
        list.lines()
            .any(|line| line.starts_with(&id) && line.contains("PAUSED")),
        "{list}"
    );
    case.ctr(&["task", "resume", &id]).ok();
    let metrics = case.ctr(&["task", "metrics", &id]).ok();
    assert!(metrics.contains("memory"), "{metrics}");
    case.remove(&id);
}

#[test]
fn runtime_information_is_read() {
    let Some(case) = case() else { return };
    let info = case.ctr(&["info"]).ok();
    assert!(info.contains("server"), "{info}");
    // containerd asks `-info` before the first create of this runtime; a failure is in its log.
    case.run(&[], &["true"]).expect(0);
    let log = case.containerd().log();
    assert!(!log.contains("failed to load runtime info"), "{log}");
}

#[test]
fn task_survives_a_restart() {
    if case().is_none() {
        return;
    }
    let own = Containerd::start(hull_e2e::containerd::Release::Newest);
    let case = Case::with(std::sync::Arc::new(own));
    case.expect_lost_events();
    let id = case.run_detached(&["--null-io"], &["sleep", "600"]);
    let pid = case.pid(&id);
    case.containerd().kill();
    case.containerd().resume();
    assert_eq!(case.pid(&id), pid);
    assert_eq!(case.exec(&id, &["echo", "again"]).ok(), "again\n");
    case.remove(&id);
}

#[test]
fn wasm_runs_and_ends_as_on_the_first_generation() {
    let Some(case) = case_of(Image::Wasm) else {
        return;
    };
    assert_eq!(case.run(&[], &[]).ok(), "hello from Wasm\n");
    case.run(&[], &["/wasm/exit.wasm", "7"]).expect(7);
    let trapped = case.run(&[], &["/wasm/trap-divide.wasm"]).expect(134);
    assert!(
        trapped.stderr.contains("integer divide by zero"),
        "{}",
        trapped.stderr
    );
    let refused = case.run(&[], &["/wasm/corrupt.wasm"]);
    assert!(
        refused.stderr.contains("cannot be compiled"),
        "{}",
        refused.stderr
    );
    let id = case.run_detached(&["--null-io"], &["/wasm/sleep.wasm"]);
    assert_eq!(case.exec(&id, &["hello.wasm"]).ok(), "hello from Wasm\n");
    assert_eq!(case.exec(&id, &["echo", "native"]).ok(), "native\n");
    case.remove(&id);
}

#[test]
fn image_of_one_wasm_file_runs() {
    let Some(case) = case_of(Image::WasmOnly) else {
        return;
    };
    assert_eq!(case.run(&[], &[]).ok(), "hello from Wasm\n");
}

/// The overlay's layers are mapped; without `--remap-labels` ctr has them copied.
#[test]
fn user_namespace_with_mapped_and_with_copied_layers() {
    let Some(case) = case() else { return };
    let map = "0:100000:65536";
    let text =
        "stat -c %u:%g / /bin/busybox; touch /made; stat -c %u /made; cat /proc/self/uid_map";
    for more in [["--remap-labels"].as_slice(), &[]] {
        let flags = [&["--uidmap", map, "--gidmap", map], more].concat();
        let seen = case.run(&flags, &["sh", "-c", text]).ok();
        let words: Vec<&str> = seen.split_whitespace().collect();
        assert_eq!(
            words,
            ["0:0", "0:0", "0", "0", "100000", "65536"],
            "{more:?}"
        );
    }
}
