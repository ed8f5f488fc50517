//! What the annotations `io.containerd.hull.wasm.*` ask for, and what Update changes for guests.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::time::{Duration, Instant};

use hull_e2e::{
    Container, Lab, Ran, Spec, Streams, Topic, block, cgroup, is_one_clear_line, limit, slowed,
};

const MIB: u64 = 1 << 20;
const ALARM: u32 = 14;

fn name(rest: &str) -> String {
    format!("io.containerd.hull.wasm.{rest}")
}

/// A program with these annotations.
fn spec(args: &[&str], annotations: &[(&str, &str)]) -> Spec {
    let spec = Spec::new(args.iter().copied());
    annotations.iter().fold(spec, |spec, (rest, value)| {
        spec.annotation(&name(rest), value)
    })
}

/// A container with a module of this text as `/guest.wasm`.
fn of_text<'lab>(lab: &'lab Lab, text: &str, annotations: &[(&str, &str)]) -> Container<'lab> {
    let spec = spec(&["/guest.wasm"], annotations);
    let container = lab.container_with(&spec, Streams::ALL);
    let module = wat::parse_str(text).unwrap();
    fs::write(container.upper().join("guest.wasm"), module).unwrap();
    container
}

fn run(args: &[&str], annotations: &[(&str, &str)]) -> Ran {
    Lab::wasm().container(&spec(args, annotations)).run_to_end()
}

#[test]
fn mistakes_are_refused_at_create() {
    let lab = Lab::wasm();
    for (rest, value, why) in [
        ("preopen", "none", "no such annotation"),
        ("world", "proxy", "\"command\" or \"http\""),
        ("preopens", "data", "PATH=NAME"),
        ("net", "10.0.0.0/33", "from 0 to 32"),
        ("timeout", "90", "ms, s, m or h"),
        ("max-memory", "64MB", "64Mi"),
        ("max-wasm-stack", "1", "65536"),
        ("coredump", "dumps", "absolute"),
        ("backtrace", "no", "\"on\" or \"off\""),
        ("http.addr", "8080", "ADDRESS:PORT"),
    ] {
        let container = lab.container(&spec(&["/wasm/hello.wasm"], &[(rest, value)]));
        let error = container.try_create().unwrap_err();
        is_one_clear_line(error.message(), &[&name(rest), why]);
        let groups = cgroup::directories_naming(&format!("/{}/{}", lab.tag(), container.id));
        assert!(groups.is_empty(), "{groups:?}");
    }
}

#[test]
fn annotations_of_crun_and_of_images_say_that_it_is_wasm() {
    let lab = Lab::wasm();
    for (annotation, value) in [
        ("run.oci.handler", "wasm"),
        ("module.wasm.image/variant", "compat"),
    ] {
        let wasm = Spec::new(["/wasm/hello.wasm"]).annotation(annotation, value);
        assert_eq!(
            lab.container(&wasm).run_to_end().stdout,
            "hello from Wasm\n"
        );
        let native = Spec::new(["true"]).annotation(annotation, value);
        let refused = lab.container(&native).try_create().unwrap_err();
        assert!(refused.message().contains("true"), "{refused}");
        let smart = Spec::new(["echo", "native"]).annotation(annotation, &format!("{value}-smart"));
        assert_eq!(lab.container(&smart).run_to_end().stdout, "native\n");
    }
}

