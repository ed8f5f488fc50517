//! Finding the program in the container's own root, and telling by its first bytes what it is.

use crate::failure::{At, Blamed, because};
use hull_abi::{Blame, Payload, Process, SetupError, Step};
use hull_sys::{Errno, fd, fs};
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};

/// Most of `/etc/passwd` that is looked at; the file is the image's.
const MAX_PASSWD: u64 = 1 << 20;
/// Most "#" in `args[0]` at which a function's name is looked for; interfaces have one.
const MAX_HASHES: usize = 8;
/// `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH`, which open ways that permissions close
/// ([capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html)).
const PASSES_PERMISSIONS: u64 = 1 << 1 | 1 << 2;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The magic number of Wasm, modules and components alike
/// (<https://webassembly.github.io/spec/core/binary/modules.html#binary-module>).
const WASM: &[u8] = b"\0asm";

/// What `args[0]` is.
#[derive(Debug)]
pub(super) enum Found {
    /// A program for the kernel.
    Native(String),
    /// A Wasm file.
    Wasm(Module),
    /// Nothing of that name, which fails like this unless the image itself is a module.
    Absent(SetupError),
}

/// A Wasm file of the container.
#[derive(Debug)]
pub(super) struct Module {
    /// Its path there.
    pub(super) path: String,
    /// The exported function that is asked for.
    pub(super) function: Option<String>,
    /// Open for reading.
    pub(super) file: File,
}

/// Finds `args[0]` as execvpe(3) would, with the container's own PATH, and looks at its first bytes,
/// so that a file that cannot be run fails now and not at start.
///
/// Where there is no such file, `module.wasm#function` is an exported function of a Wasm file.
pub(super) fn find(process: &Process) -> Result<Found, SetupError> {
    let name = process.args.first().map(String::as_str).unwrap_or_default();
    let path = match search(process, name) {
        Ok(path) => path,
        Err(missing) => return otherwise(process, name, missing),
    };
    let refuse = |blame, why: &str| {
        Err(because(
            Step::Program,
            blame,
            format!("exec: {path:?}"),
            why,
        ))
    };
    let file = match open_file(&path) {
        Ok(file) => file,
        Err(e) if process.payload == Payload::Wasm => {
            return Err(fd::errno(&e))
                .at(Step::Program, || format!("open {path:?}"))
                .blame(Blame::Image);
        }
        // A program that may be run but not read is left to the kernel.
        Err(_) => return Ok(Found::Native(path)),
    };
    let mut header = [0u8; 8];
    let len = file.read_at(&mut header, 0).unwrap_or_default();
    let header = header.get(..len).unwrap_or_default();
    let is_wasm = header.starts_with(WASM);
    match process.payload {
        Payload::Native => Ok(Found::Native(path)),
        _ if is_wasm => Ok(Found::Wasm(Module {
            path,
            function: None,
            file,
        })),
        _ if hull_artifact::is_artifact(header) => refuse(
            Blame::Image,
            "it is compiled Wasm: native code is only taken from hull's own compiler, \
             put the .wasm file into the image",
        ),
        Payload::Wasm => refuse(Blame::Caller, "it is not a Wasm file, which was asked for"),
        _ if header.starts_with(b"\x7fELF") || header.starts_with(b"#!") => Ok(Found::Native(path)),
        _ if path.ends_with(".wasm") => refuse(
            Blame::Image,
            "it is no Wasm file in spite of its name: it does not begin with \\0asm",
        ),
        Payload::ByContent | Payload::Compile | Payload::Hold => refuse(
            Blame::Image,
            "exec format error: it is neither ELF, script (#!) nor Wasm",
        ),
    }
}

/// The value of a variable. The plan has each name once.
fn variable<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter()
        .rev()
        .find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// What a name means that is no program's.
fn otherwise(process: &Process, name: &str, missing: Missing) -> Result<Found, SetupError> {
    if let Some(module) = function(process, name) {
        return Ok(Found::Wasm(module));
    }
    match missing {
        Missing::Nowhere(error) if process.payload != Payload::Native => Ok(Found::Absent(error)),
        Missing::Nowhere(error) | Missing::Unfit(error) => Err(error),
    }
}

