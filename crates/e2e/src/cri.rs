//! CRI for real: containerd with its CRI plugin, Debian's network plugins, a pause image, and crictl in the
//! kubelet's place.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use crate::apart::Namespaces;
use crate::containerd::{Containerd, Release};
use crate::ctr::{self, Output};
use crate::rootfs::Image;
use crate::{cgroup, target, time};

mod case;
pub mod config;
mod pod;
mod specs;

pub use case::{Case, on_each, on_newest, on_own_each, on_own_sandboxes, on_sandboxes};
pub use pod::{Container, Line, Pod};
pub use specs::{ContainerConfig, Mode, PodConfig};

/// The containerd namespace that CRI uses.
pub const NAMESPACE: &str = "k8s.io";

/// With this variable set, every test has pods without a pause container, on containerd 2.x alone.
const SANDBOXER: &str = "HULL_E2E_SANDBOXER";

/// How long containerd may take for one request. crictl itself gives up after two seconds.
const REQUEST_LIMIT: Duration = Duration::from_secs(50);

/// A node without a kubelet: containerd with CRI in namespaces of its own, so that its bridge, its pods'
/// addresses and its mounts reach nobody else, and with the images that tests use.
#[derive(Debug)]
pub struct Node {
    containerd: Containerd,
    release: Release,
}

impl Node {
    /// The node that the tests of this process share; it lives as long as one of them holds it.
    pub fn shared(release: Release) -> Arc<Self> {
        static SHARED: [Mutex<Weak<Node>>; 2] = [const { Mutex::new(Weak::new()) }; 2];
        let place = &SHARED[release as usize];
        let mut shared = place.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let node = Arc::new(Self::start(release));
            *shared = Arc::downgrade(&node);
            node
        })
    }

    /// Starts one and waits until pods can come.
    pub fn start(release: Release) -> Self {
        common_groups();
        let place = Namespaces::make(|| {
            // Network plugins keep what they did in /var/lib/cni, whoever calls them.
            let none = None::<&str>;
            mount(
                Some("none"),
                "/var/lib",
                Some("tmpfs"),
                MsFlags::empty(),
                none,
            )
            .unwrap();
        });
        let containerd = Containerd::start_cri(release, place);
        for image in [Image::Pause, Image::Wasm] {
            containerd.import(image);
        }
        let node = Self {
            containerd,
            release,
        };
        node.wait_ready();
        node
    }

    /// Kills containerd with SIGKILL, does something, starts it again and waits until pods can come.
    pub fn restart(&self, meanwhile: impl FnOnce()) {
        self.containerd.kill();
        meanwhile();
        self.containerd.resume();
        self.wait_ready();
    }

    fn wait_ready(&self) {
        time::eventually("CRI is ready", || {
            let info = self.crictl(&["info", "--output", "go-template", "--template", READY]);
            (info.code == 0 && info.text().trim() == "true true").then_some(())
        });
    }

    /// Its containerd.
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// Which containerd it has.
    pub fn release(&self) -> Release {
        self.release
    }

    /// Where all its pods' cgroups are.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.containerd.tag())
    }

    /// A crictl command, ready for more arguments. It must be run [inside](Containerd::inside).
    pub fn crictl_command(&self) -> Command {
        let socket = format!("unix://{}", self.containerd.socket().display());
        let limit = format!("{}s", time::slowed(REQUEST_LIMIT).as_secs());
        let mut command = Command::new(crictl());
        command
            .args(["--config", "/dev/null", "--timeout", &limit])
            .args(["--runtime-endpoint", &socket, "--image-endpoint", &socket]);
        command
    }

    /// Runs crictl to its end.
    pub fn crictl(&self, args: &[&str]) -> Output {
        self.crictl_with_input(args, &[])
    }

    /// The same with bytes on stdin.
    pub fn crictl_with_input(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.crictl_command();
        command.args(args);
        self.containerd.inside(|| ctr::run(command, input))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for group in common_groups() {
            // Another node may still use it, and removes it then.
            drop(fs::remove_dir(group));
        }
    }
}

/// The cgroups of the containerd namespace that no node of this process has found there: compilers are below
/// them, and nobody removes them, since they are common to all pods.
fn common_groups() -> &'static [PathBuf] {
    static GROUPS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    GROUPS.get_or_init(|| {
        let hierarchies = cgroup::hierarchies().into_iter();
        let groups = hierarchies.map(|hierarchy| hierarchy.mount_point.join(NAMESPACE));
        groups.filter(|group| !group.exists()).collect()
    })
}

/// What `crictl info` prints when runtime and network are ready.
const READY: &str = "{{range $i, $c := .status.conditions}}{{if lt $i 2}}{{if $i}} {{end}}{{$c.status}}{{end}}{{end}}";

fn crictl() -> PathBuf {
    let path = target::clients().join("crictl");
    assert!(
        path.exists(),
        "{} is missing: run make clients",
        path.display()
    );
    path
}

/// The releases that are here to be tested: none with `CLIENTS=no`, which leaves out crictl as well.
fn releases() -> &'static [Release] {
    if env::var_os("HULL_CLIENTS").is_some_and(|dir| dir.is_empty()) {
        eprintln!("CLIENTS=no: nothing is proved about CRI");
        return &[];
    }
    if env::var_os(SANDBOXER).is_some() {
        return &[Release::Newest];
    }
    &[Release::Distribution, Release::Newest]
}
