//! Every call of the sandbox API, in every state.

use containerd_shim_protos::sandbox_api as api;
use hull_e2e::sandbox::{SERVICE, namespaces};
use hull_e2e::{
    Code, Lab, RpcError, Sandbox, block, eventually, is_one_clear_line, limit, procfs, time,
};
use hull_proto::cri::NamespaceMode;
use protobuf::{EnumOrUnknown, Message as _, MessageField};

/// Code and text of a refusal.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, RpcError>) -> (Code, String) {
    let RpcError::Status { code, message } = result.unwrap_err() else {
        unreachable!("the shim did not answer")
    };
    is_one_clear_line(&message, &[]);
    (code, message)
}

#[test]
fn a_sandbox_lives_from_create_to_shutdown() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    pod.try_create(&pod.create_request(&pod.config())).unwrap();
    let created = pod.status().unwrap();
    assert_eq!(created.state, "SANDBOX_NOTREADY");
    pod.ping().unwrap();

    let pid = pod.try_start().unwrap();
    assert_eq!(created.pid, pid);
    let status = pod.status().unwrap();
    assert_eq!(
        (
            status.sandbox_id.as_str(),
            status.state.as_str(),
            status.pid
        ),
        (pod.id.as_str(), "SANDBOX_READY", pid)
    );
    let info: serde_json::Value = serde_json::from_str(&status.info["info"]).unwrap();
    assert_eq!(info["pid"], pid);
    assert_eq!(info["processStatus"], "running");
    pod.ping().unwrap();
    let mut request = api::PlatformRequest::new();
    request.sandbox_id.clone_from(&pod.id);
    let platform: api::PlatformResponse = pod.call("Platform", &request).unwrap();
    assert_eq!(
        (
            platform.platform.os.as_str(),
            platform.platform.architecture.as_str()
        ),
        ("linux", "amd64")
    );
    let metrics = pod.metrics().unwrap().metrics;
    assert_eq!(metrics.id, pod.id);
    assert!(metrics.data.type_url.ends_with(".Metrics"), "{metrics:?}");

    let mut request = api::WaitSandboxRequest::new();
    request.sandbox_id.clone_from(&pod.id);
    let request = request.write_to_bytes().unwrap();
    let task = pod.task.clone();
    let waiting =
        time::handle().spawn(async move { task.raw(SERVICE, "WaitSandbox", request, None).await });
    for _ in 0..2 {
        pod.stop().unwrap();
    }
    let waited = time::within_limit("WaitSandbox", waiting).unwrap().unwrap();
    let waited = api::WaitSandboxResponse::parse_from_bytes(&waited).unwrap();
    assert_eq!(waited.exit_status, 137);
    assert!(procfs::has_ended(pid));
    let status = pod.status().unwrap();
    assert_eq!(status.state, "SANDBOX_NOTREADY");
    assert_eq!(status.exited_at, waited.exited_at);
    assert_eq!(pod.wait().unwrap(), waited);
    assert_eq!(refused(pod.ping()).0, Code::FAILED_PRECONDITION);
    assert_eq!(
        refused(pod.try_start()),
        (Code::UNKNOWN, "cannot start a stopped process".to_owned())
    );

    pod.shutdown().unwrap();
    pod.wait_for_daemon();
    // containerd publishes the events of sandboxes itself.
    assert_eq!(lab.events().all(), []);
}

/// After its restart containerd asks the task service of every shim, and takes a shim without processes for
/// a forgotten one.
#[test]
fn the_task_service_knows_the_sandbox() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    assert_eq!(block(pod.task.connect_task(&pod.id)).unwrap().task_pid, 0);
    let pid = pod.run(&pod.config());
    assert_eq!(block(pod.task.connect_task(&pod.id)).unwrap().task_pid, pid);
    let pids = block(pod.task.pids(&pod.id)).unwrap().processes;
    assert_eq!(pids.iter().map(|p| p.pid).collect::<Vec<_>>(), [pid]);
    block(pod.task.stats(&pod.id)).unwrap();
    let mut exec = containerd_shim_protos::api::ExecProcessRequest::new();
    exec.id.clone_from(&pod.id);
    exec.exec_id = "e1".to_owned();
    let (code, text) = refused(block(pod.task.exec(&exec)));
    assert_eq!(code, Code::FAILED_PRECONDITION);
    assert!(text.contains("is a sandbox"), "{text}");
    // A daemon with a sandbox stays, whoever has gone.
    block(pod.task.shutdown(&pod.id)).unwrap();
    pod.ping().unwrap();
    pod.stop().unwrap();
    assert_eq!(block(pod.task.pids(&pod.id)).unwrap().processes, []);
}

