//! C to Wasm, with Debian's clang and wasi-libc.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result, at};

/// Debian's packages `clang-14`, `lld-14`, `wasi-libc` and `libclang-rt-14-dev-wasm32`.
const CLANG: &str = "clang-14";

/// Compiles one C file to a WASI command. The file comes by stdin and under its bare name, so that
/// no path of this machine gets into the module or into a message.
///
/// # Errors
///
/// Names the source and holds what clang said.
pub(crate) fn compile(source_file: &'static str, source: &str) -> Result<Vec<u8>> {
    let refuse = |problem: String| Error::Guest {
        source_file,
        problem,
    };
    let dir = tempfile::tempdir().map_err(at("create", Path::new("a temporary directory")))?;
    let module = dir.path().join("guest.wasm");
    let mut clang = Command::new(CLANG)
        .args(["--target=wasm32-wasi", "--sysroot=/usr", "-O2"])
        .args(["-Wall", "-Wextra", "-Werror"])
        // wasi-libc's own; the names of functions stay, for backtraces.
        .arg("-Wl,--strip-debug")
        .args(["-x", "c", "-", "-o"])
        .arg(&module)
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
    std::fs::read(&module).map_err(at("read", &module))
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
    fn error_names_the_source_and_holds_what_clang_said() {
        let error = compile("wrong.c", "int main(void)\n{ return nothing; }\n").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("cannot compile wrong.c: "), "{text}");
        assert!(text.contains("wrong.c:2:"), "{text}");
        assert!(text.contains("undeclared identifier 'nothing'"), "{text}");
    }
}
