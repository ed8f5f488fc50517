//! One test with a private containerd: its container ids, and the checks at its end.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use hull_client::{Task, Version, socket_path};

use crate::containerd::Containerd;
use crate::ctr::{self, Output};
use crate::events::Topic;
use crate::leaks::Search;
use crate::order::Extent;
use crate::rootfs::Image;
use crate::{janitor, leaks, order, target, time};

/// The containers of one test. Dropping it removes what is left of them, then fails the test if
/// their events came in the wrong order or anything bears one of their ids.
#[derive(Debug)]
pub struct Case {
    containerd: Arc<Containerd>,
    image: Image,
    ids: Mutex<Vec<String>>,
    extent: Mutex<Extent>,
}

impl Case {
    /// A test with the shared containerd of the distribution.
    pub fn new() -> Self {
        Self::with(Containerd::shared())
    }

    /// A test with the shared containerd and the image with Wasm guests.
    pub fn wasm() -> Self {
        Self::with_image(Containerd::shared(), Image::Wasm)
    }

    /// A test with this containerd.
    pub fn with(containerd: Arc<Containerd>) -> Self {
        Self::with_image(containerd, Image::Busybox)
    }

    /// A test with this containerd, whose containers are of this image.
    pub fn with_image(containerd: Arc<Containerd>, image: Image) -> Self {
        containerd.import(image);
        Self {
            containerd,
            image,
            ids: Mutex::default(),
            extent: Mutex::new(Extent::Complete),
        }
    }

    /// The containerd.
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// Events may be missing: containerd or a shim is killed in this test.
    pub fn expect_lost_events(&self) {
        *self.extent.lock().unwrap_or_else(PoisonError::into_inner) = Extent::Partial;
    }

    /// A container id that nothing else on this machine has.
    pub fn id(&self, name: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{name}-{}-{number:03}", std::process::id());
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(id.clone());
        id
    }

    /// Runs a ctr command.
    pub fn ctr(&self, args: &[&str]) -> Output {
        self.containerd.ctr(args)
    }

    /// `ctr run FLAGS IMAGE ID ARGS`, ready to be run or spawned.
    pub fn run_command(&self, id: &str, flags: &[&str], args: &[&str]) -> Command {
        let mut command = self.containerd.ctr_command();
        command
            .args(["run", "--runtime", &target::runtime()])
            .arg("--fifo-dir");
        command
            .arg(self.containerd.fifo_dir())
            .args(flags)
            .args([self.image.name(), id])
            .args(args);
        command
    }

    /// `ctr run --rm FLAGS IMAGE ID ARGS`, with a new id.
    pub fn run(&self, flags: &[&str], args: &[&str]) -> Output {
        self.run_with_input(flags, args, &[])
    }

    /// The same with bytes on stdin.
    pub fn run_with_input(&self, flags: &[&str], args: &[&str], input: &[u8]) -> Output {
        let id = self.id("run");
        let flags = [&["--rm"], flags].concat();
        ctr::run(self.run_command(&id, &flags, args), input)
    }

    /// `ctr run -d FLAGS IMAGE ID ARGS`: gives the id of a running container.
    pub fn run_detached(&self, flags: &[&str], args: &[&str]) -> String {
        let id = self.id("bg");
        let flags = [&["--detach"], flags].concat();
        ctr::run(self.run_command(&id, &flags, args), &[]).ok();
        id
    }

    /// `ctr task exec`, in a running container.
    pub fn exec(&self, id: &str, args: &[&str]) -> Output {
        self.exec_with(id, &[], args)
    }

    /// The same with flags.
    pub fn exec_with(&self, id: &str, flags: &[&str], args: &[&str]) -> Output {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let exec = format!("exec{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut command = self.containerd.ctr_command();
        command.args(["task", "exec", "--exec-id", &exec, "--fifo-dir"]);
        command
            .arg(self.containerd.fifo_dir())
            .args(flags)
            .arg(id)
            .args(args);
        ctr::run(command, &[])
    }

    /// A connection to the shim of a lone container, past containerd.
    pub fn connect(&self, id: &str) -> Task {
        let address = format!("unix://{}", self.shim_socket(id).display());
        time::block(Task::connect(&address, self.containerd.tag(), Version::V2)).unwrap()
    }

    /// Where the shim of a lone container listens.
    pub fn shim_socket(&self, id: &str) -> PathBuf {
        socket_path(&self.containerd.socket(), self.containerd.tag(), id)
    }

    /// The pid of a container's init, as containerd knows it.
    pub fn pid(&self, id: &str) -> u32 {
        let list = self.ctr(&["task", "ls"]).ok();
        list.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|words| words.first() == Some(&id))
            .and_then(|words| words.get(1)?.parse().ok())
            .unwrap_or_else(|| panic!("{id} is not in the list of tasks: {list}"))
    }

    /// Kills a container, waits for its exit and deletes it.
    pub fn remove(&self, id: &str) {
        self.ctr(&["task", "kill", "--signal", "SIGKILL", id]).ok();
        self.containerd.events().wait_for(Topic::Exit, id, "");
        // Exits with the status of the task.
        self.ctr(&["task", "delete", id]);
        self.ctr(&["container", "delete", id]).ok();
    }

    /// Takes away what the test left, whatever its state. Not a check.
    fn remove_if_there(&self, id: &str) {
        if self.ctr(&["container", "info", id]).code != 0 {
            return;
        }
        self.ctr(&["task", "kill", "--all", "--signal", "SIGKILL", id]);
        time::look_until(time::LIMIT, || {
            self.ctr(&["task", "delete", "--force", id]);
            (self.ctr(&["container", "delete", id]).code == 0).then_some(())
        });
    }

    fn search(&self, id: &str) -> Search {
        Search {
            token: id.to_owned(),
            spared: vec![janitor::employ()],
            gone: Vec::new(),
            dirs: vec![
                self.containerd.dir().join("state"),
                self.containerd
                    .dir()
                    .join("root/io.containerd.runtime.v2.task"),
                self.containerd.fifo_dir(),
                PathBuf::from("/run/hull"),
            ],
            store: None,
            sockets: vec![self.shim_socket(id)],
            own_cgroup: None,
        }
    }
}

impl Default for Case {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let ids = std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner));
        if self.containerd.pid().is_some() {
            ids.iter().for_each(|id| self.remove_if_there(id));
        }
        if thread::panicking() {
            ids.iter().for_each(|id| leaks::sweep(&self.search(id)));
            eprintln!(
                "containerd's log ends with:\n{}",
                tail(&self.containerd.log())
            );
            return;
        }
        let extent = *self.extent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut problems = Vec::new();
        for id in &ids {
            let events = self.containerd.events();
            if extent == Extent::Complete && !events.of(id).is_empty() {
                // The last event may still be on its way through ctr.
                events.wait_for(Topic::Delete, id, "");
            }
            // Nothing can be said of the order of events that are not all there.
            if extent == Extent::Complete {
                problems.extend(order::violations(&events.of(id), extent));
            }
            problems.extend(
                leaks::find(&self.search(id))
                    .iter()
                    .map(|left| format!("left {left}")),
            );
            leaks::sweep(&self.search(id));
        }
        assert!(
            problems.is_empty(),
            "after the test:\n  {}\ncontainerd's log ends with:\n{}",
            problems.join("\n  "),
            tail(&self.containerd.log())
        );
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
