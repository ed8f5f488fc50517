//! Wasm: what a process runs in its envelope, and what the runner is told.

use crate::{Malformed, decode, decode_first, encode};
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
    /// The program that comes as a descriptor with the request and only holds the namespaces of a pod;
    /// nothing is looked for in the root, and nothing else is ever executed in this container.
    Hold,
}

/// Name of the only variable in the runner's environment: two descriptor numbers,
/// `<config>:<artifact>`, of a sealed memory file with an encoded [`RunnerConfig`] and of the
/// compiled artifact; a third one, `:<metrics>`, of a listening Unix socket for those who want to know how a
/// server does. What the container asks for as its environment is in the config, where it
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
    /// Processors that the container may use at once, rounded up (CPU limit and cpuset); at least 1.
    pub cpus: u32,
    /// Where the guest begins. The daemon has seen to it that the module has this.
    pub entry: Entry,
    /// Which files the rules of [`Net::Only`] may believe about names.
    pub name_files: NameFiles,
    /// What annotations ask for.
    pub settings: WasmSettings,
}

/// Which fields a [`RunnerConfig`] has in its encoding. A shim lives as long as its pod, and the runner that it
/// finds may be of another version of hull by then.
const LAYOUT: u32 = 1;

/// Why there is no config in some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoConfig {
    /// They are for a runner of another version, for which they mean something else.
    #[error(
        "layout {0} instead of {LAYOUT}: the shim is of another version of hull; start the pod anew"
    )]
    Layout(u32),
    /// They mean nothing.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl RunnerConfig {
    /// The config for a runner that knows the same layout.
    ///
    /// # Errors
    /// As [`encode`].
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        encode(&(LAYOUT, self))
    }

    /// What [`encode`](Self::encode) made.
    ///
    /// # Errors
    /// [`NoConfig`] for any other bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoConfig> {
        match decode_first(bytes)? {
            (LAYOUT, config) => Ok(decode(config)?),
            (other, _) => Err(NoConfig::Layout(other)),
        }
    }
}

/// Which files about names are mounts of the container, so its caller's; others are the image's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NameFiles {
    /// `/etc/hosts`.
    pub hosts: bool,
    /// `/etc/resolv.conf`.
    pub resolv_conf: bool,
}

/// Where a guest begins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Entry {
    /// `_start` of a core module, `wasi:cli/run` of a component: it runs once.
    #[default]
    Command,
    /// The handler of HTTP requests: it runs until it is stopped.
    Http,
    /// An exported function, by its whole name (`interface#function` for one in an interface). It is
    /// called once with `args[1..]` as text, and what it returns is printed.
    Function(String),
}

/// What the annotations of a container ask for. It holds for every Wasm process in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WasmSettings {
    /// How the guest is run.
    pub world: World,
    /// The directories that the guest may open, instead of the root and every volume.
    pub preopens: Option<Vec<Preopen>>,
    /// Whom it may talk to.
    pub net: Net,
    /// The whole life of a process, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Largest sum of the guest's linear memories, in bytes; the container's own limit holds as well.
    pub max_memory: Option<u64>,
    /// Largest stack of the guest, in bytes.
    pub stack: Option<u64>,
    /// Absolute path of a directory in the container for a core dump at a trap.
    pub coredump: Option<String>,
    /// Do not print a backtrace at a trap.
    pub no_backtrace: bool,
    /// For servers.
    pub http: HttpSettings,
    /// Proposals that the compiler takes for it beside those that it takes for everyone, each once and in the
    /// order of [`Proposal::ALL`].
    pub proposals: Vec<Proposal>,
}

/// A proposal for WebAssembly that is not finished: compiled only for who asks for it, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Proposal {
    /// [Memories in pages of one byte](https://github.com/WebAssembly/custom-page-sizes).
    CustomPageSizes,
    /// [128-bit arithmetic](https://github.com/WebAssembly/wide-arithmetic).
    WideArithmetic,
}

impl Proposal {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 2] = [Self::CustomPageSizes, Self::WideArithmetic];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CustomPageSizes => "custom-page-sizes",
            Self::WideArithmetic => "wide-arithmetic",
        }
    }

    /// Names with commas between them, as `hull-wasmc compile` takes them.
    #[must_use]
    pub fn list(proposals: &[Self]) -> String {
        let names: Vec<&str> = proposals.iter().map(|proposal| proposal.name()).collect();
        names.join(",")
    }

    /// Every choice of them, none at all first.
    #[must_use]
    pub fn choices() -> Vec<Vec<Self>> {
        Self::ALL
            .iter()
            .fold(vec![Vec::new()], |choices, proposal| {
                let with = choices
                    .iter()
                    .map(|choice| [choice.as_slice(), &[*proposal]].concat());
                let with: Vec<_> = with.collect();
                [choices, with].concat()
            })
    }
}

