//! Programs of the host that take the output of a container: `binary://` and `binary-v2://`.

#![expect(
    clippy::unwrap_used,
    reason = "also in what the tests share a panic is how they fail"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::{CreateTaskRequest, ExecProcessRequest, Status};
use hull_client::Any;
use hull_e2e::{
    Case, Container, Containerd, Lab, Spec, Streams, block, containerd, eventually,
    is_one_clear_line, leaks, limit, procfs, slowed,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protobuf::MessageField;

/// What every mode does: notes how it was started, says that it is ready, copies, notes its end.
const SCRIPT: &str = r#"#!/bin/sh
dir=$2 mode=$4
echo $$ >"$dir/pid"
# Not by another program: while one is started, the shell blocks signals.
while read -r line; do echo "$line"; done </proc/$$/status >"$dir/status"
for file in cmdline environ; do tr '\0' '\n' </proc/$$/$file >"$dir/$file"; done
cat /proc/$$/cgroup >"$dir/cgroup"
for kind in mnt pid net ipc uts cgroup user; do readlink /proc/$$/ns/$kind; done >"$dir/ns"
(ls -l /proc/$$/fd >"$dir/fds")
pwd >"$dir/cwd"
case $mode in
  crash) exit 3 ;;
  hang) exec sleep 600 ;;
  eof) ;;
  *) printf r >&5 ;;
esac
exec 5>&-
case $mode in
  dies) read -r line <&3; echo "$line" >>"$dir/out"; exit 7 ;;
  stubborn) trap '' TERM ;;
  polite) trap 'echo asked >>"$dir/end"; exit 0' TERM ;;
esac
cat <&3 >>"$dir/out" &
cat <&4 >>"$dir/err" &
wait
case $mode in
  stubborn | polite) while :; do sleep 0.05; done ;;
  slow) sleep 0.5 ;;
esac
echo "end of $CONTAINER_ID" >>"$dir/end"
"#;

/// A logger and what it writes.
struct Logger {
    script: PathBuf,
    dir: PathBuf,
}

impl Logger {
    fn new(parent: &Path, name: &str) -> Self {
        let dir = parent.join(name);
        fs::create_dir_all(&dir).unwrap();
        let script = dir.join("log ger");
        fs::write(&script, SCRIPT).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Self { script, dir }
    }

