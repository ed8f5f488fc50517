//! A private world for the shim alone: the harness plays containerd.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hull_client::{ShimBinary, Spec, Streams, socket_path};

use crate::container::Container;
use crate::events::{EventLog, EventSink};
use crate::leaks::Search;
use crate::order::Extent;
use crate::rootfs::Image;
use crate::{artifacts, janitor, leaks, order, procfs, target, time};

/// How long a daemon may take to close what a container had.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Containers without containerd, and the checks at their end. Dropping it fails the test if
/// events came in the wrong order or anything is left.
#[derive(Debug)]
pub struct Lab {
    tag: String,
    dir: PathBuf,
    sink: Option<EventSink>,
    binary: ShimBinary,
    image: Image,
    next: AtomicU32,
    ended: Mutex<Ended>,
}

/// What the containers left for the check at the end.
#[derive(Debug, Default)]
struct Ended {
    /// What went wrong while they were disposed of.
    problems: Vec<String>,
    /// Daemons and their children; they must be gone.
    processes: Vec<procfs::Identity>,
    /// Their sockets.
    sockets: Vec<PathBuf>,
    /// A daemon was killed on purpose: its last events never came.
    killed: bool,
    /// The order of events is another one on purpose.
    disordered: bool,
    /// Each daemon's containers, and what it had open before the first.
    daemons: HashMap<u32, (usize, Vec<String>)>,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// A new world with an event server and no containers.
    pub fn new() -> Self {
        janitor::employ();
        let tag = target::unique_tag();
        let dir = target::private_dir(&tag);
        for part in ["bundles", "stdio", "snapshots"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        let ttrpc_address = dir.join("c.sock.ttrpc");
        let sink = Some(EventSink::listen(&ttrpc_address));
        let binary = ShimBinary {
            binary: target::shim_binary(),
            namespace: tag.clone(),
            grpc_address: dir.join("c.sock"),
            ttrpc_address,
            env: vec![(artifacts::VARIABLE.into(), artifacts::store(&dir).into())],
            debug: false,
        };
        Self {
            tag,
            dir,
            sink,
            binary,
            image: Image::Busybox,
            next: AtomicU32::new(0),
            ended: Mutex::default(),
        }
    }

    /// A world whose containers have the image with Wasm guests.
    pub fn wasm() -> Self {
        Self::new().with_image(Image::Wasm)
    }

    /// The same world with containers of another image.
    #[must_use]
    pub fn with_image(mut self, image: Image) -> Self {
        self.image = image;
        self
    }

    /// The same world with a variable in the environment of its shims.
    #[must_use]
    pub fn with_env(mut self, key: &str, value: &str) -> Self {
        self.binary.env.push((key.into(), value.into()));
        self
    }

    /// The same world with another binary of the shim.
    #[must_use]
    pub fn with_binary(mut self, binary: &Path) -> Self {
        self.binary.binary = binary.to_owned();
        self
    }

    /// A world whose shim has fault points and acts on one: `<step>:<kill|fail>`.
    pub fn with_fault(fault: &str) -> Self {
        let mut lab = Self::new();
        lab.binary.binary = target::fault_binary();
        lab.binary.env.push(("HULL_FAULT".into(), fault.into()));
        lab
    }

    /// The tag: the containerd namespace and the parent cgroup.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The private directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How the shim is called.
    pub fn binary(&self) -> &ShimBinary {
        &self.binary
    }

    /// The image of its containers.
    pub fn image(&self) -> Image {
        self.image
    }

    /// Where its shims keep compiled Wasm.
    pub fn artifacts(&self) -> PathBuf {
        artifacts::store(&self.dir)
    }

    /// The events that came so far.
    pub fn events(&self) -> &EventLog {
        self.sink.as_ref().unwrap().log()
    }

    /// Who receives them.
    pub fn event_sink(&self) -> &EventSink {
        self.sink.as_ref().unwrap()
    }

    /// The order of events is not the usual one on purpose: an exit is late, or an id is used again after its
    /// daemon was killed.
    pub fn expect_disorder(&self) {
        self.ended(|ended| ended.disordered = true);
    }

    /// A container id that no other test has.
    pub fn id(&self, name: &str) -> String {
        format!("{name}-{:03}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a bundle and starts its shim; the container is not created yet. It has FIFOs for
    /// stdout and stderr, or a terminal if the spec asks for one.
    pub fn container(&self, spec: &Spec) -> Container<'_> {
        let streams = if spec.has_terminal() {
            Streams::TERMINAL
        } else {
            Streams::OUTPUT
        };
        self.container_with(spec, streams)
    }

    /// The same with other streams.
    pub fn container_with(&self, spec: &Spec, streams: Streams) -> Container<'_> {
        Container::start_shim(self, &self.id("box"), spec, streams)
    }

    /// The same with an id of the test's choice, for what the kernel knows by that name.
    pub fn container_named(&self, id: &str, spec: &Spec) -> Container<'_> {
        Container::start_shim(self, id, spec, Streams::OUTPUT)
    }

