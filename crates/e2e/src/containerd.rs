//! A private containerd with its own root, state, sockets and namespace.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use crate::apart::Namespaces;
use crate::ctr::{self, Output};
use crate::events::{Event, EventLog};
use crate::leaks::{self, Search};
use crate::rootfs::Image;
use crate::{artifacts, cri, janitor, target, time};

/// Which containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The one in PATH: 1.6 on Debian 12.
    Distribution,
    /// The newest 2.x, which `make clients` built.
    Newest,
}

/// A containerd of our own with the busybox image in it. Dropping it stops it, fails the test if
/// a process of it is left, and removes all that it had.
#[derive(Debug)]
pub struct Containerd {
    release: Mutex<Release>,
    tag: String,
    dir: PathBuf,
    events: EventLog,
    /// For it and its shims.
    env: Vec<(String, String)>,
    /// Where it and its shims run if it serves CRI, so that pods and their networks reach nobody else.
    place: Option<Namespaces>,
    images: Mutex<Vec<Image>>,
    running: Mutex<Option<Running>>,
}

/// Plugins that nothing here uses; the snapshotters need tools that are not here.
pub(crate) const UNUSED: [&str; 8] = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.opt",
];

/// The processes of one run of it.
#[derive(Debug)]
struct Running {
    containerd: Child,
    events: Child,
}