    fn uri(&self, scheme: &str, mode: &str) -> String {
        let script = self.script.display().to_string().replace(' ', "%20");
        format!("{scheme}://{script}?dir={}&mode={mode}", self.dir.display())
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    fn pid(&self) -> u32 {
        self.file("pid").trim().parse().unwrap()
    }

    fn is_running(&self) -> bool {
        !procfs::processes_naming(&self.script.display().to_string()).is_empty()
    }
}

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

fn create(c: &Container<'_>, uri: &str) -> Result<u32, String> {
    create_with(c, |request| {
        request.stdout = uri.to_owned();
        request.stderr = uri.to_owned();
    })
}

fn create_with(
    c: &Container<'_>,
    change: impl FnOnce(&mut CreateTaskRequest),
) -> Result<u32, String> {
    let mut request = c.create_request();
    change(&mut request);
    let error = block(c.task.create(&request));
    error.map_err(|error| error.message().to_owned())
}

fn add_exec(c: &Container<'_>, exec: &str, args: [&str; 3], uri: &str) {
    let mut any = Any::new();
    any.type_url = "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned();
    any.value = c.spec.process(args).to_string().into_bytes();
    let mut request = ExecProcessRequest::new();
    request.id.clone_from(&c.id);
    request.exec_id = exec.to_owned();
    request.stdout = uri.to_owned();
    request.stderr = uri.to_owned();
    request.spec = MessageField::some(any);
    block(c.task.exec(&request)).unwrap();
}

#[test]
fn logger_gets_its_arguments_environment_and_descriptors_and_nothing_else() {
    let lab = Lab::new();
    let logger = Logger::new(lab.dir(), "l");
    let c = lab.container_with(&Spec::new(["sleep", "600"]), Streams::NONE);
    let uri = format!("{}&empty&mode=second", logger.uri("binary-v2", "copy"));
    create(&c, &uri).unwrap();
    let (script, dir) = (logger.script.display(), logger.dir.display());
    // The first line is the interpreter's, for the script is one.
    let expected = format!("/bin/sh\n{script}\ndir\n{dir}\nmode\ncopy\nempty\n\n");
    assert_eq!(logger.file("cmdline"), expected);
    let (id, namespace) = (&c.id, lab.tag());
    let expected = format!("CONTAINER_ID={id}\nCONTAINER_NAMESPACE={namespace}\n");
    assert_eq!(logger.file("environ"), expected);
    let fds = logger.file("fds");
    // "… 3 -> pipe:[4711]"
    let open: Vec<(&str, &str)> = fds
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .filter_map(|(entry, target)| Some((entry.rsplit(' ').next()?, target)))
        .collect();
    for (number, expected) in [
        ("0", "/dev/null"),
        ("1", "/dev/null"),
        ("2", "/dev/null"),
        ("3", "pipe:"),
        ("4", "pipe:"),
        ("5", "pipe:"),
        // The shell's own.
        ("10", logger.script.to_str().unwrap()),
    ] {
        let is = |(found, target): &(&str, &str)| *found == number && target.starts_with(expected);
        assert!(open.iter().any(is), "{number}: {fds}");
    }
    assert_eq!(open.len(), 7, "{fds}");
    let same = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", c.shim_pid())).unwrap();
    assert_eq!(logger.file("cgroup"), same("cgroup"));
    for (kind, found) in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"]
        .iter()
        .zip(logger.file("ns").lines())
    {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_eq!(own.to_str(), Some(found), "{kind}");
    }
    let status = logger.file("status");
    let field = |name| procfs::status_field(&status, name).unwrap();
    assert_eq!(field("PPid"), c.shim_pid().to_string());
    for name in ["SigIgn", "SigBlk"] {
        assert_eq!(u64::from_str_radix(field(name), 16), Ok(0), "{name}");
    }
    assert_eq!(field("NoNewPrivs"), "0");
    assert_eq!(logger.file("cwd").trim(), c.bundle.path().to_str().unwrap());
    // A session of its own: what the daemon's group is sent is not meant for it.
    let pid = logger.pid();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
    assert_eq!(session, pid.to_string());
}

#[test]
fn each_process_has_a_logger_of_its_own_which_is_gone_after_delete() {
    let lab = Lab::new();
    let (first, second) = (Logger::new(lab.dir(), "l"), Logger::new(lab.dir(), "exec"));
    let c = lab.container_with(&script("echo out; echo err >&2; sleep 600"), Streams::NONE);
    // The end of the ready pipe is enough for a `binary`.
    create(&c, &first.uri("binary", "eof")).unwrap();
    c.start();
    add_exec(
        &c,
        "e1",
        ["sh", "-c", "echo exec out; echo exec err >&2"],
        &second.uri("binary-v2", "slow"),
    );
    assert!(!second.is_running(), "Exec only registers");
    c.try_start("e1").unwrap();
    assert_eq!(c.wait_exec("e1"), 0);
    block(c.task.delete(&c.id, "e1")).unwrap();
    assert_eq!(second.file("out"), "exec out\n");
    assert_eq!(second.file("err"), "exec err\n");
    assert_eq!(
        second.file("end"),
        "end of e1\n",
        "its last line came before the answer"
    );
    assert!(!second.is_running());
    assert!(first.is_running());
    // It does not die with the container's cgroup.
    block(c.task.kill_all(&c.id, 9)).unwrap();
    assert_eq!(c.wait(), 137);
    c.delete().unwrap();
    assert_eq!(
        (first.file("out"), first.file("err")),
        ("out\n".into(), "err\n".into())
    );
    assert_eq!(first.file("end"), format!("end of {}\n", c.id));
    assert!(!first.is_running());
    let state = block(c.task.state(&c.id, ""));
    assert!(state.is_err());
}

#[test]
fn terminal_goes_to_the_first_pipe_and_input_comes_from_its_fifo() {
    let lab = Lab::new();
    let logger = Logger::new(lab.dir(), "l");
    let spec = script("read -r line; echo got $line; echo err >&2").terminal();
    let c = lab.container(&spec);
    let uri = logger.uri("binary-v2", "copy");
    create_with(&c, |request| {
        request.stdout.clone_from(&uri);
        request.stderr.clone_from(&uri);
    })
    .unwrap();
    c.start();
    let mut input = c.stdio.open_stdin(limit()).unwrap();
    input.write_all(b"hello\n", limit()).unwrap();
    assert_eq!(c.wait(), 0);
    c.delete().unwrap();
    let out = logger.file("out").replace('\r', "");
    assert!(out.ends_with("got hello\nerr\n"), "{out:?}");
    assert_eq!(logger.file("err"), "");
    assert_ne!(logger.file("end"), "");
}

#[test]
fn twenty_megabytes_through_a_logger_arrive_in_order() {
    let lab = Lab::new();
    let logger = Logger::new(lab.dir(), "l");
    let c = lab.container_with(&Spec::new(["seq", "1", "2500000"]), Streams::NONE);
    create(&c, &logger.uri("binary-v2", "copy")).unwrap();
    c.start();
    assert_eq!(c.wait(), 0);
    c.delete().unwrap();
    let text = logger.file("out");
    assert_eq!(text.lines().count(), 2_500_000);
    let in_order = (1..)
        .zip(text.lines())
        .all(|(n, line)| line.parse() == Ok(n));
    assert!(in_order, "lines are missing or moved");
}

#[test]
fn logger_that_cannot_run_is_one_clear_error_and_leaves_nothing() {
    let lab = Lab::new();
    let logger = Logger::new(lab.dir(), "l");
    let plain = lab.dir().join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    let c = lab.container_with(&Spec::new(["sleep", "600"]), Streams::NONE);
    let not_ready = "logging binary did not call ready (it may have crashed or exited prematurely)";
    for (uri, expected) in [
        (
            "binary:///not/there".to_owned(),
            "\"/not/there\": no such file or directory",
        ),
        (format!("binary://{}", plain.display()), "permission denied"),
        (
            logger.uri("binary", "crash"),
            "it ended before it was ready",
        ),
        (logger.uri("binary-v2", "crash"), not_ready),
        (logger.uri("binary-v2", "eof"), not_ready),
        ("binary:///p?a=%00".to_owned(), "it contains a NUL byte"),
        ("binary://p".to_owned(), "no absolute path of a program"),
        ("tcp://host".to_owned(), "unknown STDIO scheme tcp"),
    ] {
        let error = create(&c, &uri).unwrap_err();
        is_one_clear_line(&error, &[expected]);
        assert!(!logger.is_running(), "{uri}");
    }
    let uri = logger.uri("binary", "copy");
    let error = create_with(&c, |request| {
        request.stdout.clone_from(&uri);
        request.stderr = "/dev/null".to_owned();
    });
    assert!(error.unwrap_err().contains("a logger takes both"));
    // The id is free, and execs fail in the same way.
    create(&c, &uri).unwrap();
    c.start();
    add_exec(&c, "e", ["touch", "/ran", "/ran2"], "binary:///not/there");
    let error = c.try_start("e").unwrap_err().message().to_owned();
    assert!(error.contains("start logging binary"), "{error}");
    assert!(!c.upper().join("ran").exists());
    block(c.task.delete(&c.id, "e")).unwrap();
}

#[test]
fn logger_that_is_never_ready_is_given_up() {
    let lab = Lab::new();
    let logger = Logger::new(lab.dir(), "l");
    let c = lab.container_with(&Spec::new(["true"]), Streams::NONE);
    let error = create(&c, &logger.uri("binary", "hang")).unwrap_err();
    assert!(error.contains("not ready within 20 s"), "{error}");
    assert!(!logger.is_running());
}

#[test]
fn failed_create_and_failed_exec_leave_no_logger() {
    let lab = Lab::new();
    let logger = Logger::new(lab.dir(), "l");
    let c = lab.container_with(&Spec::new(["sleep", "600"]), Streams::NONE);
    for mode in ["copy", "stubborn"] {
        c.reconfigure(&Spec::new(["/not/there"]));
        let error = create(&c, &logger.uri("binary", mode)).unwrap_err();
        assert!(error.contains("/not/there"), "{error}");
        assert_ne!(logger.file("pid"), "", "it was started");
        assert!(!logger.is_running(), "{mode}");
    }
    c.reconfigure(&c.spec);
    c.run();
    fs::remove_file(logger.dir.join("pid")).unwrap();
    add_exec(
        &c,
        "e",
        ["/not/there", "1", "2"],
        &logger.uri("binary", "copy"),
    );
    let error = c.try_start("e").unwrap_err().message().to_owned();
    assert!(error.contains("/not/there"), "{error}");
    assert_ne!(logger.file("pid"), "", "it was started");
    assert!(!logger.is_running());
    block(c.task.delete(&c.id, "e")).unwrap();
}

#[test]
fn dead_logger_blocks_its_container_and_is_mentioned_once() {
    let lab = Lab::new();
    let logger = Logger::new(lab.dir(), "l");
    let text = "echo first; seq 1 1000000; touch /through; sleep 600";
    let c = lab.container_with(&script(text), Streams::NONE);
    create(&c, &logger.uri("binary-v2", "dies")).unwrap();
    c.start();
    let mention = "has ended with status 7";
    let mut log = String::new();
    eventually("the log says so", || {
        log.push_str(&c.bundle.log());
        log.contains(mention).then_some(())
    });
    let streams = c.add_exec("other", ["echo", "fine"]);
    c.try_start("other").unwrap();
    assert_eq!(c.wait_exec("other"), 0);
    drop(streams);
    assert_eq!(c.status(), Status::RUNNING);
    assert!(!c.upper().join("through").exists(), "its pipes are bounded");
    assert_eq!(logger.file("out"), "first\n");
    assert_eq!(c.kill_and_wait(), 137);
    // There is nobody whom Delete could wait for.
    let start = Instant::now();
    c.delete().unwrap();
    assert!(start.elapsed() < slowed(Duration::from_secs(5)));
    log.push_str(&c.bundle.log());
    assert_eq!(log.matches(mention).count(), 1);
}

#[test]
fn logger_that_stays_is_asked_to_go_and_killed_in_the_end() {
    let lab = Lab::new();
    for (mode, least, most) in [("polite", 1, 8), ("stubborn", 12, 20)] {
        let logger = Logger::new(lab.dir(), mode);
        let c = lab.container_with(&script("echo through"), Streams::NONE);
        create(&c, &logger.uri("binary", mode)).unwrap();
        c.start();
        assert_eq!(c.wait(), 0);
        let start = Instant::now();
        c.delete().unwrap();
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(least), "{mode}: {took:?}");
        assert!(took < slowed(Duration::from_secs(most)), "{mode}: {took:?}");
        assert!(!logger.is_running(), "{mode}");
        assert_eq!(logger.file("out"), "through\n");
    }
    let asked = fs::read_to_string(lab.dir().join("polite/end")).unwrap();
    assert_eq!(asked, "asked\n");
}

