//! The other programs of hull and of the host: where they are and what they answer.

use std::fs::File;
use std::io::Seek as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long a program may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is taken.
const MAX_ANSWER: u64 = 1 << 20;

/// The variable that names the directory of hull's binaries.
const LIBEXEC: &str = "HULL_LIBEXEC";

/// What a program wrote to its standard output, and how it ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: ExitStatus,
    /// At its beginning.
    pub(crate) output: File,
}

impl Answer {
    /// The first line of a program that ended well.
    pub(crate) fn line(self) -> Result<String, String> {
        if !self.status.success() {
            return Err(format!("it ended with {}", self.status));
        }
        let bytes = hull_sys::fd::read_to_end(self.output.into(), MAX_ANSWER)
            .map_err(|errno| errno.desc().to_owned())?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }
}

/// A binary of hull's: beside this one (or in `$HULL_LIBEXEC`), else in `$PATH`, as the shim looks
/// for it.
pub(crate) fn sibling(name: &str) -> Option<PathBuf> {
    let libexec = std::env::var_os(LIBEXEC).filter(|value| !value.is_empty());
    let beside = match libexec {
        Some(directory) => Some(PathBuf::from(directory)),
        None => std::env::current_exe()
            .ok()
            .and_then(|exe| exe.parent().map(Path::to_owned)),
    };
    beside
        .map(|directory| directory.join(name))
        .filter(|path| is_program(path))
        .or_else(|| in_path(name, &std::env::var_os("PATH").unwrap_or_default()))
}

/// The program of this name in a list of directories like `$PATH`.
pub(crate) fn in_path(name: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .map(|directory| directory.join(name))
        .find(|path| path.is_absolute() && is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs a program and waits for its end, but not for ever.
///
/// # Errors
/// Why there is no answer, to follow the program's name.
pub(crate) fn ask(program: &Path, args: &[&str], input: &[u8]) -> Result<Answer, String> {
    let failed = |errno: hull_sys::Errno| errno.desc().to_owned();
    let input = hull_sys::fd::sealed_memory(c"input", input).map_err(failed)?;
    // A file, so that nobody has to read while the program runs.
    let mut output = File::from(hull_sys::fd::memory(c"answer").map_err(failed)?);
    let theirs = output.try_clone().map_err(|e| e.to_string())?;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(theirs))
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("it cannot be run: {}", hull_sys::fd::errno(&e).desc()))?;
    let ended = i32::try_from(child.id())
        .map_err(|_| hull_sys::Errno::ESRCH)
        .and_then(hull_sys::pidfd::open)
        .and_then(|pidfd| hull_sys::pidfd::wait_ended(pidfd, PATIENCE));
    if ended != Ok(true) {
        // It may have ended meanwhile.
        drop(child.kill());
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    if ended != Ok(true) {
        return Err(format!(
            "it does not answer within {} s",
            PATIENCE.as_secs()
        ));
    }
    output.rewind().map_err(|e| e.to_string())?;
    Ok(Answer { status, output })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_program_is_found_in_path_and_asked() {
        let sh = in_path("sh", OsStr::new("relative:/nowhere:/bin:/usr/bin")).unwrap();
        assert_eq!(sh, Path::new("/bin/sh"));
        assert_eq!(in_path("passwd", OsStr::new("/etc")), None);
        let answer = ask(&sh, &["-c", "echo one; echo two"], b"").unwrap();
        assert_eq!(answer.line().unwrap(), "one");
        let answer = ask(&sh, &["-c", "cat"], b"input\n").unwrap();
        assert_eq!(answer.line().unwrap(), "input");
        let failed = ask(&sh, &["-c", "exit 3"], b"").unwrap();
        assert_eq!(failed.line().unwrap_err(), "it ended with exit status: 3");
        assert!(ask(Path::new("/nowhere/sh"), &[], b"").is_err());
    }
}