/// The Wasm file and its function that `name` means, if it means one. Names of files and of functions
/// may have a "#" themselves: the longest file name wins.
fn function(process: &Process, name: &str) -> Option<Module> {
    if process.payload == Payload::Native {
        return None;
    }
    name.rmatch_indices('#')
        .take(MAX_HASHES)
        .find_map(|(at, _)| {
            let (file_name, function) = (name.get(..at)?, name.get(at + 1..)?);
            let path = search(process, file_name).ok()?;
            let file = open_file(&path).ok().filter(begins_like_wasm)?;
            Some(Module {
                path,
                function: Some(function.to_owned()),
                file,
            })
        })
}

/// Why a program was not found.
enum Missing {
    /// Nothing has its name.
    Nowhere(SetupError),
    /// What has its name cannot be run.
    Unfit(SetupError),
}

fn search(process: &Process, name: &str) -> Result<String, Missing> {
    let action = || format!("exec: {name:?}");
    let fail = |errno: Errno| {
        let failed = Err(errno).at(Step::Program, action).blame(Blame::Caller);
        let absent = matches!(errno, Errno::ENOENT | Errno::ENOTDIR) && !name.is_empty();
        failed.map_err(if absent {
            Missing::Nowhere
        } else {
            Missing::Unfit
        })
    };
    let runnable = |path: &str| runnable(path, process);
    if name.contains('/') {
        return match runnable(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(errno) => fail(errno),
        };
    }
    let path = variable(&process.env, "PATH").unwrap_or(DEFAULT_PATH);
    let mut denied = false;
    for directory in path.split(':').filter(|_| !name.is_empty()) {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = format!("{directory}/{name}");
        match runnable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => denied = true,
            Err(_) => {}
        }
    }
    if denied {
        return fail(Errno::EACCES);
    }
    let cause = "executable file not found in $PATH";
    let error = because(Step::Program, Blame::Caller, action(), cause);
    Err(if name.is_empty() {
        Missing::Unfit(error)
    } else {
        Missing::Nowhere(error)
    })
}

/// A Wasm file needs no execute bit: nothing executes it.
fn runnable(path: &str, process: &Process) -> Result<(), Errno> {
    let meta = std::fs::metadata(path).map_err(|e| fd::errno(&e))?;
    if meta.is_dir() {
        return Err(Errno::EISDIR);
    }
    if !meta.is_file() {
        return Err(Errno::EACCES); // as execve(2)
    }
    let passes = process.capabilities.effective & PASSES_PERMISSIONS != 0;
    match fs::may_execute(path) {
        Err(Errno::EACCES) if process.payload != Payload::Native && is_wasm(path) => Ok(()),
        // Of a user who is not root, access(2) leaves out the capabilities. execve has the last word.
        Err(Errno::EACCES) if passes && meta.mode() & 0o111 != 0 => Ok(()),
        other => other,
    }
}

fn is_wasm(path: &str) -> bool {
    open_file(path).is_ok_and(|file| begins_like_wasm(&file))
}

fn begins_like_wasm(file: &File) -> bool {
    let mut magic = [0u8; WASM.len()];
    file.read_exact_at(&mut magic, 0).is_ok() && magic == WASM
}

/// Opens a file of the container; a FIFO in its place does not make us wait, a terminal does not
/// become ours.
fn open_file(path: &str) -> std::io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(path)
}

/// The user's home directory if the environment names none: what the image's own `/etc/passwd` says,
/// "/" if it says nothing. Read by ourselves: the C library would load name service modules of the
/// image.
pub(super) fn home(process: &Process) -> Option<String> {
    use std::io::Read as _;
    if variable(&process.env, "HOME").is_some_and(|home| !home.is_empty()) {
        return None;
    }
    let mut text = String::new();
    let read =
        open_file("/etc/passwd").and_then(|file| file.take(MAX_PASSWD).read_to_string(&mut text));
    if read.is_err() {
        return Some("/".to_owned());
    }
    let home = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let id = fields.nth(2)?;
        (id.parse() == Ok(process.user.uid))
            .then(|| fields.nth(2))
            .flatten()
    });
    let home = home.filter(|home| home.starts_with('/')).unwrap_or("/");
    Some(home.to_owned())
}
