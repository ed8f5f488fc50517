//! The command line and environment that containerd gives to every shim.
//!
//! The syntax is that of Go's `flag` package (<https://pkg.go.dev/flag>): one or two dashes,
//! `-key value` or `-key=value`, booleans only as `-key` or `-key=value`, flags end at the first
//! word that is none. That word is the action. What an action does is not here.

use crate::error::Error;
use hull_abi::ContainerId;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the process was started for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// `-v`: print the version.
    Version,
    /// `-info`: print what the runtime can do.
    Info,
    /// `start`: find or start the daemon of a container and print its address.
    Start(Args),
    /// `delete`: clean up after a container.
    Delete(Args),
    /// `daemon`: serve. Only `start` of this program gives this action.
    Daemon(Args),
    /// `launcher`: make processes for a daemon. Only the daemon gives this action.
    Launcher,
}

/// What concerns one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    /// containerd's namespace, never empty.
    pub(crate) namespace: String,
    /// The container that the action was called for; a daemon may serve more than this one.
    pub(crate) id: ContainerId,
    /// containerd's gRPC socket, letter for letter as given: it is part of the socket's name.
    pub(crate) address: String,
    /// containerd's binary, for publishing events; kept only to be handed on.
    pub(crate) publish_binary: String,
    /// The bundle; only `delete` is told, everything else finds it as its working directory.
    pub(crate) bundle: Option<PathBuf>,
    /// Path of the daemon's own socket; only given to the daemon.
    pub(crate) socket: Option<PathBuf>,
    /// Whether debug messages are wanted.
    pub(crate) debug: bool,
    /// The environment.
    pub(crate) env: Env,
}

/// The environment variables that we heed. `MAX_SHIM_VERSION` is "2" from containerd 1.7 to 2.4
/// and so tells nothing apart; `NAMESPACE` repeats the flag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Env {
    /// `TTRPC_ADDRESS`: where events go.
    pub(crate) ttrpc_address: Option<String>,
    /// `SCHED_CORE` is set and not empty: put the shim and its containers into a core scheduling
    /// group of their own.
    pub(crate) sched_core: bool,
}

/// Flags while they are collected; every flag that containerd knows is known here.
#[derive(Debug, Default)]
struct Flags {
    namespace: String,
    id: String,
    address: String,
    publish_binary: String,
    bundle: String,
    socket: String,
    debug_socket: String,
    debug: bool,
    version: bool,
    info: bool,
}

/// Parses the arguments after the program's name. `env` looks up an environment variable.
///
/// # Errors
/// [`Error::Invalid`] with the flag or word at fault.
pub(crate) fn parse(
    args: impl Iterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, Error> {
    let mut flags = Flags::default();
    let action = collect(args, &mut flags)?;
    if flags.version {
        return Ok(Command::Version);
    }
    if flags.info {
        return Ok(Command::Info);
    }
    let Some(action) = action else {
        return Err(invalid("no action given: expected start or delete"));
    };
    match action.as_str() {
        "start" => Ok(Command::Start(flags.into_args(&env)?)),
        "delete" => Ok(Command::Delete(flags.into_args(&env)?)),
        "daemon" => Ok(Command::Daemon(flags.into_args(&env)?)),
        "launcher" => Ok(Command::Launcher),
        other => Err(invalid(&format!(
            "unknown action {other:?}: expected start or delete"
        ))),
    }
}

/// Reads flags up to the first other word and returns that word.
fn collect(
    mut args: impl Iterator<Item = OsString>,
    flags: &mut Flags,
) -> Result<Option<String>, Error> {
    while let Some(arg) = args.next() {
        let arg = text(arg)?;
        let Some(body) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            return Ok(Some(arg));
        };
        if arg == "-" {
            return Ok(Some(arg));
        }
        if body.is_empty() {
            // "--" ends the flags; the action may still follow.
            return args.next().map(text).transpose();
        }
        if body.starts_with(['-', '=']) {
            return Err(invalid(&format!("bad flag syntax: {arg}")));
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        if let Some(switch) = flags.switch(name) {
            *switch = match value {
                Some(value) => boolean(name, &value)?,
                None => true,
            };
            continue;
        }
        let Some(slot) = flags.slot(name) else {
            return Err(invalid(&format!("flag provided but not defined: -{name}")));
        };
        let value = match value {
            Some(value) => value,
            None => args
                .next()
                .map(text)
                .transpose()?
                .ok_or_else(|| invalid(&format!("flag needs an argument: -{name}")))?,
        };
        *slot = value;
    }
    Ok(None)
}

/// The words of Go's `strconv.ParseBool`.
fn boolean(name: &str, value: &str) -> Result<bool, Error> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid(&format!(
            "invalid boolean value {value:?} for -{name}"
        ))),
    }
}

fn text(arg: OsString) -> Result<String, Error> {
    arg.into_string()
        .map_err(|arg| invalid(&format!("argument is not UTF-8: {arg:?}")))
}

fn invalid(what: &str) -> Error {
    Error::Invalid(what.to_owned())
}

// === impl Flags ===

