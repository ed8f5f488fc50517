//! What was asked for, checked: everything about a container that is known before it has a place.

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use hull_abi::{ContainerId, Proposal};
use hull_client::{Spec, Streams};

use super::args::ContainerArgs;
use super::{RootFs, spec};
use crate::error::{Error, NOT_EXECUTABLE, NOT_FOUND, USAGE};

/// As in containerd: an id is a part of many names.
const MAX_NAME: usize = 76;

/// The first bytes of every Wasm file
/// (<https://webassembly.github.io/spec/core/binary/modules.html#binary-module>).
const WASM: &[u8] = b"\0asm";

/// A container to be run.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The subcommand, for messages.
    pub(crate) verb: &'static str,
    /// A name of the user's choice.
    pub(crate) name: Option<String>,
    /// Its root file system.
    pub(crate) rootfs: RootFs,
    /// Its config, but for what depends on its name.
    pub(crate) spec: Spec,
    /// Host name of the user's choice.
    pub(crate) hostname: Option<String>,
    /// The streams it gets.
    pub(crate) streams: Streams,
    /// Where its standard output goes.
    pub(crate) output: To,
}

/// Where a container's standard output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// Our standard output.
    Stdout,
    /// Our standard error: standard output is for something else.
    Stderr,
}

impl Wanted {
    /// Checks the arguments and looks at the files that they name.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn new(verb: &'static str, container: &ContainerArgs) -> Result<Self, Error> {
        if let Some(name) = &container.name {
            check_name(verb, name)?;
        }
        let (rootfs, command) = program(verb, container)?;
        if container.tty && container.interactive && !io::stdin().is_terminal() {
            return Err(
                Error::usage(verb, "-t with -i needs a terminal on standard input")
                    .advise("leave out -t"),
            );
        }
        let spec = spec::of(verb, container, &rootfs, &command)?;
        Ok(Self {
            verb,
            name: container.name.clone(),
            rootfs,
            spec,
            hostname: container.hostname.clone(),
            streams: Streams {
                stdin: container.interactive,
                stdout: true,
                stderr: !container.tty,
                terminal: container.tty,
            },
            output: To::Stdout,
        })
    }

    /// A Wasm file that is to be made ready and not run.
    ///
    /// # Errors
    /// As [`Wanted::new`].
    pub(crate) fn module(verb: &'static str, file: &Path) -> Result<Self, Error> {
        let rootfs = RootFs::wasm(wasm_file(verb, file)?);
        let spec = spec::of_module(&rootfs);
        Ok(Self {
            verb,
            name: None,
            rootfs,
            spec,
            hostname: None,
            streams: Streams::NONE,
            output: To::Stdout,
        })
    }

    /// The same container, whose shim keeps a record of its Create.
    #[must_use]
    pub(crate) fn traced(self) -> Self {
        let spec = self.spec.annotation(hull_abi::TRACE_ANNOTATION, "yes");
        Self { spec, ..self }
    }

    /// The same container, whose modules may use these proposals.
    #[must_use]
    pub(crate) fn with_proposals(self, proposals: &[Proposal]) -> Self {
        if proposals.is_empty() {
            return self;
        }
        let spec = self
            .spec
            .annotation(hull_plan::WASM_FEATURES, &Proposal::list(proposals));
        Self { spec, ..self }
    }

    /// The same container with its standard output going elsewhere.
    #[must_use]
    pub(crate) fn with_output(self, output: To) -> Self {
        Self { output, ..self }
    }
}

fn check_name(verb: &str, name: &str) -> Result<(), Error> {
    let what = || format!("{verb}: --name {name:?}");
    ContainerId::parse(name).map_err(|error| Error::usage(format!("{verb}: --name"), error))?;
    if name.len() > MAX_NAME {
        return Err(Error::usage(
            what(),
            format!("it is longer than {MAX_NAME} bytes"),
        ));
    }
    Ok(())
}

