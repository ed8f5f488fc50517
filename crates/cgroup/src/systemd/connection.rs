//! A connection to systemd's own socket: no broker in between, nothing to subscribe to.
//!
//! Whoever connects there as root talks to PID 1 directly and hears every signal of the manager. Every
//! wait ends at the deadline of the connection.

use super::message::{Argument, Call, Kind, Message, length_of};
use crate::Error;
use hull_abi::Blame;
use hull_sys::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Interface of the manager.
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// Longest line of the other end while it looks at who we are.
const MAX_LINE: usize = 512;

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;

/// What the end of a job is called.
const JOB_REMOVED: &str = "JobRemoved";

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// What was read and not looked at.
    read: Vec<u8>,
    serial: u32,
    began: Instant,
    limit: Duration,
    /// What it is for, for messages.
    purpose: String,
    /// Jobs that ended while we waited for something else: object path and result.
    ended: Vec<(String, String)>,
}

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum Refusal {
    /// systemd answered with this error.
    Answer { name: String, error: Error },
    /// There was no answer.
    Broken(Error),
}

impl Connection {
    /// Connects to the socket at `path` within `limit`, in which everything else must be done too.
    pub(super) fn open(path: &str, limit: Duration, purpose: String) -> Result<Self, Error> {
        let began = Instant::now();
        let failed = |errno: Errno| {
            let hint = if [Errno::ENOENT, Errno::ECONNREFUSED].contains(&errno) {
                ": is systemd the init of this host?"
            } else {
                ""
            };
            let cause = format!("{}{hint}", errno.desc().to_lowercase());
            Error::Systemd {
                action: format!("{purpose}: connect to systemd at {path}"),
                cause,
                blame: Blame::Host,
                errno,
            }
        };
        let stream = dial(path, limit).map_err(failed)?;
        let mut connection = Self {
            stream,
            read: Vec::new(),
            serial: 0,
            began,
            limit,
            purpose,
            ended: Vec::new(),
        };
        connection.authenticate()?;
        Ok(connection)
    }