impl Flags {
    /// The flags that stand alone.
    fn switch(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "debug" => Some(&mut self.debug),
            "v" | "version" => Some(&mut self.version),
            "info" => Some(&mut self.info),
            _ => None,
        }
    }

    /// The flags that take a value.
    fn slot(&mut self, name: &str) -> Option<&mut String> {
        match name {
            "namespace" => Some(&mut self.namespace),
            "id" => Some(&mut self.id),
            "address" => Some(&mut self.address),
            "publish-binary" => Some(&mut self.publish_binary),
            "bundle" => Some(&mut self.bundle),
            "socket" => Some(&mut self.socket),
            // Part of the contract, but we offer no debug socket.
            "debug-socket" => Some(&mut self.debug_socket),
            _ => None,
        }
    }

    fn into_args(self, env: &impl Fn(&str) -> Option<OsString>) -> Result<Args, Error> {
        if self.namespace.is_empty() {
            return Err(invalid("-namespace is missing or empty"));
        }
        let id = ContainerId::parse(&self.id).map_err(|e| Error::Invalid(format!("-id: {e}")))?;
        let path = |text: String| (!text.is_empty()).then(|| PathBuf::from(text));
        Ok(Args {
            namespace: self.namespace,
            id,
            address: self.address,
            publish_binary: self.publish_binary,
            bundle: path(self.bundle),
            socket: path(self.socket),
            debug: self.debug,
            env: Env::read(env),
        })
    }
}

// === impl Env ===

impl Env {
    fn read(look_up: &impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| look_up(name).filter(|value| !value.is_empty());
        Self {
            ttrpc_address: set("TTRPC_ADDRESS").and_then(|value| value.into_string().ok()),
            sched_core: set("SCHED_CORE").is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Command, Error> {
        parse(words.iter().map(OsString::from), |_| None)
    }

    fn start(words: &[&str]) -> Args {
        let command = parse_words(words).unwrap();
        let Command::Start(args) = command else {
            panic!("{command:?}")
        };
        args
    }

    #[test]
    fn containerds_own_command_line() {
        let args = start(&[
            "-namespace",
            "default",
            "-address",
            "/run/containerd/containerd.sock",
            "-publish-binary",
            "/usr/bin/containerd",
            "-id",
            "redis",
            "-debug",
            "start",
        ]);
        assert_eq!(args.namespace, "default");
        assert_eq!(args.address, "/run/containerd/containerd.sock");
        assert_eq!(args.publish_binary, "/usr/bin/containerd");
        assert_eq!(args.id.as_str(), "redis");
        assert!(args.debug);
        assert_eq!(args.bundle, None);
    }

    #[test]
    fn every_spelling_of_a_flag_means_the_same() {
        for words in [
            ["-namespace=n", "-id=i", "start"].as_slice(),
            &["--namespace=n", "--id=i", "start"],
            &["--namespace", "n", "--id", "i", "start"],
            &["-namespace", "n", "-id", "i", "--", "start"],
            &[
                "-id",
                "i",
                "-namespace",
                "wrong",
                "-namespace",
                "n",
                "start",
                "-namespace",
                "x",
            ],
        ] {
            let args = start(words);
            assert_eq!(
                (args.namespace.as_str(), args.id.as_str()),
                ("n", "i"),
                "{words:?}"
            );
        }
    }

    #[test]
    fn booleans_take_a_value_only_after_an_equals_sign() {
        for (word, debug) in [
            ("-debug", true),
            ("--debug=T", true),
            ("-debug=false", false),
        ] {
            assert_eq!(
                start(&["-namespace=n", "-id=i", word, "start"]).debug,
                debug,
                "{word}"
            );
        }
        let error = parse_words(&["-namespace=n", "-id=i", "-debug", "false", "start"]);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("unknown action \"false\"")
        );
        assert!(parse_words(&["-debug=yes", "start"]).is_err());
    }

    #[test]
    fn version_and_info_need_nothing_else() {
        for word in ["-v", "-version", "--version", "-v=true"] {
            assert_eq!(parse_words(&[word]).unwrap(), Command::Version, "{word}");
        }
        assert_eq!(parse_words(&["-info"]).unwrap(), Command::Info);
        assert_eq!(parse_words(&["launcher"]).unwrap(), Command::Launcher);
    }

    #[test]
    fn mistakes_are_named() {
        for (words, text) in [
            (
                ["-id=i", "start"].as_slice(),
                "-namespace is missing or empty",
            ),
            (
                &["-namespace=", "-id=i", "start"],
                "-namespace is missing or empty",
            ),
            (&["-namespace=n", "start"], "container id"),
            (&["-namespace=n", "-id=../x", "start"], "container id"),
            (&["-namespace=n", "-id=i"], "no action given"),
            (&["-namespace=n", "-id=i", "run"], "unknown action \"run\""),
            (
                &["-nope=1", "start"],
                "flag provided but not defined: -nope",
            ),
            (&["start", "-id"], "-namespace is missing or empty"),
            (&["-id"], "flag needs an argument: -id"),
            (&["---id=i", "start"], "bad flag syntax: ---id=i"),
            (&["-=i", "start"], "bad flag syntax: -=i"),
        ] {
            let error = parse_words(words).unwrap_err().to_string();
            assert!(error.contains(text), "{words:?}: {error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn the_environment_is_read_once_and_empty_means_absent() {
        let env = |name: &str| match name {
            "TTRPC_ADDRESS" => Some(OsString::from("/run/c.sock.ttrpc")),
            "SCHED_CORE" => Some(OsString::new()),
            _ => None,
        };
        let words = ["-namespace=n", "-id=i", "delete"].map(OsString::from);
        let Command::Delete(args) = parse(words.into_iter(), env).unwrap() else {
            panic!()
        };
        assert_eq!(args.env.ttrpc_address.as_deref(), Some("/run/c.sock.ttrpc"));
        assert!(!args.env.sched_core);
    }
}
