//! What is run, how it ends, and what is refused.

use std::os::unix::process::CommandExt as _;

use hull_e2e::{Cli, is_one_clear_line, target};

#[test]
fn native_program_has_its_streams_and_exit_code() {
    let cli = Cli::new();
    let out = cli.native(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    let out = out.expect(7);
    assert_eq!(
        (out.text().as_str(), out.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn wasm_module_has_its_arguments_and_exit_code() {
    let cli = Cli::new();
    let text = cli
        .wasm(&["-e", "COLOUR=red"], "env.wasm", &["one", "--", "-x"])
        .ok();
    for line in [
        "arg=/env.wasm",
        "arg=one",
        "arg=--",
        "arg=-x",
        "env=COLOUR=red",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
    cli.wasm(&[], "exit.wasm", &["7"]).expect(7);
    let out = cli.wasm(&[], "trap-divide.wasm", &[]).expect(134);
    assert!(
        out.stderr.contains("integer divide by zero"),
        "{}",
        out.stderr
    );
}

#[test]
fn wasm_module_is_alone_in_its_root() {
    let cli = Cli::new();
    let text = cli.wasm(&[], "files.wasm", &["list", "/"]);
    // What every container has, and the module itself.
    let mut names: Vec<String> = text.ok().split_whitespace().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["dev", "files.wasm", "proc", "run", "sys"]);
}

#[test]
fn program_that_a_signal_ends_gives_128_and_its_number() {
    let cli = Cli::new();
    cli.native(&[], &["sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"])
        .expect(139);
}

#[test]
fn function_of_a_module_is_called() {
    let cli = Cli::new();
    let call = |what: &str, args: &[&str]| {
        let file = cli.guest("functions.wasm");
        let program = format!("{}#{what}", file.display());
        cli.hull([&["run", program.as_str()], args].concat())
    };
    assert_eq!(call("add", &["40", "2"]).ok(), "42\n");
    for (what, part) in [("add", "takes 2 arguments"), ("sub", "exports no function")] {
        let out = call(what, &["1"]).expect(126);
        is_one_clear_line(out.stderr.trim(), &["hull: run: ", "functions.wasm", part]);
    }
}

#[test]
fn programs_that_cannot_be_run_have_dockers_exit_codes() {
    let cli = Cli::new();
    for (args, code, part) in [
        (["nosuch"], 127, "not found in $PATH"),
        (["/nosuch"], 127, "no such file or directory"),
        (["/etc/passwd"], 126, "permission denied"),
    ] {
        let out = cli.native(&[], &args).expect(code);
        is_one_clear_line(out.stderr.trim(), &["hull: run: ", args[0], part]);
    }
    for guest in ["corrupt.wasm", "no-start.wasm"] {
        let out = cli.wasm(&[], guest, &[]).expect(126);
        is_one_clear_line(out.stderr.trim(), &["hull: run: ", guest]);
    }
}

#[test]
fn wrong_arguments_are_told_in_one_line_each() {
    let cli = Cli::new();
    let hello = cli.guest("hello.wasm");
    let hello = hello.to_str().unwrap();
    let rootfs = cli.rootfs().to_str().unwrap();
    let (passwd, busybox) = (
        format!("{rootfs}/etc/passwd"),
        format!("{rootfs}/bin/busybox"),
    );
    let cases: &[(&[&str], i32, &str)] = &[
        (&[], 2, "a command is missing"),
        (&["frob"], 2, "unrecognized subcommand 'frob'"),
        (&["run"], 2, "the Wasm file is missing"),
        (&["run", "--frob", hello], 2, "unexpected argument '--frob'"),
        (&["run", "--rootfs", rootfs], 2, "the command is missing"),
        (&["run", "nosuch.wasm"], 127, "no such file or directory"),
        (&["run", rootfs], 126, "it is a directory"),
        (&["run", &busybox], 126, "not a Wasm file"),
        (&["run", &passwd], 126, "not a Wasm file"),
        (
            &["run", "--rootfs", "nosuch", "--", "true"],
            127,
            "no such file or directory",
        ),
        (
            &["run", "--rootfs", &passwd, "--", "true"],
            125,
            "not a directory",
        ),
        (
            &["run", "--rootfs", "/", "--", "true"],
            125,
            "the root of the host",
        ),
        (&["run", "--user", "root", hello], 2, "in numbers"),
        (&["run", "--memory", "much", hello], 2, "'much'"),
        (&["run", "--cpus", "0", hello], 2, "number of processors"),
        (&["run", "--pids", "0", hello], 2, "'0'"),
        (&["run", "--net", "bridge", hello], 2, "none, host"),
        (&["run", "--cap-add", "FLY", hello], 2, "no such capability"),
        (&["run", "--name", "a b", hello], 2, "\"a b\""),
        (&["run", "--workdir", "x", hello], 2, "no absolute path"),
        (&["run", "-v", "data:/x", hello], 2, "no named volumes"),
        (&["run", "-v", "/nosuch:/x", hello], 125, "/nosuch"),
        (
            &["run", "--mount", "type=volume,dst=/x", hello],
            2,
            "bind or tmpfs",
        ),
        (&["run", "--seccomp", "/nosuch", hello], 2, "/nosuch"),
        (&["run", "-it", hello], 2, "needs a terminal"),
        (&["compile"], 2, "FILE.wasm"),
        (
            &["compile", "nosuch.wasm"],
            127,
            "no such file or directory",
        ),
        (&["trace", "--runs", "0", hello], 2, "'0'"),
    ];
    for (args, code, part) in cases {
        let out = cli.hull(*args).expect(*code);
        is_one_clear_line(out.stderr.trim(), &["hull: ", part]);
        assert_eq!(out.text(), "", "{args:?}");
    }
}

#[test]
fn who_is_not_root_is_told_so() {
    let cli = Cli::new();
    // Not everybody may look into the directory of the build.
    let hull = cli.work().join("hull");
    target::copy_program(&target::bin_dir().join("hull"), &hull);
    let mut command = cli.command_of(&hull);
    command
        .uid(1000)
        .gid(1000)
        .arg("run")
        .arg(cli.guest("hello.wasm"));
    let out = hull_e2e::ctr::run(command, &[]).expect(125);
    is_one_clear_line(
        out.stderr.trim(),
        &["hull: run: needs root", "sudo hull run"],
    );
}
