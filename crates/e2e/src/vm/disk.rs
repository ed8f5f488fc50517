//! The guest's disk: an ext4 image of what the tests run and look with, around busybox or around systemd.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Result;
use super::args::Args;
use super::suite::{self, Image, Part};
use super::tests::Executable;
use crate::{target, time};

/// Where the guest finds what is tested.
const BINARIES: &str = "/vm/bin";
const FAULT_BINARY: &str = "/vm/fault/containerd-shim-hull-v1";
const IMAGES: &str = "/vm/images";

/// Programs of the host that busybox has not, or not as the tests and the janitor call them.
const PROGRAMS: &[&str] = &["containerd", "ctr", "strace", "script", "rm", "sh"];

/// How many times longer every deadline is there. The machine is slower than that, but the deadlines
/// have room.
const SLOWER: u32 = 10;

/// Free space for the tests, in bytes.
const ROOM: u64 = 256 << 20;

/// What is on it besides what is always there.
#[derive(Debug)]
pub(super) struct Content<'run> {
    pub(super) executables: &'run [&'run Executable],
    pub(super) args: &'run Args,
    pub(super) image: Image,
}

/// What of systemd's units nobody needs there, and what waits for a login or a device.
const MASKED: &[&str] = &[
    "getty.target",
    "systemd-firstboot.service",
    "systemd-journal-flush.service",
    "systemd-logind.service",
    "systemd-random-seed.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
];

/// Writes the image into `dir`. `debian` is the tree that the one with systemd is made from.
pub(super) fn make(content: &Content<'_>, debian: Option<&Path>, dir: &Path) -> Result<PathBuf> {
    let root = dir.join("root");
    if let Some(debian) = debian {
        super::output(Command::new("cp").arg("-a").arg(debian).arg(&root))?;
    }
    directories(&root)?;
    busybox(&root)?;
    first_program(&root, content.image)?;
    for program in PROGRAMS {
        install(&root, &Path::new("/usr/bin").join(program))?;
    }
    accounts(&root)?;
    tested(&root)?;
    tests(&root, content)?;
    let image = dir.join("disk");
    let mib = (size(&root)? + ROOM) >> 20;
    super::output(
        Command::new("mke2fs")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .args([
                "-q",
                "-t",
                "ext4",
                "-O",
                "^has_journal",
                "-m",
                "0",
                "-E",
                "root_owner=0:0",
            ])
            .arg("-d")
            .arg(&root)
            .arg(&image)
            .arg(format!("{mib}M")),
    )?;
    fs::remove_dir_all(&root)?;
    Ok(image)
}

fn directories(root: &Path) -> Result<()> {
    for dir in [
        "usr/bin",
        "usr/lib",
        "etc",
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "root",
        "var/lib",
        "var/tmp",
        "opt",
        "mnt",
        "vm/tests",
        "vm/bin",
        "vm/fault",
        "vm/images",
    ] {
        fs::create_dir_all(root.join(dir))?;
    }
    for (link, dir) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/bin"),
        ("usr/sbin", "bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib"),
        ("var/run", "/run"),
    ] {
        let link = root.join(link);
        if link.symlink_metadata().is_err() {
            symlink(dir, link)?;
        }
    }
    Ok(())
}

/// What the guest's kernel runs first, and how that comes to run the tests.
fn first_program(root: &Path, image: Image) -> Result<()> {
    script(root, "run.sh", include_str!("run.sh"))?;
    let init = root.join("vm/init");
    if image == Image::Busybox {
        script(root, "guest.sh", include_str!("guest.sh"))?;
        symlink("guest.sh", init)?;
        return Ok(());
    }
    symlink("/usr/lib/systemd/systemd", init)?;
    let units = root.join("etc/systemd/system");
    fs::create_dir_all(units.join("multi-user.target.wants"))?;
    fs::write(
        units.join("hull-tests.service"),
        include_str!("run.service"),
    )?;
    symlink(
        "../hull-tests.service",
        units.join("multi-user.target.wants/hull-tests.service"),
    )?;
    let target = "/usr/lib/systemd/system/multi-user.target";
    symlink(target, units.join("default.target"))?;
    for unit in MASKED {
        symlink("/dev/null", units.join(unit))?;
    }
    // Else systemd takes this for the first boot of a new machine.
    fs::write(
        root.join("etc/machine-id"),
        "0123456789abcdef0123456789abcdef\n",
    )?;
    Ok(())
}