#[test]
fn a_guest_opens_what_it_is_given_and_nothing_else() {
    let lab = Lab::wasm();
    let given = [("preopens", "/data=/guest:ro;/tmp")];
    let container = lab.container(&spec(&["sleep", "600"], &given));
    let data = container.upper().join("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("word"), "text").unwrap();
    container.run();
    let files = |args: &[&str]| {
        let process = container
            .spec
            .process([&["/wasm/files.wasm"], args].concat());
        container.exec_process("e", &process)
    };
    assert_eq!(files(&["read", "/guest/word"]).stdout, "text");
    assert_eq!(files(&["write", "/tmp/new", "text"]).status, 0);
    for args in [
        &["write", "/guest/new", "text"][..],
        &["unlink", "/guest/word"],
        &["read", "/data/word"],
        &["read", "/etc/group"],
        &["read", "/guest/../etc/group"],
        &["list", "/"],
    ] {
        let ran = files(args);
        assert_eq!(
            (ran.status, ran.stdout.as_str()),
            (1, ""),
            "{args:?} {ran:?}"
        );
    }
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);

    let ran = run(&["/wasm/files.wasm", "list", "/"], &[("preopens", "none")]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:?}");
    let ran = run(&["/wasm/hello.wasm"], &[("preopens", "/no/such/dir")]);
    assert_eq!(ran.status, 126, "{ran:?}");
    is_one_clear_line(ran.stderr.trim_end(), &["/no/such/dir", "No such file"]);
}

/// The image could make another directory of it.
#[test]
fn a_directory_that_is_asked_for_is_not_behind_a_link() {
    let lab = Lab::wasm();
    for (asked, is_link) in [("/data", true), ("/data/etc", true), ("/real", false)] {
        let mut container = lab.container(&spec(
            &["/wasm/files.wasm", "list", asked],
            &[("preopens", asked)],
        ));
        symlink("/", container.upper().join("data")).unwrap();
        fs::create_dir_all(container.upper().join("etc")).unwrap();
        fs::create_dir(container.upper().join("real")).unwrap();
        let ran = container.run_to_end();
        if is_link {
            assert_eq!((ran.status, ran.stdout.as_str()), (126, ""), "{ran:?}");
            is_one_clear_line(ran.stderr.trim_end(), &[asked, "symbolic link"]);
        } else {
            assert_eq!(ran.status, 0, "{ran:?}");
        }
    }
}

#[test]
fn time_that_is_up_ends_whatever_it_does() {
    for guest in ["/wasm/loop.wasm", "/wasm/sleep.wasm", "/wasm/cat.wasm"] {
        let lab = Lab::wasm();
        let given = spec(&[guest], &[("timeout", "500ms")]);
        let mut container = lab.container_with(&given, Streams::ALL);
        let begun = Instant::now();
        container.run();
        let input = container.stdio.open_stdin(limit()).unwrap();
        assert_eq!(container.wait(), 124, "{guest}");
        assert!(begun.elapsed() >= Duration::from_millis(500));
        assert!(begun.elapsed() < slowed(Duration::from_secs(10)));
        let said = container.stdio.err.as_mut().unwrap().read_to_end(limit());
        let said = String::from_utf8(said.unwrap()).unwrap();
        is_one_clear_line(said.trim_end(), &[guest, "500ms", "time limit"]);
        drop(input);
    }
}

#[test]
fn each_process_has_its_own_time_and_those_that_end_in_it_know_nothing_of_it() {
    let lab = Lab::wasm();
    let given = [("timeout", "60s")];
    let mut container = lab.container(&spec(&["/wasm/sleep.wasm"], &given));
    container.run();
    container.read_until("ready\n");
    assert_eq!(container.exec("e", ["/wasm/exit.wasm", "9"]).status, 9);
    // A signal of the same number is not the timer.
    container.kill(ALARM).unwrap();
    assert_eq!(container.wait(), 128 + ALARM);
}

