//! The configuration of a containerd that serves CRI: what a node of these tests needs, and hull as
//! `deploy/containerd` has it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::containerd::{Release, UNUSED};
use crate::rootfs::Image;

/// For containerd 1.6 and 1.7.
pub const HULL_V2: &str = include_str!("../../../../deploy/containerd/hull-v2.toml");
/// For containerd 2.x.
pub const HULL_V3: &str = include_str!("../../../../deploy/containerd/hull-v3.toml");

/// The handler whose pods have no pause container.
pub(super) const SANDBOX_HANDLER: &str = "hull-sandbox";

/// Where Debian has the plugins of `containernetworking-plugins`.
const NETWORK_PLUGINS: &str = "/usr/lib/cni";

/// Writes `config.toml` and what it refers to.
pub(crate) fn write(dir: &Path, release: Release) {
    assert!(
        Path::new(NETWORK_PLUGINS).join("bridge").exists(),
        "{NETWORK_PLUGINS}/bridge is missing: run make deps"
    );
    let networks = dir.join("cni");
    fs::create_dir_all(&networks).unwrap();
    fs::write(networks.join("10-hull.conflist"), network(dir)).unwrap();
    let text = match release {
        Release::Distribution => first(dir),
        Release::Newest => {
            let hull = dir.join("conf.d");
            fs::create_dir_all(&hull).unwrap();
            fs::write(hull.join("hull.toml"), HULL_V3).unwrap();
            fs::write(hull.join("sandbox.toml"), sandboxes()).unwrap();
            newest(dir)
        }
    };
    fs::write(dir.join("config.toml"), text).unwrap();
}

/// The table of hull a second time, with the lines for pods without a pause container.
fn sandboxes() -> String {
    let table = HULL_V3.replace(
        "containerd.runtimes.hull]",
        &format!("containerd.runtimes.{SANDBOX_HANDLER}]"),
    );
    let text = table
        .replace("# sandboxer =", "sandboxer =")
        .replace("# disable_pause", "disable_pause");
    assert_eq!(text.matches("\n  sandboxer = \"shim\"").count(), 1);
    text
}

/// One bridge for all pods, and no rules of a firewall.
fn network(dir: &Path) -> String {
    let bridge = json!({
        "type": "bridge",
        "bridge": "hull0",
        "isGateway": true,
        "ipam": {
            "type": "host-local",
            "dataDir": dir.join("addresses"),
            "ranges": [[{ "subnet": "10.88.0.0/16" }]],
            "routes": [{ "dst": "0.0.0.0/0" }],
        },
    });
    json!({ "cniVersion": "0.4.0", "name": "hull", "plugins": [bridge] }).to_string()
}

/// What both releases read alike.
fn common(dir: &Path, version: u32, imports: &str) -> String {
    let dir = dir.display();
    let mut text = String::new();
    writeln!(text, "version = {version}").unwrap();
    writeln!(text, "root = \"{dir}/root\"\nstate = \"{dir}/state\"").unwrap();
    writeln!(text, "{imports}disabled_plugins = {UNUSED:?}").unwrap();
    writeln!(text, "[grpc]\naddress = \"{dir}/c.sock\"").unwrap();
    writeln!(text, "[ttrpc]\naddress = \"{dir}/c.sock.ttrpc\"").unwrap();
    text
}

/// The part of CRI that makes containers. Not every host lets containerd lower an OOM score, and not every
/// one has huge pages.
const RUNTIME: &str = "restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
tolerate_missing_hugetlb_controller = true
stream_server_address = \"127.0.0.1\"
";

fn first(dir: &Path) -> String {
    let mut text = common(dir, 2, "");
    let (pause, networks) = (Image::Pause.name(), dir.join("cni"));
    writeln!(text, "[plugins.\"io.containerd.grpc.v1.cri\"]").unwrap();
    writeln!(text, "sandbox_image = {pause:?}\n{RUNTIME}").unwrap();
    writeln!(text, "[plugins.\"io.containerd.grpc.v1.cri\".cni]").unwrap();
    writeln!(
        text,
        "bin_dir = {NETWORK_PLUGINS:?}\nconf_dir = {networks:?}"
    )
    .unwrap();
    // Its tables are copied into the main file, as it says itself.
    text + &HULL_V2.replace("version = 2\n", "")
}

fn newest(dir: &Path) -> String {
    let imports = format!("imports = [\"{}/conf.d/*.toml\"]\n", dir.display());
    let mut text = common(dir, 3, &imports);
    let (pause, networks) = (Image::Pause.name(), dir.join("cni"));
    let runtime = RUNTIME.replace("stream_server_address = \"127.0.0.1\"\n", "");
    // It would make a socket for everybody in /var/run.
    writeln!(
        text,
        "[plugins.\"io.containerd.nri.v1.nri\"]\ndisable = true"
    )
    .unwrap();
    writeln!(
        text,
        "[plugins.\"io.containerd.cri.v1.images\".pinned_images]"
    )
    .unwrap();
    writeln!(text, "sandbox = {pause:?}").unwrap();
    writeln!(
        text,
        "[plugins.\"io.containerd.cri.v1.runtime\"]\n{runtime}"
    )
    .unwrap();
    writeln!(text, "[plugins.\"io.containerd.cri.v1.runtime\".cni]").unwrap();
    writeln!(
        text,
        "bin_dirs = [{NETWORK_PLUGINS:?}]\nconf_dir = {networks:?}"
    )
    .unwrap();
    text
}
