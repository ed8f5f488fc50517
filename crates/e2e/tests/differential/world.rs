//! What the containers of both runtimes are made of: a program that looks around, root file systems,
//! directories to bind, and a process whose namespaces can be joined.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::Duration;

use hull_e2e::{Lab, cgroup, eventually, procfs, target};

/// Kinds of namespaces, as `/proc/PID/ns` names them.
pub(crate) const NAMESPACES: [&str; 8] =
    ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time"];

/// A private world for some cases.
#[derive(Debug)]
pub(crate) struct World {
    /// hull's containers, the directory of everything, and the checks at the end.
    pub(crate) lab: Lab,
    /// What both runtimes' configs name.
    pub(crate) places: Places,
    unshare: Child,
}

/// Places on the host that configs name. They are the same for both runtimes.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// A process with namespaces of its own.
    pub(crate) holder: u32,
}

impl World {
    pub(crate) fn new() -> Self {
        let lab = Lab::new();
        for part in ["trees", "peer", "peer-state"] {
            fs::create_dir(lab.dir().join(part)).unwrap();
        }
        let mut unshare = Command::new("unshare")
            .args(["--net", "--ipc", "--uts", "--cgroup", "--pid", "--fork"])
            .args(["--kill-child", "sleep", "36000"])
            // By this the end of a killed test finds it.
            .env("HULL_E2E_HOLDER", lab.tag())
            .spawn()
            .unwrap();
        let parent = unshare.id();
        let holder = eventually("the process whose namespaces are joined", || {
            assert_eq!(unshare.try_wait().unwrap(), None, "unshare has ended");
            procfs::children(parent)
                .into_iter()
                .find(|pid| procfs::command_line(*pid) == "sleep 36000")
        });
        Self {
            lab,
            places: Places { holder },
            unshare,
        }
    }

    /// The parent of the cgroups of runc's containers: another than that of hull's, which enables
    /// controllers in it.
    pub(crate) fn peer_group(&self) -> String {
        format!("{}/peers", self.lab.cgroup())
    }

    /// A fresh root file system of this name, the same as every other.
    pub(crate) fn tree(&self, name: &str, ask: &str) -> PathBuf {
        let tree = self.lab.dir().join("trees").join(name);
        plant(&tree, ask);
        fill(&sources_of(&tree));
        tree
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Takes its child with it.
        drop(self.unshare.kill());
        drop(self.unshare.wait());
        cgroup::remove_naming(&self.peer_group());
        let holder = self.places.holder;
        hull_e2e::time::look_until(Duration::from_secs(5), || {
            procfs::has_ended(holder).then_some(())
        });
    }
}

/// What configs name for the directory of sources to bind; every container has its own, since a mount
/// below a bind changes it.
pub(crate) const SOURCES: &str = "/SOURCES";

/// The directory of sources of the container with this root file system.
pub(crate) fn sources_of(tree: &Path) -> PathBuf {
    tree.with_extension("sources")
}

/// The program that looks around, built once.
fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("probe/probe.c");
        // One for each test process: two may build it at once.
        let dir = Path::new("/run").join(format!("{}probe", target::process_tag()));
        hull_e2e::janitor::employ();
        fs::create_dir_all(&dir).unwrap();
        let program = dir.join("probe");
        hull_e2e::cc::build_static(&source, &program).unwrap_or_else(|error| panic!("{error}"));
        program
    })
}

fn directory(path: &Path, mode: u32) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn file(path: &Path, mode: u32, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What is bound: every kind of file, and a tree.
fn fill(sources: &Path) {
    directory(sources, 0o755);
    directory(&sources.join("directory"), 0o750);
    directory(&sources.join("directory/deep"), 0o755);
    file(&sources.join("directory/note"), 0o640, "note\n");
    file(&sources.join("directory/deep/note"), 0o444, "deep\n");
    directory(&sources.join("sticky"), 0o1777);
    file(&sources.join("file"), 0o644, "file\n");
    file(&sources.join("program"), 0o755, "#!/bin/sh\n");
    symlink("directory", sources.join("link")).unwrap();
}

/// Directories of every root file system, with their modes.
const DIRECTORIES: [(&str, u32); 14] = [
    ("", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o755),
    ("tmp", 0o1777),
    ("run", 0o755),
    ("etc", 0o755),
    ("root", 0o700),
    ("data", 0o755),
    ("data/private", 0o711),
    ("data/private/deep", 0o755),
    ("empty", 0o755),
    ("home", 0o755),
    ("home/user", 0o700),
];

fn plant(tree: &Path, ask: &str) {
    for (name, mode) in DIRECTORIES {
        directory(&tree.join(name), mode);
    }
    let program = tree.join("probe");
    // A link is enough, and cheaper; the state of the image may be on another file system.
    if fs::hard_link(probe(), &program).is_err() {
        target::copy_program(probe(), &program);
    }
    for (name, mode, text) in [
        ("probe.ask", 0o644, ask),
        (
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:\n",
        ),
        (
            "etc/group",
            0o644,
            "root:x:0:\nuser:x:1000:\nmore:x:7:user\n",
        ),
        ("data/file", 0o644, "text\n"),
        ("data/private/file", 0o600, "private\n"),
        ("data/private/deep/file", 0o644, "deep\n"),
        ("plain", 0o640, "plain\n"),
    ] {
        file(&tree.join(name), mode, text);
    }
    std::os::unix::fs::chown(tree.join("home/user"), Some(1000), Some(1000)).unwrap();
    symlink("data", tree.join("link")).unwrap();
    symlink("/data/private", tree.join("absolute-link")).unwrap();
}

/// Every file below a directory, with its type, mode, owner and target.
pub(crate) fn listing(tree: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    list(tree, tree, &mut found);
    found.sort();
    found
}

fn list(top: &Path, dir: &Path, found: &mut Vec<(String, String)>) {
    use std::os::unix::fs::MetadataExt;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        let link = fs::read_link(&path).map_or_else(
            |_no_link| String::new(),
            |link| format!(" to {}", link.display()),
        );
        let name = format!("/{}", path.strip_prefix(top).unwrap().display());
        let text = format!(
            "{:o} owner {}:{}{link}",
            meta.mode(),
            meta.uid(),
            meta.gid()
        );
        found.push((name, text));
        if meta.is_dir() {
            list(top, &path, found);
        }
    }
}
