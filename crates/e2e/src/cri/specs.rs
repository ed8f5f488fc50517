//! What crictl is given: the configs of pods and containers, in CRI's JSON
//! (<https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto>).

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::rootfs::Image;

/// Whose namespaces a pod or a container has: `NamespaceMode` of CRI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those of the pod.
    Pod = 0,
    /// Its own.
    Container = 1,
    /// The host's.
    Node = 2,
    /// Those of another container.
    Target = 3,
}

/// A `PodSandboxConfig`.
#[derive(Debug, Clone)]
pub struct PodConfig(Value);

impl PodConfig {
    /// A pod without special wishes: a kubelet asks for PID namespaces of the containers' own.
    pub fn new() -> Self {
        Self(json!({ "hostname": "pod" })).namespaces(Mode::Pod, Mode::Container, Mode::Pod)
    }

    /// Sets the value at a JSON pointer; what is missing on the way is made.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        set(&mut self.0, pointer, value.into());
        self
    }

    /// Whose network, PID and IPC namespace it has.
    #[must_use]
    pub fn namespaces(self, network: Mode, pid: Mode, ipc: Mode) -> Self {
        self.set(
            "/linux/security_context/namespace_options",
            namespaces(network, pid, ipc),
        )
    }

    /// Completed by what tells it from others.
    pub(super) fn named(&self, name: &str, logs: &Path, cgroup: &str) -> Value {
        let config = self.clone();
        let named = config
            .set(
                "/metadata",
                json!({ "name": name, "namespace": "hull", "uid": name, "attempt": 0 }),
            )
            .set("/log_directory", logs.display().to_string())
            .set("/linux/cgroup_parent", cgroup);
        named.0
    }
}

impl Default for PodConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// A `ContainerConfig`.
#[derive(Debug, Clone)]
pub struct ContainerConfig(Value);

impl ContainerConfig {
    /// A program of an image.
    pub fn new<'word>(image: Image, args: impl IntoIterator<Item = &'word str>) -> Self {
        let args: Vec<&str> = args.into_iter().collect();
        let config = json!({ "image": { "image": image.name() }, "command": args });
        Self(config)
            .called("c", 0)
            .namespaces(Mode::Pod, Mode::Container, Mode::Pod)
    }

    /// A shell of busybox with this text.
    pub fn shell(text: &str) -> Self {
        Self::new(Image::Busybox, ["sh", "-c", text])
    }

    /// A name, and how often a container of that name was made before.
    #[must_use]
    pub fn called(self, name: &str, attempt: u32) -> Self {
        self.set("/metadata", json!({ "name": name, "attempt": attempt }))
            .set("/log_path", format!("{name}-{attempt}.log"))
    }

    /// Sets the value at a JSON pointer; what is missing on the way is made.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        set(&mut self.0, pointer, value.into());
        self
    }

    /// The same below `linux.security_context`.
    #[must_use]
    pub fn security(self, key: &str, value: impl Into<Value>) -> Self {
        self.set(&format!("/linux/security_context/{key}"), value)
    }

    /// Whose network, PID and IPC namespace it has.
    #[must_use]
    pub fn namespaces(self, network: Mode, pid: Mode, ipc: Mode) -> Self {
        self.security("namespace_options", namespaces(network, pid, ipc))
    }

    pub(super) fn value(&self) -> &Value {
        &self.0
    }
}

fn namespaces(network: Mode, pid: Mode, ipc: Mode) -> Value {
    json!({ "network": network as u32, "pid": pid as u32, "ipc": ipc as u32 })
}

fn set(place: &mut Value, pointer: &str, value: Value) {
    let mut place = place;
    for key in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[key];
    }
    *place = value;
}
