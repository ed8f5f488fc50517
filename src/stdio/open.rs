//! Opening what containerd named, and the pipes to the process, before there is a process.

use super::logger::{Logger, Origin, Pipes};
use super::name::{LoggerName, Name};
use super::sink::{self, Input, Sink};
use super::stream::{Stream, Watched};
use crate::error::Error;
use crate::events::Io;
use hull_abi::FdRole;
use hull_launcher::client::{Launcher, watch};
use hull_sys::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{Gid, Uid, fchown, pipe2};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::Interest;

/// What is open before there is a process. Dropping it closes everything.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Stream, read end of the process's pipe, where it goes.
    pub(super) outputs: Vec<(&'static str, Watched, Sink)>,
    /// Where it comes from, and the write end of the process's pipe.
    pub(super) input: Option<(Input, Stream)>,
    /// The same for a terminal, which the process makes itself.
    pub(super) terminal: Option<(Sink, Option<Input>)>,
}

/// Everything of the streams that a process needs to be made.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Our side.
    pub(crate) streams: Prepared,
    /// For the new process; with a terminal there are none.
    pub(crate) fds: Vec<(FdRole, OwnedFd)>,
    /// Takes the output, if somebody asked for that.
    pub(crate) logger: Option<Logger>,
}

/// Opens what containerd named, makes pipes and starts the logger: everything that can fail, so that no
/// process is made in vain.
///
/// # Errors
/// A stream that cannot be opened (a FIFO without its other end can), a logger that does not run, or no
/// descriptors left.
pub(crate) async fn open(
    launcher: &Launcher,
    io: &Io,
    origin: Origin<'_>,
    owner: (u32, u32),
) -> Result<Opened, Error> {
    let names = Names::parse(io)?;
    let pipes = match &names.output {
        Outputs::Logger(_) => Some(Pipes::new()?),
        Outputs::Each(_) => None,
    };
    let (streams, fds) = names.prepare(io.terminal, pipes.as_ref(), owner)?;
    let logger = match (&names.output, pipes) {
        (Outputs::Logger(name), Some(pipes)) => {
            Some(Logger::start(launcher, name, origin, pipes).await?)
        }
        _ => None,
    };
    Ok(Opened {
        streams,
        fds,
        logger,
    })
}

/// What the three names mean.
struct Names {
    input: Option<PathBuf>,
    output: Outputs,
}

/// Where output goes.
enum Outputs {
    /// stdout and stderr, a file that is made if it is absent or what is there; `None` for /dev/null.
    Each([Option<(PathBuf, bool)>; 2]),
    /// Both to one program.
    Logger(LoggerName),
}

impl Names {
    fn parse(io: &Io) -> Result<Self, Error> {
        let parse = |stream, name: &str| match name {
            "" => Ok(None),
            name => Name::parse(stream, name).map(Some),
        };
        let path = |name| match name {
            Name::Path(path) => Some((path, false)),
            Name::File(path) => Some((path, true)),
            Name::Logger(_) => None,
        };
        let input = parse("stdin", &io.stdin)?.and_then(path);
        let output = match (parse("stdout", &io.stdout)?, parse("stderr", &io.stderr)?) {
            (Some(Name::Logger(logger)), None) => Outputs::Logger(logger),
            (Some(Name::Logger(out)), Some(Name::Logger(err))) if out == err => {
                Outputs::Logger(out)
            }
            (Some(Name::Logger(_)), _) | (_, Some(Name::Logger(_))) => {
                return Err(Error::Invalid(format!(
                    "stdout {:?}, stderr {:?}: a logger takes both",
                    io.stdout, io.stderr
                )));
            }
            (out, err) => Outputs::Each([out, err].map(|name| name.and_then(path))),
        };
        Ok(Self {
            input: input.map(|(path, _)| path),
            output,
        })
    }

    fn prepare(
        &self,
        terminal: bool,
        logger: Option<&Pipes>,
        owner: (u32, u32),
    ) -> Result<(Prepared, Vec<(FdRole, OwnedFd)>), Error> {
        let mut prepared = Prepared::default();
        let mut fds = Vec::new();
        let input = self.input.as_deref().map(sink::open_input).transpose()?;
        let [out, err] = self.sinks(terminal, logger)?;
        if terminal {
            // Without a name nobody wants the output, but a full terminal would stop the process.
            let sink = out.map_or_else(Sink::null, Ok)?;
            prepared.terminal = Some((sink, input));
            return Ok((prepared, fds));
        }
        let host = |e: Errno| Error::host("make a pipe", e);
        if let Some(input) = input {
            let (theirs, ours) = pipe(owner).map_err(host)?;
            fds.push((FdRole::Stdio(0), theirs));
            let ours = nonblocking(ours, Interest::WRITABLE).map_err(host)?;
            prepared.input = Some((input, Stream::Watched(ours)));
        }
        for (number, stream, sink) in [(1, "stdout", out), (2, "stderr", err)] {
            let Some(sink) = sink else { continue };
            let (ours, theirs) = pipe(owner).map_err(host)?;
            fds.push((FdRole::Stdio(number), theirs));
            let ours = nonblocking(ours, Interest::READABLE).map_err(host)?;
            prepared.outputs.push((stream, ours, sink));
        }
        Ok((prepared, fds))
    }

    /// A file with two names that are the same is opened once. A terminal has no stderr.
    fn sinks(&self, terminal: bool, logger: Option<&Pipes>) -> Result<[Option<Sink>; 2], Error> {
        if let Some(pipes) = logger {
            return Ok(pipes.sinks().map(Some));
        }
        let Outputs::Each([out, err]) = &self.output else {
            return Ok([None, None]);
        };
        let prepare = |stream, name: &Option<(PathBuf, bool)>| {
            let name = name.as_ref();
            name.map(|(path, make)| Sink::prepare(stream, path, *make))
                .transpose()
        };
        let first = prepare("stdout", out)?;
        let shared = match &first {
            Some(sink) if out == err => sink.share(),
            _ => None,
        };
        let second = match shared {
            Some(sink) => Some(sink),
            None if terminal => None,
            None => prepare("stderr", err)?,
        };
        Ok([first, second])
    }
}

/// Read and write end of a pipe that its user may open again by /proc/self/fd.
fn pipe((uid, gid): (u32, u32)) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    if (uid, gid) != (0, 0) {
        // Both ends are one inode.
        fchown(&read, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok((read, write))
}

impl Prepared {
    /// Gives the pipes to another user: both ends are one inode. A terminal is the container's own.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn give_to(&self, uid: u32) -> Result<(), Error> {
        let input = self.input.iter().filter_map(|(_, stream)| match stream {
            Stream::Watched(pipe) => Some(pipe),
            Stream::Plain(_) => None,
        });
        let outputs = self.outputs.iter().map(|(_, pipe, _)| pipe);
        for pipe in input.chain(outputs) {
            fchown(pipe.get_ref(), Some(Uid::from_raw(uid)), None)
                .map_err(|e| Error::host("give a pipe to its user", e))?;
        }
        Ok(())
    }
}

/// Registers our end of something with the event loop.
///
/// # Errors
/// As fcntl(2) and epoll_ctl(2).
pub(super) fn nonblocking(fd: OwnedFd, interest: Interest) -> Result<Watched, Errno> {
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    watch(fd, interest).map(Arc::new)
}
