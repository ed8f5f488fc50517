//! Builds the images that the tests run, so that no test downloads one.
//!
//! ```text
//! hull-images build DIR        writes one OCI archive per image into DIR (`ctr image import` takes it)
//! hull-images full DIR TOOLS   writes that of the large guests, with what .ci/guest-tools.sh installed into TOOLS
//! hull-images rootfs DIR       unpacks the busybox root file system into DIR, for a hand-made bundle
//! ```
//!
//! `build` and `rootfs` give the same bytes for the same busybox binary and C compiler: no clock, no
//! directory order and no name of the building machine gets in.

#![forbid(unsafe_code)]

mod artifact;
mod busybox;
mod clang;
mod digest;
mod error;
mod full;
mod guests;
mod layer;
mod layout;
mod pause;
mod refused;
mod rootfs;
mod unpack;
mod wasm;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use error::{Error, Result, at};
use layout::Image;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    /// Write every image into this directory.
    Build(PathBuf),
    /// Write the image of the large guests into this directory, with the tools in the second one.
    Full(PathBuf, PathBuf),
    /// Unpack the busybox root file system into this directory.
    Rootfs(PathBuf),
}

fn main() -> ExitCode {
    match parse(env::args_os().skip(1)).and_then(|command| run(&command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ignored = writeln!(io::stderr(), "hull-images: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Command> {
    let verb = args.next();
    let paths: Vec<PathBuf> = args.by_ref().map(PathBuf::from).collect();
    match (verb.as_deref().and_then(|verb| verb.to_str()), &*paths) {
        (Some("build"), [dir]) => Ok(Command::Build(dir.clone())),
        (Some("full"), [dir, tools]) => Ok(Command::Full(dir.clone(), tools.clone())),
        (Some("rootfs"), [dir]) => Ok(Command::Rootfs(dir.clone())),
        _ => Err(Error::Usage),
    }
}

fn run(command: &Command) -> Result<()> {
    let rootfs = busybox::rootfs(Path::new(busybox::BINARY))?;
    match command {
        Command::Build(dir) => {
            let busybox = busybox::image(layer::tar(&rootfs)?);
            let wasm = wasm::image(layer::tar(&wasm::rootfs(rootfs)?)?);
            let wasm_only = wasm::lone_image(layer::tar(&wasm::lone_rootfs()?)?);
            let pause = pause::image(layer::tar(&pause::rootfs()?)?);
            for (file, image) in [
                ("busybox.tar", &busybox),
                ("wasm.tar", &wasm),
                ("wasm-only.tar", &wasm_only),
                ("pause.tar", &pause),
            ] {
                write_atomically(&dir.join(file), &layout::archive(image)?)?;
            }
            for artifact in artifact::all(busybox.layer)? {
                let file = dir.join(format!("{}.tar", artifact.stem));
                write_atomically(&file, &artifact.archive()?)?;
            }
            Ok(())
        }
        Command::Full(dir, tools) => {
            let image = full::image(layer::tar(&full::rootfs(rootfs, tools)?)?);
            write_atomically(&dir.join("wasm-full.tar"), &layout::archive(&image)?)
        }
        Command::Rootfs(dir) => unpack::into_dir(&rootfs, dir),
    }
}

/// Writes a file that is never seen half written: a test may be importing the one it replaces.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(at("create", dir))?;
    }
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes).map_err(at("write", &partial))?;
    fs::rename(&partial, path).map_err(at("rename to", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Command> {
        parse(args.iter().map(OsString::from))
    }

    #[test]
    fn command_line() {
        assert_eq!(
            parsed(&["build", "out"]).unwrap(),
            Command::Build("out".into())
        );
        assert_eq!(
            parsed(&["rootfs", "/r"]).unwrap(),
            Command::Rootfs("/r".into())
        );
        assert_eq!(
            parsed(&["full", "out", "tools"]).unwrap(),
            Command::Full("out".into(), "tools".into())
        );
        for wrong in [
            &[][..],
            &["build"],
            &["build", "a", "b"],
            &["full", "a"],
            &["unpack", "a"],
        ] {
            assert!(matches!(parsed(wrong), Err(Error::Usage)), "{wrong:?}");
        }
    }

    #[test]
    fn a_written_file_replaces_the_old_one_and_leaves_no_partial_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/busybox.tar");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
