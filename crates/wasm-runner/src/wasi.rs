//! What a guest gets of the container: arguments, environment, streams, directories, sockets.

use crate::failure::Failure;
use crate::limits;
use crate::net::Network;
use crate::stdio::{Input, Output};
use hull_abi::{Preopen, RunnerConfig};
use hull_sys::{Errno, fs};
use std::fmt::Display;
use std::sync::Arc;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// The context of this guest, except for its version of WASI.
pub(crate) fn context(
    config: &RunnerConfig,
    network: &Arc<Network>,
) -> Result<WasiCtxBuilder, Failure> {
    let mut context = WasiCtxBuilder::new();
    context
        // Files are worked on by the thread that runs the guest: there are no others for that, nor will be.
        .allow_blocking_current_thread(true)
        .stdin(Input)
        .stdout(Output::Stdout)
        .stderr(Output::Stderr)
        .args(&config.args)
        .envs(&environment(config))
        .initial_cwd(&config.cwd)
        .max_random_size(limits::host_copy(config))
        // Names have a resolver of ours.
        .allow_ip_name_lookup(false)
        .allow_tcp(network.is_there())
        .allow_udp(network.is_there());
    let network = Arc::clone(network);
    context.socket_addr_check(move |address, purpose| {
        Box::pin(std::future::ready(network.permits(address, purpose)))
    });
    let asked = config.settings.preopens.is_some();
    for preopen in &config.preopens {
        open(&mut context, preopen, asked)?;
    }
    Ok(context)
}

/// The environment, with `PWD` if it has none: preview 1 has no working directory, and the
/// libraries of several languages start from this variable.
fn environment(config: &RunnerConfig) -> Vec<(&str, &str)> {
    let split = |entry| str::split_once(entry, '=').unwrap_or((entry, ""));
    let mut environment: Vec<(&str, &str)> = config
        .env
        .iter()
        .map(|entry| split(entry.as_str()))
        .collect();
    if !environment.iter().any(|&(key, _)| key == "PWD") {
        environment.push(("PWD", &config.cwd));
    }
    environment
}

/// Opens a directory that an annotation names for the guest. The path is the caller's and symbolic links are
/// the image's, which could make any other directory of it, so there must be none on the way. The context opens
/// paths itself, hence the change of the working directory: between two looks at the same path others of the
/// container could put a link there.
fn open_asked(
    context: &mut WasiCtxBuilder,
    preopen: &Preopen,
    permissions: FsPerms,
) -> Result<(), Failure> {
    let path = &preopen.path;
    let cannot = |cause: &dyn Display| {
        Failure::not_runnable(&format!("cannot open the directory {path:?} for it"), cause)
    };
    let directory = fs::open_plain_directory(path).map_err(|errno| {
        if errno == Errno::ELOOP {
            cannot(&"there is a symbolic link on the way")
        } else {
            cannot(&std::io::Error::from(errno))
        }
    })?;
    let before = fs::working_directory().map_err(|errno| cannot(&errno))?;
    fs::enter(&directory).map_err(|errno| cannot(&errno))?;
    let opened = context.preopened_dir(".", &preopen.guest, permissions);
    let opened = opened.map(drop);
    fs::enter(&before).map_err(|errno| cannot(&errno))?;
    opened.map_err(|error| cannot(error.root_cause()))
}

/// Opens a directory for the guest. What an annotation asks for has to open, else the root has to. Of the
/// others, which are mounts of the container, some are files (`/etc/hosts`) and some are not for this
/// user; those the guest reaches through the root, or gets its error there.
fn open(context: &mut WasiCtxBuilder, preopen: &Preopen, asked: bool) -> Result<(), Failure> {
    let permissions = if preopen.readonly {
        FsPerms::ReadOnly
    } else {
        FsPerms::ReadWrite
    };
    if asked {
        return open_asked(context, preopen, permissions);
    }
    match context.preopened_dir(&preopen.path, &preopen.guest, permissions) {
        Err(error) if preopen.path == "/" => {
            let path = &preopen.path;
            let what = format!("cannot open the directory {path:?} for it");
            Err(Failure::not_runnable(&what, error.root_cause()))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(env: &[&str]) -> RunnerConfig {
        RunnerConfig {
            env: env.iter().map(|&entry| entry.to_owned()).collect(),
            cwd: "/work".to_owned(),
            ..RunnerConfig::default()
        }
    }

    #[test]
    fn the_working_directory_is_in_the_environment_once() {
        let without = config(&["A=b=c", "EMPTY=", "BARE"]);
        let expected = [("A", "b=c"), ("EMPTY", ""), ("BARE", ""), ("PWD", "/work")];
        assert_eq!(environment(&without), expected);
        assert_eq!(environment(&config(&["PWD=/else"])), [("PWD", "/else")]);
    }

    #[test]
    fn only_the_root_and_what_was_asked_for_have_to_open() {
        let mut context = WasiCtxBuilder::new();
        let missing = Preopen {
            path: "/no/such/directory".to_owned(),
            guest: "/no/such/directory".to_owned(),
            readonly: false,
        };
        assert!(open(&mut context, &missing, false).is_ok());
        assert!(open(&mut context, &missing, true).is_err());
    }

    #[test]
    fn what_was_asked_for_is_not_behind_a_link_of_the_image() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("data/below")).unwrap();
        std::os::unix::fs::symlink("data", root.join("link")).unwrap();
        let before = std::env::current_dir().unwrap();
        let open = |name: &str, asked| {
            let path = root.join(name).to_str().unwrap().to_owned();
            let guest = path.clone();
            let readonly = true;
            let preopen = Preopen {
                path,
                guest,
                readonly,
            };
            super::open(&mut WasiCtxBuilder::new(), &preopen, asked).map_err(|why| why.to_string())
        };
        assert_eq!(open("data/below", true), Ok(()));
        for link in ["link", "link/below"] {
            let why = open(link, true).unwrap_err();
            assert!(why.contains("symbolic link"), "{why}");
            assert_eq!(open(link, false), Ok(()));
        }
        assert_eq!(std::env::current_dir().unwrap(), before);
    }
}
