//! Calling a shim binary as containerd 1.6 does.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::types::introspection::RuntimeInfo;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protobuf::Message;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// containerd sets no limit on `start`; this one only keeps a hung shim from hanging the caller.
const START_LIMIT: Duration = Duration::from_secs(30);
/// containerd kills `delete` after this time (`io.containerd.timeout.shim.cleanup`). Ours is
/// longer, so that a slow machine does not fail a test of something else.
const DELETE_LIMIT: Duration = Duration::from_secs(15);

/// A shim binary and what containerd passes to each call of it.
#[derive(Debug, Clone)]
pub struct ShimBinary {
    /// Path of the binary.
    pub binary: PathBuf,
    /// The containerd namespace.
    pub namespace: String,
    /// containerd's gRPC socket: part of the shim's socket name.
    pub grpc_address: PathBuf,
    /// Where events go: the value of TTRPC_ADDRESS.
    pub ttrpc_address: PathBuf,
    /// Additional environment.
    pub env: Vec<(OsString, OsString)>,
    /// Pass `-debug`.
    pub debug: bool,
}

impl ShimBinary {
    /// The file name that containerd looks for: `io.containerd.hull.v1` becomes
    /// `containerd-shim-hull-v1` (containerd `core/runtime/v2/shim/util.go` `BinaryName`).
    ///
    /// # Errors
    /// [`Error::RuntimeName`] for a name with fewer than two parts.
    pub fn file_name(runtime: &str) -> Result<String> {
        let mut parts = runtime.rsplit('.');
        match (parts.next(), parts.next()) {
            (Some(version), Some(name)) => Ok(format!("containerd-shim-{name}-{version}")),
            _ => Err(Error::RuntimeName(runtime.to_owned())),
        }
    }

    /// Runs `start` in the bundle; gives the address it printed. `options` is a serialised `Any`
    /// or empty.
    ///
    /// # Errors
    /// [`Error::Shim`] with what it printed if it failed; [`Error::ShimTimeout`] if its output
    /// stayed open, for which containerd would wait for ever.
    pub fn start(&self, id: &str, bundle: &Path, options: &[u8]) -> Result<String> {
        let mut command = self.command(id, bundle);
        command.arg("start");
        let output = run(command, options, "start", START_LIMIT)?;
        let text = String::from_utf8_lossy(&output).trim().to_owned();
        if !text.starts_with("unix://") {
            return Err(Error::Shim {
                action: "start",
                text,
            });
        }
        Ok(text)
    }

    /// The command that [`ShimBinary::start`] runs, for who wants to end it half way.
    #[must_use]
    pub fn start_command(&self, id: &str, bundle: &Path) -> Command {
        let mut command = self.command(id, bundle);
        command.arg("start");
        command
    }

    /// Runs `start` in the bundle as containerd 2.3 and later do, which say where the shim's socket is
    /// to be; gives the address.
    ///
    /// # Errors
    /// As [`ShimBinary::start`].
    pub fn bootstrap(&self, id: &str, bundle: &Path, socket_dir: &Path) -> Result<String> {
        let mut params = BootstrapParams::new();
        params.instance_id = id.to_owned();
        params.namespace.clone_from(&self.namespace);
        params.containerd_ttrpc_address = self.ttrpc_address.display().to_string();
        params.socket_dir = Some(socket_dir.display().to_string());
        let failed = |error: protobuf::Error| Error::Shim {
            action: "start",
            text: error.to_string(),
        };
        let mut command = self.command(id, bundle);
        command.arg("start");
        let params = params.write_to_bytes().map_err(failed)?;
        let output = run(command, &params, "start", START_LIMIT)?;
        let result = BootstrapResult::parse_from_bytes(&output).map_err(failed)?;
        if !result.address.starts_with("unix://") {
            return Err(Error::Shim {
                action: "start",
                text: String::from_utf8_lossy(&output).trim().to_owned(),
            });
        }
        Ok(result.address)
    }

    /// Runs `delete`, which containerd does after each task and after the death of a shim.
    ///
    /// # Errors
    /// [`Error::Shim`] if it failed or its stdout is no `DeleteResponse`.
    pub fn delete(&self, id: &str, bundle: &Path) -> Result<DeleteResponse> {
        let mut command = self.command(id, bundle);
        command.arg("-bundle").arg(bundle).arg("delete");
        let output = run(command, &[], "delete", DELETE_LIMIT)?;
        DeleteResponse::parse_from_bytes(&output).map_err(|error| Error::Shim {
            action: "delete",
            text: format!(
                "no DeleteResponse ({error}): {}",
                String::from_utf8_lossy(&output)
            ),
        })
    }

