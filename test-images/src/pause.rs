//! The image of a pod's first process.

use crate::Image;
use crate::clang;
use crate::error::Result;
use crate::rootfs::Rootfs;

/// A root file system of one program.
///
/// # Errors
///
/// Names the source if it does not compile.
pub(crate) fn rootfs() -> Result<Rootfs> {
    let mut rootfs = Rootfs::default();
    let program = clang::compile_native("pause.c", include_str!("../native/pause.c"))?;
    rootfs.file("pause", 0o755, program);
    Ok(rootfs)
}

/// The image made of that layer.
pub(crate) fn image(layer: Vec<u8>) -> Image {
    Image {
        name: "docker.io/hull/pause:latest",
        env: &[],
        entrypoint: &["/pause"],
        cmd: &[],
        layer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::Kind;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    #[test]
    fn it_is_one_small_program() {
        let rootfs = rootfs().unwrap();
        let files: Vec<_> = rootfs.entries().collect();
        let [(path, entry)] = files.as_slice() else {
            panic!("{files:?}");
        };
        assert_eq!((*path, entry.mode), ("pause", 0o755));
        assert!(matches!(&entry.kind, Kind::File(bytes) if bytes.len() < 4096));
    }

    #[test]
    fn it_waits_for_a_signal_and_ends_well() {
        let dir = tempfile::tempdir().unwrap();
        crate::unpack::into_dir(&rootfs().unwrap(), dir.path()).unwrap();
        let mut pause = Command::new(dir.path().join("pause")).spawn().unwrap();
        let id = pause.id();
        // 128 is rt_sigtimedwait(2).
        while !std::fs::read_to_string(format!("/proc/{id}/syscall"))
            .unwrap()
            .starts_with("128 ")
        {
            std::thread::yield_now();
        }
        assert_eq!(pause.try_wait().unwrap(), None);
        let kill = Command::new("kill").arg(id.to_string()).status();
        assert!(kill.unwrap().success());
        let status = pause.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(0), None));
    }
}
