//! containerd: whether it is there, answers, finds the shim, and knows hull for Kubernetes.

use super::containerd_config::{self, Found};
use super::containerd_process::{self as process, Daemon};
use super::item::{Item, is_root};
use crate::tool;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where containerd listens by default.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";
/// Its configuration by default.
const CONFIG: &str = "/etc/containerd/config.toml";
/// The shim's binary, as containerd makes its name of `io.containerd.hull.v1`.
const SHIM: &str = "containerd-shim-hull-v1";

/// How long containerd may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client's first bytes of HTTP/2 (RFC 9113, 3.4): the preface and an empty SETTINGS frame.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Type of a SETTINGS frame, the fourth byte of the answer's header.
const SETTINGS: u8 = 4;

/// The binary, the daemon, the shim in its path, its configuration of CRI.
pub(super) fn items() -> Vec<Item> {
    let socket = std::env::var_os("CONTAINERD_ADDRESS")
        .filter(|value| !value.is_empty())
        .map_or_else(|| PathBuf::from(SOCKET), PathBuf::from);
    let daemon = process::find(&socket);
    vec![
        binary(),
        answers(&socket),
        shim(daemon.as_ref()),
        cri(daemon.as_ref()),
    ]
}

fn binary() -> Item {
    const NAME: &str = "containerd";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(path) = tool::in_path(NAME, &path) else {
        return Item::warn(NAME, "it is not in $PATH; only hull run works without it")
            .advise("install containerd 1.6 or later");
    };
    let place = path.display();
    match tool::ask(&path, &["--version"], b"").and_then(tool::Answer::line) {
        // "containerd github.com/containerd/containerd v1.7.2 0cae528"
        Ok(line) => {
            let version = line.split(' ').nth(2).unwrap_or(&line);
            let version = version.strip_prefix('v').unwrap_or(version);
            Item::ok(NAME, format!("{version} at {place}"))
        }
        Err(why) => Item::warn(NAME, format!("{place}: {why}")),
    }
}

fn answers(socket: &Path) -> Item {
    const NAME: &str = "socket";
    let place = socket.display();
    match greet(socket) {
        Ok(true) => Item::ok(NAME, format!("{place} answers")),
        Ok(false) => Item::warn(NAME, format!("{place} answers, but does not speak gRPC")),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && !is_root() => {
            Item::unknown(NAME, format!("only root may use {place}"))
        }
        Err(e) => Item::warn(NAME, format!("{place} {}", silence(e.kind())))
            .advise("start containerd, or name its socket by CONTAINERD_ADDRESS"),
    }
}

fn silence(kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::NotFound {
        "does not exist"
    } else if kind == io::ErrorKind::ConnectionRefused {
        "has nobody who listens"
    } else {
        "does not answer"
    }
}

/// Whether whoever listens greets like a gRPC server.
fn greet(socket: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(HELLO)?;
    let mut header = [0; 9];
    stream.read_exact(&mut header)?;
    Ok(header.get(3) == Some(&SETTINGS))
}

fn shim(daemon: Option<&Daemon>) -> Item {
    const NAME: &str = "shim";
    let advice = "install it into one of these directories: make install";
    let Some(path) = daemon.and_then(|daemon| daemon.path.as_deref()) else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = tool::in_path(SHIM, &path);
        let text = match found {
            Some(found) => format!("{} is in hull's $PATH", found.display()),
            None => "not in hull's $PATH".to_owned(),
        };
        let why = match daemon {
            None => "containerd does not run",
            Some(_) => "only root can read containerd's environment",
        };
        return Item::unknown(
            NAME,
            format!("{text}; {why}, so its own $PATH is not known"),
        );
    };
    let beside = daemon.and_then(|daemon| daemon.beside(SHIM));
    match tool::in_path(SHIM, path).or(beside) {
        Some(found) => Item::ok(NAME, format!("containerd finds it at {}", found.display())),
        None => Item::fail(
            NAME,
            format!("{SHIM} is not in containerd's $PATH {}", path.display()),
        )
        .advise(advice),
    }
}

fn cri(daemon: Option<&Daemon>) -> Item {
    const NAME: &str = "Kubernetes";
    let config = daemon
        .and_then(|daemon| daemon.config.clone())
        .unwrap_or_else(|| PathBuf::from(CONFIG));
    let place = config.display();
    let note = "ctr and nerdctl need no configuration";
    let advice = "add the table of deploy/containerd/ that fits this containerd, and restart it";
    match containerd_config::read(&config) {
        Err(why) => Item::warn(NAME, format!("{place}: {why}")),
        Ok(Found::Absent) => Item::ok(
            NAME,
            format!("{place} does not exist, so CRI does not know hull; {note}"),
        )
        .advise(format!("for Kubernetes: {advice}")),
        Ok(Found::Disabled) => Item::ok(NAME, format!("CRI is disabled in {place}; {note}")),
        Ok(Found::Unconfigured) => Item::ok(NAME, format!("hull is not in {place}; {note}"))
            .advise(format!("for Kubernetes: {advice}")),
        Ok(Found::Runtime {
            name,
            file,
            annotations,
        }) => {
            let text = format!("runtime {name:?} in {}", file.display());
            if annotations {
                Item::ok(NAME, text)
            } else {
                Item::ok(
                    NAME,
                    format!("{text}; it passes no annotations of pods to hull"),
                )
                .advise("pod_annotations = [\"io.containerd.hull.*\"]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_socket_is_greeted_and_told_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let missing = greet(&dir.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        for (reply, grpc) in [
            (&b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0"[..], true),
            (b"HTTP/1.1 400 Bad Request", false),
        ] {
            let path = dir.path().join(format!("{grpc}.sock"));
            let listener = UnixListener::bind(&path).unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut hello = [0; 33];
                stream.read_exact(&mut hello).unwrap();
                stream.write_all(reply).unwrap();
                hello
            });
            assert_eq!(greet(&path).unwrap(), grpc);
            assert_eq!(server.join().unwrap(), HELLO);
        }
        // Somebody who listens and says nothing.
        let path = dir.path().join("mute.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        assert!(greet(&path).is_err());
    }
}
