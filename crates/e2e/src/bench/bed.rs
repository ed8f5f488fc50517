//! Where the shims of all peers run without containerd: one private directory, one event server,
//! and a cgroup per peer.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use protobuf::Message;

use super::Result;
use super::account::Account;
use super::peer::{Bootstrap, Peer};
use super::report;
use crate::events::EventSink;
use crate::leaks::{self, Search};
use crate::rootfs::Image;
use crate::{artifacts, janitor, target};

/// The world of one row. Dropping it takes away whatever is left.
#[derive(Debug)]
pub(super) struct Bed {
    tag: String,
    dir: PathBuf,
    image: Image,
    next: AtomicU32,
    // In a mutex only so that workers may share the bed.
    _events: Mutex<EventSink>,
}

impl Bed {
    pub(super) fn make() -> Result<Self> {
        janitor::employ();
        let tag = target::unique_tag();
        let dir = target::private_dir(&tag);
        for part in ["bundles", "stdio", "snapshots"] {
            fs::create_dir_all(dir.join(part))?;
        }
        let events = EventSink::listen(&dir.join("c.sock.ttrpc"));
        Ok(Self {
            tag,
            dir,
            image: Image::Busybox,
            next: AtomicU32::new(0),
            _events: Mutex::new(events),
        })
    }

    /// The same world with containers of another image.
    pub(super) fn with_image(mut self, image: Image) -> Self {
        self.image = image;
        self
    }

    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The image of its containers.
    pub(super) fn image(&self) -> Image {
        self.image
    }

    /// Where its shims keep compiled Wasm: not below /run, which other machines have in memory and
    /// `noexec`.
    pub(super) fn artifacts(&self) -> PathBuf {
        report::dir().join(&self.tag)
    }

    /// A container id.
    pub(super) fn id(&self) -> String {
        format!("b{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The parent of a peer's container cgroups, and the group its shims are born in.
    pub(super) fn cgroup(&self, peer: &Peer) -> String {
        format!("/{}/{}", self.tag, peer.key)
    }

    /// The same for the floor.
    pub(super) fn floor_group(&self) -> String {
        format!("/{}/floor", self.tag)
    }

    /// What counts the CPU time of a peer: shims, whatever they start, containers.
    pub(super) fn account(&self, peer: &Peer) -> Result<Account> {
        Account::open(&self.cgroup(peer))
    }

    /// Runs `start` as the peer's containerd does; gives the address and the time from exec to
    /// the end of its output.
    pub(super) fn start(&self, peer: &Peer, id: &str, bundle: &Path) -> Result<(String, Duration)> {
        let input = self.bootstrap_input(peer, id)?;
        let mut command = self.command(peer, id, bundle);
        command.arg("start");
        let (mut reader, writer) = std::io::pipe()?;
        command
            .stdin(Stdio::piped())
            .stderr(writer.try_clone()?)
            .stdout(writer);
        let account = self.account(peer)?;
        let mut output = Vec::new();
        let (spawned, began) = account.inside(|| {
            let began = Instant::now();
            (command.spawn(), began)
        })?;
        let mut child = spawned?;
        // The command holds writing ends too.
        drop(command);
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&input)?;
        }
        reader.read_to_end(&mut output)?;
        let status = child.wait()?;
        let took = began.elapsed();
        let text = String::from_utf8_lossy(&output);
        if !status.success() {
            return Err(format!("{}: start: {text}", peer.name).into());
        }
        let address = match peer.bootstrap {
            Bootstrap::Address => text.trim().to_owned(),
            Bootstrap::Params => BootstrapResult::parse_from_bytes(&output)?.address,
        };
        Ok((address, took))
    }

    /// Runs `delete` as containerd does after each task; gives its time.
    pub(super) fn delete(&self, peer: &Peer, id: &str, bundle: &Path) -> Result<Duration> {
        let mut command = self.command(peer, id, bundle);
        command.arg("-bundle").arg(bundle).arg("delete");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let account = self.account(peer)?;
        let (spawned, began) = account.inside(|| {
            let began = Instant::now();
            (command.spawn(), began)
        })?;
        let output = spawned?.wait_with_output()?;
        let took = began.elapsed();
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: delete: {text}", peer.name).into());
        }
        Ok(took)
    }

    fn command(&self, peer: &Peer, id: &str, bundle: &Path) -> Command {
        let mut command = Command::new(&peer.shim);
        command
            .args(["-namespace", &self.tag])
            .arg("-address")
            .arg(self.dir.join("c.sock"))
            .args(["-publish-binary", "/usr/bin/containerd", "-id", id])
            .current_dir(bundle)
            .env("PATH", peer.search_path())
            .env("TTRPC_ADDRESS", self.dir.join("c.sock.ttrpc"))
            .env("GOMAXPROCS", "2")
            .env(artifacts::VARIABLE, self.artifacts())
            .process_group(0);
        command
    }

    fn bootstrap_input(&self, peer: &Peer, id: &str) -> Result<Vec<u8>> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let params = BootstrapParams {
            instance_id: id.to_owned(),
            namespace: self.tag.clone(),
            containerd_ttrpc_address: path("c.sock.ttrpc"),
            containerd_grpc_address: path("c.sock"),
            containerd_binary: "/usr/bin/containerd".to_owned(),
            ..BootstrapParams::default()
        };
        Ok(match peer.bootstrap {
            Bootstrap::Address => Vec::new(),
            Bootstrap::Params => params.write_to_bytes()?,
        })
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        leaks::sweep(&Search {
            token: self.tag.clone(),
            spared: vec![janitor::employ()],
            ..Search::default()
        });
        // runc's state directory of the namespace stays behind, empty.
        drop(fs::remove_dir_all(
            Path::new("/run/containerd/runc").join(&self.tag),
        ));
        drop(fs::remove_dir_all(self.artifacts()));
        drop(fs::remove_dir_all(&self.dir));
    }
}
