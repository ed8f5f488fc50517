//! containerd is killed, comes back, or is replaced by a newer one, while containers run and print.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test code"
)]

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use containerd_shim_protos::api::Status;
use hull_e2e::containerd::Release;
use hull_e2e::{
    Case, Containerd, FifoReader, Lab, Spec, Topic, block, ctr, eventually, leaks, procfs, slowed,
    target, time,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const CONTAINERS: usize = 50;
/// How many `ctr` run at the same time.
const CLIENTS: usize = 4;

/// Prints the natural numbers, some each second.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.4; done";

/// A containerd of its own, or nothing where 2.x is left out on purpose.
fn case(release: Release) -> Option<Case> {
    if release == Release::Newest && env::var_os("HULL_CLIENTS").is_some_and(|dir| dir.is_empty()) {
        eprintln!("CLIENTS=no: nothing is proved about containerd 2.x");
        return None;
    }
    let case = Case::with(Arc::new(Containerd::start(release)));
    case.expect_lost_events();
    Some(case)
}

/// Does something with each of them, some at the same time; gives the results in their order.
fn each<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let next = Mutex::new(0..items.len());
    let done: Mutex<Vec<(usize, T)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let Some(at) = next.lock().unwrap().next() else {
                        return;
                    };
                    let result = work(items.get(at).unwrap());
                    done.lock().unwrap().push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// That many containers that count.
fn counting(case: &Case, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|_| case.id("count")).collect();
    each(&ids, |id| {
        let command = case.run_command(id, &["--detach"], &["sh", "-c", COUNT]);
        ctr::run(command, &[]).ok();
    });
    ids
}

/// That many containers that sleep, of this runtime.
fn sleeping(case: &Case, runtime: &str, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|_| case.id("sleep")).collect();
    let flags = ["run", "--detach", "--null-io", "--runtime", runtime];
    each(&ids, |id| {
        let mut command = case.containerd().ctr_command();
        let image = hull_e2e::Image::Busybox.name();
        command.args(flags).args([image, id, "sleep", "600"]);
        ctr::run(command, &[]).ok();
    });
    ids
}

/// Kills and deletes them.
fn remove(case: &Case, ids: &[String]) {
    each(ids, |id| {
        // Exits with the status of the task.
        case.ctr(&["task", "delete", "--force", id]);
        case.ctr(&["container", "delete", id]).ok();
    });
}

/// Ids, pids and states, as `ctr task ls` tells.
fn tasks(case: &Case) -> HashMap<String, (u32, String)> {
    let list = case.ctr(&["task", "ls"]).ok();
    list.lines()
        .skip(1)
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let mut word = || words.next().unwrap();
            (word(), (word().parse().unwrap(), word()))
        })
        .collect()
}

/// One who reads what a container prints, and knows what came before.
struct Reader {
    path: PathBuf,
    fifo: Option<FifoReader>,
    text: String,
}

impl Reader {
    fn of(case: &Case, id: &str) -> Self {
        let state = block(case.connect(id).state(id, "")).unwrap();
        let path = PathBuf::from(state.stdout);
        let fifo = Some(FifoReader::open(&path).unwrap());
        let text = String::new();
        Self { path, fifo, text }
    }

    /// Reads what there is; gives the number of whole lines so far.
    fn read(&mut self) -> usize {
        if let Some(fifo) = &mut self.fifo {
            self.text
                .push_str(&String::from_utf8_lossy(&fifo.read_available()));
        }
        self.text.matches('\n').count()
    }

    /// Reads until some more lines have come.
    fn read_on(&mut self, id: &str) {
        let before = self.read();
        eventually(&format!("{id} prints"), || {
            (self.read() > before + 1).then_some(())
        });
    }

    fn reopen(&mut self) {
        self.fifo = Some(FifoReader::open(&self.path).unwrap());
    }

    /// Every number once, in order, from the first that `ctr run` left to us.
    fn check(&self, id: &str) {
        let whole = self.text.rsplit_once('\n').unwrap().0;
        let numbers: Vec<u32> = whole.lines().map(|line| line.parse().unwrap()).collect();
        let first = *numbers.first().unwrap();
        let expected = (first..).take(numbers.len());
        assert!(
            first < 10 && expected.eq(numbers.iter().copied()),
            "{id}: {numbers:?}"
        );
    }
}

