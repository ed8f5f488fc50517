//! The three stdio paths of one process and the client's ends of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::fifo::{FifoReader, FifoWriter, make_fifo};

/// Which streams a process gets; the others are empty in the request, which means /dev/null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// A FIFO for stdin.
    pub stdin: bool,
    /// A FIFO for stdout.
    pub stdout: bool,
    /// A FIFO for stderr. Never together with a terminal.
    pub stderr: bool,
    /// A terminal instead of pipes.
    pub terminal: bool,
}

impl Streams {
    /// stdout and stderr.
    pub const OUTPUT: Self = Self {
        stdin: false,
        stdout: true,
        stderr: true,
        terminal: false,
    };
    /// stdin, stdout and stderr.
    pub const ALL: Self = Self {
        stdin: true,
        ..Self::OUTPUT
    };
    /// A terminal with input.
    pub const TERMINAL: Self = Self {
        stdin: true,
        stdout: true,
        stderr: false,
        terminal: true,
    };
    /// Nothing at all.
    pub const NONE: Self = Self {
        stdin: false,
        stdout: false,
        stderr: false,
        terminal: false,
    };
}

/// The FIFOs of one process. The reading ends are opened before the request is sent, as
/// containerd's client does.
#[derive(Debug)]
pub struct Stdio {
    streams: Streams,
    stdin: PathBuf,
    stdout: PathBuf,
    stderr: PathBuf,
    /// The reading end of stdout; taken away to play a client that vanished.
    pub out: Option<FifoReader>,
    /// The reading end of stderr.
    pub err: Option<FifoReader>,
}

impl Stdio {
    /// Makes `NAME-{stdin,stdout,stderr}` in `dir` as `streams` says and opens the readers.
    ///
    /// # Errors
    /// The path that could not be made or opened.
    pub fn make(dir: &Path, name: &str, streams: Streams) -> Result<Self> {
        let mut stdio = Self::make_unread(dir, name, streams)?;
        if streams.stdout {
            stdio.out = Some(FifoReader::open(&stdio.stdout)?);
        }
        if streams.stderr {
            stdio.err = Some(FifoReader::open(&stdio.stderr)?);
        }
        Ok(stdio)
    }

    /// The same, with no reader: a client that comes late.
    ///
    /// # Errors
    /// The path that could not be made.
    pub fn make_unread(dir: &Path, name: &str, streams: Streams) -> Result<Self> {
        let path = |wanted: bool, stream: &str| -> Result<PathBuf> {
            if !wanted {
                return Ok(PathBuf::new());
            }
            let path = dir.join(format!("{name}-{stream}"));
            make_fifo(&path)?;
            Ok(path)
        };
        Ok(Self {
            streams,
            stdin: path(streams.stdin, "stdin")?,
            stdout: path(streams.stdout, "stdout")?,
            stderr: path(streams.stderr, "stderr")?,
            out: None,
            err: None,
        })
    }

    /// Which streams there are.
    #[must_use]
    pub fn streams(&self) -> Streams {
        self.streams
    }

    /// The path for the request's `stdin`; empty if there is none.
    #[must_use]
    pub fn stdin_path(&self) -> &Path {
        &self.stdin
    }

    /// The path for the request's `stdout`; empty if there is none.
    #[must_use]
    pub fn stdout_path(&self) -> &Path {
        &self.stdout
    }

    /// The path for the request's `stderr`; empty if there is none.
    #[must_use]
    pub fn stderr_path(&self) -> &Path {
        &self.stderr
    }

    /// The writing end of stdin, once the shim has opened its own end.
    ///
    /// # Errors
    /// See [`FifoWriter::open`].
    pub fn open_stdin(&self, limit: Duration) -> Result<FifoWriter> {
        FifoWriter::open(&self.stdin, limit)
    }
}
