//! A pod and its containers, as crictl sees them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::case::Case;
use super::specs::ContainerConfig;
use crate::ctr::Output;
use crate::time;

/// A pod that runs.
#[derive(Debug)]
pub struct Pod<'case> {
    case: &'case Case,
    id: String,
    name: String,
    file: String,
    logs: PathBuf,
}

impl<'case> Pod<'case> {
    pub(super) fn new(
        case: &'case Case,
        id: String,
        name: String,
        file: String,
        logs: PathBuf,
    ) -> Self {
        Self {
            case,
            id,
            name,
            file,
            logs,
        }
    }

    /// The id of its sandbox.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The cgroup of all its containers, which a kubelet would make.
    pub fn cgroup(&self) -> String {
        format!("{}/{}", self.case.node().cgroup(), self.name)
    }

    /// Its directory of logs.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// What `crictl inspectp` says.
    pub fn inspect(&self) -> Value {
        let text = self.case.crictl(&["inspectp", &self.id]).ok();
        serde_json::from_str(&text).unwrap()
    }

    /// Its address.
    pub fn address(&self) -> String {
        let address = self.inspect()["status"]["network"]["ip"].clone();
        address.as_str().unwrap().to_owned()
    }

    /// The pid of its first process.
    pub fn pid(&self) -> u32 {
        pid(&self.inspect())
    }

    /// The file that keeps its network namespace; none where it has the host's.
    pub(super) fn network_namespace(&self) -> Option<PathBuf> {
        let inspected = self.inspect();
        let namespaces = inspected["info"]["runtimeSpec"]["linux"]["namespaces"].as_array()?;
        let network = namespaces.iter().find(|one| one["type"] == "network")?;
        network["path"].as_str().map(PathBuf::from)
    }

    /// Creates and starts a container.
    #[track_caller]
    pub fn start(&self, config: &ContainerConfig) -> Container<'case> {
        let container = self.create(config);
        self.case.crictl(&["start", &container.id]).ok();
        container
    }

    /// Creates a container.
    #[track_caller]
    pub fn create(&self, config: &ContainerConfig) -> Container<'case> {
        let id = self.try_create(config).ok().trim().to_owned();
        let log = config.value()["log_path"].as_str().unwrap();
        Container {
            case: self.case,
            id,
            log: self.logs.join(log),
        }
    }

    /// Creates a container that the node may refuse.
    pub fn try_create(&self, config: &ContainerConfig) -> Output {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = Path::new(&self.file).with_file_name(format!("container-{number}.json"));
        fs::write(&file, config.value().to_string()).unwrap();
        let file = file.display().to_string();
        let out = self.case.crictl(&["create", &self.id, &file, &self.file]);
        if out.code == 0 {
            self.case.made_container(out.text().trim());
        }
        out
    }

    /// Stops it and all its containers.
    #[track_caller]
    pub fn stop(&self) {
        self.case.crictl(&["stopp", &self.id]).ok();
    }

    /// Removes it, whatever runs in it.
    #[track_caller]
    pub fn remove(self) {
        self.case.crictl(&["rmp", "--force", &self.id]).ok();
    }
}

/// A container of a pod.
#[derive(Debug)]
pub struct Container<'case> {
    case: &'case Case,
    id: String,
    log: PathBuf,
}

/// A line of a container's log file
/// (<https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Whether the line ends here: `F` and not `P`.
    pub is_full: bool,
    /// What was written, without the end of the line.
    pub text: String,
}

impl Container<'_> {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What `crictl inspect` says.
    pub fn inspect(&self) -> Value {
        let text = self.case.crictl(&["inspect", &self.id]).ok();
        serde_json::from_str(&text).unwrap()
    }

    /// The pid of its first process.
    pub fn pid(&self) -> u32 {
        pid(&self.inspect())
    }

    /// Waits for its end; gives the exit code and the reason that CRI gives.
    #[track_caller]
    pub fn wait(&self) -> (i64, String) {
        time::eventually("the container ends", || {
            let status = self.inspect()["status"].clone();
            (status["state"] == "CONTAINER_EXITED").then(|| {
                let reason = status["reason"].as_str().unwrap_or_default().to_owned();
                (status["exitCode"].as_i64().unwrap_or(0), reason)
            })
        })
    }

    /// Runs a program in it by `ExecSync`. Its code is the program's, if it ran.
    pub fn exec(&self, args: &[&str]) -> Output {
        let mut out = self
            .case
            .crictl(&[&["exec", "--sync", &self.id], args].concat());
        if let Some((_, told)) = out.stderr.rsplit_once("' exited with ") {
            out.code = told.split(':').next().unwrap().parse().unwrap();
        }
        out
    }

    /// The same with a shell, which must write no errors; gives what it printed.
    #[track_caller]
    pub fn shell(&self, text: &str) -> String {
        let text = self.exec(&["sh", "-c", text]).ok();
        // crictl ends both streams with a line feed of its own and prints one after the other.
        text.strip_suffix("\n\n").unwrap_or(&text).to_owned()
    }

    /// `crictl stop` with this many seconds of grace.
    #[track_caller]
    pub fn stop(&self, grace: u32) {
        let grace = grace.to_string();
        self.case
            .crictl(&["stop", "--timeout", &grace, &self.id])
            .ok();
    }

    /// Removes it, stopped or not.
    #[track_caller]
    pub fn remove(self) {
        self.case.crictl(&["rm", "--force", &self.id]).ok();
    }

    /// The lines of its log so far.
    #[track_caller]
    pub fn log(&self) -> Vec<Line> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(line).collect()
    }

    /// What it has written to a stream so far.
    pub fn written(&self, stream: &str) -> String {
        let lines = self.log().into_iter().filter(|line| line.stream == stream);
        lines
            .map(|line| line.text + if line.is_full { "\n" } else { "" })
            .collect()
    }

    /// Waits until its standard output holds this.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        time::eventually(&format!("{text:?} in the log"), || {
            Some(self.written("stdout")).filter(|written| written.contains(text))
        })
    }

    /// Waits for its end; gives its standard output. It must exit with 0.
    #[track_caller]
    pub fn output(&self) -> String {
        let (code, reason) = self.wait();
        let out = self.written("stdout");
        let errors = self.written("stderr");
        assert_eq!(
            (code, reason.as_str()),
            (0, "Completed"),
            "{out}\nstderr: {errors}"
        );
        out
    }
}

/// Time, stream, tag, text.
#[track_caller]
fn line(text: &str) -> Line {
    let parts: Vec<&str> = text.splitn(4, ' ').collect();
    let [time, stream, tag, text] = parts.as_slice() else {
        panic!("{text:?} is no line of a container's log");
    };
    assert!(
        time.len() >= "2026-01-01T00:00:00Z".len() && time.contains('T'),
        "{time} is no time"
    );
    assert!(matches!(*tag, "F" | "P"), "{tag}");
    Line {
        stream: (*stream).to_owned(),
        is_full: *tag == "F",
        text: (*text).to_owned(),
    }
}

fn pid(inspected: &Value) -> u32 {
    let pid = inspected["info"]["pid"].as_u64().unwrap();
    pid.try_into().unwrap()
}
