//! The Wasm images: one with every guest beside busybox, one with nothing but a module.

use crate::Image;
use crate::error::Result;
use crate::guests::{self, Guest};
use crate::refused;
use crate::rootfs::Rootfs;

/// Where the guests are. None of them has an execute bit: a Wasm file needs none.
const DIR: &str = "wasm";

/// What only root may read.
const SECRET: &str = "for root only\n";

/// Adds the guests to busybox's root file system, so that native processes can run beside them.
///
/// # Errors
///
/// Names the guest whose source does not compile.
pub(crate) fn rootfs(mut rootfs: Rootfs) -> Result<Rootfs> {
    rootfs.directory(DIR, 0o755);
    for guest in guests::all() {
        let path = format!("{DIR}/{}", guest.module_name());
        rootfs.file(&path, 0o644, guest.compile()?);
    }
    rootfs.file(&format!("{DIR}/large.wasm"), 0o644, guests::large()?);
    for (name, bytes) in refused::files()? {
        // Executable, so that nothing but its content is wrong with it.
        rootfs.file(&format!("{DIR}/{name}"), 0o755, bytes);
    }
    rootfs.directory(&format!("{DIR}/dir.wasm"), 0o755);
    rootfs.file("etc/secret", 0o600, SECRET.into());
    Ok(rootfs)
}

/// The image made of that layer.
pub(crate) fn image(layer: Vec<u8>) -> Image {
    Image {
        name: "docker.io/hull/wasm:latest",
        env: &["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/wasm"],
        entrypoint: &[],
        cmd: &["/wasm/hello.wasm"],
        layer,
    }
}

/// A root file system of one file: no `/bin`, no `/etc`, no directory to mount anything on.
///
/// # Errors
///
/// Names the guest if its source does not compile.
pub(crate) fn lone_rootfs() -> Result<Rootfs> {
    let mut rootfs = Rootfs::default();
    rootfs.file("app.wasm", 0o644, Guest::hello().compile()?);
    Ok(rootfs)
}

/// The image made of that layer.
pub(crate) fn lone_image(layer: Vec<u8>) -> Image {
    Image {
        name: "docker.io/hull/wasm-only:latest",
        env: &[],
        entrypoint: &["/app.wasm"],
        cmd: &[],
        layer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::Kind;

    #[test]
    fn guests_are_files_without_an_execute_bit() {
        let rootfs = rootfs(Rootfs::default()).unwrap();
        let (_, hello) = rootfs
            .entries()
            .find(|(path, _)| *path == "wasm/hello.wasm")
            .unwrap();
        assert_eq!(hello.mode, 0o644);
        assert!(matches!(&hello.kind, Kind::File(bytes) if bytes.starts_with(b"\0asm")));
    }

    #[test]
    fn lone_image_has_one_file_and_starts_it() {
        let rootfs = lone_rootfs().unwrap();
        let paths: Vec<&str> = rootfs.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["app.wasm"]);
        assert_eq!(lone_image(Vec::new()).entrypoint, ["/app.wasm"]);
    }
}
