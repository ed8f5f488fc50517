//! `ctr run` of Wasm files: they are programs like any other.

use hull_e2e::{Case, Containerd, Image, Lab, Ran, Spec};

/// The guest that prints its arguments and environment.
const ENV: &str = "/wasm/env.wasm";

/// The lines of that guest that begin with `kind`, without it.
fn lines(text: &str, kind: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix(kind)?.strip_prefix('='))
        .map(str::to_owned)
        .collect()
}

/// Runs it to its end in a world of its own.
fn run(spec: &Spec) -> Ran {
    let lab = Lab::wasm();
    let mut c = lab.container(spec);
    c.run_to_end()
}

#[test]
fn output_and_errors_go_their_own_ways() {
    let case = Case::wasm();
    let out = case.run(&[], &["/wasm/output.wasm"]).expect(0);
    assert_eq!(
        (out.text().as_str(), out.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn default_command_of_the_image_runs() {
    let case = Case::wasm();
    assert_eq!(case.run(&[], &[]).ok(), "hello from Wasm\n");
}

#[test]
fn component_runs_like_a_module_and_is_compiled_once() {
    let lab = Lab::wasm();
    for compiled in [1, 0] {
        let mut c = lab.container(&Spec::new(["/wasm/component.wasm"]));
        let ran = c.run_to_end();
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
        assert_eq!(ran.stdout, "hello from a component\n");
        assert_eq!(c.bundle.log().matches(": compiled ").count(), compiled);
    }
}

#[test]
fn exit_code_is_passed_on() {
    let case = Case::wasm();
    for code in [0, 1, 7, 125, 126, 127, 128, 137, 255] {
        let out = case
            .run(&[], &["/wasm/exit.wasm", &code.to_string()])
            .expect(code);
        assert_eq!(
            (out.text().as_str(), out.stderr.as_str()),
            ("", ""),
            "{code}"
        );
    }
}

#[test]
fn arguments_arrive_as_given() {
    let case = Case::wasm();
    let args = [
        ENV,
        "a b",
        "",
        "$HOME",
        "\u{e4}\u{1f980}",
        "'\"",
        "-",
        "--help",
    ];
    assert_eq!(lines(&case.run(&[], &args).ok(), "arg"), args);
}

#[test]
fn argument_of_a_hundred_thousand_bytes_arrives() {
    let long = "x".repeat(100_000);
    let ran = run(&Spec::new([ENV, long.as_str()]));
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(lines(&ran.stdout, "arg"), [ENV, long.as_str()]);
}

#[test]
fn environment_has_what_was_asked_for_and_nothing_of_ours() {
    let case = Case::wasm();
    let flags = ["--env", "COLOUR=two w\u{f6}rds", "--env", "EMPTY="];
    let out = case.run(&flags, &[ENV]).ok();
    let seen = lines(&out, "env");
    let has = |entry: &str| seen.iter().any(|line| line == entry);
    assert!(has("COLOUR=two w\u{f6}rds") && has("EMPTY="), "{out}");
    assert!(seen.iter().any(|line| line.starts_with("PATH=")), "{out}");
    assert!(!out.contains("HULL"), "ours leaked: {out}");
    assert!(!out.contains("GOMAXPROCS"), "containerd's leaked: {out}");
}

/// As for native programs, where libc would find the first and the shell the last.
#[test]
fn key_that_is_there_twice_has_its_last_value_once() {
    let ran = run(&Spec::new([ENV]).env("KEY", "first").env("KEY", "second"));
    let values: Vec<String> = lines(&ran.stdout, "env")
        .into_iter()
        .filter(|entry| entry.starts_with("KEY="))
        .collect();
    assert_eq!(values, ["KEY=second"], "{ran:?}");
}

#[test]
fn variables_of_our_c_library_are_data_for_the_guest_only() {
    let spec = Spec::new([ENV])
        .env("LD_PRELOAD", "/wasm/evil.so")
        .env("MALLOC_CHECK_", "3")
        .env("GLIBC_TUNABLES", "glibc.malloc.check=3")
        .env("LD_DEBUG", "all");
    let ran = run(&spec);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let seen = lines(&ran.stdout, "env");
    assert!(
        seen.contains(&"LD_PRELOAD=/wasm/evil.so".to_owned()),
        "{seen:?}"
    );
    assert!(seen.contains(&"LD_DEBUG=all".to_owned()), "{seen:?}");
}

#[test]
fn home_is_the_users_own() {
    let ran = run(&Spec::new([ENV]).user(1000, 1000));
    let seen = lines(&ran.stdout, "env");
    assert!(seen.contains(&"HOME=/home/hull".to_owned()), "{seen:?}");
}

#[test]
fn working_directory_is_told_as_pwd_and_made() {
    for cwd in ["/etc", "/not/yet/there"] {
        let ran = run(&Spec::new([ENV]).cwd(cwd));
        let seen = lines(&ran.stdout, "env");
        assert!(seen.contains(&format!("PWD={cwd}")), "{seen:?}");
    }
}

#[test]
fn program_is_found_in_path() {
    let case = Case::wasm();
    assert_eq!(case.run(&[], &["hello.wasm"]).ok(), "hello from Wasm\n");
    let out = case.run(&["--env", "PATH=/bin:/wasm"], &["env.wasm", "x"]);
    assert_eq!(lines(&out.ok(), "arg"), ["env.wasm", "x"]);
}

#[test]
fn relative_program_is_looked_for_in_the_working_directory() {
    for program in ["./hello.wasm", "../wasm/hello.wasm"] {
        let ran = run(&Spec::new([program]).cwd("/wasm"));
        assert_eq!((ran.status, ran.stdout.as_str()), (0, "hello from Wasm\n"));
    }
}

#[test]
fn link_to_a_wasm_file_runs() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/app"]));
    std::os::unix::fs::symlink("wasm/hello.wasm", c.upper().join("app")).unwrap();
    assert_eq!(c.run_to_end().stdout, "hello from Wasm\n");
}

#[test]
fn image_of_one_file_runs() {
    let case = Case::with_image(Containerd::shared(), Image::WasmOnly);
    let out = case.run(&[], &["/app.wasm"]).expect(0);
    assert_eq!(
        (out.text().as_str(), out.stderr.as_str()),
        ("hello from Wasm\n", "")
    );
    // Without a command line the image's own entry point.
    assert_eq!(case.run(&[], &[]).ok(), "hello from Wasm\n");
}

#[test]
fn image_of_one_file_runs_as_any_user_in_a_read_only_root() {
    let lab = Lab::new().with_image(Image::WasmOnly);
    // Nothing can be mounted into a root that has no directories and takes none.
    let spec = Spec::new(["/app.wasm"])
        .user(4321, 4321)
        .set("/mounts", serde_json::json!([]))
        .unset("/linux/maskedPaths")
        .unset("/linux/readonlyPaths")
        .set("/root/readonly", true);
    let mut c = lab.container(&spec);
    let ran = c.run_to_end();
    assert_eq!(
        (ran.status, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, "hello from Wasm\n", "")
    );
}

#[test]
fn proc_and_dev_are_not_needed() {
    let lab = Lab::wasm();
    let bare = |args: &[&str]| {
        Spec::new(args.iter().copied())
            .set("/mounts", serde_json::json!([]))
            .unset("/linux/maskedPaths")
            .unset("/linux/readonlyPaths")
    };
    let ran = lab.container(&bare(&["/wasm/hello.wasm"])).run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "hello from Wasm\n"));
    let read = ["/wasm/files.wasm", "read", "/etc/group"];
    let ran = lab.container(&bare(&read)).run_to_end();
    assert!(ran.stdout.contains("hull:x:1000:"), "{ran:?}");
    let write = ["/wasm/files.wasm", "write", "/etc/new", "text"];
    let ran = lab.container(&bare(&write)).run_to_end();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let ran = lab.container(&bare(&["/wasm/clock.wasm"])).run_to_end();
    assert!(ran.stdout.contains("random differs"), "{ran:?}");
}

