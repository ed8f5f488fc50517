//! Where mounts go and what can be bound: destinations that are missing, relative, links, or of another
//! kind than the source; sources that are neither file nor directory.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use hull_e2e::{Container, Lab, Ran, Spec, in_own_mounts, is_one_clear_line};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

#[track_caller]
fn print_of(ran: Ran) -> String {
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    ran.stdout
}

fn tmpfs(spec: Spec, destination: &str) -> Spec {
    spec.mount(
        "tmpfs",
        Path::new("tmpfs"),
        destination,
        &["nosuid", "size=64k"],
    )
}

fn put(dir: &Path, file: &str, text: &str) -> PathBuf {
    let path = dir.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// What is made in the image on the way to a mount, and with which mode.
fn made(c: &Container<'_>, path: &str) -> (bool, u32) {
    let found = fs::symlink_metadata(c.upper().join(path)).unwrap();
    (found.is_dir(), found.mode() & 0o7777)
}

#[test]
fn missing_destination_is_made_component_by_component() {
    let lab = Lab::new();
    let text = "grep -c ' /new/one/two ' /proc/self/mountinfo";
    let mut c = lab.container(&tmpfs(script(text), "/new/one/two"));
    assert_eq!(print_of(c.run_to_end()), "1\n");
    for path in ["new", "new/one", "new/one/two"] {
        assert_eq!(made(&c, path), (true, 0o755), "{path}");
    }
}

#[test]
fn relative_destination_counts_from_the_root_and_is_warned_of() {
    let lab = Lab::new();
    let text = "grep -c ' /new/relative ' /proc/self/mountinfo";
    let mut c = lab.container(&tmpfs(script(text), "new/x/../relative"));
    assert_eq!(print_of(c.run_to_end()), "1\n");
    let log = c.bundle.log();
    assert!(log.contains("is relative"), "{log}");
}

#[test]
fn link_in_a_destination_is_followed_inside_the_root() {
    let lab = Lab::new();
    let text = "grep -o ' /real/[a-z]* ' /proc/self/mountinfo";
    let spec = tmpfs(tmpfs(script(text), "/link/made"), "/up/made2");
    let mut c = lab.container(&spec);
    fs::create_dir(c.upper().join("real")).unwrap();
    symlink("/real", c.upper().join("link")).unwrap();
    symlink("../../../../real", c.upper().join("up")).unwrap();
    let seen = print_of(c.run_to_end());
    let points: Vec<&str> = seen.lines().map(str::trim).collect();
    assert_eq!(points, ["/real/made"]);
    assert_eq!(made(&c, "real/made2"), (true, 0o755));
}

/// Images without `/run` have `/var/run -> /run` all the same, and Kubernetes mounts below it.
#[test]
fn link_to_nothing_leads_to_a_directory_that_is_made_inside() {
    let lab = Lab::new();
    let outside = lab.dir().join("outside");
    let far = format!("{}/secrets", outside.display());
    let text = format!("grep -o -e ' /absent/secrets ' -e ' {far} ' /proc/self/mountinfo");
    let spec = tmpfs(
        tmpfs(script(&text), "/var/absent/secrets"),
        "/var/far/secrets",
    );
    let mut c = lab.container(&spec);
    fs::create_dir_all(c.upper().join("var")).unwrap();
    symlink("/absent", c.upper().join("var/absent")).unwrap();
    symlink(&outside, c.upper().join("var/far")).unwrap();
    let seen = print_of(c.run_to_end());
    let points: Vec<&str> = seen.lines().map(str::trim).collect();
    assert_eq!(points, ["/absent/secrets", far.as_str()]);
    assert!(!outside.exists(), "it was made on the host");
}

#[test]
fn file_is_bound_where_a_link_to_nothing_leads() {
    let lab = Lab::new();
    let file = put(lab.dir(), "resolv.conf", "nameserver 10.9.0.2\n");
    let spec = script("cat /etc/resolv.conf /absent/resolve/stub.conf");
    let mut c = lab.container(&spec.mount("bind", &file, "/etc/resolv.conf", &["bind", "ro"]));
    let etc = c.upper().join("etc");
    fs::create_dir_all(&etc).unwrap();
    symlink("../absent/resolve/stub.conf", etc.join("resolv.conf")).unwrap();
    assert_eq!(print_of(c.run_to_end()).lines().count(), 2);
    assert_eq!(made(&c, "absent/resolve"), (true, 0o755));
    assert_eq!(made(&c, "absent/resolve/stub.conf"), (false, 0o644));
}

#[test]
fn bind_without_r_brings_nothing_that_is_mounted_below() {
    in_own_mounts(|| {
        let lab = Lab::new();
        let source = lab.dir().join("source");
        let below = source.join("below");
        fs::create_dir_all(&below).unwrap();
        put(&source, "top", "");
        let none = None::<&str>;
        mount(Some("tmpfs"), &below, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        put(&below, "inner", "");
        let spec = script("ls /flat /flat/below /deep /deep/below")
            .mount("bind", &source, "/flat", &["bind"])
            .mount("bind", &source, "/deep", &["rbind"]);
        let mut c = lab.container(&spec);
        let seen = print_of(c.run_to_end());
        let parts: Vec<&str> = seen.split("\n\n").collect();
        assert_eq!(
            parts,
            [
                "/deep:\nbelow\ntop",
                "/deep/below:\ninner",
                "/flat:\nbelow\ntop",
                "/flat/below:\n"
            ]
        );
        drop(c);
        nix::mount::umount(&below).unwrap();
    });
}

#[test]
fn fifo_socket_and_device_are_bound_as_what_they_are() {
    let lab = Lab::new();
    let dir = lab.dir();
    let (fifo, socket) = (dir.join("fifo"), dir.join("socket"));
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let text =
        "stat -c %F /b/fifo /b/socket /b/null && echo gone >/b/null && echo through >/b/fifo";
    let spec = script(text)
        .mount("bind", &fifo, "/b/fifo", &["bind"])
        .mount("bind", &socket, "/b/socket", &["bind"])
        .mount("bind", Path::new("/dev/null"), "/b/null", &["bind"]);
    let mut c = lab.container(&spec);
    let pid = c.run();
    let inside = format!("/proc/{pid}/root/b/socket");
    let _connected = UnixStream::connect(inside).unwrap();
    drop(listener.accept().unwrap());
    // The container waits for a reader.
    let mut text = String::new();
    File::open(&fifo)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "through\n");
    let (stdout, stderr) = hull_e2e::read_output(&mut c.stdio);
    assert_eq!(stdout, "fifo\nsocket\ncharacter special file\n", "{stderr}");
    assert_eq!(c.wait(), 0, "{stderr}");
    // What was put under them in the image is an empty file each.
    for name in ["fifo", "socket", "null"] {
        let found = fs::symlink_metadata(c.upper().join("b").join(name)).unwrap();
        assert!(found.is_file() && !found.file_type().is_fifo(), "{name}");
        assert_eq!(found.permissions().mode() & 0o777, 0o644, "{name}");
    }
}

#[test]
fn directory_on_a_file_and_file_on_a_directory_are_refused() {
    let lab = Lab::new();
    let dir = lab.dir().join("dir");
    fs::create_dir(&dir).unwrap();
    let file = put(lab.dir(), "file", "");
    for (source, destination) in [(&dir, "/etc/passwd"), (&file, "/etc")] {
        let c = lab.container(&script("true").mount("bind", source, destination, &["rbind"]));
        let error = c.try_create().unwrap_err();
        let parts = [source.to_str().unwrap(), destination, "directory"];
        is_one_clear_line(error.message(), &parts);
        c.reconfigure(&Spec::new(["sh", "-c", "exit 4"]));
        c.run();
        assert_eq!(c.wait(), 4);
    }
}
