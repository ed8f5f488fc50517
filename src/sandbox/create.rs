//! CreateSandbox: from the pod's config to a holder that waits at the gate.

use super::{Known, SandboxService, files};
use crate::container;
use crate::daemon::Shared;
use crate::error::Error;
use crate::events::Io;
use crate::launch::{self, Pod, SandboxArgs};
use containerd_shim_protos::sandbox_api as api;
use hull_abi::{CgroupPaths, ContainerId, IdMaps, IdRange, Plan};
use hull_proto::cri::{IDMapping, NamespaceMode, PodSandboxConfig, UserNamespace};
use hull_proto::message_name;
use protobuf::well_known_types::any::Any;
use protobuf::{EnumOrUnknown, Message as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::oneshot;

const CONFIG: &str = "runtime.v1.PodSandboxConfig";

type Reply = oneshot::Sender<Result<(), Error>>;

/// Makes the sandbox and answers, if anybody waits for that.
pub(super) async fn run(service: &SandboxService, req: api::CreateSandboxRequest, reply: Reply) {
    let result = create(service, req, &reply).await;
    if result.is_err() {
        // A shutdown may have waited for the end of this.
        service.shared.container_removed();
    }
    // A caller that gave up needs no answer.
    drop(reply.send(result));
}

async fn create(
    service: &SandboxService,
    req: api::CreateSandboxRequest,
    reply: &Reply,
) -> Result<(), Error> {
    let shared = &service.shared;
    let args = sandbox_args(req)?;
    let id = args.id.clone();
    let parent_given = args.pod.cgroup_parent.trim_end_matches('/');
    let has_parent = !parent_given.is_empty();
    let reservation = shared.registry.reserve(&id)?;
    let created = launch::create_sandbox(shared, args).await?;
    if reply.is_closed() && (shared.leave.is_asked() || reservation.is_unwanted()) {
        // The caller has given up and cleaned up since; nobody would ever remove this sandbox.
        launch::discard(shared, created).await;
        return Err(Error::Unavailable(
            "nobody waits for it any more".to_owned(),
        ));
    }
    let known = Known {
        created_at: SystemTime::now(),
        pod_cgroup: has_parent.then(|| parent(shared, &created.plan)).flatten(),
    };
    service.lock().insert(id, known);
    reservation.fill(container::spawn(Arc::clone(shared), created, Io::default()));
    shared.rest.put_off();
    Ok(())
}

/// The cgroup above the holder's.
fn parent(shared: &Shared, plan: &Plan) -> Option<CgroupPaths> {
    let parent = Path::new(&plan.cgroups_path).parent()?;
    shared.layout.resolve(parent.to_str()?).ok()
}

fn sandbox_args(req: api::CreateSandboxRequest) -> Result<SandboxArgs, Error> {
    let id = ContainerId::parse(&req.sandbox_id).map_err(|e| Error::Invalid(e.to_string()))?;
    let bundle = PathBuf::from(&req.bundle_path);
    if !bundle.is_absolute() {
        return Err(Error::Invalid(format!(
            "bundle {:?} is not an absolute path",
            req.bundle_path
        )));
    }
    if !req.rootfs.is_empty() {
        return Err(Error::Invalid(
            "a sandbox of hull runs no image, but a root file system is given".to_owned(),
        ));
    }
    let pod = match config(req.options.as_ref())? {
        None => Pod::default(),
        Some(config) => {
            let files = files::of(&bundle, &id, &config);
            Pod {
                files,
                ..pod(config)?
            }
        }
    };
    Ok(SandboxArgs {
        id,
        bundle,
        netns: req.netns_path,
        pod,
    })
}

/// The options of a sandbox, if there are any.
fn config(options: Option<&Any>) -> Result<Option<PodSandboxConfig>, Error> {
    let Some(any) = options.filter(|any| !any.type_url.is_empty()) else {
        return Ok(None);
    };
    if message_name(&any.type_url) != CONFIG {
        return Err(Error::Invalid(format!(
            "options of type {:?} are unknown: expected {CONFIG}",
            any.type_url
        )));
    }
    PodSandboxConfig::parse_from_bytes(&any.value)
        .map(Some)
        .map_err(|e| Error::Invalid(format!("options of type {CONFIG}: {e}")))
}

fn pod(config: PodSandboxConfig) -> Result<Pod, Error> {
    let linux = config.linux.unwrap_or_default();
    let security = linux.security_context.unwrap_or_default();
    let namespaces = security.namespace_options.unwrap_or_default();
    let mut sysctls: Vec<(String, String)> = linux.sysctls.into_iter().collect();
    // Sorted, so that of several mistakes always the same one is reported.
    sysctls.sort();
    Ok(Pod {
        hostname: config.hostname,
        cgroup_parent: linux.cgroup_parent,
        host_network: is_node(namespaces.network),
        host_pid: is_node(namespaces.pid),
        host_ipc: is_node(namespaces.ipc),
        users: users(namespaces.userns_options.as_ref())?,
        sysctls,
        files: None,
    })
}

pub(super) fn is_node(mode: EnumOrUnknown<NamespaceMode>) -> bool {
    mode.enum_value() == Ok(NamespaceMode::NODE)
}

fn users(options: Option<&UserNamespace>) -> Result<Option<IdMaps>, Error> {
    let Some(options) = options else {
        return Ok(None);
    };
    match options.mode.enum_value() {
        Ok(NamespaceMode::NODE) => Ok(None),
        Ok(NamespaceMode::POD) => Ok(Some(IdMaps {
            uids: options.uids.iter().map(range).collect(),
            gids: options.gids.iter().map(range).collect(),
        })),
        Ok(NamespaceMode::CONTAINER | NamespaceMode::TARGET) | Err(_) => {
            Err(Error::Invalid(format!(
                "userns_options: mode {} is not supported",
                options.mode.value()
            )))
        }
    }
}

fn range(mapping: &IDMapping) -> IdRange {
    IdRange {
        container: mapping.container_id,
        host: mapping.host_id,
        size: mapping.length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: &[u8]) -> Any {
        Any {
            type_url: type_url.to_owned(),
            value: value.to_vec(),
            ..Any::default()
        }
    }

    /// Written out field by field from the definition in k8s.io/cri-api, so as not to test ours by itself.
    #[test]
    fn config_of_the_kubelet_is_understood() {
        // metadata {name: "n"}, hostname: "h", linux {cgroup_parent: "/p",
        // security_context {namespace_options {network: NODE pid: CONTAINER}}, sysctls {"a": "1"}}
        let bytes = b"\x0a\x03\x0a\x01n\x12\x01h\x42\x16\x0a\x02/p\x12\x06\x0a\x04\x08\x02\x10\x01\x1a\x08\x0a\x01a\x12\x03one";
        let any = any("type.googleapis.com/runtime.v1.PodSandboxConfig", bytes);
        let pod = pod(config(Some(&any)).unwrap().unwrap()).unwrap();
        assert_eq!(
            (pod.hostname.as_str(), pod.cgroup_parent.as_str()),
            ("h", "/p")
        );
        assert!(pod.host_network && !pod.host_pid && !pod.host_ipc);
        assert_eq!(pod.sysctls, [("a".to_owned(), "one".to_owned())]);
        assert_eq!(pod.users, None);
    }

    #[test]
    fn other_options_are_refused_by_name() {
        assert_eq!(config(None).unwrap(), None);
        assert_eq!(config(Some(&any("", b""))).unwrap(), None);
        for (type_url, value) in [("x.v1.Other", &b""[..]), (CONFIG, b"\xff")] {
            let error = config(Some(&any(type_url, value))).unwrap_err().line();
            assert!(error.contains(type_url), "{error}");
        }
    }

    #[test]
    fn user_namespaces_of_other_modes_are_refused() {
        let mut options = UserNamespace::default();
        assert!(users(None).unwrap().is_none());
        options.uids.push(IDMapping {
            host_id: 100_000,
            length: 65_536,
            ..IDMapping::default()
        });
        let maps = users(Some(&options)).unwrap().unwrap();
        assert_eq!(maps.uids.first().map(|range| range.host), Some(100_000));
        options.mode = EnumOrUnknown::new(NamespaceMode::NODE);
        assert!(users(Some(&options)).unwrap().is_none());
        options.mode = EnumOrUnknown::from_i32(7);
        assert!(users(Some(&options)).is_err());
    }
}