#[test]
fn clocks_move_and_random_bytes_differ() {
    let case = Case::wasm();
    let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let out = case.run(&[], &["/wasm/clock.wasm"]).ok();
    let after = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    for line in ["monotonic moves", "real moves", "random differs"] {
        assert!(out.contains(line), "{out}");
    }
    let seconds = out
        .lines()
        .find_map(|line| line.strip_prefix("seconds "))
        .unwrap();
    let seconds: u64 = seconds.parse().unwrap();
    let host = before.as_secs()..=after.as_secs();
    assert!(host.contains(&seconds), "{seconds} is not in {host:?}");
}

#[test]
fn computed_result_is_right() {
    let case = Case::wasm();
    // The primes below a million.
    assert_eq!(case.run(&[], &["/wasm/compute.wasm", "3"]).ok(), "78498\n");
}

#[test]
fn two_wasm_containers_and_a_native_one_share_a_daemon() {
    let lab = Lab::wasm();
    let pod = |args: &[&str]| {
        Spec::new(args.iter().copied()).annotation("io.kubernetes.cri.sandbox-id", "pod")
    };
    let mut native = lab.container(&pod(&["sh", "-c", "echo native; exec sleep 600"]));
    let mut first = lab.container(&pod(&["/wasm/env.wasm", "first"]));
    let mut second = lab.container(&pod(&["/wasm/sleep.wasm"]));
    assert_eq!(first.shim_pid(), native.shim_pid());
    assert_eq!(second.shim_pid(), native.shim_pid());
    native.run();
    second.run();
    let ran = first.run_to_end();
    assert_eq!(lines(&ran.stdout, "arg"), ["/wasm/env.wasm", "first"]);
    assert_eq!(native.read_until("\n"), "native\n");
    assert_eq!(second.read_until("\n"), "ready\n");
    assert_eq!(native.exec("e", ["echo", "fine"]).stdout, "fine\n");
    assert_eq!(second.kill_and_wait(), 137);
}
