//! The options of Create: every type that containerd's clients and its CRI plugin send to a runtime of any
//! name, and the effect of each option.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;

use containerd_shim_protos::shim::oci;
use hull_client::{Any, Code};
use hull_e2e::{Container, Lab, RpcError, Spec, block, is_one_clear_line};
use protobuf::{Message as _, MessageField};

const RUNC: &str = "containerd.runc.v1.Options";
const RUNTIME: &str = "runtimeoptions.v1.Options";

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

fn any(type_url: &str, value: Vec<u8>) -> Any {
    Any {
        type_url: type_url.to_owned(),
        value,
        ..Any::default()
    }
}

fn runc(options: &oci::Options) -> Any {
    any(RUNC, options.write_to_bytes().unwrap())
}

/// `runtimeoptions.v1.Options`: the file in field 2, the table in field 3.
fn runtime(type_url: &str, path: &str, table: &str) -> Any {
    let field = |number: u8, text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 128);
        [&[number << 3 | 2, length], text.as_bytes()].concat()
    };
    any(type_url, [field(2, path), field(3, table)].concat())
}

fn create(c: &Container<'_>, options: Option<Any>) -> Result<u32, RpcError> {
    let mut request = c.create_request();
    request.options = MessageField::from(options);
    block(c.task.create(&request))
}

#[track_caller]
fn refuses(lab: &Lab, options: Any, parts: &[&str]) {
    let c = lab.container(&sleeper());
    let error = create(&c, Some(options)).unwrap_err();
    assert_eq!(error.code(), Some(Code::INVALID_ARGUMENT), "{error:?}");
    is_one_clear_line(error.message(), parts);
    // The id is free again.
    create(&c, None).unwrap();
}

#[test]
fn options_of_every_type_are_taken() {
    let lab = Lab::new();
    let other = oci::Options {
        criu_image_path: "/images".to_owned(),
        criu_work_path: "/work".to_owned(),
        task_api_address: "unix:///sandbox".to_owned(),
        task_api_version: 3,
        ..oci::Options::default()
    };
    let mut all = vec![
        None,
        Some(Any::default()),
        Some(any("x.y.Unknown", Vec::new())),
        Some(any("containerd.linux.runc.CreateOptions", Vec::new())),
    ];
    for prefix in ["", "types.containerd.io/", "type.googleapis.com/"] {
        let named = |name: &str| format!("{prefix}{name}");
        all.push(Some(any(&named(RUNC), other.write_to_bytes().unwrap())));
        for name in [RUNTIME, "containerd.runtimeoptions.v1.Options"] {
            all.push(Some(runtime(&named(name), "/etc/some/config.toml", "")));
            all.push(Some(runtime(
                &named(name),
                "",
                "CriuPath = ''\nSystemdCgroup = false\n",
            )));
        }
    }
    let c = lab.container(&sleeper());
    for options in all {
        create(&c, options.clone()).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        c.delete().unwrap();
    }
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let lab = Lab::new();
    let binary = oci::Options {
        binary_name: "no-runc".to_owned(),
        ..oci::Options::default()
    };
    refuses(&lab, runc(&binary), &["binary_name", "\"no-runc\""]);
    let table = "BinaryName = 'no-runc'";
    refuses(&lab, runtime(RUNTIME, "", table), &["\"no-runc\""]);
    let table = "SystemdCgroup = 7";
    refuses(&lab, runtime(RUNTIME, "", table), &["SystemdCgroup = 7"]);
    let relative = oci::Options {
        root: "relative".to_owned(),
        ..oci::Options::default()
    };
    refuses(&lab, runc(&relative), &["root", "\"relative\""]);
    refuses(&lab, any("x.y.Unknown", vec![8, 1]), &["\"x.y.Unknown\""]);
    refuses(&lab, any(RUNC, vec![0xff]), &[RUNC]);
    let systemd = oci::Options {
        systemd_cgroup: true,
        ..oci::Options::default()
    };
    let shape = ["slice:prefix:name", "systemd_cgroup"];
    refuses(&lab, runc(&systemd), &shape);
    let table = "SystemdCgroup = true\n";
    refuses(&lab, runtime(RUNTIME, "", table), &shape);
}

