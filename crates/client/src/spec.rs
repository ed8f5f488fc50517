//! A builder of `config.json` documents, starting from what `ctr run` makes.

use std::path::Path;

use serde_json::{Map, Value, json};

/// What ctr gives a container: Docker's default set of capabilities.
pub const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The six kinds of OCI hooks (runtime-spec `config.md#posix-platform-hooks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    /// Before pivot_root, in the runtime's namespaces; deprecated, runs before `createRuntime`.
    Prestart,
    /// During create, in the runtime's namespaces.
    CreateRuntime,
    /// During create, in the container's namespaces.
    CreateContainer,
    /// During start, in the container's namespaces and root.
    StartContainer,
    /// After start, in the runtime's namespaces.
    Poststart,
    /// After delete, in the runtime's namespaces.
    Poststop,
}

impl HookKind {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 6] = [
        Self::Prestart,
        Self::CreateRuntime,
        Self::CreateContainer,
        Self::StartContainer,
        Self::Poststart,
        Self::Poststop,
    ];

    /// The key in `hooks`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// An OCI runtime configuration under construction. It is plain JSON: a test can put in what no
/// typed builder would accept.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec(Value);

impl Spec {
    /// What `ctr run` makes of an image without configuration, running `args`.
    #[must_use]
    pub fn new<I, S>(args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let args: Vec<String> = args.into_iter().map(Into::into).collect();
        Self(json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": args,
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "cwd": "/",
                "capabilities": {
                    "bounding": CAPABILITIES,
                    "effective": CAPABILITIES,
                    "permitted": CAPABILITIES,
                },
                "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
                "noNewPrivileges": true,
            },
            "root": { "path": "rootfs" },
            "mounts": default_mounts(),
            "linux": {
                "resources": { "devices": default_device_rules() },
                "namespaces": [
                    { "type": "pid" },
                    { "type": "ipc" },
                    { "type": "uts" },
                    { "type": "mount" },
                    { "type": "network" },
                ],
                "maskedPaths": [
                    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
                    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                    "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
                ],
                "readonlyPaths": [
                    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
                ],
            },
        }))
    }

    /// Sets any value by its JSON pointer (`/process/cwd`), making objects on the way; a last
    /// part of `-` appends to an array.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.0;
        for key in pointer.split('/').skip(1) {
            if key == "-" {
                if !place.is_array() {
                    *place = Value::Array(Vec::new());
                }
            } else if !place.is_object() && !place.is_array() {
                *place = Value::Object(Map::new());
            }
            place = match place {
                Value::Array(items) => {
                    let at = key.parse().unwrap_or(items.len());
                    if at >= items.len() {
                        items.push(Value::Null);
                    }
                    let last = items.len() - 1;
                    match items.get_mut(at.min(last)) {
                        Some(item) => item,
                        None => return self,
                    }
                }
                Value::Object(fields) => fields.entry(key).or_insert(Value::Null),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return self,
            };
        }
        *place = value.into();
        self
    }

    /// Removes the value at a JSON pointer.
    #[must_use]
    pub fn unset(mut self, pointer: &str) -> Self {
        if let Some((parent, key)) = pointer.rsplit_once('/')
            && let Some(Value::Object(fields)) = self.0.pointer_mut(parent)
        {
            fields.remove(key);
        }
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(self, key: &str, value: &str) -> Self {
        self.set("/process/env/-", format!("{key}={value}"))
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(self, cwd: &str) -> Self {
        self.set("/process/cwd", cwd)
    }

    /// Sets user and group.
    #[must_use]
    pub fn user(self, uid: u32, gid: u32) -> Self {
        self.set("/process/user/uid", uid)
            .set("/process/user/gid", gid)
    }

    /// Asks for a terminal.
    #[must_use]
    pub fn terminal(self) -> Self {
        self.set("/process/terminal", true)
    }

    /// Where the container's cgroup is to be, from the root of each hierarchy.
    #[must_use]
    pub fn cgroup(self, path: &str) -> Self {
        self.set("/linux/cgroupsPath", path)
    }

    /// Sets one resource: `memory/limit`, `pids/limit`, …
    #[must_use]
    pub fn resource(self, path: &str, value: impl Into<Value>) -> Self {
        self.set(&format!("/linux/resources/{path}"), value)
    }

    /// Adds a mount after the default ones.
    #[must_use]
    pub fn mount(self, kind: &str, source: &Path, destination: &str, options: &[&str]) -> Self {
        self.set(
            "/mounts/-",
            json!({
                "destination": destination,
                "type": kind,
                "source": source,
                "options": options,
            }),
        )
    }

    /// Adds a hook that runs `args` with the program at `path`.
    #[must_use]
    pub fn hook(self, kind: HookKind, path: &str, args: &[&str]) -> Self {
        self.set(
            &format!("/hooks/{}/-", kind.key()),
            json!({ "path": path, "args": args }),
        )
    }

    /// Adds a namespace, or changes it: `Some` joins the one at that path.
    #[must_use]
    pub fn namespace(self, kind: &str, path: Option<&Path>) -> Self {
        let mut entry = json!({ "type": kind });
        if let (Some(path), Value::Object(fields)) = (path, &mut entry) {
            fields.insert("path".to_owned(), json!(path));
        }
        self.without_namespace(kind)
            .set("/linux/namespaces/-", entry)
    }

    /// Gives the container a user namespace of its own, in which `size` ids from 0 on are the host's
    /// from `host` on.
    #[must_use]
    pub fn user_namespace(self, host: u32, size: u32) -> Self {
        let map = json!([{ "containerID": 0, "hostID": host, "size": size }]);
        self.namespace("user", None)
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map)
    }

    /// Takes a namespace out: the container shares the host's.
    #[must_use]
    pub fn without_namespace(mut self, kind: &str) -> Self {
        if let Some(Value::Array(items)) = self.0.pointer_mut("/linux/namespaces") {
            items.retain(|item| item.get("type").and_then(Value::as_str) != Some(kind));
        }
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        if let Value::Object(fields) = &mut self.0
            && let Value::Object(annotations) =
                fields.entry("annotations").or_insert_with(|| json!({}))
        {
            annotations.insert(key.to_owned(), json!(value));
        }
        self
    }

    /// This container's `process` with other arguments: what `ctr task exec` sends.
    #[must_use]
    pub fn process<I, S>(&self, args: I) -> Value
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let args: Vec<String> = args.into_iter().map(Into::into).collect();
        let mut process = self.0.get("process").cloned().unwrap_or_default();
        if let Value::Object(fields) = &mut process {
            fields.insert("args".to_owned(), json!(args));
            fields.insert("terminal".to_owned(), json!(false));
        }
        process
    }

    /// Whether a terminal was asked for.
    #[must_use]
    pub fn has_terminal(&self) -> bool {
        self.0
            .pointer("/process/terminal")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// The document.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.0
    }
}

/// containerd `oci/mounts.go` `defaultMounts` and ctr's /run.
fn default_mounts() -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    json!([
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"]
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5"
            ],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"]
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", "ro"]
        ),
        mount(
            "/run",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"]
        ),
    ])
}

/// containerd `oci/spec_opts.go` `WithDefaultUnixDevices`: deny all, then what every container
/// may use.
fn default_device_rules() -> Value {
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    let devices: [(i64, Option<i64>); 9] = [
        (1, Some(3)),
        (1, Some(8)),
        (1, Some(7)),
        (5, Some(0)),
        (1, Some(5)),
        (1, Some(9)),
        (5, Some(1)),
        (136, None),
        (5, Some(2)),
    ];
    for (major, minor) in devices {
        let mut rule = json!({ "allow": true, "type": "c", "major": major, "access": "rwm" });
        if let (Some(minor), Value::Object(fields)) = (minor, &mut rule) {
            fields.insert("minor".to_owned(), json!(minor));
        }
        rules.push(rule);
    }
    Value::Array(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_makes_objects_and_appends_to_arrays() {
        let spec = Spec::new(["true"])
            .resource("memory/limit", 1024)
            .hook(HookKind::Poststop, "/bin/true", &["true"])
            .env("A", "b");
        let at = |pointer| spec.json().pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(at("/linux/resources/memory/limit"), 1024);
        assert_eq!(at("/hooks/poststop/0/path"), "/bin/true");
        assert_eq!(at("/process/env/1"), "A=b");
        assert_eq!(at("/linux/resources/devices/0/allow"), false);
    }

    #[test]
    fn namespace_replaces_the_entry_of_its_kind() {
        let spec = Spec::new(["true"]).namespace("network", Some(Path::new("/run/netns/a")));
        let namespaces = spec
            .json()
            .pointer("/linux/namespaces")
            .cloned()
            .unwrap_or_default();
        let of_kind: Vec<&Value> = namespaces
            .as_array()
            .into_iter()
            .flatten()
            .filter(|item| item.get("type").is_some_and(|kind| kind == "network"))
            .collect();
        assert_eq!(
            of_kind,
            [&json!({ "type": "network", "path": "/run/netns/a" })]
        );
    }

    #[test]
    fn unset_removes_only_the_named_value() {
        let spec = Spec::new(["true"]).unset("/process/capabilities");
        assert_eq!(spec.json().pointer("/process/capabilities"), None);
        assert!(spec.json().pointer("/process/cwd").is_some());
    }
}