/// nerdctl's logger stops reading when containerd tells it of the exit.
#[test]
fn exit_waits_a_moment_for_a_logger_that_has_not_read_everything() {
    let lab = Lab::new();
    let logger = Logger::new(lab.dir(), "l");
    let text = "echo first; read -r go; echo last; touch /done; sleep 600";
    let c = lab.container_with(&script(text), Streams::ALL);
    create(&c, &logger.uri("binary", "copy")).unwrap();
    c.start();
    eventually("the first line", || {
        (logger.file("out") == "first\n").then_some(())
    });
    // Longer than an exit waits for a client that has only just come.
    std::thread::sleep(Duration::from_millis(600));
    let readers = procfs::children(logger.pid());
    let signal = |signal| {
        for reader in &readers {
            kill(Pid::from_raw(i32::try_from(*reader).unwrap()), signal).unwrap();
        }
    };
    signal(Signal::SIGSTOP);
    c.stdio
        .open_stdin(limit())
        .unwrap()
        .write_all(b"go\n", limit())
        .unwrap();
    let done = c.upper().join("done");
    eventually("the last line", || done.exists().then_some(()));
    let start = Instant::now();
    assert_eq!(c.kill_and_wait(), 137);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(took < slowed(Duration::from_secs(5)), "{took:?}");
    signal(Signal::SIGCONT);
    c.delete().unwrap();
    assert_eq!(logger.file("out"), "first\nlast\n");
}

