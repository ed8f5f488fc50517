//! The Wasm guests that run: their sources, and the modules that are made of them.

use crate::clang;
use crate::error::{Error, Result};

/// A guest's source in its language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// [WebAssembly text](https://webassembly.github.io/spec/core/text/index.html).
    Wat(&'static str),
    /// C on wasi-libc.
    C(&'static str),
}

/// One guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest {
    /// The source file's name; the module has the same one with another ending.
    pub(crate) file: &'static str,
    source: Source,
}

macro_rules! guests {
    ($language:ident: $($file:literal)*) => {
        [$(Guest {
            file: $file,
            source: Source::$language(include_str!(concat!("../guests/", $file))),
        }),*]
    };
}

/// The first one is [`Guest::hello`].
const WAT: [Guest; 29] = guests![Wat:
    "hello.wat" "big-memory.wat" "cat.wat" "command-0.3.wat" "component.wat" "exit.wat" "file-streams.wat"
    "functions.wat" "gc.wat" "grow.wat" "http.wat" "http3.wat" "library.wat" "loop.wat" "output.wat" "partial.wat" "pollables.wat"
    "server.wat" "sleep.wat" "stdout-handles.wat" "table64.wat" "tables.wat" "tcp-sockets.wat" "ticks.wat"
    "trap-call.wat" "trap-divide.wat" "trap-memory.wat" "trap-stack.wat" "trap-unreachable.wat"
];

const C: [Guest; 8] = guests![C:
    "clock.c" "compute.c" "env.c" "files.c" "hostile.c" "isatty.c" "sockets.c" "stdin.c"
];

/// What is valid Wasm but nothing that can be run here.
const REFUSED: [Guest; 3] = guests![Wat: "no-start.wat" "threads.wat" "unknown-import.wat"];

/// Every guest that is made of a source file.
pub(crate) fn all() -> impl Iterator<Item = Guest> {
    WAT.into_iter().chain(C).chain(REFUSED)
}

impl Guest {
    /// The guest with this source file, for the image that has no other.
    pub(crate) fn hello() -> Self {
        let [hello, ..] = WAT;
        hello
    }

    /// Name of the module's file.
    pub(crate) fn module_name(&self) -> String {
        let stem = self
            .file
            .rsplit_once('.')
            .map_or(self.file, |(stem, _)| stem);
        format!("{stem}.wasm")
    }

    /// The module's bytes.
    ///
    /// # Errors
    ///
    /// Names the source file and holds what the compiler said.
    pub(crate) fn compile(&self) -> Result<Vec<u8>> {
        match self.source {
            Source::Wat(text) => from_text(self.file, text),
            Source::C(text) => clang::compile(self.file, text),
        }
    }
}

/// Assembles WebAssembly text.
pub(crate) fn from_text(source_file: &'static str, text: &str) -> Result<Vec<u8>> {
    wat::parse_str(text).map_err(|error| Error::Guest {
        source_file,
        problem: error.to_string(),
    })
}

/// A module that is large because of its data, and so is its compiled form; it writes one line.
///
/// # Errors
///
/// It cannot fail to compile but by a mistake here.
pub(crate) fn large() -> Result<Vec<u8>> {
    const DATA: usize = 1280 << 10;
    let data = "x".repeat(DATA);
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 32)
            (data (i32.const 0) "\10\00\00\00\06\00\00\00")
            (data (i32.const 16) "large\n")
            (data (i32.const 65536) "{data}")
            (func (export "_start")
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    );
    from_text("large.wat", &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_file_is_a_guest() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/guests");
        let mut files: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let mut known: Vec<&str> = all().map(|guest| guest.file).collect();
        known.sort_unstable();
        assert_eq!(files, known);
    }

    #[test]
    fn other_guests_are_core_modules_that_start_as_wasi_commands_do() {
        let components = [
            "command-0.3.wat",
            "component.wat",
            "http.wat",
            "http3.wat",
            "file-streams.wat",
            "library.wat",
            "pollables.wat",
            "server.wat",
            "stdout-handles.wat",
            "tcp-sockets.wat",
        ];
        let libraries = ["functions.wat", "no-start.wat"];
        for guest in all() {
            let module = guest.compile().unwrap();
            if components.contains(&guest.file) {
                assert!(module.starts_with(b"\0asm\x0d\0\x01\0"));
                continue;
            }
            assert!(module.starts_with(b"\0asm\x01\0\0\0"), "{}", guest.file);
            let starts = module.windows(6).any(|bytes| bytes == b"_start");
            assert_eq!(starts, !libraries.contains(&guest.file), "{}", guest.file);
        }
    }

    #[test]
    fn large_is_large() {
        let module = large().unwrap();
        assert!(module.starts_with(b"\0asm") && module.len() > 1 << 20);
    }

    #[test]
    fn hello_is_hello() {
        assert_eq!(Guest::hello().module_name(), "hello.wasm");
    }

    #[test]
    fn error_of_text_names_the_source_and_the_place() {
        let error = from_text("wrong.wat", "(module\n  (func $f (nonsense)))").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("wrong.wat"), "{text}");
        assert!(text.contains("nonsense") && text.contains(":2:"), "{text}");
    }
}