/// The root file system, and what is run in it.
fn program(verb: &str, args: &ContainerArgs) -> Result<(RootFs, Vec<String>), Error> {
    if let Some(dir) = &args.rootfs {
        if args.command.is_empty() {
            return Err(Error::usage(verb, "the command is missing")
                .advise(format!("say hull {verb} --rootfs DIR -- COMMAND")));
        }
        let dir = directory(verb, dir)?;
        let rootfs = if args.writable_rootfs {
            RootFs::Itself(dir)
        } else {
            RootFs::Copy(dir)
        };
        return Ok((rootfs, args.command.clone()));
    }
    let Some((file, rest)) = args.command.split_first() else {
        return Err(
            Error::usage(verb, "the Wasm file is missing").advise(format!(
                "say hull {verb} APP.wasm or hull {verb} --rootfs DIR -- COMMAND"
            )),
        );
    };
    let (file, function) = split_function(file);
    let rootfs = RootFs::wasm(wasm_file(verb, Path::new(file))?);
    // The first -- only separates; the second one is an argument.
    let rest = match rest.split_first() {
        Some((dashes, rest)) if dashes == "--" => rest,
        _ => rest,
    };
    let program = rootfs.module_path().unwrap_or_default() + function;
    Ok((rootfs, [&[program], rest].concat()))
}

/// `app.wasm#function` is a function of a file, unless a file has that name.
fn split_function(name: &str) -> (&str, &str) {
    if Path::new(name).exists() {
        return (name, "");
    }
    let split = |(at, _): (usize, &str)| name.split_at_checked(at);
    name.rmatch_indices('#')
        .filter_map(split)
        .find(|(file, _)| Path::new(file).is_file())
        .unwrap_or((name, ""))
}

fn directory(verb: &str, dir: &Path) -> Result<PathBuf, Error> {
    let what = || format!("{verb}: --rootfs {}", dir.display());
    let real = dir
        .canonicalize()
        .map_err(|error| not_there(what(), &error))?;
    if real.to_str().is_none() {
        return Err(Error::new(what(), "the path is not UTF-8"));
    }
    if !real.is_dir() {
        return Err(Error::new(what(), "it is not a directory"));
    }
    if real.parent().is_none() {
        return Err(Error::new(
            what(),
            "the root of the host is no root file system for a container",
        ));
    }
    Ok(real)
}

/// The file by its real path, once it has turned out to be Wasm.
fn wasm_file(verb: &str, file: &Path) -> Result<PathBuf, Error> {
    let what = || format!("{verb}: {}", file.display());
    let refused = |why: &str| Error::new(what(), why).with_code(NOT_EXECUTABLE);
    let real = file
        .canonicalize()
        .map_err(|error| not_there(what(), &error))?;
    if real.to_str().is_none() {
        return Err(Error::new(what(), "the path is not UTF-8"));
    }
    // A FIFO would have us wait for a writer.
    if real.is_dir() {
        return Err(refused("it is a directory").advise("a root file system is given by --rootfs"));
    }
    if !real.is_file() {
        return Err(refused("it is not a regular file"));
    }
    let mut start = Vec::new();
    File::open(&real)
        .and_then(|file| file.take(8).read_to_end(&mut start))
        .map_err(|error| Error::new(what(), error).with_code(NOT_EXECUTABLE))?;
    if start.starts_with(WASM) {
        return Ok(real);
    }
    let error = refused("it is not a Wasm file: it does not begin with \\0asm");
    if start.starts_with(b"\x7fELF") || start.starts_with(b"#!") {
        return Err(
            error.advise("a native program needs a root file system: --rootfs DIR -- COMMAND")
        );
    }
    Err(error)
}

fn not_there(what: String, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        Error::new(what, "no such file or directory").with_code(NOT_FOUND)
    } else {
        Error::new(what, error)
    }
}

/// The value of a variable here, if it is text.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// Reads a seccomp profile of the user's.
pub(super) fn seccomp_file(verb: &str, path: &str) -> Result<serde_json::Value, Error> {
    let what = || format!("{verb}: --seccomp {path}");
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::new(what(), error).with_code(USAGE))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| Error::usage(what(), error))?;
    // The shim takes null for no filter at all.
    if value.is_object() {
        Ok(value)
    } else {
        Err(Error::usage(what(), "it is no linux.seccomp object"))
    }
}
