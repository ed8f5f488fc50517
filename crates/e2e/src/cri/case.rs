//! One test with a node: its pods, and the checks at its end.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use hull_client::socket_path;

use super::config::SANDBOX_HANDLER;
use super::pod::Pod;
use super::specs::PodConfig;
use super::{NAMESPACE, Node, SANDBOXER, releases};
use crate::containerd::Release;
use crate::ctr::Output;
use crate::events::Topic;
use crate::leaks::{self, Search};
use crate::order::{self, Extent};
use crate::{janitor, target, time};

/// Runs a test on each containerd that is here.
pub fn on_each(test: impl Fn(&Case)) {
    for release in releases() {
        test(&Case::new(*release));
    }
}

/// Runs a test on each containerd that is here, which it may kill.
pub fn on_own_each(test: impl Fn(&Case)) {
    for release in releases() {
        test(&Case::own(*release));
    }
}

/// Runs a test of what only containerd 2.x can ask for.
pub fn on_newest(test: impl Fn(&Case)) {
    if releases().contains(&Release::Newest) {
        test(&Case::new(Release::Newest));
    }
}

/// Runs a test whose pods have no pause container: hull itself is asked for the pod.
pub fn on_sandboxes(test: impl Fn(&Case)) {
    if target::is_hull() && releases().contains(&Release::Newest) {
        test(&Case::of(Node::shared(Release::Newest), SANDBOX_HANDLER));
    }
}

/// The same on a containerd that the test may kill.
pub fn on_own_sandboxes(test: impl Fn(&Case)) {
    if target::is_hull() && releases().contains(&Release::Newest) {
        let node = Arc::new(Node::start(Release::Newest));
        let case = Case::of(node, SANDBOX_HANDLER);
        case.expect_lost_events();
        test(&case);
    }
}

/// The pods of one test. Dropping it removes what is left of them, then fails the test if the events of
/// their containers came in the wrong order or anything of them is left.
#[derive(Debug)]
pub struct Case {
    node: Arc<Node>,
    /// The handler of its pods.
    handler: &'static str,
    made: Mutex<Made>,
}

/// What a test made, by the names that everything of it bears.
#[derive(Debug, Default)]
struct Made {
    /// Names of pods, which are also those of their parent cgroups.
    names: Vec<String>,
    pods: Vec<String>,
    containers: Vec<String>,
    network_namespaces: Vec<PathBuf>,
    /// Events may be missing or in disorder.
    lost_events: bool,
}

impl Case {
    /// A test with the shared node of this release.
    pub fn new(release: Release) -> Self {
        Self::of(Node::shared(release), handler())
    }

    fn of(node: Arc<Node>, handler: &'static str) -> Self {
        Self {
            node,
            handler,
            made: Mutex::default(),
        }
    }

    /// A test with a node of its own, whose containerd it may kill.
    pub fn own(release: Release) -> Self {
        let case = Self::of(Arc::new(Node::start(release)), handler());
        case.expect_lost_events();
        case
    }

    /// Events may be missing or in disorder: containerd or a shim is killed in this test, or it is not hull.
    pub fn expect_lost_events(&self) {
        self.made(|made| made.lost_events = true);
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Runs crictl to its end.
    pub fn crictl(&self, args: &[&str]) -> Output {
        self.node.crictl(args)
    }

    /// A pod without special wishes.
    pub fn pod(&self) -> Pod<'_> {
        self.pod_with(&PodConfig::new())
    }