#[test]
fn memory_is_limited_without_a_limit_of_the_container() {
    let ran = run(&["/wasm/grow.wasm"], &[("max-memory", "4Mi")]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let pages: u64 = ran.stdout.trim().parse().unwrap();
    assert!((60..=64).contains(&pages), "{pages}");
    let ran = run(&["/wasm/big-memory.wasm"], &[("max-memory", "1Mi")]);
    assert_eq!(ran.status, 126, "{ran:?}");
    is_one_clear_line(
        ran.stderr.trim_end(),
        &["big-memory.wasm", "memory", "1048576"],
    );
}

/// Goes down this many calls, each with 16 numbers that are needed afterwards.
fn recursion(depth: u32) -> String {
    let keep: String = (0..16)
        .map(|n| {
            format!(
                "(local.set {} (i64.mul (local.get 0) (i64.const {})))",
                n + 1,
                n + 3
            )
        })
        .collect();
    let sum: String = (0..16)
        .map(|n| {
            format!(
                "(local.set 17 (i64.xor (local.get 17) (local.get {})))",
                n + 1
            )
        })
        .collect();
    let locals = "i64 ".repeat(17);
    format!(
        "(module (memory (export \"memory\") 1)
           (func $down (param i64) (result i64) (local {locals})
             (if (i64.eqz (local.get 0)) (then (return (i64.const 1))))
             {keep}
             (local.set 17 (call $down (i64.sub (local.get 0) (i64.const 1))))
             {sum} (local.get 17))
           (func (export \"_start\") (drop (call $down (i64.const {depth})))))"
    )
}

#[test]
fn stack_is_as_deep_as_it_is_asked_for() {
    let lab = Lab::wasm();
    for (depth, stack, want) in [
        (4000, None, 0),
        (4000, Some("64Ki"), 134),
        (100_000, None, 134),
        (100_000, Some("64Mi"), 0),
    ] {
        let annotations: Vec<_> = stack
            .iter()
            .map(|stack| ("max-wasm-stack", *stack))
            .collect();
        let ran = of_text(&lab, &recursion(depth), &annotations).run_to_end();
        assert_eq!(ran.status, want, "{depth} {stack:?} {ran:?}");
    }
}

#[test]
fn trap_without_a_backtrace_is_one_line() {
    let ran = run(&["/wasm/trap-unreachable.wasm"], &[("backtrace", "off")]);
    assert_eq!(ran.status, 134, "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("trap: wasm `unreachable`"), "{ran:?}");
}

const TRAPS: &str = "(module
    (memory (export \"memory\") 2) (data (i32.const 70000) \"a word to be found\")
    (func (export \"_start\") unreachable))";

/// Puts what is said after a trap into lines.
fn last_line(ran: &Ran) -> &str {
    ran.stderr.lines().next_back().unwrap()
}

#[test]
fn core_dump_has_the_memory_and_follows_no_link() {
    let lab = Lab::wasm();
    let mut container = of_text(&lab, TRAPS, &[("coredump", "/dumps")]);
    let dumps = container.upper().join("dumps");
    fs::create_dir_all(&dumps).unwrap();
    let target = container.upper().join("target");
    fs::write(&target, "as it was").unwrap();
    symlink("/target", dumps.join("guest.wasm.coredump")).unwrap();
    let ran = container.run_to_end();
    assert_eq!(ran.status, 134, "{ran:?}");
    assert!(ran.stderr.contains("backtrace"), "{ran:?}");
    let want = "hull-wasm: core dump: /dumps/guest.wasm.coredump";
    assert_eq!(last_line(&ran), want);
    let file = dumps.join("guest.wasm.coredump");
    let metadata = fs::symlink_metadata(&file).unwrap();
    assert!(metadata.is_file() && metadata.mode() & 0o777 == 0o600);
    let dump = fs::read(&file).unwrap();
    assert!(dump.starts_with(b"\0asm"));
    let has = |what: &[u8]| dump.windows(what.len()).any(|window| window == what);
    assert!(has(b"corestack") && has(b"a word to be found"));
    assert_eq!(fs::read_to_string(&target).unwrap(), "as it was");
    assert_eq!(fs::read_dir(&dumps).unwrap().count(), 1);
}

#[test]
fn core_dump_that_cannot_be_is_told_beside_the_trap() {
    let lab = Lab::wasm();
    // The directory is behind a link: refused before the guest runs.
    let mut container = of_text(&lab, TRAPS, &[("coredump", "/link")]);
    symlink("/tmp", container.upper().join("link")).unwrap();
    let ran = container.run_to_end();
    assert_eq!(ran.status, 126, "{ran:?}");
    is_one_clear_line(ran.stderr.trim_end(), &["/link", "core dumps"]);

    // Nobody may write there.
    let given = [("coredump", "/dumps")];
    let mut container = of_text(&lab, TRAPS, &given);
    fs::create_dir_all(container.upper().join("dumps")).unwrap();
    container.reconfigure(&spec(&["/guest.wasm"], &given).set("/root/readonly", true));
    let ran = container.run_to_end();
    assert_eq!(ran.status, 134, "{ran:?}");
    assert!(last_line(&ran).contains("no core dump"), "{ran:?}");
    assert!(last_line(&ran).contains("Read-only"), "{ran:?}");
}

/// Waits for a byte, then takes 3 MiB, page by page, and touches them.
const TAKES_LATER: &str = "(module
    (import \"wasi_snapshot_preview1\" \"fd_read\" (func $read (param i32 i32 i32 i32) (result i32)))
    (import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export \"memory\") 1)
    (data (i32.const 0) \"\\40\\00\\00\\00\\06\\00\\00\\00\") (data (i32.const 64) \"ready\\0a\")
    (func (export \"_start\") (local $page i32)
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32)))
      (loop $more
        (local.set $page (memory.grow (i32.const 1)))
        (if (i32.eq (local.get $page) (i32.const -1)) (then (return)))
        (memory.fill (i32.mul (local.get $page) (i32.const 65536)) (i32.const 1) (i32.const 65536))
        (br_if $more (i32.lt_u (local.get $page) (i32.const 768))))))";

/// `memory.grow` knows the limit that was there at the start; beyond a lower one the kernel kills.
#[test]
fn limit_lowered_by_update_kills_and_that_is_no_trap() {
    let lab = Lab::wasm();
    let mut container = of_text(&lab, TAKES_LATER, &[]);
    let limited = |mib: u64| serde_json::json!({ "memory": { "limit": mib * MIB } });
    let spec = spec(&["/guest.wasm"], &[]).resource("memory/limit", 96 * MIB);
    container.reconfigure(&spec);
    container.run();
    container.read_until("ready\n");
    block(container.task.update(&container.id, &limited(16))).unwrap();
    let mut input = container.stdio.open_stdin(limit()).unwrap();
    input.write_all(b"x", limit()).unwrap();
    assert_eq!(container.wait(), 137);
    lab.events().wait_for(Topic::Oom, &container.id, "");
    let said = container.stdio.err.as_mut().unwrap().read_to_end(limit());
    assert_eq!(String::from_utf8(said.unwrap()).unwrap(), "");
}

#[test]
fn update_changes_the_processors_share() {
    let lab = Lab::wasm();
    let mut container = lab.container(&Spec::new(["/wasm/sleep.wasm"]));
    container.run();
    container.read_until("ready\n");
    let resources = serde_json::json!({ "cpu": { "quota": 20_000, "period": 100_000 } });
    block(container.task.update(&container.id, &resources)).unwrap();
    let (file, want) = if cgroup::is_unified("cpu") {
        ("cpu.max", "20000 100000")
    } else {
        ("cpu.cfs_quota_us", "20000")
    };
    let got = cgroup::read("cpu", &container.cgroup(), file);
    assert_eq!(got.trim(), want);
}

/// A file from outside, as secrets are often given: read like by a native program, and never changed.
#[test]
fn secret_in_a_file_of_its_own_is_read_only() {
    let lab = Lab::wasm();
    let secret = lab.dir().join("secret");
    fs::write(&secret, "of the host").unwrap();
    let options = ["rbind", "ro"];
    let spec = Spec::new(["sleep", "600"]).mount("bind", &secret, "/run/secret", &options);
    let container = lab.container(&spec);
    container.run();
    let files = |args: [&str; 3]| {
        let words = ["/wasm/files.wasm"].iter().chain(&args);
        let words = words.filter(|word| !word.is_empty()).copied();
        container.exec_process("e", &container.spec.process(words))
    };
    let native = container.exec("n", ["cat", "/run/secret"]).stdout;
    assert_eq!(files(["read", "/run/secret", ""]).stdout, native);
    for args in [
        ["append", "/run/secret", "more"],
        ["write", "/run/secret", "other"],
        ["unlink", "/run/secret", ""],
    ] {
        assert_eq!(files(args).status, 1, "{args:?}");
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "of the host");
}
