//! What can go wrong while an image is built.

use std::io;
use std::path::{Path, PathBuf};

/// Result of building an image.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// An error that names the step and the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line is not one of the two known ones.
    #[error("usage: hull-images build DIR | rootfs DIR")]
    Usage,
    /// A file operation failed.
    #[error("cannot {step} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        step: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `busybox --list` did not print what an image can be made of.
    #[error("{path} --list: {problem}")]
    Busybox {
        /// The busybox binary.
        path: PathBuf,
        /// What was wrong with the answer.
        problem: String,
    },
    /// A guest's source does not compile.
    #[error("cannot compile {source_file}: {problem}")]
    Guest {
        /// The source file's name.
        source_file: &'static str,
        /// What the compiler said.
        problem: String,
    },
    /// The directory to unpack into is in use.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
}

/// Turns an I/O error into one that says what was tried on which file.
pub(crate) fn at(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io { step, path, source }
}
