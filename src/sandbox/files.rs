//! Where containerd's CRI plugin looks for the files that the containers of a pod share: in its
//! directories of the pod, which lie beside those of the sandbox's bundle. It binds into a container what
//! it finds there, and nobody but a sandbox's shim could put it there.

use super::create::is_node;
use hull_abi::{ContainerId, PodFiles};
use hull_proto::cri::{DNSConfig, PodSandboxConfig};
use std::path::{Path, PathBuf};

/// containerd's plugins whose directories these are.
const CONTROLLER: &str = "io.containerd.sandbox.controller.v1.shim";
const CRI: &str = "io.containerd.grpc.v1.cri";
const SANDBOXES: &str = "sandboxes";

/// The files of a pod, unless its bundle is not one of containerd's or there is no CRI plugin: then nobody
/// would look for them.
pub(super) fn of(bundle: &Path, id: &ContainerId, config: &PodSandboxConfig) -> Option<PodFiles> {
    // Which the plugin makes when it starts; the other it makes when it needs it.
    let state = plugin_directory(bundle).filter(|state| state.is_dir())?;
    let root = plugin_directory(&std::fs::read_link(bundle.join("work")).ok()?)?;
    let utf8 = |path: PathBuf| path.into_os_string().into_string().ok();
    let security = config.linux.security_context.as_ref();
    let namespaces = security.and_then(|given| given.namespace_options.as_ref());
    let shm = state.join(SANDBOXES).join(id.as_str()).join("shm");
    // One that says nothing is none, as for containerd.
    let dns = config.dns_config.as_ref().map(resolv_conf);
    Some(PodFiles {
        directory: utf8(root.join(SANDBOXES).join(id.as_str()))?,
        shm: match namespaces {
            Some(given) if is_node(given.ipc) => None,
            Some(_) | None => Some(utf8(shm)?),
        },
        hostname: config.hostname.clone(),
        resolv_conf: dns.filter(|text| !text.is_empty()),
    })
}

/// The CRI plugin's directory beside `BASE/CONTROLLER/NAMESPACE/ID`.
fn plugin_directory(of_sandbox: &Path) -> Option<PathBuf> {
    let controller = of_sandbox.parent()?.parent()?;
    let base = controller.parent()?;
    controller.ends_with(CONTROLLER).then(|| base.join(CRI))
}

/// As containerd writes it for a pause container
/// ([resolv.conf(5)](https://man7.org/linux/man-pages/man5/resolv.conf.5.html)).
fn resolv_conf(dns: &DNSConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_go_where_the_plugin_looks_for_them() {
        let base = tempfile::tempdir().unwrap();
        let (state, root) = (base.path().join("state"), base.path().join("root"));
        let id = ContainerId::parse("s1").unwrap();
        let bundle = state.join(CONTROLLER).join("k8s.io/s1");
        let work = root.join(CONTROLLER).join("k8s.io/s1");
        fs::create_dir_all(&bundle).unwrap();
        symlink(&work, bundle.join("work")).unwrap();
        let config = PodSandboxConfig::default();
        assert_eq!(of(&bundle, &id, &config), None, "no plugin");
        fs::create_dir_all(state.join(CRI)).unwrap();
        let files = of(&bundle, &id, &config).unwrap();
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        assert_eq!(files.directory, text(root.join(CRI).join("sandboxes/s1")));
        let shm = text(state.join(CRI).join("sandboxes/s1/shm"));
        assert_eq!(files.shm, Some(shm));
        let elsewhere = state.join("elsewhere/k8s.io/s1");
        assert_eq!(of(&elsewhere, &id, &config), None);
    }

    #[test]
    fn resolv_conf_has_what_the_pod_asks_for() {
        let words = |given: &[&str]| given.iter().map(|&w| w.to_owned()).collect();
        let dns = DNSConfig {
            servers: words(&["10.0.0.1", "10.0.0.2"]),
            searches: words(&["a.local", "b.local"]),
            options: words(&["ndots:5"]),
            ..DNSConfig::default()
        };
        assert_eq!(
            resolv_conf(&dns),
            "search a.local b.local\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions ndots:5\n"
        );
        assert_eq!(resolv_conf(&DNSConfig::default()), "");
    }
}
