//! The conversation between containerd and `start`: what comes on standard input, what goes out on
//! standard output, and the path of the socket that both must know.
//!
//! containerd 1.6 to 2.2 write the runtime options as a bare `google.protobuf.Any`, or nothing;
//! 2.3 and later write `containerd.runtime.bootstrap.v1.BootstrapParams`. Either can decode as the
//! other, so parameters count only if they name the container and namespace of the flags. Nothing
//! here starts a process or touches a socket.

use crate::error::Error;
use crate::options;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use hull_abi::ContainerId;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Most bytes of standard input that are read; options carry a configuration file at most.
const STDIN_LIMIT: u64 = 10 << 20;

/// Largest config.json that is read.
const CONFIG_LIMIT: u64 = 16 << 20;

/// Where containerd looks for sockets of shims unless it says otherwise.
const SOCKET_DIR: &str = "/run/containerd/s";

/// Longest path that fits into `sockaddr_un` with its closing NUL
/// (<https://man7.org/linux/man-pages/man7/unix.7.html>).
const SOCKET_PATH_MAX: usize = 107;

/// Annotations that put containers into one shim, the first one present wins. The names are those
/// of the runc shim: containerd computes the same socket path from them.
const GROUP_ANNOTATIONS: [&str; 2] = [
    "io.containerd.runc.v2.group",
    "io.kubernetes.cri.sandbox-id",
];

/// Version of the task API that we announce. 3 would make containerd 2.0 to 2.3.4 lose the exits
/// of a crashed shim's containers and leak shims.
const TASK_API_VERSION: i32 = 2;

/// How containerd wants to hear the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyForm {
    /// The address alone, understood by every containerd before 2.3 and as version 2.
    Plain,
    /// `BootstrapResult`, understood by 2.3 and later.
    Protobuf,
}

/// What containerd said on standard input of `start`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// How to answer.
    pub(crate) reply: ReplyForm,
    /// The task's or runtime's options.
    pub(crate) options: Option<Any>,
    /// Whether debug messages are wanted.
    pub(crate) debug: bool,
    /// Where events go, if said here.
    pub(crate) ttrpc_address: Option<String>,
    /// Directory of the sockets.
    pub(crate) socket_dir: PathBuf,
}

/// Reads standard input to its end.
///
/// # Errors
/// [`Error::Invalid`] above 10 MiB; otherwise what read(2) says.
pub(crate) fn read_input(input: impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    input
        .take(STDIN_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::host("read standard input", e))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > STDIN_LIMIT {
        return Err(Error::Invalid(
            "standard input holds more than 10 MiB".to_owned(),
        ));
    }
    Ok(bytes)
}

/// Parses standard input of `start` for the container of the flags.
///
/// # Errors
/// [`Error::Invalid`] where the bytes are neither parameters for this container, nor options, nor
/// empty.
pub(crate) fn parse(input: &[u8], namespace: &str, id: &ContainerId) -> Result<Request, Error> {
    if let Ok(params) = BootstrapParams::parse_from_bytes(input)
        && params.instance_id == id.as_str()
        && params.namespace == namespace
    {
        return Ok(from_params(params));
    }
    let options = Any::parse_from_bytes(input)
        .map_err(|e| Error::Invalid(format!("standard input holds no options: {e}")))?;
    Ok(Request {
        reply: ReplyForm::Plain,
        options: (!options.type_url.is_empty()).then_some(options),
        debug: false,
        ttrpc_address: None,
        socket_dir: PathBuf::from(SOCKET_DIR),
    })
}

fn from_params(params: BootstrapParams) -> Request {
    // LogLevel is an open enum: everything below INFO (0) asks for more than INFO.
    let debug = params.log_level.value() < 0;
    let socket_dir = match params.socket_dir.as_deref() {
        None | Some("") => PathBuf::from(SOCKET_DIR),
        Some(dir) => PathBuf::from(dir),
    };
    let ttrpc_address = params.containerd_ttrpc_address;
    // Extensions are open-ended; those that are no runtime options are for others.
    let options = params
        .extensions
        .into_iter()
        .filter_map(|extension| extension.value.into_option())
        .find(|value| options::is_known(&value.type_url));
    Request {
        reply: ReplyForm::Protobuf,
        options,
        debug,
        ttrpc_address: (!ttrpc_address.is_empty()).then_some(ttrpc_address),
        socket_dir,
    }
}

