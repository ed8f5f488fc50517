//! Controllers in hierarchies of cgroup v1 that few hosts mount: `net_cls` and `net_prio`, which v2
//! does not have, and `rdma` and `hugetlb`. These tests mount them, and the kernel may keep them for
//! the whole machine until it ends: `hull-vm legacy` boots one for them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a panic is how a test fails"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use containerd_shim_protos::cgroups::metrics::Metrics;
use hull_e2e::time::look_until;
use hull_e2e::{Container, Lab, Spec, block, eventually, is_one_clear_line, limit};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use protobuf::Message;
use serde_json::{Value, json};

/// The unified tree of the machine.
const UNIFIED: &str = "/sys/fs/cgroup";

/// One test at a time: there is one machine.
static MACHINE: Mutex<()> = Mutex::new(());

/// A mounted v1 hierarchy. Dropping it unmounts it.
struct Legacy {
    dir: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Legacy {
    /// Mounts a hierarchy with these controllers, taken out of the unified tree where they are there.
    fn mount(controllers: &str) -> Self {
        let alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = Path::new("/run").join(format!("legacy-{controllers}"));
        fs::create_dir_all(&dir).unwrap();
        let control = Path::new(UNIFIED).join("cgroup.subtree_control");
        for name in controllers.split(',') {
            let enabled = fs::read_to_string(&control).unwrap();
            if enabled.split_whitespace().any(|other| other == name) {
                fs::write(&control, format!("-{name}")).unwrap();
            }
        }
        let none = MsFlags::empty();
        // Groups that are gone hold a controller for a while.
        eventually("the hierarchy can be mounted", || {
            mount(
                Some("cgroup"),
                &dir,
                Some("cgroup"),
                none,
                Some(controllers),
            )
            .ok()
        });
        Self { dir, _alone: alone }
    }

    fn read(&self, c: &Container<'_>, file: &str) -> String {
        let path = self.dir.join(c.cgroup().trim_start_matches('/')).join(file);
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim()
            .to_owned()
    }

    fn has(&self, c: &Container<'_>) -> bool {
        self.dir.join(c.cgroup().trim_start_matches('/')).exists()
    }
}

impl Drop for Legacy {
    fn drop(&mut self) {
        // A hierarchy ends when it is mounted nowhere and has no groups.
        let gone = look_until(limit(), || umount2(&self.dir, MntFlags::empty()).ok());
        drop(fs::remove_dir(&self.dir));
        let is_gone = gone.is_some() || std::thread::panicking();
        assert!(is_gone, "{} cannot be unmounted", self.dir.display());
    }
}

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

fn line_of(text: &str, name: &str) -> Option<String> {
    let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
    text.lines().find_map(value)
}

#[test]
fn class_and_priorities_of_packets() {
    let legacy = Legacy::mount("net_cls,net_prio");
    let lab = Lab::new();
    let network = json!({
        "classID": 0x10_0001, "priorities": [{ "name": "lo", "priority": 5 }],
    });
    let c = lab.container(&sleeper().resource("network", network));
    let pid = c.run();
    assert_eq!(legacy.read(&c, "net_cls.classid"), "1048577");
    let priority = || line_of(&legacy.read(&c, "net_prio.ifpriomap"), "lo");
    assert_eq!(priority().as_deref(), Some("5"));
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(
        groups.contains(&format!("net_cls,net_prio:{}\n", c.cgroup())),
        "{groups}"
    );
    let update = |network: Value| block(c.task.update(&c.id, &json!({ "network": network })));
    // 0 leaves the class, and takes a priority away.
    update(json!({ "classID": 0, "priorities": [{ "name": "lo", "priority": 0 }] })).unwrap();
    assert_eq!(legacy.read(&c, "net_cls.classid"), "1048577");
    assert_eq!(priority().as_deref(), Some("0"));
    update(json!({ "classID": 7, "priorities": [{ "name": "lo", "priority": 9 }] })).unwrap();
    assert_eq!(legacy.read(&c, "net_cls.classid"), "7");
    assert_eq!(priority().as_deref(), Some("9"));
    let error = update(json!({ "priorities": [{ "name": "eth99", "priority": 1 }] })).unwrap_err();
    is_one_clear_line(
        error.message(),
        &["eth99 1", "net_prio.ifpriomap", "no such device"],
    );
    c.kill_and_wait();
    c.delete().unwrap();
    assert!(!legacy.has(&c));
    drop(c);
    let wrong = json!({ "priorities": [{ "name": "eth99", "priority": 1 }] });
    let c = lab.container(&sleeper().resource("network", wrong));
    let error = c.try_create().unwrap_err();
    is_one_clear_line(error.message(), &["eth99 1", "no such device"]);
    assert!(!legacy.has(&c));
}

/// No RDMA device is in this machine: a limit comes as far as the kernel's answer.
#[test]
fn rdma_device_that_is_none_is_named() {
    let legacy = Legacy::mount("rdma");
    let lab = Lab::new();
    let limit = json!({ "mlx9_9": { "hcaHandles": 3, "hcaObjects": 10_000 } });
    let c = lab.container(&sleeper().resource("rdma", limit.clone()));
    let error = c.try_create().unwrap_err();
    is_one_clear_line(
        error.message(),
        &[
            "mlx9_9 hca_handle=3 hca_object=10000",
            "rdma.max",
            "no such device",
        ],
    );
    assert!(!legacy.has(&c));
    c.reconfigure(&sleeper().resource("rdma", json!({})));
    c.run();
    assert_eq!(legacy.read(&c, "rdma.max"), "");
    let error = block(c.task.update(&c.id, &json!({ "rdma": limit }))).unwrap_err();
    is_one_clear_line(error.message(), &["mlx9_9", "no such device"]);
    let stats = block(c.task.stats(&c.id)).unwrap();
    assert_eq!(stats.type_url, "io.containerd.cgroups.v1.Metrics");
    let metrics = Metrics::parse_from_bytes(&stats.value).unwrap();
    let rdma = metrics.rdma.as_ref().expect("the controller is there");
    assert!(rdma.current.is_empty() && rdma.limit.is_empty());
}

#[test]
fn huge_pages_are_limited_and_counted() {
    let legacy = Legacy::mount("hugetlb");
    let lab = Lab::new();
    let limit = |bytes: u64| json!([{ "pageSize": "2MB", "limit": bytes }]);
    let c = lab.container(&sleeper().resource("hugepageLimits", limit(4 << 20)));
    c.run();
    let files = [
        "hugetlb.2MB.limit_in_bytes",
        "hugetlb.2MB.rsvd.limit_in_bytes",
    ];
    for file in files {
        assert_eq!(legacy.read(&c, file), "4194304");
    }
    let resources = json!({ "hugepageLimits": limit(2 << 20) });
    block(c.task.update(&c.id, &resources)).unwrap();
    for file in files {
        assert_eq!(legacy.read(&c, file), "2097152");
    }
    let stats = block(c.task.stats(&c.id)).unwrap();
    let metrics = Metrics::parse_from_bytes(&stats.value).unwrap();
    let page = metrics
        .hugetlb
        .iter()
        .find(|page| page.pagesize == "2MB")
        .unwrap();
    let of = |file: &str| legacy.read(&c, file).parse::<u64>().unwrap();
    assert_eq!(
        (page.usage, page.max, page.failcnt),
        (
            of("hugetlb.2MB.usage_in_bytes"),
            of("hugetlb.2MB.max_usage_in_bytes"),
            of("hugetlb.2MB.failcnt"),
        )
    );
}
