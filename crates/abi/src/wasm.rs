//! Wasm: what a process runs in its envelope, and what the runner is told.

use serde::{Deserialize, Serialize};

/// What a process becomes at the end of its way into the container. A closed set: the envelope is
/// the same for all of them, and only the last step differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Payload {
    /// `args[0]`, found in the container's root, decides by its first bytes: a native program or a
    /// Wasm file.
    #[default]
    ByContent,
    /// `args[0]` is executed by the kernel, whatever it is.
    Native,
    /// `args[0]` is a Wasm file, or the process fails.
    Wasm,
    /// The compiler that comes as a descriptor with the request; `args` are its arguments and nothing
    /// is looked for in the root.
    Compile,
}

/// Name of the only variable in the runner's environment: two descriptor numbers,
/// `<config>:<artifact>`, of a sealed memory file with an encoded [`RunnerConfig`] and of the
/// compiled artifact. What the container asks for as its environment is in the config, where it
/// cannot influence our C library or allocator.
pub const RUNNER_FDS: &str = "HULL_WASM_FDS";

/// What the runner is told of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunnerConfig {
    /// Path of the Wasm file in the container, for messages.
    pub program: String,
    /// The guest's arguments, `args[0]` first; never empty.
    pub args: Vec<String>,
    /// The guest's environment as `KEY=value`, each key once.
    pub env: Vec<String>,
    /// Absolute working directory in the container.
    pub cwd: String,
    /// Directories that the guest may open. The runner has entered the container: these are plain
    /// paths there.
    pub preopens: Vec<Preopen>,
    /// Limit for the whole process in bytes (the container's memory limit), if there is one. The
    /// runner takes its own share off.
    pub memory_limit: Option<u64>,
}

/// A directory that the guest may open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preopen {
    /// Absolute path, the same for guest and runner.
    pub path: String,
    /// Whether nothing in it may change. The kernel's mount says the same; this is the second wall.
    pub readonly: bool,
}