/// What `start` prints, exactly.
///
/// # Errors
/// When protobuf cannot encode the address, which a path never causes.
pub(crate) fn encode_reply(form: ReplyForm, address: &str) -> Result<Vec<u8>, Error> {
    match form {
        ReplyForm::Plain => Ok(address.as_bytes().to_vec()),
        ReplyForm::Protobuf => BootstrapResult {
            version: TASK_API_VERSION,
            address: address.to_owned(),
            protocol: "ttrpc".to_owned(),
            ..BootstrapResult::default()
        }
        .write_to_bytes()
        .map_err(|e| Error::host("encode the reply to start", io::Error::other(e))),
    }
}

/// The path of the socket for a group of containers:
/// `DIR/` + hex(sha256(join(ADDRESS, NAMESPACE, GROUP))), as containerd's `SocketAddress` does
/// (<https://github.com/containerd/containerd/blob/main/pkg/shim/util_unix.go>).
///
/// # Errors
/// [`Error::Invalid`] where the path is too long for a socket.
pub(crate) fn socket_path(
    dir: &Path,
    containerd_address: &str,
    namespace: &str,
    group: &str,
) -> Result<PathBuf, Error> {
    let digest = Sha256::digest(join_clean(&[containerd_address, namespace, group]));
    let mut name = String::with_capacity(64);
    for byte in digest {
        // Writing to a String cannot fail.
        let _infallible = write!(name, "{byte:02x}");
    }
    let path = dir.join(name);
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Error::Invalid(format!(
            "socket directory {dir:?} is too long: the path of a socket has at most \
             {SOCKET_PATH_MAX} bytes"
        )));
    }
    Ok(path)
}

/// Go's `filepath.Join`: skips empty elements, joins with `/`, resolves `.` and `..` by text.
fn join_clean(elements: &[&str]) -> String {
    let joined: Vec<&str> = elements.iter().copied().filter(|e| !e.is_empty()).collect();
    let joined = joined.join("/");
    if joined.is_empty() {
        return joined;
    }
    let rooted = joined.starts_with('/');
    let mut clean: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." if clean.last().is_some_and(|last| *last != "..") => {
                clean.pop();
            }
            ".." if rooted => {}
            other => clean.push(other),
        }
    }
    match (rooted, clean.is_empty()) {
        (true, _) => format!("/{}", clean.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => clean.join("/"),
    }
}

/// The part of config.json that decides which shim serves the container.
#[derive(Debug, Deserialize)]
struct Grouping {
    annotations: Option<HashMap<String, String>>,
}