/// Half of the readers go with containerd, as CRI's do, and come back with it; the others stay, as those of
/// a client of its own.
fn nobody_notices_a_restart(release: Release) {
    let Some(case) = case(release) else { return };
    let ids = counting(&case, CONTAINERS);
    let mut readers: Vec<Reader> = ids.iter().map(|id| Reader::of(&case, id)).collect();
    let (kept, gone) = readers.split_at_mut(CONTAINERS / 2);
    let before = tasks(&case);
    let clients: Vec<_> = ids.iter().map(|id| case.connect(id)).collect();

    case.containerd().kill();
    gone.iter_mut().for_each(|reader| {
        reader.read();
        reader.fifo = None;
    });
    for (reader, id) in kept.iter_mut().zip(&ids) {
        reader.read_on(id);
    }
    // Some end meanwhile: the first of each half.
    let ended = [0, 1, CONTAINERS / 2, CONTAINERS / 2 + 1];
    for at in ended {
        let (task, id) = (&clients[at], &ids[at]);
        block(task.kill(id, "", 9)).unwrap();
        let exit = time::within_limit("Wait", task.wait(id, "")).unwrap();
        assert_eq!(exit.exit_status, 137);
        let state = block(task.state(id, "")).unwrap();
        assert_eq!((state.status(), state.exit_status), (Status::STOPPED, 137));
    }
    drop(clients);

    case.containerd().resume();
    gone.iter_mut().for_each(Reader::reopen);
    let after = tasks(&case);
    for (at, id) in ids.iter().enumerate() {
        if ended.contains(&at) {
            // From 1.7 on, what has stopped meanwhile is removed as leaked.
            let state = after.get(id).map(|(_, state)| state.as_str());
            let expected = (release == Release::Distribution).then_some("STOPPED");
            assert_eq!(state, expected, "{id}");
        } else {
            assert_eq!(after.get(id), before.get(id), "{id}");
            readers[at].read_on(id);
        }
        readers[at].check(id);
    }
    let living = &ids[2];
    assert_eq!(case.exec(living, &["echo", "again"]).ok(), "again\n");
    if release == Release::Distribution {
        let deleted = case.ctr(&["task", "delete", &ids[0]]).expect(0);
        assert!(deleted.stderr.contains("exit code 137"), "{deleted:?}");
    }
    remove(&case, &ids);
    assert!(tasks(&case).is_empty());
    for at in ended {
        // The client that made the FIFOs never heard of the end of the task.
        fs::remove_dir_all(readers[at].path.parent().unwrap()).ok();
    }
}

#[test]
fn fifty_containers_do_not_notice_a_restart_of_the_first_generation() {
    nobody_notices_a_restart(Release::Distribution);
}

#[test]
fn fifty_containers_do_not_notice_a_restart_of_the_second_generation() {
    nobody_notices_a_restart(Release::Newest);
}

#[test]
fn containers_of_the_first_generation_live_on_under_the_second() {
    if case(Release::Newest).is_none() {
        return;
    }
    let Some(case) = case(Release::Distribution) else {
        return;
    };
    let ids = counting(&case, 4);
    let [running, paused, stops, deleted] = ids.as_slice() else {
        panic!("{ids:?}")
    };
    let mut reader = Reader::of(&case, running);
    reader.read_on(running);
    case.ctr(&["task", "pause", paused]).ok();
    let before = tasks(&case);
    case.containerd().replace_by(Release::Newest);
    let version = case.ctr(&["version"]).ok();
    assert_eq!(version.matches("Version:  v2.").count(), 2, "{version}");
    assert_eq!(tasks(&case), before);
    reader.read_on(running);
    reader.check(running);
    assert_eq!(case.exec(running, &["echo", "new"]).ok(), "new\n");
    let missing = case.exec(running, &["/no/such/program"]);
    assert!(missing.stderr.contains("/no/such/program"), "{missing:?}");
    case.ctr(&["task", "resume", paused]).ok();
    assert_eq!(case.exec(paused, &["echo", "on"]).ok(), "on\n");
    // And its own restart finds them by what it has written itself.
    case.containerd().kill();
    case.containerd().resume();
    assert_eq!(tasks(&case).len(), before.len());
    case.ctr(&["task", "kill", "--signal", "SIGKILL", stops])
        .ok();
    eventually("it has stopped", || {
        (tasks(&case).get(stops)?.1 == "STOPPED").then_some(())
    });
    case.remove(deleted);
    // The id is free under the new one.
    let again = case.run_command(deleted, &["--rm"], &["echo", "once more"]);
    assert_eq!(ctr::run(again, &[]).ok(), "once more\n");
    let left = [running, paused, stops].map(Clone::clone);
    remove(&case, &left);
}