#[test]
fn what_is_not_there_is_not_found() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let wrong = |method: &str| {
        // Every request has the id as its first field.
        let mut request = api::StartSandboxRequest::new();
        request.sandbox_id.clone_from(&pod.id);
        refused(pod.call::<api::StartSandboxResponse>(method, &request))
    };
    for method in [
        "StartSandbox",
        "Platform",
        "StopSandbox",
        "WaitSandbox",
        "SandboxStatus",
        "PingSandbox",
        "SandboxMetrics",
    ] {
        let (code, text) = wrong(method);
        assert_eq!(code, Code::NOT_FOUND, "{method}: {text}");
        assert!(text.contains(&pod.id), "{method}: {text}");
    }
    assert_eq!(wrong("UpdateSandbox").0, Code::UNIMPLEMENTED);
    // What containerd asks for after a failed CreateSandbox.
    pod.shutdown().unwrap();
    pod.wait_for_daemon();
}

#[test]
fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    pod.with_cri();
    let good = pod.create_request(&pod.config());
    let with = |change: &dyn Fn(&mut api::CreateSandboxRequest)| {
        let mut request = good.clone();
        change(&mut request);
        refused(pod.try_create(&request))
    };
    let sysctl = |name: &str| {
        let mut config = pod.config();
        let linux = config.linux.mut_or_insert_default();
        linux.sysctls.insert(name.to_owned(), "1".to_owned());
        refused(pod.try_create(&pod.create_request(&config)))
    };
    let missing = lab.dir().join("no-such-netns").display().to_string();
    for ((code, text), expected, word) in [
        (
            with(&|r| r.sandbox_id = "../x".to_owned()),
            Code::INVALID_ARGUMENT,
            "../x",
        ),
        (
            with(&|r| r.bundle_path = "x".to_owned()),
            Code::INVALID_ARGUMENT,
            "absolute",
        ),
        (
            with(&|r| r.rootfs.push(containerd_shim_protos::api::Mount::new())),
            Code::INVALID_ARGUMENT,
            "root file system",
        ),
        (
            with(&|r| r.options.mut_or_insert_default().type_url = "x.Y".to_owned()),
            Code::INVALID_ARGUMENT,
            "x.Y",
        ),
        (
            with(&|r| r.netns_path.clone_from(&missing)),
            Code::UNKNOWN,
            missing.as_str(),
        ),
        (
            with(&|r| r.netns_path = "/etc/passwd".to_owned()),
            Code::UNKNOWN,
            "/etc/passwd",
        ),
        (
            sysctl("kernel.panic"),
            Code::INVALID_ARGUMENT,
            "kernel.panic",
        ),
        (sysctl("net.no_such_thing"), Code::UNKNOWN, "no_such_thing"),
    ] {
        assert_eq!(code, expected, "{text}");
        assert!(text.contains(word), "{text}");
        assert!(procfs::mounts_naming(lab.tag()).is_empty());
        assert!(hull_e2e::cgroup::directories_naming(&pod.cgroup()).is_empty());
        assert_eq!(refused(pod.status()).0, Code::NOT_FOUND);
    }
    pod.try_create(&good).unwrap();
    assert_eq!(refused(pod.try_create(&good)).0, Code::ALREADY_EXISTS);
    pod.try_start().unwrap();
    assert_eq!(
        refused(pod.try_start()),
        (Code::UNKNOWN, "cannot start a running process".to_owned())
    );
}

#[test]
fn a_sandbox_that_never_started_can_be_stopped() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    pod.try_create(&pod.create_request(&pod.config())).unwrap();
    let pid = pod.status().unwrap().pid;
    pod.stop().unwrap();
    assert!(procfs::has_ended(pid));
    assert_eq!(pod.wait().unwrap().exit_status, 137);
}

/// Other clients of containerd's sandbox service than CRI pass no config.
#[test]
fn a_sandbox_without_a_config_has_namespaces_of_its_own() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let mut request = pod.create_request(&pod.config());
    request.options = MessageField::none();
    pod.try_create(&request).unwrap();
    let pid = pod.try_start().unwrap();
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let of = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_ne!(of(pid), of(std::process::id()), "{kind}");
    }
}

#[test]
fn a_caller_that_gives_up_is_served_all_the_same() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let pid = pod.run(&pod.config());
    let mut request = api::StopSandboxRequest::new();
    request.sandbox_id.clone_from(&pod.id);
    let bytes = request.write_to_bytes().unwrap();
    let limit = limit() / 30_000;
    // Too short for an answer, or not: either way it is carried through.
    drop(block(pod.task.raw(
        SERVICE,
        "StopSandbox",
        bytes,
        Some(limit),
    )));
    eventually("the holder is gone", || {
        procfs::has_ended(pid).then_some(())
    });
}

#[test]
fn namespaces_of_the_host_are_left_as_they_are() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let mut config = pod.config();
    let options = namespaces(&mut config);
    options.network = EnumOrUnknown::new(NamespaceMode::NODE);
    options.pid = EnumOrUnknown::new(NamespaceMode::NODE);
    options.ipc = EnumOrUnknown::new(NamespaceMode::NODE);
    let pid = pod.run(&config);
    let of = |pid: u32, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    for kind in ["pid", "net", "ipc", "uts"] {
        assert_eq!(of(pid, kind), of(std::process::id(), kind), "{kind}");
    }
    assert_ne!(of(pid, "mnt"), of(std::process::id(), "mnt"));
}
