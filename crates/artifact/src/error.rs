//! What can go wrong with a store or a module, other than a flaw of an artifact.

use nix::errno::Errno;
use std::io;
use std::path::PathBuf;

/// Why something could not be done. One line that names the object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The directory of the store cannot be used as it is; whoever runs the host must change it.
    #[error("artifact store {}: {why}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// A file of the store could not be read or written.
    #[error("artifact store: {doing} {name}: {}", errno.desc())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Name of the file in the store.
        name: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// What is to be stored is not an artifact; the compiler is to blame.
    #[error("the compiler's output is not an artifact")]
    NotAnArtifact,
    /// The module is larger than we take.
    #[error("the module has more than {limit} bytes")]
    TooLarge {
        /// The most that we take, in bytes.
        limit: u64,
    },
    /// The module is not what it was when it was digested; its container is to blame.
    #[error("the module was changed while it was loaded")]
    Changed,
    /// The module could not be read.
    #[error("reading the module: {}", .0.desc())]
    Module(Errno),
    /// There is no memory for a copy of the module.
    #[error("copying the module to memory: {}", .0.desc())]
    Memory(Errno),
}

impl Error {
    /// Whether the file system or a quota has no room left.
    pub(crate) fn is_full(&self) -> bool {
        matches!(
            self,
            Self::File {
                errno: Errno::ENOSPC | Errno::EDQUOT,
                ..
            }
        )
    }

    pub(crate) fn file(doing: &'static str, name: &str, error: impl Into<io::Error>) -> Self {
        Self::File {
            doing,
            name: name.to_owned(),
            errno: errno(&error.into()),
        }
    }
}

/// The errno of an error of the standard library, `EIO` if there is none.
pub(crate) fn errno(error: &io::Error) -> Errno {
    hull_sys::fd::errno(error)
}
