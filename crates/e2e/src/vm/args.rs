//! The command line of `hull-vm`.

use super::suite::{self, Image, Part};

/// What is asked for.
#[derive(Debug)]
pub(super) enum Parsed {
    /// The usage.
    Help,
    /// A run.
    Run(Args),
}

/// One run.
#[derive(Debug)]
pub(super) struct Args {
    /// The files of tests, in the order in which they run.
    pub(super) parts: Vec<Part>,
    /// Where all of them run, if not each where it belongs.
    pub(super) image: Option<Image>,
    /// Arguments of each test executable, besides those that are always there.
    pub(super) libtest: Vec<String>,
}

/// What `--help` prints.
pub(super) fn usage() -> String {
    let mut text = "usage: hull-vm [--all] [--image IMAGE] [FILE…] [-- LIBTEST ARGUMENTS]
  Runs end-to-end tests in a virtual machine with unified cgroups: the files named, or what is marked
  with * (whole) and + (a few tests of the file).
  --all          every file but those marked with -
  --image IMAGE  on this image: busybox, or systemd (Debian's as PID 1); otherwise systemd for the file
                 of that name and busybox for the others, one machine after the other
files:
"
    .to_owned();
    for file in suite::FILES {
        text.push_str(&format!(
            "  {} {:<15} {}\n",
            file.mark(),
            file.name,
            file.why
        ));
    }
    text
}

pub(super) fn parse(args: impl Iterator<Item = String>) -> Result<Parsed, String> {
    let mut args = args;
    let mut parts = Vec::new();
    let (mut all, mut image) = (false, None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" => return Ok(Parsed::Help),
            "--all" => all = true,
            "--image" => {
                let name = args.next().ok_or("--image: which one is missing")?;
                image = Some(Image::find(&name)?);
            }
            "--" => break,
            name => parts.push(suite::find(name)?),
        }
    }
    if all {
        parts = suite::all();
    } else if parts.is_empty() {
        parts = suite::usual();
    }
    Ok(Parsed::Run(Args {
        parts,
        image,
        libtest: args.collect(),
    }))
}