/// containerd is killed while a Delete is under way: it knows of the container then, and the shim does not
/// any more.
fn delete_under_way(is_back_in_time: bool) {
    let Some(case) = case(Release::Distribution) else {
        return;
    };
    let dir = case.containerd().dir();
    let (began, config) = (dir.join("began"), dir.join("config.json"));
    let text = case.ctr(&["oci", "spec"]).ok();
    let mut spec: serde_json::Value = serde_json::from_str(&text).unwrap();
    let id = case.id("under-way");
    let script = format!("touch {}; sleep 1.5", began.display());
    spec["process"]["args"] = serde_json::json!(["/bin/sh", "-c", "exit 3"]);
    spec["linux"]["cgroupsPath"] = format!("/{}/{id}", case.containerd().tag()).into();
    spec["root"]["path"] = serde_json::json!(hull_e2e::Image::Busybox.rootfs());
    spec["hooks"] = serde_json::json!({
        "poststop": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }]
    });
    fs::write(&config, spec.to_string()).unwrap();
    let mut run = case.containerd().ctr_command();
    run.args([
        "run",
        "--detach",
        "--null-io",
        "--runtime",
        &target::runtime(),
    ])
    .arg("--config")
    .arg(&config)
    .arg(&id);
    ctr::run(run, &[]).ok();
    eventually("it has stopped", || {
        (tasks(&case).get(&id)?.1 == "STOPPED").then_some(())
    });
    let task = case.connect(&id);
    let before = block(task.state(&id, "")).unwrap().status();
    assert_eq!(before, Status::STOPPED);
    thread::scope(|scope| {
        let mut delete = case.containerd().ctr_command();
        delete.args(["task", "delete", &id]);
        scope.spawn(|| ctr::run(delete, &[]));
        eventually("its hook runs", || began.exists().then_some(()));
        case.containerd().kill();
    });
    assert_eq!(
        block(task.state(&id, "")).unwrap().status(),
        Status::STOPPED
    );
    let state = dir.join("state/io.containerd.runtime.v2.task");
    let state = state.join(case.containerd().tag()).join(&id);
    eventually("the shim has carried it through", || {
        (!state.join("hull-state").exists()).then_some(())
    });
    if is_back_in_time {
        // While somebody is connected the shim stays.
        case.containerd().resume();
        assert_eq!(tasks(&case).get(&id).unwrap().1, "STOPPED");
        // Its own status, not that of a container whose shim is lost.
        let deleted = case.ctr(&["task", "delete", &id]).expect(0);
        assert!(deleted.stderr.contains("exit code 3"), "{}", deleted.stderr);
    } else {
        // It would stay for long, since nobody else knows how the container ended.
        let daemon = block(task.connect_task(&id)).unwrap().shim_pid;
        drop(task);
        thread::sleep(Duration::from_secs(3));
        assert!(procfs::exists(daemon));
        let pid = Pid::from_raw(i32::try_from(daemon).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let socket = case.shim_socket(&id);
        eventually("the shim leaves", || (!socket.exists()).then_some(()));
        case.containerd().resume();
    }
    assert!(tasks(&case).is_empty());
    case.ctr(&["container", "delete", &id]).ok();
    let again = case.run_command(&id, &["--rm"], &["echo", "once more"]);
    assert_eq!(ctr::run(again, &[]).ok(), "once more\n");
}

#[test]
fn delete_under_way_when_containerd_is_killed_can_be_asked_again() {
    delete_under_way(true);
}

#[test]
fn shim_whose_last_container_was_deleted_for_a_dead_containerd_stays_for_it() {
    delete_under_way(false);
}

/// containerd 2.x left containers running whose shim was killed
/// (<https://github.com/containerd/containerd/issues/10727>).
#[test]
fn second_generation_cleans_up_after_a_killed_daemon() {
    let Some(case) = case(Release::Newest) else {
        return;
    };
    let ids = sleeping(&case, &target::runtime(), 3);
    let before = tasks(&case);
    for id in &ids {
        let daemon = block(case.connect(id).connect_task(id)).unwrap().shim_pid;
        leaks::kill(daemon);
    }
    for id in &ids {
        case.containerd().events().wait_for(Topic::Exit, id, "");
        let (pid, _) = before.get(id).unwrap();
        eventually("the init is dead", || procfs::has_ended(*pid).then_some(()));
    }
    eventually("the tasks are gone", || {
        tasks(&case).is_empty().then_some(())
    });
    for id in &ids {
        case.ctr(&["container", "delete", id]).ok();
        let again = case.run_command(id, &["--rm"], &["echo", "once more"]);
        assert_eq!(ctr::run(again, &[]).ok(), "once more\n");
    }
}

