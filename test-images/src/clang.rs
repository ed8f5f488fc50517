//! C to Wasm, with Debian's clang and wasi-libc, and to programs of Linux without a library.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result, at};

/// Debian's packages `clang-14`, `lld-14`, `wasi-libc` and `libclang-rt-14-dev-wasm32`.
const CLANG: &str = "clang-14";

/// To a WASI command; the names of functions stay, for backtraces.
const WASM: [&str; 3] = [
    "--target=wasm32-wasi",
    "--sysroot=/usr",
    "-Wl,--strip-debug",
];

/// To a static program that brings its own `_start` and calls the kernel itself.
const NATIVE: [&str; 8] = [
    "--target=x86_64-linux-gnu",
    "-fuse-ld=lld",
    "-static",
    "-nostdlib",
    "-ffreestanding",
    "-fno-stack-protector",
    "-Wl,--build-id=none",
    "-Wl,--strip-all",
];

/// Compiles one C file to a WASI command.
///
/// # Errors
///
/// Names the source and holds what clang said.
pub(crate) fn compile(source_file: &'static str, source: &str) -> Result<Vec<u8>> {
    run(&WASM, source_file, source)
}

/// Compiles one C file to a program of Linux that uses no library.
///
/// # Errors
///
/// Names the source and holds what clang said.
pub(crate) fn compile_native(source_file: &'static str, source: &str) -> Result<Vec<u8>> {
    run(&NATIVE, source_file, source)
}

/// The file comes by stdin and under its bare name, so that no path of this machine gets into the program or
/// into a message.
fn run(target: &[&str], source_file: &'static str, source: &str) -> Result<Vec<u8>> {
    let refuse = |problem: String| Error::Guest {
        source_file,
        problem,
    };
    let dir = tempfile::tempdir().map_err(at("create", Path::new("a temporary directory")))?;
    let program = dir.path().join("program");
    let mut clang = Command::new(CLANG)
        .args(target)
        .args(["-O2", "-Wall", "-Wextra", "-Werror"])
        .args(["-x", "c", "-", "-o"])
        .arg(&program)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| refuse(format!("cannot run {CLANG} (package clang-14): {error}")))?;
    if let Some(mut stdin) = clang.stdin.take() {
        // A compiler that ends before it has read everything tells why itself.
        drop(write!(stdin, "#line 1 \"{source_file}\"\n{source}"));
    }
    let output = clang
        .wait_with_output()
        .map_err(at("wait for", Path::new(CLANG)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(refuse(format!("{CLANG}: {}: {said}", output.status)));
    }
    std::fs::read(&program).map_err(at("read", &program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_source_gives_the_same_module() {
        let source = "int main(void) { return 3; }\n";
        let first = compile("three.c", source).unwrap();
        assert!(first.starts_with(b"\0asm\x01\0\0\0"));
        assert_eq!(first, compile("three.c", source).unwrap());
    }

    #[test]
    fn the_same_source_gives_the_same_program() {
        let source = "void _start(void) { for (;;); }\n";
        let first = compile_native("wait.c", source).unwrap();
        assert!(first.starts_with(b"\x7fELF"));
        assert_eq!(first, compile_native("wait.c", source).unwrap());
    }

    #[test]
    fn error_names_the_source_and_holds_what_clang_said() {
        let error = compile("wrong.c", "int main(void)\n{ return nothing; }\n").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("cannot compile wrong.c: "), "{text}");
        assert!(text.contains("wrong.c:2:"), "{text}");
        assert!(text.contains("undeclared identifier 'nothing'"), "{text}");
    }
}