fn script(root: &Path, name: &str, text: &str) -> Result<()> {
    let path = root.join("vm").join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Busybox under all its names, where there is no other program of that name.
fn busybox(root: &Path) -> Result<()> {
    let bin = root.join("usr/bin");
    fs::copy("/usr/bin/busybox", bin.join("busybox"))?;
    for name in super::output(Command::new("/usr/bin/busybox").arg("--list"))?.lines() {
        let taken = ["usr/bin", "usr/sbin"]
            .iter()
            .any(|dir| root.join(dir).join(name).symlink_metadata().is_ok());
        if name != "busybox" && !PROGRAMS.contains(&name) && !taken {
            symlink("busybox", bin.join(name))?;
        }
    }
    Ok(())
}

/// A program of the host under its own path, and the libraries that it loads.
fn install(root: &Path, program: &Path) -> Result<()> {
    let mut files = BTreeSet::from([program.to_owned()]);
    let libraries = super::output(Command::new("ldd").arg(program))?;
    files.extend(
        libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .map(PathBuf::from),
    );
    for file in files {
        let inside = root.join(file.strip_prefix("/")?);
        if !inside.exists() {
            fs::create_dir_all(inside.parent().unwrap_or(root))?;
            fs::copy(&file, &inside)
                .map_err(|error| format!("{}: {error}; make deps installs it", file.display()))?;
        }
    }
    Ok(())
}

fn accounts(root: &Path) -> Result<()> {
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    fs::write(
        root.join("etc/group"),
        "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    )?;
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost hull-vm\n")?;
    Ok(())
}

/// hull and the images.
fn tested(root: &Path) -> Result<()> {
    for name in ["containerd-shim-hull-v1", "hull-wasm", "hull-wasmc"] {
        strip(
            &target::bin_dir().join(name),
            &inside(root, BINARIES).join(name),
        )?;
    }
    // Only the tests of the command line want it, and only `make build` makes it.
    let command_line = target::bin_dir().join("hull");
    if command_line.exists() {
        strip(&command_line, &inside(root, BINARIES).join("hull"))?;
    }
    strip(&target::fault_binary(), &inside(root, FAULT_BINARY))?;
    for entry in fs::read_dir(target::images())?.flatten() {
        fs::copy(entry.path(), inside(root, IMAGES).join(entry.file_name()))?;
    }
    Ok(())
}

/// The tests, and what `run.sh` reads.
fn tests(root: &Path, content: &Content<'_>) -> Result<()> {
    let vm = root.join("vm");
    let mut plan = String::new();
    for executable in content.executables {
        let Part { file, tests } = executable.part;
        strip(&executable.path, &vm.join("tests").join(file.name))?;
        plan.push_str(&format!("{} {}", file.name, suite::LIMIT.as_secs()));
        if !tests.is_empty() {
            plan.push_str(" --exact ");
            plan.push_str(&tests.join(" "));
        }
        plan.push('\n');
    }
    fs::write(vm.join("plan"), plan)?;
    let variables = [
        ("HULL_BIN_DIR", BINARIES.to_owned()),
        ("HULL_FAULT_BIN", FAULT_BINARY.to_owned()),
        ("HULL_IMAGES", IMAGES.to_owned()),
        ("HULL_CLIENTS", String::new()),
        (time::SLOWER, SLOWER.to_string()),
    ];
    let mut settings: String = variables
        .iter()
        .map(|(name, value)| format!("export {name}={}\n", quote(value)))
        .collect();
    settings.push_str("set -- --test-threads=2");
    for arg in &content.args.libtest {
        settings.push(' ');
        settings.push_str(&quote(arg));
    }
    fs::write(vm.join("settings"), settings + "\n")?;
    Ok(())
}

/// One word for a shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Copies a program without its debug information, which is most of it.
fn strip(from: &Path, to: &Path) -> Result<()> {
    super::output(
        Command::new("strip")
            .arg("--strip-debug")
            .arg("-o")
            .arg(to)
            .arg(from),
    )?;
    Ok(())
}

/// Bytes of all files below `dir`.
fn size(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(sum)
}