/// What a program of user 1000 finds as its output, and can open again.
fn owner_of_output(c: &mut Container<'_>) -> String {
    let text = "stat -Lc %u:%g /dev/stdout; stat -Lc %u:%g /dev/stderr; echo again >/dev/stdout";
    let exec = c.spec.process(["sh", "-c", text]);
    let mut stdio = c.add_exec_with("e", &exec, hull_e2e::Streams::OUTPUT);
    c.try_start("e").unwrap();
    let (stdout, stderr) = hull_e2e::read_output(&mut stdio);
    assert_eq!((c.wait_exec("e"), stderr.as_str()), (0, ""), "{stdout}");
    stdout
}

#[test]
fn streams_belong_to_whom_the_options_name() {
    let lab = Lab::new();
    let owner = oci::Options {
        io_uid: 1000,
        io_gid: 1001,
        ..oci::Options::default()
    };
    let table = runtime(RUNTIME, "", "IoGid = 1001\nIoUid = 1000\n");
    for options in [runc(&owner), table] {
        let text = "stat -Lc %u:%g /dev/stdout; echo again >/dev/stdout; exec sleep 600";
        let spec = Spec::new(["sh", "-c", text]).user(1000, 1000);
        let mut c = lab.container(&spec);
        create(&c, Some(options)).unwrap();
        c.start();
        assert_eq!(c.read_until("again\n"), "1000:1001\nagain\n");
        let seen = owner_of_output(&mut c);
        assert_eq!(seen, "1000:1001\n1000:1001\nagain\n");
    }
}

#[test]
fn root_has_a_directory_of_the_container_while_it_exists() {
    let lab = Lab::new();
    let root = lab.dir().join("state");
    let options = oci::Options {
        root: root.display().to_string(),
        ..oci::Options::default()
    };
    let of = |c: &Container<'_>| root.join(lab.tag()).join(&c.id);
    let c = lab.container(&sleeper());
    create(&c, Some(runc(&options))).unwrap();
    assert!(of(&c).is_dir());
    c.start();
    c.kill_and_wait();
    c.delete().unwrap();
    assert!(!of(&c).exists());
    // A Create that fails leaves none, and neither does one whose daemon dies.
    c.reconfigure(&Spec::new(["/no/such/program"]));
    create(&c, Some(runc(&options))).unwrap_err();
    assert!(!of(&c).exists());
    let killed = lab.container(&sleeper());
    create(&killed, Some(runc(&options))).unwrap();
    lab.kill_daemon(killed.shim_pid());
    killed.wait_for_daemon();
    assert!(of(&killed).is_dir());
    lab.binary()
        .delete(&killed.id, killed.bundle.path())
        .unwrap();
    assert!(!of(&killed).exists());
    // One that cannot be made.
    fs::write(lab.dir().join("file"), "").unwrap();
    let impossible = oci::Options {
        root: lab.dir().join("file").display().to_string(),
        ..oci::Options::default()
    };
    let c = lab.container(&sleeper());
    let error = create(&c, Some(runc(&impossible))).unwrap_err();
    is_one_clear_line(error.message(), &["make directory", "/file/"]);
    create(&c, None).unwrap();
}

#[test]
fn session_keyring_is_new_unless_the_options_say_otherwise() {
    let lab = Lab::new();
    for no_new_keyring in [false, true] {
        let options = oci::Options {
            no_new_keyring,
            ..oci::Options::default()
        };
        let seen = sleeper().set("/linux/maskedPaths", Vec::<String>::new());
        let c = lab.container(&seen);
        create(&c, Some(runc(&options))).unwrap();
        c.start();
        let keys = c.exec("e", ["cat", "/proc/keys"]).stdout;
        let own = keys.contains(&format!("_ses.{}", c.id));
        assert_eq!(own, !no_new_keyring, "{keys}");
    }
}
