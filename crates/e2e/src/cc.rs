//! Programs in C for tests and bench: static, so that they run in any root file system.

use std::path::Path;
use std::process::Command;

/// Builds a program of one source file with the distribution's compiler.
///
/// # Errors
/// A line that says why it could not be built.
pub fn build_static(source: &Path, program: &Path) -> Result<(), String> {
    let mut compiler = Command::new("cc");
    compiler
        .args(["-O2", "-static", "-Wall", "-Werror", "-o"])
        .arg(program)
        .arg(source);
    let output = compiler.output().map_err(|error| {
        format!(
            "cc for {}: {error}; make deps installs one",
            source.display()
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("cc {}: {text}", source.display()))
}