    /// A pod with these.
    pub fn pod_with(&self, config: &PodConfig) -> Pod<'_> {
        self.pod_of(self.handler, config)
    }

    /// A pod of this handler, `hull` or `runc`.
    pub fn pod_of(&self, handler: &str, config: &PodConfig) -> Pod<'_> {
        let (name, file, logs) = self.prepare(config);
        let run = ["runp", "--runtime", handler, &file];
        let id = self.crictl(&run).ok().trim().to_owned();
        self.made(|made| made.pods.push(id.clone()));
        let pod = Pod::new(self, id, name, file, logs);
        if let Some(path) = pod.network_namespace() {
            self.made(|made| made.network_namespaces.push(path));
        }
        pod
    }

    /// A pod that the node may refuse.
    pub fn try_pod(&self, config: &PodConfig) -> Output {
        self.try_pod_of(self.handler, config)
    }

    /// The same of a handler that it need not have.
    pub fn try_pod_of(&self, handler: &str, config: &PodConfig) -> Output {
        let (_, file, _) = self.prepare(config);
        let out = self.crictl(&["runp", "--runtime", handler, &file]);
        if out.code == 0 {
            let id = out.text().trim().to_owned();
            self.made(|made| made.pods.push(id));
        }
        out
    }

    /// Writes the config; gives the pod's name, the file and the directory of logs.
    fn prepare(&self, config: &PodConfig) -> (String, String, PathBuf) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pod-{}-{number:03}", std::process::id());
        let dir = self.node.containerd().dir().join("pods").join(&name);
        let logs = dir.join("logs");
        fs::create_dir_all(&logs).unwrap();
        let cgroup = format!("{}/{name}", self.node.cgroup());
        let file = dir.join("pod.json");
        fs::write(&file, config.named(&name, &logs, &cgroup).to_string()).unwrap();
        self.made(|made| made.names.push(name.clone()));
        (name, file.display().to_string(), logs)
    }

    pub(super) fn made_container(&self, id: &str) {
        self.made(|made| made.containers.push(id.to_owned()));
    }

    fn made<T>(&self, change: impl FnOnce(&mut Made) -> T) -> T {
        change(&mut self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn search(&self, token: &str) -> Search {
        let containerd = self.node.containerd();
        Search {
            token: token.to_owned(),
            spared: vec![janitor::employ()],
            dirs: vec![
                containerd.dir().join("state"),
                containerd.dir().join("root/io.containerd.runtime.v2.task"),
                PathBuf::from("/run/hull"),
            ],
            sockets: vec![socket_path(&containerd.socket(), NAMESPACE, token)],
            own_cgroup: Some(token.to_owned()),
            ..Search::default()
        }
    }

    /// What is left of the pods that are removed.
    fn left(&self, made: &Made) -> Vec<String> {
        let mut left = Vec::new();
        for token in made.names.iter().chain(&made.pods).chain(&made.containers) {
            left.extend(leaks::find(&self.search(token)));
            left.extend(self.mounts_naming(token));
        }
        for path in &made.network_namespaces {
            if path.exists() {
                left.push(format!("network namespace: {}", path.display()));
            }
        }
        left
    }

    /// The mounts of the node's own namespace.
    fn mounts_naming(&self, token: &str) -> Vec<String> {
        let Some(pid) = self.node.containerd().pid() else {
            return Vec::new();
        };
        let mountinfo = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let named = mountinfo.lines().filter(|line| line.contains(token));
        named.map(|line| format!("mount: {line}")).collect()
    }

    fn disorder(&self, made: &Made) -> Vec<String> {
        let events = self.node.containerd().events();
        let mut found = Vec::new();
        if made.lost_events {
            return found;
        }
        // Of a sandbox that is shut down containerd publishes the exit of a task that never was
        // (`cleanupAfterDeadShim`).
        let pods = made.pods.iter();
        let pods = pods.filter(|_| self.handler != SANDBOX_HANDLER);
        for id in pods.chain(&made.containers) {
            if !events.of(id).is_empty() {
                events.wait_for(Topic::Delete, id, "");
            }
            found.extend(order::violations(&events.of(id), Extent::Complete));
        }
        found
    }

    fn remove_pods(&self, made: &Made) {
        let there = self.crictl(&["pods", "--quiet", "--no-trunc"]).text();
        for id in made.pods.iter().filter(|id| there.contains(id.as_str())) {
            time::look_until(time::LIMIT, || {
                (self.crictl(&["rmp", "--force", id]).code == 0).then_some(())
            });
        }
    }
}

/// The handler of a runtime class is the name of a table in `deploy/containerd`.
fn handler() -> &'static str {
    match env::var_os(SANDBOXER) {
        Some(_) => SANDBOX_HANDLER,
        None if target::is_hull() => "hull",
        None => "runc",
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let made = self.made(std::mem::take);
        self.remove_pods(&made);
        if thread::panicking() {
            let log = self.node.containerd().log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(20)..].join("\n");
            eprintln!(
                "with {:?} containerd, whose log ends with:\n{end}",
                self.node.release()
            );
        }
        let problems = if thread::panicking() {
            Vec::new()
        } else {
            [self.left(&made), self.disorder(&made)].concat()
        };
        for token in made.names.iter().chain(&made.pods).chain(&made.containers) {
            leaks::sweep(&self.search(token));
        }
        assert!(
            problems.is_empty(),
            "after the test with {:?} containerd:\n  {}",
            self.node.release(),
            problems.join("\n  ")
        );
    }
}
