//! Runs end-to-end tests in a virtual machine: see `hull-vm --help`.
//!
//! A host has one layout of cgroups, one kernel and one set of rights. The machine has what most
//! hosts have, and a development host may not: unified cgroups with every controller, the stock
//! kernel of Debian 12, all capabilities. It is software emulation: the same everywhere, without
//! KVM, and about ten times slower than the host.
//!
//! In order: `tests` builds the test executables, `kernel` fetches the kernel, `debian` the tree for
//! the image with systemd, `initrd` and `disk` make what it boots, `machine` runs it, `report` follows
//! what its tests say. The guest's side is shell scripts: `vm/initrd.sh`; then `vm/guest.sh`, or systemd;
//! then `vm/run.sh`. Which file of tests runs where is the table in `suite`.

#![expect(
    clippy::print_stdout,
    reason = "the tests' own output is passed on; everything else is progress on stderr"
)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs};

use crate::target;

mod args;
mod debian;
mod disk;
mod initrd;
mod kernel;
mod machine;
mod report;
mod suite;
mod tests;

use args::{Args, Parsed};
use suite::{Image, Part};
use tests::Executable;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The command `hull-vm`.
pub fn main() -> ExitCode {
    let parsed = args::parse(env::args().skip(1));
    let run = match parsed {
        Ok(Parsed::Help) => {
            print!("{}", args::usage());
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Run(args)) => run(&args),
        Err(problem) => Err(problem.into()),
    };
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("hull-vm: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Builds, boots, runs and judges. An error says what failed, in one line.
fn run(args: &Args) -> Result<()> {
    let began = Instant::now();
    let executables = tests::build(&args.parts)?;
    let mut bad = Vec::new();
    for image in Image::ALL {
        let here = |part: &Part| args.image.unwrap_or(part.file.image) == image;
        let (executables, _): (Vec<_>, Vec<_>) =
            executables.iter().partition(|tests| here(&tests.part));
        if !executables.is_empty() {
            bad.extend(run_on(image, &executables, args).err());
        }
    }
    eprintln!("hull-vm: {:.1} s in all", began.elapsed().as_secs_f32());
    let bad: Vec<String> = bad.iter().map(ToString::to_string).collect();
    if bad.is_empty() {
        Ok(())
    } else {
        Err(bad.join("; ").into())
    }
}

/// The same for the files that run on one image.
fn run_on(image: Image, executables: &[&Executable], args: &Args) -> Result<()> {
    let began = Instant::now();
    let cache = target::vm();
    let place = Place::make(&cache)?;
    let kernel = kernel::fetch(&cache, &place.dir)?;
    let debian = (image == Image::Systemd)
        .then(|| debian::fetch(&cache, &place.dir))
        .transpose()?;
    let initrd = initrd::make(&kernel, &place.dir)?;
    let content = disk::Content {
        executables,
        args,
        image,
    };
    let disk = disk::make(&content, debian.as_deref(), &place.dir)?;
    eprintln!(
        "hull-vm: Linux {} and {}, with {} files of tests, prepared in {:.1} s",
        kernel.version,
        image.name(),
        executables.len(),
        began.elapsed().as_secs_f32()
    );
    let console = place.dir.join("console");
    let machine = machine::boot(&machine::Parts {
        kernel: &kernel.image,
        initrd: &initrd,
        disk: &disk,
        console: &console,
    })?;
    let parts: Vec<Part> = executables.iter().map(|tests| tests.part).collect();
    report::follow(machine, &parts).map_err(|problem| {
        let kept = cache.join(format!("console-{}.log", image.name()));
        match fs::rename(&console, &kept) {
            Ok(()) => format!("{problem} (messages of its kernel: {})", kept.display()).into(),
            Err(_unwritten) => problem,
        }
    })
}

/// The directory of one run, removed at its end.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
}

impl Place {
    /// Makes it, and removes those of runs that were killed.
    fn make(cache: &Path) -> Result<Self> {
        fs::create_dir_all(cache)?;
        for entry in fs::read_dir(cache)?.flatten() {
            let name = entry.file_name();
            let Some(pid) = name
                .to_string_lossy()
                .strip_prefix("run-")
                .map(str::to_owned)
            else {
                continue;
            };
            if !Path::new("/proc").join(pid).exists() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let dir = cache.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Runs a tool to its end and gives what it printed.
fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}; make deps installs what is needed"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name}: {}: {}", output.status, text.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
