//! What this process was started with: two descriptors, and nothing else that matters.

use crate::failure::Failure;
use hull_abi::{RUNNER_FDS, RunnerConfig};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};

/// More than any sane process description has, and little enough to read at once.
const MAX_CONFIG: u64 = 16 << 20;

/// What the init process handed over.
#[derive(Debug)]
pub(crate) struct Start {
    /// What to run and how.
    pub(crate) config: RunnerConfig,
    /// The compiled guest.
    pub(crate) artifact: File,
    /// Where a server tells how it does.
    pub(crate) metrics: Option<OwnedFd>,
}

impl Start {
    /// Takes both descriptors and reads the config.
    pub(crate) fn take() -> Result<Self, Failure> {
        let numbers = std::env::var(RUNNER_FDS)
            .map_err(|error| Failure::not_found("cannot find the descriptors", error))?;
        let (config, artifact, metrics) = parse(&numbers).ok_or_else(|| {
            Failure::not_found(
                "cannot find the descriptors",
                format_args!("{RUNNER_FDS} is {numbers:?}"),
            )
        })?;
        let take = hull_sys::fd::take_inherited;
        let artifact = take(artifact)
            .map_err(|errno| Failure::not_found("cannot take over the artifact", errno))?;
        let config = take(config)
            .map_err(|errno| Failure::not_found("cannot take over the config", errno))?;
        let config = hull_sys::fd::read_to_end(config, MAX_CONFIG)
            .map_err(|errno| Failure::not_found("cannot read the config", errno))?;
        let config = RunnerConfig::decode(&config)
            .map_err(|error| Failure::not_found("cannot read the config", error))?;
        let metrics = metrics
            .map(take)
            .transpose()
            .map_err(|errno| Failure::not_found("cannot take over the metrics socket", errno))?;
        Ok(Self {
            config,
            artifact: File::from(artifact),
            metrics,
        })
    }
}

/// `<config>:<artifact>` or `<config>:<artifact>:<metrics>`.
fn parse(numbers: &str) -> Option<(RawFd, RawFd, Option<RawFd>)> {
    let (config, rest) = numbers.split_once(':')?;
    let (artifact, metrics) = match rest.split_once(':') {
        Some((artifact, metrics)) => (artifact, Some(metrics.parse().ok()?)),
        None => (rest, None),
    };
    Some((config.parse().ok()?, artifact.parse().ok()?, metrics))
}

/// The name that ps shows, where the kernel has only the number of the descriptor that we were
/// executed from: the last part of `args[0]`. The kernel cuts it at 15 bytes.
pub(crate) fn process_name(args: &[String]) -> CString {
    let first = args.first().map_or("", String::as_str);
    let base = first.rsplit('/').find(|part| !part.is_empty());
    let base = base.unwrap_or("hull-wasm");
    CString::new(base.replace('\0', "?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_two_numbers_or_three() {
        assert_eq!(parse("3:4"), Some((3, 4, None)));
        assert_eq!(parse("3:4:5"), Some((3, 4, Some(5))));
        for wrong in ["", "3", "3:", ":4", "3:4:", "3:4:5:6", "a:4", "3 :4"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_process_is_called_like_its_program() {
        let name = |arg: &str| process_name(&[arg.to_owned()]);
        assert_eq!(name("/usr/bin/hello.wasm").as_c_str(), c"hello.wasm");
        assert_eq!(name("hello.wasm").as_c_str(), c"hello.wasm");
        assert_eq!(name("/app/").as_c_str(), c"app");
        assert_eq!(name("/").as_c_str(), c"hull-wasm");
        assert_eq!(name("a\0b").as_c_str(), c"a?b");
        assert_eq!(process_name(&[]).as_c_str(), c"hull-wasm");
    }
}
