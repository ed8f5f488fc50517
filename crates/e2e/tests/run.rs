//! `ctr run`, `ctr task exec`: what a user of containerd sees.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::fs;
use std::process::Command;

use hull_e2e::{Case, ctr};

#[test]
fn output_and_exit_code_zero() {
    let case = Case::new();
    let out = case
        .run(&[], &["sh", "-c", "echo out; echo err >&2"])
        .expect(0);
    assert_eq!(
        (out.text().as_str(), out.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn exit_code_is_passed_on() {
    let case = Case::new();
    for code in [7, 127, 255] {
        case.run(&[], &["sh", "-c", &format!("exit {code}")])
            .expect(code);
    }
}

#[test]
fn death_by_signal_is_128_and_the_signal() {
    let case = Case::new();
    // A child of the shell: the init itself does not get signals that it sends to itself.
    case.run(&[], &["sh", "-c", "sh -c 'kill -15 $$'; exit $?"])
        .expect(143);
}

#[test]
fn arguments_arrive_as_given() {
    let case = Case::new();
    let script = r#"for arg; do printf '<%s>' "$arg"; done"#;
    let args = [
        "sh", "-c", script, "sh", "a b", "", "$HOME", "\u{e4}", "'\"",
    ];
    assert_eq!(case.run(&[], &args).ok(), "<a b><><$HOME><\u{e4}><'\">");
}

#[test]
fn environment_has_what_was_asked_for() {
    let case = Case::new();
    let out = case
        .run(&["--env", "COLOUR=two words", "--env", "EMPTY="], &["env"])
        .ok();
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines.contains(&"COLOUR=two words") && lines.contains(&"EMPTY="),
        "{out}"
    );
    assert!(lines.iter().any(|line| line.starts_with("PATH=")), "{out}");
    assert!(
        !out.contains("HULL_E2E_TAG"),
        "containerd's environment leaked: {out}"
    );
}

#[test]
fn working_directory_is_set_and_made() {
    let case = Case::new();
    assert_eq!(case.run(&["--cwd", "/etc"], &["pwd"]).ok(), "/etc\n");
    assert_eq!(
        case.run(&["--cwd", "/not/yet/there"], &["pwd"]).ok(),
        "/not/yet/there\n"
    );
}

#[test]
fn hostname_comes_from_the_spec() {
    let case = Case::new();
    let config = config(
        &case,
        |spec| spec["hostname"] = "ship".into(),
        &["hostname"],
    );
    assert_eq!(run_config(&case, &config), "ship\n");
}

#[test]
fn user_and_groups_come_from_the_spec() {
    let case = Case::new();
    let config = config(
        &case,
        |spec| {
            spec["process"]["user"] =
                serde_json::json!({ "uid": 1234, "gid": 567, "additionalGids": [8, 9] });
        },
        &["sh", "-c", "id -u; id -g; id -G"],
    );
    assert_eq!(run_config(&case, &config), "1234\n567\n567 8 9\n");
}

#[test]
fn read_only_root_refuses_writes() {
    let case = Case::new();
    let out = case.run(&["--read-only"], &["touch", "/new"]).expect(1);
    assert!(
        out.stderr.contains("Read-only file system"),
        "{}",
        out.stderr
    );
    case.run(&[], &["touch", "/new"]).expect(0);
    case.run(&["--read-only"], &["touch", "/run/new"]).expect(0);
}

#[test]
fn terminal_is_a_terminal() {
    let case = Case::new();
    let id = case.id("tty");
    // ctr sets the size after the start, and busybox succeeds without one.
    let text = "tty; until stty size 2>/dev/null | grep 97; do sleep 0.01; done; exit 5";
    let run = case.run_command(&id, &["--rm", "--tty"], &["sh", "-c", text]);
    // ctr wants a terminal of its own: script makes one.
    let words: Vec<String> = std::iter::once(run.get_program())
        .chain(run.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut script = Command::new("script");
    let command = format!("stty rows 31 cols 97; exec {}", words.join(" "));
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    let out = ctr::run(script, &[]).expect(5).text();
    assert!(
        out.contains("/dev/pts/0") || out.contains("/dev/console"),
        "{out:?}"
    );
    assert!(out.contains("31 97"), "{out:?}");
}

#[test]
fn twenty_megabytes_arrive_whole_and_in_order() {
    let case = Case::new();
    let lines = 2_500_000;
    let out = case.run(&[], &["seq", "1", &lines.to_string()]).expect(0);
    let mut expected = 0_u32;
    for line in out
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        expected += 1;
        assert_eq!(std::str::from_utf8(line).unwrap().parse(), Ok(expected));
    }
    assert_eq!(expected, lines);
}

#[test]
fn input_arrives_and_ends() {
    let case = Case::new();
    let input = "line\n".repeat(50_000);
    let out = case
        .run_with_input(&[], &["sh", "-c", "wc -c; echo end"], input.as_bytes())
        .ok();
    assert_eq!(
        out.split_whitespace().collect::<Vec<_>>(),
        ["250000", "end"]
    );
}

#[test]
fn bind_mount_shows_the_hosts_files() {
    let case = Case::new();
    let dir = case.containerd().dir().join(case.id("share"));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("word"), "from the host").unwrap();
    let mount = |options: &str| {
        format!(
            "type=bind,src={},dst=/mnt/share,options={options}",
            dir.display()
        )
    };
    let out = case
        .run(
            &["--mount", &mount("rbind:rw")],
            &["cat", "/mnt/share/word"],
        )
        .ok();
    assert_eq!(out, "from the host");
    case.run(
        &["--mount", &mount("rbind:rw")],
        &["cp", "/mnt/share/word", "/mnt/share/copy"],
    )
    .ok();
    assert_eq!(
        fs::read_to_string(dir.join("copy")).unwrap(),
        "from the host"
    );
    let refused = case.run(
        &["--mount", &mount("rbind:ro")],
        &["touch", "/mnt/share/more"],
    );
    assert!(refused.expect(1).stderr.contains("Read-only file system"));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn exec_has_its_own_output_code_and_directory() {
    let case = Case::new();
    let id = case.run_detached(&["--env", "COLOUR=red"], &["sleep", "600"]);
    let out = case.exec_with(
        &id,
        &["--cwd", "/etc"],
        &["sh", "-c", "echo $COLOUR; pwd; exit 3"],
    );
    assert_eq!(out.expect(3).text(), "red\n/etc\n");
    assert_eq!(
        case.exec(&id, &["sh", "-c", "tr '\\0' ' ' </proc/1/cmdline"])
            .ok(),
        "sleep 600 "
    );
    case.remove(&id);
}

#[test]
fn exec_takes_an_argument_of_20000_bytes() {
    let case = Case::new();
    let id = case.run_detached(&[], &["sleep", "600"]);
    let long = "x".repeat(20_000);
    let out = case
        .exec(&id, &["sh", "-c", "printf %s \"$1\" | wc -c", "sh", &long])
        .ok();
    assert_eq!(out.trim(), "20000");
    case.remove(&id);
}

#[test]
fn exec_as_another_user() {
    let case = Case::new();
    let id = case.run_detached(&[], &["sleep", "600"]);
    assert_eq!(
        case.exec_with(&id, &["--user", "1000:1000"], &["id", "-u"])
            .ok(),
        "1000\n"
    );
    case.remove(&id);
}

#[test]
fn exec_of_a_missing_program_leaves_the_container_alone() {
    let case = Case::new();
    let id = case.run_detached(&[], &["sleep", "600"]);
    let out = case.exec(&id, &["/no/such/program"]);
    assert_ne!(out.code, 0);
    assert!(out.stderr.contains("/no/such/program"), "{}", out.stderr);
    assert_eq!(
        case.exec(&id, &["echo", "still", "here"]).ok(),
        "still here\n"
    );
    case.remove(&id);
}

#[test]
fn detached_container_runs_on_without_its_client() {
    let case = Case::new();
    let id = case.run_detached(&["--null-io"], &["sleep", "600"]);
    let list = case.ctr(&["task", "ls"]).ok();
    assert!(
        list.lines()
            .any(|line| line.starts_with(&id) && line.contains("RUNNING")),
        "{list}"
    );
    case.remove(&id);
}

/// ctr's default spec for these arguments, changed.
fn config(
    case: &Case,
    change: impl FnOnce(&mut serde_json::Value),
    args: &[&str],
) -> std::path::PathBuf {
    let text = case.ctr(&["oci", "spec"]).ok();
    let mut spec: serde_json::Value = serde_json::from_str(&text).unwrap();
    let id = case.id("config");
    spec["process"]["args"] = serde_json::json!(args);
    spec["process"]["env"] = serde_json::json!(["PATH=/bin:/usr/bin:/sbin"]);
    spec["linux"]["cgroupsPath"] = serde_json::json!(format!("/{}/{id}", case.containerd().tag()));
    spec["root"]["path"] = serde_json::json!(hull_e2e::Image::Busybox.rootfs());
    change(&mut spec);
    let path = case.containerd().dir().join(format!("{id}.json"));
    fs::write(&path, spec.to_string()).unwrap();
    path
}

/// Runs it as a user does: `ctr run --config` takes no image.
fn run_config(case: &Case, config: &std::path::Path) -> String {
    let id = case.id("cfg");
    let mut command = case.containerd().ctr_command();
    command.args([
        "run",
        "--rm",
        "--runtime",
        &hull_e2e::target::runtime(),
        "--config",
    ]);
    command
        .arg(config)
        .arg("--fifo-dir")
        .arg(case.containerd().fifo_dir())
        .arg(&id);
    ctr::run(command, &[]).ok()
}
