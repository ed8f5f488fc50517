//! Files of ours in a bundle.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes a file with mode 0600 into a bundle; whoever reads it sees all of it or nothing. Whatever lies in
/// its place, a FIFO or a link, is replaced and not followed.
///
/// # Errors
/// As open(2), write(2) and rename(2).
pub(crate) fn write(bundle: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = bundle.join(format!(".{name}"));
    let create = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
    };
    let mut file = match create() {
        // Of a daemon that was killed.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&temporary)?;
            create()?
        }
        other => other?,
    };
    file.write_all(bytes)?;
    fs::rename(&temporary, bundle.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[test]
    fn what_lies_in_the_way_is_replaced() {
        let bundle = tempfile::tempdir().unwrap();
        let (name, elsewhere) = (bundle.path().join("file"), bundle.path().join("elsewhere"));
        nix::unistd::mkfifo(&name, Mode::S_IRWXU).unwrap();
        fs::write(&elsewhere, "theirs").unwrap();
        std::os::unix::fs::symlink(&elsewhere, bundle.path().join(".file")).unwrap();
        write(bundle.path(), "file", b"ours").unwrap();
        assert_eq!(fs::read(&name).unwrap(), b"ours");
        assert_eq!(fs::read(&elsewhere).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(bundle.path()).unwrap().count(), 2);
    }
}