/// How a guest is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum World {
    /// As what it exports: a command if it is one, else an HTTP server if it is one.
    #[default]
    ByExports,
    /// Once, from `_start` or `wasi:cli/run`.
    Command,
    /// As a server of HTTP requests.
    Http,
}

/// Whom a guest may talk to. What the container's network namespace does not reach stays out of reach.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Net {
    /// Whoever the network namespace reaches, as a native program.
    #[default]
    All,
    /// Nobody.
    None,
    /// Only these, and nobody but these.
    Only(Vec<NetRule>),
}

/// A group of peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetRule {
    /// Who.
    pub peer: Peer,
    /// Its port; `None` for all.
    pub port: Option<u16>,
}

/// Who is meant by a [`NetRule`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// An address and how many bits of it count.
    Subnet(std::net::IpAddr, u8),
    /// A host name, and whatever addresses it has when it is looked up; in lower case without a final dot.
    Name(String),
}

/// Most requests that a server may be asked to work on at once: each may need memory of its own, and addresses
/// for all of that (4 GiB each) are reserved from the start.
pub const MAX_CONCURRENCY: u32 = 4096;

/// Settings of HTTP servers; `None` is the runner's default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HttpSettings {
    /// Where to listen.
    pub addr: Option<std::net::SocketAddr>,
    /// Requests that are worked on at once, at most [`MAX_CONCURRENCY`].
    pub max_concurrency: Option<u32>,
    /// From the last byte of a request's headers to the first of the answer, in milliseconds.
    pub request_timeout_ms: Option<u64>,
    /// How long requests may go on after SIGTERM, in milliseconds.
    pub drain_timeout_ms: Option<u64>,
    /// Largest body of a request, in bytes.
    pub max_body: Option<u64>,
    /// How many requests one instance of a WASI 0.3 guest serves, one after the other.
    pub max_reuse: Option<u32>,
}

/// The Wasm module of a container's image, as `hull image-module` finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageModule {
    /// Name of the image; empty where containerd knows of no container or no image of it.
    pub image: String,
    /// sha256 of the module, which is the digest of its layer; `None` when the image has no Wasm layer.
    pub digest: Option<[u8; 32]>,
    /// How many calls of containerd it took to find out.
    pub calls: u32,
}

/// How containerd is asked: by a program of its own, so that nothing of it is in the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentSource {
    /// Absolute path of the `hull` binary.
    pub program: String,
    /// containerd's gRPC socket.
    pub address: String,
    /// containerd's namespace.
    pub namespace: String,
}

/// A directory that the guest may open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preopen {
    /// Absolute path in the container.
    pub path: String,
    /// What the guest calls it.
    pub guest: String,
    /// Whether nothing in it may change. The kernel's mount says the same; this is the second wall.
    pub readonly: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who changes what is written here, or an enum in it, counts [`LAYOUT`] up.
    #[test]
    fn layout_has_a_number() {
        let fields = format!("{:?}", RunnerConfig::default());
        let known = "RunnerConfig { program: \"\", args: [], env: [], cwd: \"\", preopens: [], \
                     memory_limit: None, cpus: 0, entry: Command, \
                     name_files: NameFiles { hosts: false, resolv_conf: false }, \
                     settings: WasmSettings { world: ByExports, preopens: None, net: All, \
                     timeout_ms: None, max_memory: None, stack: None, coredump: None, \
                     no_backtrace: false, http: HttpSettings { addr: None, \
                     max_concurrency: None, request_timeout_ms: None, \
                     drain_timeout_ms: None, max_body: None, max_reuse: None }, \
                     proposals: [] } }";
        assert_eq!((LAYOUT, fields.as_str()), (1, known));
    }

    #[test]
    fn config_is_decoded_by_who_knows_its_layout() {
        let config = RunnerConfig {
            program: "/app.wasm".to_owned(),
            ..RunnerConfig::default()
        };
        let bytes = config.encode().unwrap();
        assert_eq!(RunnerConfig::decode(&bytes), Ok(config.clone()));
        let other = encode(&(LAYOUT + 1, &config)).unwrap();
        assert_eq!(
            RunnerConfig::decode(&other),
            Err(NoConfig::Layout(LAYOUT + 1))
        );
        let cut = bytes.get(..bytes.len() - 1).unwrap();
        assert!(matches!(
            RunnerConfig::decode(cut),
            Err(NoConfig::Malformed(_))
        ));
    }
}
