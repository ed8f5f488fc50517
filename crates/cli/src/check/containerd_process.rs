//! The containerd that runs: what it was started with.

use super::containerd::SOCKET;
use super::containerd_config;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Words by which the same binary does something else, and soon ends.
const NO_DAEMON: [&str; 7] = [
    "publish",
    "oci-hook",
    "config",
    "help",
    "--help",
    "--version",
    "-v",
];

/// What was found of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Daemon {
    /// The configuration that it was started with, if its command line names one.
    pub(super) config: Option<PathBuf>,
    /// Its `$PATH`, if we may read it.
    pub(super) path: Option<OsString>,
    binary: Option<PathBuf>,
}

impl Daemon {
    /// A program in the directory of containerd's binary, where it looks last.
    pub(super) fn beside(&self, name: &str) -> Option<PathBuf> {
        let path = self.binary.as_ref()?.parent()?.join(name);
        path.is_file().then_some(path)
    }
}

/// The containerd that listens at a socket: one of root's (or ours) that sees the same files as we do.
/// Private ones and those in containers do not count.
pub(super) fn find(socket: &Path) -> Option<Daemon> {
    let entries = fs::read_dir("/proc").ok()?.flatten();
    entries
        .map(|entry| entry.path())
        .filter(|process| {
            fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm.trim() == "containerd")
        })
        .filter(|process| is_trusted(process) && shares_mounts(process))
        .find_map(|process| look(&process, socket))
}

fn is_trusted(process: &Path) -> bool {
    let us = nix::unistd::geteuid().as_raw();
    fs::metadata(process).is_ok_and(|process| [0, us].contains(&process.uid()))
}

/// Nobody but root can tell of root's processes; then it is taken for granted.
fn shares_mounts(process: &Path) -> bool {
    let ours = fs::read_link("/proc/self/ns/mnt");
    match (fs::read_link(process.join("ns/mnt")), ours) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        _ => true,
    }
}

fn look(process: &Path, socket: &Path) -> Option<Daemon> {
    let words = fields(&fs::read(process.join("cmdline")).ok()?);
    if words
        .iter()
        .any(|word| NO_DAEMON.iter().any(|other| word == other))
    {
        return None;
    }
    let config = option(&words, &["--config", "-config", "-c"]).map(PathBuf::from);
    let address = option(&words, &["--address", "-address", "-a"])
        .map(PathBuf::from)
        .or_else(|| containerd_config::address(config.as_deref()?))
        .unwrap_or_else(|| PathBuf::from(SOCKET));
    if address != socket {
        return None;
    }
    let environment = fs::read(process.join("environ")).ok();
    let path = environment.and_then(|text| {
        let path = fields(&text)
            .into_iter()
            .find_map(|field| field.as_bytes().strip_prefix(b"PATH=").map(<[u8]>::to_vec));
        path.map(OsString::from_vec)
    });
    Some(Daemon {
        config,
        path,
        binary: fs::read_link(process.join("exe")).ok(),
    })
}

/// What is between the NULs.
fn fields(text: &[u8]) -> Vec<OsString> {
    text.split(|byte| *byte == 0)
        .filter(|field| !field.is_empty())
        .map(|field| OsStr::from_bytes(field).to_owned())
        .collect()
}

/// The value of an option, as its own word or after `=`.
fn option(words: &[OsString], names: &[&str]) -> Option<OsString> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        for name in names {
            if word == name {
                return words.next().cloned();
            }
            let rest = word.as_bytes().strip_prefix(name.as_bytes());
            if let Some(value) = rest.and_then(|rest| rest.strip_prefix(b"=")) {
                return Some(OsStr::from_bytes(value).to_owned());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Like a process in /proc.
    fn process(cmdline: &[&str], environ: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cmdline"), cmdline.join("\0") + "\0").unwrap();
        fs::write(dir.path().join("environ"), environ.join("\0") + "\0").unwrap();
        std::os::unix::fs::symlink("/opt/bin/containerd", dir.path().join("exe")).unwrap();
        dir
    }

    #[test]
    fn a_daemon_is_known_by_its_socket() {
        let plain = process(&["/usr/bin/containerd"], &["HOME=/", "PATH=/a:/b"]);
        let daemon = look(plain.path(), Path::new(SOCKET)).unwrap();
        assert_eq!(daemon.path.as_deref(), Some(OsStr::new("/a:/b")));
        assert_eq!(daemon.config, None);
        assert_eq!(
            daemon.binary.as_deref(),
            Some(Path::new("/opt/bin/containerd"))
        );
        let asked = process(&["containerd", "--version"], &["PATH=/a"]);
        assert_eq!(look(asked.path(), Path::new(SOCKET)), None);
        let other = Path::new("/other.sock");
        assert_eq!(look(plain.path(), other), None);
        for words in [
            ["--address", "/other.sock"].as_slice(),
            &["--address=/other.sock"],
            &["-a", "/other.sock", "--config", "/c.toml"],
        ] {
            let private = process(&[&["containerd"], words].concat(), &[]);
            assert_eq!(look(private.path(), Path::new(SOCKET)), None, "{words:?}");
            assert!(look(private.path(), other).is_some(), "{words:?}");
        }
    }

    #[test]
    fn the_socket_may_be_in_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        fs::write(&config, "version = 2\n[grpc]\naddress = \"/other.sock\"\n").unwrap();
        let config = config.to_str().unwrap();
        let private = process(&["containerd", "-c", config], &[]);
        assert_eq!(look(private.path(), Path::new(SOCKET)), None);
        let daemon = look(private.path(), Path::new("/other.sock")).unwrap();
        assert_eq!(daemon.config.as_deref(), Some(Path::new(config)));
    }
}