    /// What `-info` says that the shim can do: the JSON of the
    /// [features document](https://github.com/opencontainers/runtime-spec/blob/main/features.md).
    ///
    /// # Errors
    /// [`Error::Shim`] if it failed or printed no `RuntimeInfo`.
    pub fn features(binary: &Path) -> Result<Vec<u8>> {
        let mut command = Command::new(binary);
        command.arg("-info");
        let output = run(command, &[], "-info", START_LIMIT)?;
        RuntimeInfo::parse_from_bytes(&output)
            .map(|info| info.features.unwrap_or_default().value)
            .map_err(|error| Error::Shim {
                action: "-info",
                text: format!("no RuntimeInfo: {error}"),
            })
    }

    fn command(&self, id: &str, bundle: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(["-namespace", &self.namespace])
            .arg("-address")
            .arg(&self.grpc_address)
            .args(["-publish-binary", "/usr/bin/containerd", "-id", id])
            .current_dir(bundle)
            .env("TTRPC_ADDRESS", &self.ttrpc_address)
            .env("GOMAXPROCS", "2")
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .process_group(0);
        if self.debug {
            command.arg("-debug");
        }
        command
    }
}

/// Runs to the end of output. `start` prints to one pipe, like Go's `CombinedOutput`; the stdout
/// of `delete` is protobuf, so its stderr goes another way.
fn run(
    mut command: Command,
    input: &[u8],
    action: &'static str,
    limit: Duration,
) -> Result<Vec<u8>> {
    let binary = PathBuf::from(command.get_program());
    let failed = |source| Error::Path {
        step: "run shim",
        path: binary.clone(),
        source,
    };
    let (mut output_reader, output_writer) = io::pipe().map_err(failed)?;
    let (mut error_reader, error_writer) = io::pipe().map_err(failed)?;
    let error_writer = if action == "start" {
        drop(error_writer);
        output_writer.try_clone().map_err(failed)?
    } else {
        error_writer
    };
    command
        .stdin(Stdio::piped())
        .stdout(output_writer)
        .stderr(error_writer);
    let mut child = command.spawn().map_err(failed)?;
    // The command holds writing ends too; after this, end of file means that no child does.
    drop(command);
    if let Some(mut stdin) = child.stdin.take() {
        // A shim that does not read its options closes the pipe early: not our error.
        drop(stdin.write_all(input));
    }
    let deadline = Instant::now() + limit;
    let read = read_to_end(&mut output_reader, deadline)
        .and_then(|output| Ok((output, read_to_end(&mut error_reader, deadline)?)));
    let (output, errors) = match read {
        Ok(read) => read,
        Err(error) => {
            end(&mut child);
            let timed_out = error.kind() == io::ErrorKind::TimedOut;
            let timeout = Error::ShimTimeout { action, limit };
            return Err(if timed_out { timeout } else { failed(error) });
        }
    };
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(output);
    }
    let text = [output, errors].concat();
    Err(Error::Shim {
        action,
        text: String::from_utf8_lossy(&text).trim().to_owned(),
    })
}

/// Reads until no writer is left.
fn read_to_end(pipe: &mut PipeReader, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match poll(
            &mut fds,
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match pipe.read(&mut chunk)? {
            0 => return Ok(bytes),
            count => bytes.extend(chunk.iter().take(count)),
        }
    }
}

/// Kills and reaps a shim action that did not end. That it may have ended by now is no error.
fn end(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// Where a shim of this group listens: `/run/containerd/s/HASH`, the same for every shim
/// (containerd `pkg/shim/util_unix.go` `SocketAddress`). `group` is the sandbox id or, for a lone
/// container, its own id.
#[must_use]
pub fn socket_path(grpc_address: &Path, namespace: &str, group: &str) -> PathBuf {
    let joined = grpc_address.join(namespace).join(group);
    let hash = Sha256::digest(joined.as_os_str().as_encoded_bytes());
    let name = hash
        .iter()
        .fold(String::with_capacity(64), |mut name, byte| {
            // Writing to a String cannot fail.
            let _infallible = write!(name, "{byte:02x}");
            name
        });
    Path::new("/run/containerd/s").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_name_is_made_of_the_last_two_parts() {
        let name = ShimBinary::file_name("io.containerd.hull.v1").unwrap();
        assert_eq!(name, "containerd-shim-hull-v1");
        assert!(ShimBinary::file_name("hull").is_err());
    }

    #[test]
    fn socket_path_is_the_hash_of_address_namespace_and_group() {
        // printf /run/containerd/containerd.sock/default/web | sha256sum
        let path = socket_path(
            Path::new("/run/containerd/containerd.sock"),
            "default",
            "web",
        );
        let expected = "2cde4450fa38c74f53603e01d2afd903b315a27a596f12a151414cd59897d883";
        assert_eq!(path, Path::new("/run/containerd/s").join(expected));
    }
}
