//! The options that ride in `CreateTaskRequest.options` and on standard input of `start`.
//!
//! containerd's clients send the options of its own runc shim under every runtime name, so these
//! are ours too, as far as they have a meaning without runc.

mod table;

use crate::error::Error;
use containerd_shim_protos::shim::oci;
use hull_proto::{message_name, runctypes, runtimeoptions};
use protobuf::Message;
use protobuf::well_known_types::any::Any;

/// What clients may choose for a task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Options {
    /// Move the root with MS_MOVE and chroot, for hosts whose root cannot be pivoted.
    pub(crate) no_pivot_root: bool,
    /// Keep the session keyring of the shim.
    pub(crate) no_new_keyring: bool,
    /// Whether the container's cgroup must be one that systemd makes.
    pub(crate) systemd_cgroup: bool,
    /// Cgroup of the daemon itself, relative to the mount point of each hierarchy; empty leaves
    /// it where containerd is.
    pub(crate) shim_cgroup: String,
    /// Owner of the standard streams.
    pub(crate) io_uid: u32,
    /// Group of the standard streams.
    pub(crate) io_gid: u32,
    /// Directory for state instead of the default; empty means the default.
    pub(crate) root: String,
}

/// Whether a type URL names options that we read.
pub(crate) fn is_known(type_url: &str) -> bool {
    Kind::of(type_url).is_some()
}

/// Reads the options of a task; `None` and an empty type mean defaults.
///
/// # Errors
/// [`Error::Invalid`] for a type that we do not know and has content, for bytes that do not
/// decode, and for options that ask for what we do not have.
pub(crate) fn parse(options: Option<&Any>) -> Result<Options, Error> {
    let Some(any) = options else {
        return Ok(Options::default());
    };
    match Kind::of(&any.type_url) {
        Some(Kind::Runc) => from_runc(decode(any)?),
        Some(Kind::FirstRunc) => Ok(from_first_runc(decode(any)?)),
        Some(Kind::Runtime) => from_runtime(&decode(any)?),
        None if any.value.is_empty() => Ok(Options::default()),
        None => Err(Error::Invalid(format!(
            "options of type {:?} are unknown: expected containerd.runc.v1.Options or \
             runtimeoptions.v1.Options",
            any.type_url
        ))),
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Options of the runc shim.
    Runc,
    /// Options of containerd's first runtime, which `ctr` of 1.x sends with `--uidmap`.
    FirstRunc,
    /// Where a runtime's configuration lies.
    Runtime,
}

fn decode<M: Message>(any: &Any) -> Result<M, Error> {
    M::parse_from_bytes(&any.value)
        .map_err(|e| Error::Invalid(format!("options of type {:?}: {e}", any.type_url)))
}

fn from_runc(options: oci::Options) -> Result<Options, Error> {
    // There is no runtime binary to run, and to run something else than asked for in silence
    // would be worse than to refuse.
    if !options.binary_name.is_empty() {
        return Err(Error::Invalid(format!(
            "option binary_name {:?}: hull runs containers itself and no runtime binary",
            options.binary_name
        )));
    }
    Ok(Options {
        no_pivot_root: options.no_pivot_root,
        no_new_keyring: options.no_new_keyring,
        systemd_cgroup: options.systemd_cgroup,
        shim_cgroup: options.shim_cgroup,
        io_uid: options.io_uid,
        io_gid: options.io_gid,
        root: options.root,
    })
}

/// Restoring a checkpoint, which the rest is for, is refused by the request itself.
fn from_first_runc(options: runctypes::CreateOptions) -> Options {
    Options {
        no_pivot_root: options.no_pivot_root,
        no_new_keyring: options.no_new_keyring,
        systemd_cgroup: false,
        shim_cgroup: options.shim_cgroup,
        io_uid: options.io_uid,
        io_gid: options.io_gid,
        root: String::new(),
    }
}

/// CRI sends these to every runtime that is not runc's, with the `options` table of its configuration. A
/// file that the table names instead is not read: everything is a flag, an annotation or an option. To
/// refuse what has no meaning here would refuse every pod of such a node.
fn from_runtime(options: &runtimeoptions::Options) -> Result<Options, Error> {
    if !options.config_path.is_empty() {
        log::warn!(
            "the runtime's configuration file {:?} is ignored: hull has none",
            options.config_path
        );
    }
    let invalid = |why: &dyn std::fmt::Display| {
        Error::Invalid(format!("the runtime's table of options: {why}"))
    };
    let text = std::str::from_utf8(&options.config_body).map_err(|e| invalid(&e))?;
    let (options, unknown) = table::parse(text).map_err(|e| invalid(&e))?;
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        log::warn!("of the runtime's table of options these mean nothing to hull: {unknown}");
    }
    from_runc(options)
}