    /// The parent of the containers' cgroups, from the root of each hierarchy.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.tag)
    }

    /// The same world, whose shim has fault points and acts on one from now on; an empty string means on
    /// none.
    pub fn set_fault(&mut self, fault: &str) {
        self.binary.binary = target::fault_binary();
        self.binary.env.retain(|(key, _)| key != "HULL_FAULT");
        self.binary.env.push(("HULL_FAULT".into(), fault.into()));
    }

    /// A daemon dies by itself: its events need not be complete.
    pub fn expect_lost_events(&self) {
        self.ended(|ended| ended.killed = true);
    }

    /// Kills a daemon: its events need not be complete any more.
    pub fn kill_daemon(&self, pid: u32) {
        self.ended(|ended| ended.killed = true);
        leaks::kill(pid);
    }

    /// Where the shim of this group listens.
    pub fn socket(&self, group: &str) -> PathBuf {
        socket_path(&self.binary.grpc_address, &self.tag, group)
    }

    /// Notes that a container of this daemon begins.
    pub(crate) fn begins(&self, daemon: u32) {
        let open = procfs::open_files(daemon);
        self.ended(|ended| ended.daemons.entry(daemon).or_insert((0, open)).0 += 1);
    }

    /// Notes that a container of this daemon was deleted. After the last one the daemon must have
    /// nothing open that it did not have before the first; gives what it has.
    pub(crate) fn leaks_of(&self, daemon: u32) -> Vec<String> {
        let before = self.ended(|ended| match ended.daemons.get_mut(&daemon) {
            Some((1, _)) => ended.daemons.remove(&daemon).map(|(_, before)| before),
            Some((containers, _)) => {
                *containers -= 1;
                None
            }
            None => None,
        });
        let Some(before) = before.filter(|_| target::is_hull()) else {
            return Vec::new();
        };
        let mut left = Vec::new();
        time::look_until(CLOSE_LIMIT, || {
            left = surplus(&procfs::open_files(daemon), &before);
            left.is_empty().then_some(())
        });
        left
    }

    pub(crate) fn problem(&self, text: String) {
        self.ended(|ended| ended.problems.push(text));
    }

    /// Notes a daemon and its children: they must be gone at the end.
    pub(crate) fn expect_gone(&self, daemon: u32, socket: PathBuf) {
        let mut family = procfs::children(daemon);
        family.push(daemon);
        self.ended(|ended| {
            let family = family.into_iter().map(procfs::Identity::of);
            ended.processes.extend(family);
            ended.sockets.push(socket);
        });
    }

    fn ended<R>(&self, change: impl FnOnce(&mut Ended) -> R) -> R {
        change(&mut self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn search(&self) -> Search {
        let (gone, sockets) = self.ended(|ended| (ended.processes.clone(), ended.sockets.clone()));
        Search {
            token: self.tag.clone(),
            spared: vec![janitor::employ()],
            gone,
            dirs: vec![
                PathBuf::from("/run/hull"),
                PathBuf::from("/run/containerd/s"),
            ],
            store: Some(self.artifacts()),
            sockets,
            own_cgroup: Some(self.tag.clone()),
        }
    }
}

/// What a daemon keeps open from its first Wasm container on: the view of the store, runner and
/// compiler. All of them or none.
const WASM_TOOLS: [&str; 3] = ["/", "/hull-wasm", "/hull-wasmc"];

/// What is in the first list more often than in the second; one pidfd, the launcher's, is allowed,
/// and so is what Wasm takes.
fn surplus(now: &[String], before: &[String]) -> Vec<String> {
    let mut expected = before.to_vec();
    expected.push("anon_inode:[pidfd]".to_owned());
    let open = |tool: &str| now.iter().any(|file| file == tool);
    if WASM_TOOLS.into_iter().all(open) && !before.iter().any(|file| file == "/hull-wasm") {
        expected.extend(WASM_TOOLS.map(str::to_owned));
    }
    let mut left = Vec::new();
    for file in now {
        match expected.iter().position(|other| other == file) {
            Some(at) => drop(expected.swap_remove(at)),
            None => left.push(file.clone()),
        }
    }
    left
}

impl Drop for Lab {
    fn drop(&mut self) {
        let search = self.search();
        let mut problems = self.ended(|ended| std::mem::take(&mut ended.problems));
        if !thread::panicking() {
            problems.extend(
                leaks::find(&search)
                    .into_iter()
                    .map(|left| format!("left {left}")),
            );
            let (killed, disordered) = self.ended(|ended| (ended.killed, ended.disordered));
            let extent = if killed {
                Extent::Partial
            } else {
                Extent::Complete
            };
            if !disordered {
                problems.extend(order::violations(&self.events().all(), extent));
            }
            let left = fs::read_dir(self.dir.join("bundles"))
                .into_iter()
                .flatten()
                .flatten();
            problems.extend(left.map(|entry| format!("left bundle {:?}", entry.file_name())));
        }
        let events = self.events().all();
        drop(self.sink.take());
        leaks::sweep(&search);
        drop(fs::remove_dir_all(&self.dir));
        if !thread::panicking() && !problems.is_empty() {
            let events: Vec<String> = events.iter().map(ToString::to_string).collect();
            panic!(
                "after the test:\n  {}\nevents:\n  {}",
                problems.join("\n  "),
                events.join("\n  ")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{WASM_TOOLS, surplus};

    #[test]
    fn surplus_counts_and_spares_one_pidfd() {
        let list = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let before = list(&["/dev/null", "/dev/null", "pipe:[1]"]);
        let pidfd = "anon_inode:[pidfd]";
        assert!(surplus(&list(&["/dev/null", "pipe:[1]", pidfd]), &before).is_empty());
        let now = list(&[
            "/dev/null",
            "/dev/null",
            "/dev/null",
            "pipe:[2]",
            pidfd,
            pidfd,
        ]);
        assert_eq!(surplus(&now, &before), ["/dev/null", "pipe:[2]", pidfd]);
    }

    #[test]
    fn surplus_allows_what_wasm_takes_once_and_as_a_whole() {
        let list = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let tools = list(&WASM_TOOLS);
        assert!(surplus(&tools, &[]).is_empty());
        assert!(surplus(&tools, &tools).is_empty());
        assert_eq!(surplus(&list(&["/"]), &[]), ["/"]);
        let twice = [tools.clone(), tools.clone()].concat();
        assert_eq!(surplus(&twice, &[]), tools);
        assert_eq!(surplus(&twice, &tools), tools);
    }
}
