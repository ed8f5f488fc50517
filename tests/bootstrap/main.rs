//! The real binary, called as each version of containerd calls it. See tests/fixtures/README.md.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is test code"
)]

mod protoc;
mod replay;
mod scene;

use scene::{Call, DEFAULT_SOCKET_DIR, Scene, end};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Output;

/// A failure as containerd can show it: nothing on standard output, one line on standard error.
fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.trim_end().lines().count(), 1, "{text:?}");
    text
}

#[test]
fn the_daemon_is_apart_and_says_where_it_is() {
    let mut scene = Scene::new();
    let socket = scene.socket(Path::new(DEFAULT_SOCKET_DIR), "c1");
    let address = scene.start("c1");
    assert_eq!(address, format!("unix://{}", socket.display()));
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    let file = scene.dir().join("bundles/c1/address");
    assert_eq!(fs::read_to_string(&file).unwrap(), address);
    UnixStream::connect(&socket).unwrap();

    let [daemon] = scene.daemons()[..] else {
        panic!("{:?}", scene.daemons())
    };
    let proc = |name: &str| Path::new("/proc").join(daemon.to_string()).join(name);
    // This process stands for containerd.
    let score = |path: &Path| {
        fs::read_to_string(path)
            .unwrap()
            .trim()
            .parse::<i32>()
            .unwrap()
    };
    let ours = score(Path::new("/proc/self/oom_score_adj"));
    assert_eq!(score(&proc("oom_score_adj")), (ours + 1).min(1000));
    let stat = fs::read_to_string(proc("stat")).unwrap();
    let group = stat
        .rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .nth(2)
        .unwrap()
        .to_owned();
    assert_eq!(group, daemon.to_string(), "a process group of its own");
    assert_eq!(
        fs::read_link(proc("cwd")).unwrap(),
        scene.dir().join("bundles/c1")
    );
    let exe = fs::read_link(proc("exe")).unwrap();
    let installed = Path::new(env!("CARGO_BIN_EXE_containerd-shim-hull-v1"));
    assert_ne!(
        (fs::metadata(proc("exe")).unwrap().dev(), exe.as_path()),
        (fs::metadata(installed).unwrap().dev(), installed),
        "it runs from the file on the host"
    );
}

#[test]
fn a_terminated_daemon_takes_its_socket_with_it() {
    let mut scene = Scene::new();
    let socket = scene.socket(Path::new(DEFAULT_SOCKET_DIR), "c1");
    scene.start("c1");
    for daemon in scene.daemons() {
        end(daemon, 15);
    }
    assert!(!socket.exists());
}