/// The daemon that serves a container.
fn daemon_of(id: &str) -> Option<u32> {
    let mine = format!(" -id {id} ");
    procfs::pids().into_iter().find(|pid| {
        let line = procfs::command_line(*pid);
        line.contains(&mine) && line.ends_with(" daemon")
    })
}

/// Whatever containerd was doing with it then.
fn daemon_is_killed_at_any_moment(release: Release) {
    let Some(case) = case(release) else { return };
    for round in 0..6 {
        let id = case.id("killed");
        let run = case.run_command(&id, &["--detach", "--null-io"], &["sleep", "600"]);
        thread::scope(|scope| {
            scope.spawn(|| ctr::run(run, &[]));
            let daemon = eventually("its daemon", || daemon_of(&id));
            thread::sleep(Duration::from_millis(4 * round));
            leaks::kill(daemon);
        });
        eventually("the task is gone", || {
            (!tasks(&case).contains_key(&id)).then_some(())
        });
        case.ctr(&["container", "delete", &id]).ok();
        let again = case.run_command(&id, &["--rm"], &["echo", "once more"]);
        assert_eq!(ctr::run(again, &[]).ok(), "once more\n", "round {round}");
    }
}

#[test]
fn first_generation_frees_the_id_whenever_the_daemon_is_killed() {
    daemon_is_killed_at_any_moment(Release::Distribution);
}

#[test]
fn second_generation_frees_the_id_whenever_the_daemon_is_killed() {
    daemon_is_killed_at_any_moment(Release::Newest);
}

/// Nobody reads the log while containerd is away.
#[test]
fn log_that_nobody_reads_holds_nothing_up() {
    if !target::is_hull() {
        eprintln!("SIGUSR1 means something else to other shims: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    let daemon = Pid::from_raw(i32::try_from(c.shim_pid()).unwrap());
    // Each is some 500 bytes of log, and the FIFO holds 64 KiB.
    for _ in 0..300 {
        kill(daemon, Signal::SIGUSR1).unwrap();
        assert_eq!(c.status(), Status::RUNNING);
    }
    assert_eq!(c.exec("e", ["true"]).status, 0);
    let log = c.bundle.log();
    assert!(log.len() > 60_000, "{} bytes of log", log.len());
    kill(daemon, Signal::SIGUSR1).unwrap();
    eventually("the loss is told", || {
        c.bundle.log().contains("lost_lines=").then_some(())
    });
}

/// How long containerd takes to start with that many running containers, in seconds, as it says.
fn reload(case: &Case, runtime: &str, count: usize) -> f64 {
    let ids = sleeping(case, runtime, count);
    case.containerd().kill();
    case.containerd().resume();
    let said = || {
        let log = case.containerd().log();
        let (_, text) = log.rsplit_once("successfully booted in ")?;
        text.split('s').next()?.parse::<f64>().ok()
    };
    let took = eventually("containerd says how long it took", said);
    let running = tasks(case);
    assert!(
        ids.iter()
            .all(|id| running.get(id).is_some_and(|(_, state)| state == "RUNNING")),
        "{running:?}"
    );
    remove(case, &ids);
    took
}

/// `HULL_RELOAD=100` measures with that many.
#[test]
fn reload_of_running_containers_takes_no_longer_than_with_runc() {
    let Some(case) = case(Release::Newest) else {
        return;
    };
    let count = env::var("HULL_RELOAD").map_or(12, |count| count.parse().unwrap());
    let empty = reload(&case, &target::runtime(), 0);
    let hull = reload(&case, &target::runtime(), count);
    let runc = reload(&case, target::RUNC, count);
    // It leaves an empty directory.
    drop(fs::remove_dir(
        Path::new("/run/containerd/runc").join(case.containerd().tag()),
    ));
    eprintln!(
        "containerd 2.x starts in {empty:.2} s with nothing, in {hull:.2} s with {count} running \
         containers of {}, in {runc:.2} s with as many of {}",
        target::runtime(),
        target::RUNC
    );
    let slack = slowed(Duration::from_secs(2)).as_secs_f64();
    assert!(hull <= runc + slack, "{hull} s, {runc} s");
}
