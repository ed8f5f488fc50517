//! What a guest gets of the container: arguments, environment, streams, directories. No sockets.

use crate::failure::Failure;
use crate::stdio::{Input, Output};
use hull_abi::{Preopen, RunnerConfig};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// The context of this guest, except for its version of WASI.
pub(crate) fn context(config: &RunnerConfig) -> Result<WasiCtxBuilder, Failure> {
    let mut context = WasiCtxBuilder::new();
    context
        // This thread has nothing else to do, and there are no others.
        .allow_blocking_current_thread(true)
        .stdin(Input)
        .stdout(Output::Stdout)
        .stderr(Output::Stderr)
        .args(&config.args)
        .envs(&environment(config))
        .initial_cwd(&config.cwd)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    for preopen in &config.preopens {
        open(&mut context, preopen)?;
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

/// Opens a directory for the guest. The root has to open. Of the others, which are mounts of the
/// container, some are files (`/etc/hosts`) and some are not for this user; those the guest reaches
/// through the root, or gets its error there.
fn open(context: &mut WasiCtxBuilder, preopen: &Preopen) -> Result<(), Failure> {
    let permissions = if preopen.readonly {
        FsPerms::ReadOnly
    } else {
        FsPerms::ReadWrite
    };
    match context.preopened_dir(&preopen.path, &preopen.path, permissions) {
        Err(error) if preopen.path == "/" => Err(Failure::not_runnable(
            "cannot open the root directory",
            error,
        )),
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
    fn only_the_root_has_to_open() {
        let mut context = WasiCtxBuilder::new();
        let missing = Preopen {
            path: "/no/such/directory".to_owned(),
            readonly: false,
        };
        assert!(open(&mut context, &missing).is_ok());
    }
}