// === impl Kind ===

impl Kind {
    fn of(type_url: &str) -> Option<Self> {
        match message_name(type_url) {
            "containerd.runc.v1.Options" => Some(Self::Runc),
            "containerd.linux.runc.CreateOptions" => Some(Self::FirstRunc),
            // The package has been renamed once in containerd's history.
            "runtimeoptions.v1.Options" | "containerd.runtimeoptions.v1.Options" => {
                Some(Self::Runtime)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, message: &impl Message) -> Any {
        hull_proto::pack(type_url, message).unwrap()
    }

    #[test]
    fn options_of_the_first_runtime_choose_the_owner_of_the_streams() {
        let options = runctypes::CreateOptions {
            no_new_keyring: true,
            io_uid: 100_000,
            io_gid: 200_000,
            ..runctypes::CreateOptions::default()
        };
        let any = any("containerd.linux.runc.CreateOptions", &options);
        assert!(is_known(&any.type_url));
        let parsed = parse(Some(&any)).unwrap();
        assert_eq!((parsed.io_uid, parsed.io_gid), (100_000, 200_000));
        assert!(parsed.no_new_keyring && !parsed.no_pivot_root);
    }

    #[test]
    fn absent_or_empty_options_are_defaults() {
        assert_eq!(parse(None).unwrap(), Options::default());
        assert_eq!(parse(Some(&Any::default())).unwrap(), Options::default());
        let unknown = Any {
            type_url: "x.Y".to_owned(),
            ..Any::default()
        };
        assert_eq!(parse(Some(&unknown)).unwrap(), Options::default());
    }

    #[test]
    fn runc_options_are_read_under_any_prefix() {
        let runc = oci::Options {
            no_pivot_root: true,
            shim_cgroup: "/shims".to_owned(),
            io_uid: 7,
            root: "/run/r".to_owned(),
            ..oci::Options::default()
        };
        for prefix in ["", "types.containerd.io/", "type.googleapis.com/"] {
            let any = any(&format!("{prefix}containerd.runc.v1.Options"), &runc);
            let options = parse(Some(&any)).unwrap();
            assert!(options.no_pivot_root && !options.no_new_keyring);
            assert_eq!(options.shim_cgroup, "/shims");
            assert_eq!((options.io_uid, options.io_gid), (7, 0));
            assert_eq!(options.root, "/run/r");
        }
    }

    #[test]
    fn a_runtime_binary_is_refused_by_name_and_systemd_is_not() {
        let name = |options| any("containerd.runc.v1.Options", &options);
        let binary = name(oci::Options {
            binary_name: "no-runc".to_owned(),
            ..oci::Options::default()
        });
        assert!(
            parse(Some(&binary))
                .unwrap_err()
                .to_string()
                .contains("\"no-runc\"")
        );
        let systemd = name(oci::Options {
            systemd_cgroup: true,
            ..oci::Options::default()
        });
        assert!(parse(Some(&systemd)).unwrap().systemd_cgroup);
    }

    #[test]
    fn runtime_options_are_those_of_their_table() {
        let options = |body: &[u8]| runtimeoptions::Options {
            config_path: "/etc/x.toml".to_owned(),
            config_body: body.to_vec(),
            ..runtimeoptions::Options::default()
        };
        for name in [
            "runtimeoptions.v1.Options",
            "containerd.runtimeoptions.v1.Options",
            "types.containerd.io/runtimeoptions.v1.Options",
        ] {
            let parsed = |body: &[u8]| parse(Some(&any(name, &options(body))));
            assert_eq!(parsed(b"").unwrap(), Options::default());
            assert!(parsed(b"SystemdCgroup = true").unwrap().systemd_cgroup);
            for wrong in [&b"SystemdCgroup = 7"[..], b"BinaryName = 'crun'", b"\xff"] {
                assert!(matches!(parsed(wrong), Err(Error::Invalid(_))));
            }
        }
    }

    #[test]
    fn unknown_types_are_named_and_bad_bytes_refused() {
        let unknown = Any {
            type_url: "a.B".to_owned(),
            value: b"x".to_vec(),
            ..Any::default()
        };
        let error = parse(Some(&unknown)).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)));
        assert!(error.to_string().contains("\"a.B\""));
        let bad = Any {
            type_url: "containerd.runc.v1.Options".to_owned(),
            value: b"\xff".to_vec(),
            ..Any::default()
        };
        assert!(matches!(parse(Some(&bad)), Err(Error::Invalid(_))));
    }
}