#[test]
fn logger_outlives_the_launcher_and_ends_after_the_daemon() {
    let lab = Lab::new();
    let logger = Logger::new(lab.dir(), "l");
    let text = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done";
    let c = lab.container_with(&script(text), Streams::NONE);
    create(&c, &logger.uri("binary", "copy")).unwrap();
    c.start();
    let lines = || logger.file("out").lines().count();
    eventually("some lines", || (lines() > 2).then_some(()));
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let children = procfs::children(c.shim_pid());
    for launcher in children
        .iter()
        .filter(|pid| name(pid).trim() == "hull-launcher")
    {
        leaks::kill(*launcher);
    }
    let before = lines();
    eventually("more lines", || (lines() > before + 2).then_some(()));
    lab.kill_daemon(c.shim_pid());
    eventually("the logger saw the end", || {
        (logger.file("end") == format!("end of {}\n", c.id)).then_some(())
    });
    eventually("it is gone", || (!logger.is_running()).then_some(()));
    let text = logger.file("out");
    assert!(
        (1..)
            .zip(text.lines())
            .all(|(n, line)| line.parse() == Ok(n))
    );
}

fn through_ctr(containerd: Arc<Containerd>) {
    let case = Case::with(containerd);
    let parent = case.containerd().dir().join("loggers");
    let logger = Logger::new(&parent, "init");
    let log = logger.uri("binary", "copy");
    let id = case.run_detached(
        &["--log-uri", &log],
        &["sh", "-c", "echo out; echo err >&2; sleep 600"],
    );
    eventually("its output", || {
        (logger.file("out") == "out\n").then_some(())
    });
    let exec = Logger::new(&parent, "exec");
    let log = exec.uri("binary", "copy");
    let task = ["task", "exec", "--exec-id", "e", "--log-uri", &log, &id];
    case.ctr(&[&task[..], &["echo", "from an exec"]].concat())
        .ok();
    assert_eq!(exec.file("out"), "from an exec\n");
    case.remove(&id);
    assert_eq!(logger.file("err"), "err\n");
    assert_eq!(logger.file("end"), format!("end of {id}\n"));
    let namespace = format!("CONTAINER_NAMESPACE={}", case.containerd().tag());
    assert!(logger.file("environ").lines().any(|line| line == namespace));
    fs::remove_dir_all(parent).unwrap();
}

#[test]
fn ctr_of_the_distribution_runs_with_a_logger() {
    through_ctr(Containerd::shared());
}

#[test]
fn ctr_of_containerd_2_runs_with_a_logger() {
    through_ctr(Arc::new(Containerd::start(containerd::Release::Newest)));
}
