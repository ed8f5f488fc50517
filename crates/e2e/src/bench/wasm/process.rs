//! hello.wasm as a bare process, without a container: our runner beside wasmtime's own command.
//!
//! Our runner gets what the init of a container hands to it: config and artifact are taken from one
//! that was created and is not started.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{HELLO, mappings};
use crate::bench::account::{self, Account};
use crate::bench::bed::Bed;
use crate::bench::cell::{Cell, runtime};
use crate::bench::peer;
use crate::bench::pod::Pod;
use crate::bench::report::{Comparison, Figure, Line, Table};
use crate::bench::sample::Series;
use crate::bench::task::progress;
use crate::bench::{Plan, Result};
use crate::rootfs::Image;
use crate::target;

const WARM_UP: usize = 3;
/// The variable that tells the runner its descriptors, `<config>:<artifact>`.
const RUNNER_FDS: &str = "HULL_WASM_FDS";
/// How an init's config shows in /proc/PID/fd.
const CONFIG: &str = "/memfd:hull-wasm (deleted)";

/// One way to run hello.wasm.
type Racer<'bed> = (String, Box<dyn Fn() -> Result<Run> + 'bed>);

/// A command that can run once.
#[derive(Debug)]
struct Run {
    command: Command,
    /// What it inherits.
    files: Vec<File>,
}

/// The table; none without a wasmtime.
pub(in crate::bench) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let Some(wasmtime) = peer::wasmtime() else {
        return Ok(Vec::new());
    };
    let rounds = plan.rounds(100);
    let bed = Bed::make()?.with_image(Image::Wasm);
    let client = runtime()?;
    let pod = Pod::start(&bed, plan.hull()?, &client)?;
    let cell = Cell::make(&bed, pod.peer, &[HELLO])?;
    client.block_on(cell.create(&pod.task))?;
    let init = client.block_on(pod.task.state(&cell.id, ""))?.pid;
    let mut racers: Vec<Racer<'_>> = vec![("hull-wasm".to_owned(), Box::new(move || runner(init)))];
    racers.extend(wasmtimes(&wasmtime, bed.dir())?);
    let lines = race(&racers, &pod.account, rounds)?;
    client.block_on(cell.end(&pod.task))?;
    cell.remove()?;
    pod.end(&client)?;
    Ok(vec![Table {
        row: "wasm-process",
        id: "wasm-process",
        title: "hello.wasm as a process, without a container".to_owned(),
        how: format!(
            "ms, median of {rounds}. From fork to the end of the process. Only hull-wasm limits \
             itself to the system calls that it needs."
        ),
        columns: vec!["wall", "CPU"],
        lines,
        comparison: Some(Comparison::Ratio),
    }])
}

fn race(racers: &[Racer<'_>], account: &Account, rounds: usize) -> Result<Vec<Line>> {
    let mut series: Vec<[Series; 2]> = Vec::new();
    series.resize_with(racers.len(), Default::default);
    for round in 0..WARM_UP + rounds {
        progress("processes", round, WARM_UP + rounds);
        for ((name, make), [walls, cpus]) in racers.iter().zip(&mut series) {
            let run = make()?;
            let before = account.used();
            let wall = finish(run, account).map_err(|error| format!("{name}: {error}"))?;
            account::rest(std::slice::from_ref(account));
            if round >= WARM_UP {
                walls.push_time(wall);
                cpus.push_time(account.used().saturating_sub(before));
            }
        }
    }
    let lines = racers.iter().zip(&series);
    Ok(lines
        .map(|((name, _), series)| (name.clone(), series.iter().map(Figure::from).collect()))
        .collect())
}

/// Runs it; gives the time from fork to the end.
fn finish(mut run: Run, account: &Account) -> Result<Duration> {
    run.command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let (spawned, began) = account.inside(|| {
        let began = Instant::now();
        (run.command.spawn(), began)
    })?;
    let output = spawned?.wait_with_output()?;
    let took = began.elapsed();
    drop(run.files);
    if output.status.success() {
        return Ok(took);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {text}", output.status).into())
}

/// Our runner with descriptors of the init that is about to become it.
fn runner(init: u32) -> Result<Run> {
    let config = inherited(init, |file| file == CONFIG)?;
    let artifact = inherited(init, mappings::is_artifact)?;
    let fds = format!("{}:{}", config.as_raw_fd(), artifact.as_raw_fd());
    let mut command = Command::new(target::bin_dir().join("hull-wasm"));
    command.env_clear().env(RUNNER_FDS, fds);
    Ok(Run {
        command,
        files: vec![config, artifact],
    })
}

/// Opens the file of a process that is called like this, for a child to inherit. Anew each time:
/// whoever reads it moves its offset.
fn inherited(pid: u32, is_wanted: impl Fn(&str) -> bool) -> Result<File> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        if is_wanted(&fs::read_link(&path)?.to_string_lossy()) {
            let file = File::open(path)?;
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
            return Ok(file);
        }
    }
    Err(format!("pid {pid} does not have both config and artifact").into())
}

/// wasmtime with the module compiled before, in its cache after the warm-up, and compiled each time.
fn wasmtimes<'a>(program: &'a Path, dir: &'a Path) -> Result<Vec<Racer<'a>>> {
    let rootfs = Image::Wasm.rootfs().display();
    let module = format!("{rootfs}{HELLO}");
    let compiled = dir.join("hello.cwasm").display().to_string();
    let command = move |args: &[String]| {
        let mut command = Command::new(program);
        // Its cache is below $HOME.
        command.args(args).env_clear().env("HOME", dir);
        command
    };
    let args = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
    let version = command(&args(&["--version"])).output()?.stdout;
    let version = String::from_utf8_lossy(&version);
    let version = version.split_whitespace().nth(1).unwrap_or("unknown");
    let compile = command(&args(&["compile", "-o", &compiled, &module])).status()?;
    if !compile.success() {
        return Err(format!("wasmtime compile {module}: {compile}").into());
    }
    let ways = [
        (
            "compiled before",
            args(&["run", "--allow-precompiled", &compiled]),
        ),
        ("in its cache", args(&["run", &module])),
        ("without cache", args(&["run", "-C", "cache=n", &module])),
    ];
    let racer = |(way, args): (&str, Vec<String>)| -> Racer<'a> {
        let run = move || {
            Ok(Run {
                command: command(&args),
                files: Vec::new(),
            })
        };
        (format!("wasmtime, {way} ({version})"), Box::new(run))
    };
    Ok(ways.into_iter().map(racer).collect())
}