#[test]
fn containers_of_one_group_share_a_daemon() {
    let mut scene = Scene::new();
    let socket = scene.socket(Path::new(DEFAULT_SOCKET_DIR), "pod");
    for id in ["pod", "app1", "app2"] {
        let bundle = scene.bundle(id, r#"{"io.kubernetes.cri.sandbox-id": "pod"}"#);
        let address = scene.start(id);
        assert_eq!(address, format!("unix://{}", socket.display()));
        assert_eq!(fs::read_to_string(bundle.join("address")).unwrap(), address);
    }
    assert_eq!(scene.daemons().len(), 1);
}

#[test]
fn of_many_starts_at_once_one_makes_the_daemon() {
    let mut scene = Scene::new();
    let socket = scene.socket(Path::new(DEFAULT_SOCKET_DIR), "pod");
    // A stale socket makes the race for unlink and bind possible at all.
    fs::create_dir_all(DEFAULT_SOCKET_DIR).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    let ids: Vec<String> = (0..8).map(|n| format!("app{n}")).collect();
    for id in &ids {
        scene.bundle(id, r#"{"io.containerd.runc.v2.group": "pod"}"#);
    }
    let scene = &scene;
    std::thread::scope(|scope| {
        for id in &ids {
            scope.spawn(move || scene.start(id));
        }
    });
    assert_eq!(scene.daemons().len(), 1);
    UnixStream::connect(&socket).unwrap();
}

#[test]
fn a_killed_daemon_is_replaced() {
    let mut scene = Scene::new();
    let socket = scene.socket(Path::new(DEFAULT_SOCKET_DIR), "c1");
    scene.start("c1");
    let [first] = scene.daemons()[..] else {
        panic!("{:?}", scene.daemons())
    };
    end(first, 9);
    assert!(socket.exists() && UnixStream::connect(&socket).is_err());
    scene.start("c1");
    let [second] = scene.daemons()[..] else {
        panic!("{:?}", scene.daemons())
    };
    assert_ne!(first, second);
    UnixStream::connect(&socket).unwrap();
}

#[test]
fn a_failed_start_is_one_line_and_leaves_nothing() {
    let mut scene = Scene::new();
    let socket = scene.socket(Path::new(DEFAULT_SOCKET_DIR), "c1");
    let any = |kind: &str, options: &str| {
        let value = protoc::escape(&protoc::encode("RuncOptions", options));
        protoc::encode("Any", &format!("type_url: \"{kind}\" value: \"{value}\""))
    };
    for (stdin, text) in [
        (any("a.B", "io_uid: 1"), "\"a.B\""),
        (
            any("containerd.runc.v1.Options", "binary_name: \"no-runc\""),
            "\"no-runc\"",
        ),
        (
            any("containerd.runc.v1.Options", "shim_cgroup: \"/none/such\""),
            "\"/none/such\"",
        ),
        (b"{\"not\": protobuf".to_vec(), "standard input"),
    ] {
        let line = refusal(&scene.action("c1", "start", &stdin));
        assert!(line.contains(text), "{line}");
    }
    fs::write(scene.dir().join("bundles/c1/config.json"), "{").unwrap();
    let line = refusal(&scene.action("c1", "start", b""));
    assert!(line.contains("config.json"), "{line}");
    assert!(!socket.exists());
    assert!(!scene.dir().join("bundles/c1/address").exists());
    assert!(scene.daemons().is_empty());
}

#[test]
fn wrong_arguments_are_named() {
    let scene = Scene::new();
    for (args, text) in [
        (["-id", "c1", "start"].as_slice(), "-namespace"),
        (&["-namespace", "default", "start"], "-id"),
        (
            &["-namespace", "default", "-id", "c1", "-nope", "start"],
            "-nope",
        ),
        (&["-namespace", "default", "-id", "c1", "frob"], "frob"),
        (&[], "no action"),
    ] {
        let line = refusal(&scene.call(
            "c1",
            &Call {
                args,
                env: &[],
                stdin: b"",
            },
        ));
        assert!(line.contains(text), "{line}");
    }
}

#[test]
fn version_and_description() {
    let scene = Scene::new();
    let call = |args| {
        scene.call(
            "c1",
            &Call {
                args,
                env: &[],
                stdin: b"",
            },
        )
    };
    let version = call(&["-v"]);
    assert!(version.status.success());
    assert!(
        String::from_utf8(version.stdout)
            .unwrap()
            .contains(env!("CARGO_PKG_VERSION"))
    );
    let info = call(&["-info"]);
    assert!(info.status.success() && info.stderr.is_empty(), "{info:?}");
    let text = protoc::decode("RuntimeInfo", &info.stdout);
    assert!(
        text.starts_with("name: \"io.containerd.hull.v1\"\n"),
        "{text}"
    );
    assert!(text.contains(
        "type_url: \"types.containerd.io/opencontainers/runtime-spec/1/features/Features\""
    ));
    assert!(text.contains("\\\"rro\\\""), "{text}");
}

#[test]
fn delete_reports_and_leaves_a_living_daemon_alone() {
    let mut scene = Scene::new();
    let socket = scene.socket(Path::new(DEFAULT_SOCKET_DIR), "c1");
    scene.start("c1");
    let deleted = |scene: &Scene| {
        let output = scene.action("c1", "delete", b"");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        let text = protoc::decode("DeleteResponse", &output.stdout);
        assert!(
            text.contains("exit_status: 137\nexited_at {\n  seconds: 1"),
            "{text}"
        );
    };
    deleted(&scene);
    UnixStream::connect(&socket).unwrap();
    let [daemon] = scene.daemons()[..] else {
        panic!("{:?}", scene.daemons())
    };
    end(daemon, 9);
    deleted(&scene);
    assert!(!socket.exists(), "the socket of a dead daemon stays");
    deleted(&scene);
}

#[test]
fn the_daemon_is_in_the_cgroup_that_was_asked_for() {
    let mut scene = Scene::new();
    scene.socket(Path::new(DEFAULT_SOCKET_DIR), "c1");
    let name = format!("/hull-bootstrap-{}", std::process::id());
    let paths = hull_cgroup::Layout::detect()
        .unwrap()
        .resolve(&name)
        .unwrap();
    let v1 = paths.v1.iter().map(|v1| v1.path.clone());
    let dir = v1.chain(paths.unified.clone()).next().unwrap();
    fs::create_dir(&dir).unwrap();
    let options = protoc::escape(&protoc::encode(
        "RuncOptions",
        &format!("shim_cgroup: \"{name}\""),
    ));
    let any = format!("type_url: \"containerd.runc.v1.Options\" value: \"{options}\"");
    let output = scene.action("c1", "start", &protoc::encode("Any", &any));
    let inside = scene.daemons().first().map(|daemon| {
        fs::read_to_string(format!("/proc/{daemon}/cgroup"))
            .unwrap()
            .contains(&name)
    });
    drop(scene);
    fs::remove_dir(&dir).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(inside, Some(true));
}
