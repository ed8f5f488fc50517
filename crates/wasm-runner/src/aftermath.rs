//! What a trap leaves behind: lines on stderr and, where an annotation asks for it, a core dump
//! (<https://github.com/WebAssembly/tool-conventions/blob/main/Coredump.md>).

use crate::failure::{self, Failure};
use hull_abi::RunnerConfig;
use hull_sys::fs;
use std::os::fd::OwnedFd;
use wasmtime::{AsContext, AsContextMut, Error, Memory, WasmCoreDump};

/// Bytes of memory in which there is something that a dump may have at most.
const MAX_DUMP: usize = 256 << 20;
/// How often what is dumped is in memory: in the guest, in the section of data, in the whole file, which
/// grows by doubling.
const COPIES: u64 = 5;
/// In such pieces wasmtime leaves out what is empty.
const PIECE: usize = 4096;

/// How a trap is told.
#[derive(Debug)]
pub(crate) struct Aftermath {
    backtrace: bool,
    dumps: Option<Dumps>,
}

/// Where core dumps go.
#[derive(Debug)]
struct Dumps {
    directory: OwnedFd,
    path: String,
    /// The last part of the program's path; a later dump takes the place of an earlier one.
    name: String,
    memory_limit: Option<u64>,
}

impl Aftermath {
    /// Opens the directory for dumps, which the guest cannot exchange any more.
    pub(crate) fn prepare(config: &RunnerConfig) -> Result<Self, Failure> {
        let dumps = match &config.settings.coredump {
            None => None,
            Some(path) => Some(Dumps::open(path, config)?),
        };
        Ok(Self {
            backtrace: !config.settings.no_backtrace,
            dumps,
        })
    }

    /// Tells of a trap; the exit code.
    pub(crate) fn trap(&self, error: &Error, store: impl AsContextMut) -> i32 {
        let code = failure::report_trap(error, self.backtrace);
        if let Some(dumps) = &self.dumps {
            failure::say(&format!("hull-wasm: {}", dumps.write(error, store)));
        }
        code
    }
}

impl Dumps {
    fn open(path: &str, config: &RunnerConfig) -> Result<Self, Failure> {
        let directory = fs::open_plain_directory(path).map_err(|errno| {
            let what = format!("cannot open {path:?} for core dumps");
            Failure::not_runnable(&what, errno.desc())
        })?;
        let name = config.program.rsplit('/').find(|part| !part.is_empty());
        Ok(Self {
            directory,
            path: path.to_owned(),
            // Names have 255 bytes at most.
            name: name.unwrap_or("guest").chars().take(50).collect(),
            memory_limit: config.memory_limit,
        })
    }

    /// Writes a dump; what became of it.
    fn write(&self, error: &Error, mut store: impl AsContextMut) -> String {
        let Some(dump) = error.downcast_ref::<WasmCoreDump>() else {
            return "no core dump: the trap left none".to_owned();
        };
        let content: usize = dump
            .memories()
            .iter()
            .map(|memory| content(*memory, &store))
            .sum();
        if let Some(why) = self.too_large(content) {
            return format!("no core dump: {why}");
        }
        let bytes = dump.serialize(&mut store, &self.name);
        let file = format!("{}.coredump", self.name);
        let temporary = format!(".{}.{}.tmp", self.name, std::process::id());
        match fs::replace(&self.directory, &file, &temporary, &bytes) {
            Ok(()) => format!("core dump: {}/{file}", self.path.trim_end_matches('/')),
            Err(errno) => format!("no core dump: cannot write it: {}", errno.desc()),
        }
    }

    /// Why so much is not dumped. Out of memory the process would be killed, and the trap not be told.
    fn too_large(&self, content: usize) -> Option<String> {
        if content > MAX_DUMP {
            return Some(format!(
                "it would have {content} bytes, {MAX_DUMP} are allowed"
            ));
        }
        let needed = u64::try_from(content)
            .unwrap_or(u64::MAX)
            .saturating_mul(COPIES);
        let limit = self.memory_limit.filter(|limit| needed > *limit)?;
        Some(format!(
            "making one of {content} bytes does not fit into the memory limit of {limit}"
        ))
    }
}

/// Bytes of a memory in pieces in which there is something.
fn content(memory: Memory, store: impl AsContext) -> usize {
    let pieces = memory.data(&store).chunks(PIECE);
    pieces
        .filter(|piece| piece.iter().any(|byte| *byte != 0))
        .count()
        * PIECE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_bounded_by_a_constant_and_by_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = RunnerConfig::default();
        let mut dumps = Dumps::open(directory.path().to_str().unwrap(), &config).unwrap();
        assert_eq!(dumps.too_large(MAX_DUMP), None);
        assert!(dumps.too_large(MAX_DUMP + 1).is_some());
        dumps.memory_limit = Some(50 << 20);
        assert_eq!(dumps.too_large(10 << 20), None);
        assert!(dumps.too_large(11 << 20).is_some());

        config.program = "/a/b.wasm".to_owned();
        let named = Dumps::open("/", &config).unwrap();
        assert_eq!(named.name, "b.wasm");
    }

    #[test]
    fn the_directory_is_not_reached_by_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/", &link).unwrap();
        let config = RunnerConfig::default();
        assert!(Dumps::open(link.to_str().unwrap(), &config).is_err());
        assert!(Dumps::open("/no/such/directory", &config).is_err());
    }
}
