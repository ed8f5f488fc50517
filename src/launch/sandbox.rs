//! Making the process that holds a pod's namespaces: a container like any other, but for its plan.

use super::{CreateArgs, Created, Place, invalid, make, text};
use crate::daemon::Shared;
use crate::error::Error;
use crate::events::Io;
use crate::options::Options;
use crate::trace::Recorder;
use hull_abi::{ContainerId, IdMaps, PodFiles};
use hull_plan::{PodInputs, PodNetwork, PodUsers};
use hull_sys::{Errno, ns};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

/// The holder is among the last to go when the host runs out of memory: with it goes the pod. The score
/// of containerd's pause containers.
const OOM_SCORE: i32 = -998;
const CAP_SYS_RESOURCE: u32 = 24;

/// What CreateSandbox asks for.
#[derive(Debug)]
pub(crate) struct SandboxArgs {
    pub(crate) id: ContainerId,
    pub(crate) bundle: PathBuf,
    /// File of the network namespace; empty for a new one.
    pub(crate) netns: String,
    pub(crate) pod: Pod,
}

/// What the pod asks for.
#[derive(Debug, Default)]
pub(crate) struct Pod {
    pub(crate) hostname: String,
    pub(crate) cgroup_parent: String,
    pub(crate) host_network: bool,
    pub(crate) host_pid: bool,
    pub(crate) host_ipc: bool,
    /// Maps of the pod's user namespace, if it has one.
    pub(crate) users: Option<IdMaps>,
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) files: Option<PodFiles>,
}

/// Makes the holder of a pod, which waits at the gate.
///
/// # Errors
/// The step that failed; nothing is left of it then.
pub(crate) async fn create_sandbox(shared: &Shared, args: SandboxArgs) -> Result<Created, Error> {
    let SandboxArgs {
        id,
        bundle,
        netns,
        pod,
    } = args;
    let network = match netns.as_str() {
        _ if pod.host_network => PodNetwork::Host,
        "" => PodNetwork::New,
        path => PodNetwork::Joined(path),
    };
    // Held until the new process is in it.
    let owner = match (&pod.users, network) {
        (Some(_), PodNetwork::Joined(path)) => Some(owner_of(path)?),
        (Some(_), PodNetwork::Host | PodNetwork::New) | (None, _) => None,
    };
    let pid = std::process::id();
    let owner_path = owner.map(|fd| (format!("/proc/{pid}/fd/{}", fd.as_raw_fd()), fd));
    let may_lower_score = shared.facts.grantable_capabilities & (1 << CAP_SYS_RESOURCE) != 0;
    let root = root_directory()?;
    let inputs = PodInputs {
        id: &id,
        namespace: &shared.namespace,
        bundle: text(&bundle)?,
        root: text(&root)?,
        hostname: &pod.hostname,
        cgroup_parent: &pod.cgroup_parent,
        network,
        host_pid: pod.host_pid,
        host_ipc: pod.host_ipc,
        users: pod.users.map(|maps| PodUsers {
            maps,
            path: owner_path.as_ref().map(|(path, _)| path.as_str()),
        }),
        sysctls: &pod.sysctls,
        oom_score_adj: may_lower_score.then_some(OOM_SCORE),
    };
    let plan = hull_plan::lower_pod(&inputs, &shared.facts).map_err(invalid)?;
    let place = Place {
        id: id.clone(),
        bundle: bundle.clone(),
        rootfs: root,
        rootfs_mounted: false,
        cgroup: shared
            .layout
            .place(&plan.cgroups_path, plan.scope.as_ref())?,
        keyring: Some(format!("_ses.{id}")),
        io_owner: (0, 0),
        state_copy: None,
        pod_files: pod.files,
        observed: None,
        compiling: std::sync::Arc::default(),
        layers: None,
        image_module: std::sync::Arc::default(),
    };
    let args = CreateArgs {
        id,
        bundle,
        mounts: Vec::new(),
        streams: Io::default(),
        options: Options::default(),
    };
    make(shared, args, (plan, place), Recorder::default()).await
}

/// An empty directory that anybody may enter, as whoever is root in a pod of users must.
fn root_directory() -> Result<PathBuf, Error> {
    let path = crate::start::empty_dir()?.with_file_name("pod-root");
    let made = match DirBuilder::new().mode(0o555).create(&path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        // Whatever the umask says.
        _ => fs::set_permissions(&path, Permissions::from_mode(0o555)),
    };
    made.map_err(|e| Error::host(format!("make directory {path:?}"), e))?;
    Ok(path)
}

/// The user namespace that a network namespace belongs to: whoever is to hold the one must be in the
/// other.
fn owner_of(netns: &str) -> Result<OwnedFd, Error> {
    let failed = |e: Errno| Error::host(format!("find the user namespace of {netns:?}"), e);
    // Not blocking: a FIFO in its place must not stop us.
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(netns)
        .map_err(|e| failed(hull_sys::fd::errno(&e)))?;
    ns::owner(&file).map_err(failed)
}