/// The group of the container in `bundle`: the value of a grouping annotation, else its id.
///
/// # Errors
/// [`Error::Invalid`] where config.json is not the JSON of a container or larger than 16 MiB.
pub(crate) fn group(bundle: &Path, id: &ContainerId) -> Result<String, Error> {
    let path = bundle.join("config.json");
    let file = match File::open(&path) {
        Ok(file) => file,
        // The bundle of a sandbox need not have one.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(id.as_str().to_owned()),
        Err(e) => return Err(Error::host(format!("open {path:?}"), e)),
    };
    let config: Grouping = serde_json::from_reader(BufReader::new(file.take(CONFIG_LIMIT)))
        .map_err(|e| Error::Invalid(format!("{path:?}: {e}")))?;
    let mut annotations = config.annotations.unwrap_or_default();
    let group = GROUP_ANNOTATIONS
        .iter()
        .find_map(|name| annotations.remove(*name));
    Ok(group.unwrap_or_else(|| id.as_str().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::bootstrap_api::{Extension, LogLevel};
    use protobuf::{EnumOrUnknown, MessageField};

    fn id(id: &str) -> ContainerId {
        ContainerId::parse(id).unwrap()
    }

    fn any(type_url: &str) -> Any {
        Any {
            type_url: type_url.to_owned(),
            ..Any::default()
        }
    }

    fn params() -> BootstrapParams {
        BootstrapParams {
            instance_id: "c1".to_owned(),
            namespace: "k8s.io".to_owned(),
            log_level: EnumOrUnknown::new(LogLevel::LOG_LEVEL_DEBUG),
            containerd_ttrpc_address: "/run/c.ttrpc".to_owned(),
            socket_dir: Some("/run/x".to_owned()),
            extensions: [
                "containerd.io/cri.v1.PodSandboxConfig",
                "x/containerd.runc.v1.Options",
            ]
            .into_iter()
            .map(|t| Extension {
                value: MessageField::some(any(t)),
                ..Extension::default()
            })
            .collect(),
            ..BootstrapParams::default()
        }
    }

    #[test]
    fn parameters_of_this_container_are_heard() {
        let bytes = params().write_to_bytes().unwrap();
        let request = parse(&bytes, "k8s.io", &id("c1")).unwrap();
        assert_eq!(request.reply, ReplyForm::Protobuf);
        assert!(request.debug);
        assert_eq!(request.ttrpc_address.as_deref(), Some("/run/c.ttrpc"));
        assert_eq!(request.socket_dir, Path::new("/run/x"));
        assert_eq!(
            request.options.unwrap().type_url,
            "x/containerd.runc.v1.Options"
        );
    }

    #[test]
    fn options_that_decode_as_parameters_stay_options() {
        // Any {type_url, value} has the field numbers and wire types of {instance_id, namespace}.
        let options = Any {
            type_url: "containerd.runc.v1.Options".to_owned(),
            value: b"\x08\x01".to_vec(),
            ..Any::default()
        };
        let bytes = options.write_to_bytes().unwrap();
        assert!(BootstrapParams::parse_from_bytes(&bytes).is_ok());
        let request = parse(&bytes, "default", &id("c1")).unwrap();
        assert_eq!(request.reply, ReplyForm::Plain);
        assert_eq!(request.options, Some(options));
    }

    #[test]
    fn parameters_need_both_names_to_match() {
        let bytes = params().write_to_bytes().unwrap();
        for (namespace, id) in [("default", id("c1")), ("k8s.io", id("c2"))] {
            // What is left is an Any whose "type" is a container id; nobody takes it for options.
            if let Ok(request) = parse(&bytes, namespace, &id) {
                assert_eq!(request.reply, ReplyForm::Plain);
                assert!(!options::is_known(&request.options.unwrap().type_url));
            }
        }
    }

    #[test]
    fn nothing_means_defaults_and_garbage_is_refused() {
        let request = parse(b"", "default", &id("c1")).unwrap();
        assert_eq!((request.reply, request.options), (ReplyForm::Plain, None));
        assert_eq!(request.socket_dir, Path::new("/run/containerd/s"));
        assert!(matches!(
            parse(b"{\"json\"", "default", &id("c1")),
            Err(Error::Invalid(_))
        ));
    }

    #[test]
    fn input_is_bounded() {
        assert_eq!(read_input(&b"abc"[..]).unwrap(), b"abc");
        assert!(matches!(read_input(io::repeat(0)), Err(Error::Invalid(_))));
    }

    #[test]
    fn elements_are_joined_like_gos_filepath() {
        for (elements, joined) in [
            (
                ["/run/c.sock", "default", "redis"],
                "/run/c.sock/default/redis",
            ),
            (["/run//x/./c.sock/", "", "a"], "/run/x/c.sock/a"),
            (["/run/x/../c.sock", "n", "a/b"], "/run/c.sock/n/a/b"),
            (["/..", "n", ".."], "/"),
            (["c.sock", "..", ".."], ".."),
            (["", "", ""], ""),
            (["a", "..", ""], "."),
        ] {
            assert_eq!(join_clean(&elements), joined, "{elements:?}");
        }
    }

    #[test]
    fn the_path_of_a_socket_is_the_hash_of_the_join() {
        // printf %s /run/containerd/containerd.sock/default/redis | sha256sum
        let path = socket_path(
            Path::new("/run/containerd/s"),
            "/run/containerd/containerd.sock",
            "default",
            "redis",
        );
        let hash = "f6b99128c07bdbd0902363ba979c22f8ef053e683a7ce24dd016a1ab17092c33";
        assert_eq!(path.unwrap(), Path::new("/run/containerd/s").join(hash));
        let long = PathBuf::from("/".to_owned() + &"d".repeat(43));
        assert!(matches!(
            socket_path(&long, "a", "b", "c"),
            Err(Error::Invalid(_))
        ));
    }

    #[test]
    fn annotations_choose_the_group() {
        let bundle = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(bundle.path().join("config.json"), text).unwrap();
        assert_eq!(group(bundle.path(), &id("c1")).unwrap(), "c1");
        for (config, expected) in [
            (r#"{"ociVersion": "1.0.2"}"#, "c1"),
            (r#"{"annotations": null}"#, "c1"),
            (
                r#"{"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}"#,
                "pod",
            ),
            (
                r#"{"annotations": {"io.kubernetes.cri.sandbox-id": "pod",
                    "io.containerd.runc.v2.group": "grp"}}"#,
                "grp",
            ),
        ] {
            write(config);
            assert_eq!(
                group(bundle.path(), &id("c1")).unwrap(),
                expected,
                "{config}"
            );
        }
        write("{");
        assert!(matches!(
            group(bundle.path(), &id("c1")),
            Err(Error::Invalid(_))
        ));
    }
}