impl Containerd {
    /// The containerd that the tests of this process share; it lives as long as one of them
    /// holds it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Containerd>> = Mutex::new(Weak::new());
        Self::shared_in(&SHARED, Release::Distribution)
    }

    /// The same for containerd 2.x.
    pub fn shared_newest() -> Arc<Self> {
        static SHARED: Mutex<Weak<Containerd>> = Mutex::new(Weak::new());
        Self::shared_in(&SHARED, Release::Newest)
    }

    fn shared_in(place: &Mutex<Weak<Self>>, release: Release) -> Arc<Self> {
        let mut shared = place.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let containerd = Arc::new(Self::start(release));
            *shared = Arc::downgrade(&containerd);
            containerd
        })
    }

    /// One for a single test, of the distribution.
    pub fn start_own() -> Arc<Self> {
        Arc::new(Self::start(Release::Distribution))
    }

    /// The same with variables in its environment, which its shims inherit.
    pub fn start_own_with(env: &[(&str, &str)]) -> Arc<Self> {
        Arc::new(Self::start_with(Release::Distribution, env))
    }

    /// Starts one and imports the busybox image.
    pub fn start(release: Release) -> Self {
        Self::start_with(release, &[])
    }

    fn start_with(release: Release, env: &[(&str, &str)]) -> Self {
        Self::start_in(None, release, env)
    }

    /// Starts one that serves CRI in these namespaces.
    pub fn start_cri(release: Release, place: Namespaces) -> Self {
        Self::start_in(Some(place), release, &[])
    }

    fn start_in(place: Option<Namespaces>, release: Release, env: &[(&str, &str)]) -> Self {
        janitor::employ();
        let tag = target::unique_tag();
        let dir = target::private_dir(&tag);
        fs::create_dir_all(&dir).unwrap();
        let events = EventLog::default();
        let containerd = Self {
            release: Mutex::new(release),
            tag,
            dir,
            events,
            env: env
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            place,
            images: Mutex::default(),
            running: Mutex::new(None),
        };
        containerd.write_config();
        containerd.resume();
        containerd.import(Image::Busybox);
        containerd
    }

    /// Imports an image, unless it is there already.
    pub fn import(&self, image: Image) {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if !images.contains(&image) {
            let archive = image.archive();
            let mut import = vec!["image", "import"];
            if image == Image::WasmIndex {
                import.push("--all-platforms");
            }
            import.push(archive.to_str().unwrap());
            self.ctr(&import).ok();
            images.push(image);
        }
    }

    /// Where its shims keep compiled Wasm.
    pub fn artifacts(&self) -> PathBuf {
        artifacts::store(&self.dir)
    }

    /// The tag: the containerd namespace, and thereby the parent cgroup that ctr chooses.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The containerd namespace: of CRI always the same one.
    pub fn namespace(&self) -> &str {
        if self.place.is_some() {
            cri::NAMESPACE
        } else {
            &self.tag
        }
    }

    /// Runs something where it runs.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.place {
            Some(place) => place.inside(work),
            None => work(),
        }
    }

    /// Its private directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its gRPC socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("c.sock")
    }

    /// Its pid while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running()
            .as_ref()
            .map(|running| running.containerd.id())
    }

    /// What `ctr events` printed about tasks.
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// Where the FIFOs of containers are made.
    pub fn fifo_dir(&self) -> PathBuf {
        self.dir.join("fifo")
    }

    /// A ctr command, ready for more arguments.
    pub fn ctr_command(&self) -> Command {
        let mut command = Command::new(self.binary("ctr"));
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", self.namespace()]);
        command
    }

    /// Runs ctr to its end.
    pub fn ctr(&self, args: &[&str]) -> Output {
        let mut command = self.ctr_command();
        command.args(args);
        ctr::run(command, &[])
    }

    /// SIGKILL; the shims live on.
    pub fn kill(&self) {
        if let Some(mut running) = self.running().take() {
            drop(running.containerd.kill());
            drop(running.containerd.wait());
            drop(running.events.kill());
            drop(running.events.wait());
        }
    }

    /// Starts it (again) and waits until it answers.
    pub fn resume(&self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let mut command = Command::new(self.binary("containerd"));
        command
            .arg("--config")
            .arg(self.dir.join("config.toml"))
            .env("PATH", self.search_path())
            .env("HULL_E2E_TAG", &self.tag)
            .env(artifacts::VARIABLE, self.artifacts())
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut containerd = self.inside(|| command.spawn()).unwrap();
        time::eventually("containerd answers", || {
            if let Some(status) = containerd.try_wait().unwrap() {
                panic!("containerd ended with {status}: {}", self.log());
            }
            UnixStream::connect(self.socket()).ok()
        });
        let events = self.follow_events();
        *self.running() = Some(Running { containerd, events });
    }

    /// SIGKILL, and another release goes on with what this one has on disk.
    pub fn replace_by(&self, release: Release) {
        self.kill();
        *self.release.lock().unwrap_or_else(PoisonError::into_inner) = release;
        self.resume();
    }

    fn release(&self) -> Release {
        *self.release.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its log and that of its shims so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Starts `ctr events` and waits until an event has come through.
    fn follow_events(&self) -> Child {
        let mut follower = self
            .ctr_command()
            .arg("events")
            .stdout(Stdio::piped())
            // It complains when containerd goes before it does.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        let (log, namespace) = (self.events.clone(), self.namespace().to_owned());
        let (heard, hears) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(event) = Event::from_ctr(&line, &namespace) {
                    log.push(event);
                } else {
                    // Nobody listens any more once the first one came.
                    let _deaf = heard.send(());
                }
            }
        });
        // Labels of the namespace are the cheapest thing that makes an event.
        let mut number = 0;
        time::eventually("an event of containerd comes through", || {
            number += 1;
            let label = format!("heard={number}");
            self.ctr(&["namespaces", "label", self.namespace(), &label])
                .ok();
            hears
                .recv_timeout(std::time::Duration::from_millis(50))
                .ok()
        });
        follower
    }

    fn write_config(&self) {
        if self.place.is_some() {
            return cri::config::write(&self.dir, self.release());
        }
        let dir = self.dir.display();
        // CRI is for kubelets and slow to start.
        let cri = [
            "io.containerd.grpc.v1.cri",
            "io.containerd.cri.v1.images",
            "io.containerd.cri.v1.runtime",
        ];
        let disabled = [cri.as_slice(), &UNUSED].concat();
        let mut config = String::new();
        writeln!(config, "version = 2").unwrap();
        writeln!(config, "root = \"{dir}/root\"\nstate = \"{dir}/state\"").unwrap();
        writeln!(config, "disabled_plugins = {disabled:?}").unwrap();
        writeln!(config, "[grpc]\naddress = \"{dir}/c.sock\"").unwrap();
        writeln!(config, "[ttrpc]\naddress = \"{dir}/c.sock.ttrpc\"").unwrap();
        fs::write(self.dir.join("config.toml"), config).unwrap();
    }

    fn binary(&self, name: &str) -> PathBuf {
        match self.release() {
            Release::Distribution => PathBuf::from("/usr/bin").join(name),
            Release::Newest => {
                let path = target::clients().join(name);
                assert!(
                    path.exists(),
                    "{} is missing: run make clients",
                    path.display()
                );
                path
            }
        }
    }

    /// For 2.x its own runc shim comes before the distribution's.
    fn search_path(&self) -> std::ffi::OsString {
        let path = target::search_path();
        match self.release() {
            Release::Distribution => path,
            Release::Newest => {
                let mut newest = target::clients().into_os_string();
                newest.push(":");
                newest.push(path);
                newest
            }
        }
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("containerd.log")
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.kill();
        let search = Search {
            token: self.tag.clone(),
            spared: vec![janitor::employ()],
            dirs: vec![PathBuf::from("/run/hull")],
            store: Some(self.artifacts()),
            own_cgroup: Some(self.tag.clone()),
            ..Search::default()
        };
        let left = if thread::panicking() {
            Vec::new()
        } else {
            leaks::find(&search)
        };
        leaks::sweep(&search);
        drop(fs::remove_dir_all(&self.dir));
        assert!(
            thread::panicking() || left.is_empty(),
            "after all tests with this containerd:\n  {}",
            left.join("\n  ")
        );
    }
}