    /// `EXTERNAL`: the kernel tells who we are
    /// (<https://dbus.freedesktop.org/doc/dbus-specification.html#auth-protocol>).
    fn authenticate(&mut self) -> Result<(), Error> {
        let user: String = nix::unistd::geteuid()
            .to_string()
            .bytes()
            .map(|digit| format!("{digit:02x}"))
            .collect();
        self.send(format!("\0AUTH EXTERNAL {user}\r\nBEGIN\r\n").as_bytes())?;
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).collect();
                if line.starts_with(b"OK ") {
                    return Ok(());
                }
                let line = String::from_utf8_lossy(&line);
                return Err(self.failed(&format!("systemd answered {:?}", line.trim())));
            }
            if self.read.len() > MAX_LINE {
                return Err(self.failed("systemd answered with something else than a line"));
            }
            self.fill()?;
        }
    }

    /// Calls a method of the manager; gives the texts of the answer.
    pub(super) fn call(
        &mut self,
        method: &str,
        arguments: &[Argument<'_>],
    ) -> Result<Vec<String>, Refusal> {
        let call = Call {
            interface: INTERFACE,
            method,
            arguments,
        };
        self.exchange(&call)
    }

    /// Comes back when systemd has done what its earlier answers set going: it looks at its queues
    /// before the next message.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        let call = Call {
            interface: "org.freedesktop.DBus.Peer",
            method: "Ping",
            arguments: &[],
        };
        self.exchange(&call).map(drop).map_err(Refusal::into_error)
    }

    fn exchange(&mut self, call: &Call<'_>) -> Result<Vec<String>, Refusal> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&call.encode(serial)).map_err(Refusal::Broken)?;
        loop {
            let message = self.next().map_err(Refusal::Broken)?;
            if message.answers != Some(serial) {
                self.note(&message);
                continue;
            }
            let texts = message.texts().unwrap_or_default();
            return match message.kind {
                Kind::Return => Ok(texts),
                Kind::Error | Kind::Signal | Kind::Other => {
                    let text = texts.into_iter().next().unwrap_or_default();
                    let cause = format!("{} ({})", text.trim_end_matches('.'), message.error);
                    // Another unit has the name, or a value is none that systemd takes.
                    let error = self.failed_by(Blame::Caller, &cause);
                    Err(Refusal::Answer {
                        name: message.error,
                        error,
                    })
                }
            };
        }
    }

    /// Waits for the end of a job; gives its result, `done` if all went well.
    pub(super) fn wait_for(&mut self, job: &str) -> Result<String, Error> {
        loop {
            let found = self.ended.iter().position(|(ended, _)| ended == job);
            if let Some(at) = found {
                return Ok(self.ended.swap_remove(at).1);
            }
            let message = self.next()?;
            self.note(&message);
        }
    }

    /// Keeps the end of a job. Others end too, but not many while one connection lasts.
    fn note(&mut self, message: &Message) {
        if message.kind != Kind::Signal || message.member != JOB_REMOVED {
            return;
        }
        // Number, object path, unit, result.
        if let [job, _unit, result] = message.texts().unwrap_or_default().as_slice() {
            self.ended.push((job.clone(), result.clone()));
        }
    }

    fn next(&mut self) -> Result<Message, Error> {
        loop {
            let length = length_of(&self.read)
                .map_err(|_| self.failed("systemd sent something that is no message"))?;
            if let Some(length) = length.filter(|length| self.read.len() >= *length) {
                let bytes: Vec<u8> = self.read.drain(..length).collect();
                return Message::decode(&bytes)
                    .map_err(|_| self.failed("systemd sent something that is no message"));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Error> {
        let mut chunk = [0; CHUNK];
        loop {
            self.wait_no_longer(UnixStream::set_read_timeout)?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(self.failed("systemd closed the connection")),
                Ok(count) => {
                    self.read.extend(chunk.get(..count).unwrap_or_default());
                    return Ok(());
                }
                Err(error) if is_no_failure(&error) => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            self.wait_no_longer(UnixStream::set_write_timeout)?;
            match self.stream.write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if is_no_failure(&error) => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(())
    }

    /// Bounds the next wait by what is left of the time.
    fn wait_no_longer(
        &self,
        set: impl FnOnce(&UnixStream, Option<Duration>) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        let left = self.limit.saturating_sub(self.began.elapsed());
        if left.is_zero() {
            let seconds = self.limit.as_secs_f32();
            return Err(Error::Systemd {
                action: self.purpose.clone(),
                cause: format!("systemd has not done it within {seconds} s"),
                blame: Blame::Host,
                errno: Errno::ETIMEDOUT,
            });
        }
        set(&self.stream, Some(left)).map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &std::io::Error) -> Error {
        self.failed(&format!("the connection to systemd broke: {error}"))
    }

    /// What the connection was for did not work.
    pub(super) fn failed(&self, cause: &str) -> Error {
        self.failed_by(Blame::Host, cause)
    }

    fn failed_by(&self, blame: Blame, cause: &str) -> Error {
        Error::Systemd {
            action: self.purpose.clone(),
            cause: cause.replace(['\n', '\r'], " "),
            blame,
            errno: Errno::EIO,
        }
    }
}

/// The time of a wait was over (`EAGAIN`), which is looked at before the next, or a signal came.
fn is_no_failure(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// Connects. Without a limit that would wait for ever while the queue of the other end is full
/// ([unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)).
fn dial(path: &str, limit: Duration) -> Result<UnixStream, Errno> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let limit = TimeVal::milliseconds(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX));
    setsockopt(&fd, sockopt::SendTimeout, &limit)?;
    let connected = connect(fd.as_raw_fd(), &UnixAddr::new(path)?);
    if connected == Err(Errno::EAGAIN) {
        return Err(Errno::ETIMEDOUT);
    }
    connected?;
    Ok(UnixStream::from(fd))
}

impl Refusal {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Answer { error, .. } | Self::Broken(error) => error,
        }
    }
}
