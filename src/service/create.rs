//! Create: the one request that there is no container for yet.

use crate::container;
use crate::daemon::Shared;
use crate::error::Error;
use crate::events::{Event, Io};
use crate::launch::{self, CreateArgs};
use crate::options;
use crate::turn;
use containerd_shim_protos::api;
use hull_abi::{ContainerId, HostMount};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Makes a container beside the handler, so that it is carried through whatever becomes of the
/// caller. Gives its init's pid.
///
/// # Errors
/// Why there is none; nothing is left of it then.
pub(super) async fn run(shared: &Arc<Shared>, req: api::CreateTaskRequest) -> Result<u32, Error> {
    let shared = Arc::clone(shared);
    let (reply, answer) = oneshot::channel();
    turn::spawn("create", async move {
        let result = create(&shared, req, &reply).await;
        if result.is_err() {
            // A shutdown may have waited for the end of this.
            shared.container_removed();
        }
        // A caller that gave up needs no answer.
        drop(reply.send(result));
    });
    answer
        .await
        .map_err(|_| Error::Unavailable("create ended without an answer".to_owned()))?
}

async fn create(
    shared: &Arc<Shared>,
    req: api::CreateTaskRequest,
    reply: &oneshot::Sender<Result<u32, Error>>,
) -> Result<u32, Error> {
    let args = create_args(&req)?;
    let reservation = shared.registry.reserve(&args.id)?;
    let streams = args.streams.clone();
    let created = launch::create(shared, args).await?;
    if reply.is_closed() && (shared.leave.is_asked() || reservation.is_unwanted()) {
        // The caller has given up and cleaned up since; nobody would ever delete this container.
        launch::discard(shared, created).await;
        return Err(Error::Unavailable(
            "nobody waits for it any more".to_owned(),
        ));
    }
    let pid = created.child.pid().unsigned_abs();
    log::info!("container {} created, init is process {pid}", req.id);
    shared.publisher.publish(Event::Create {
        id: req.id,
        bundle: req.bundle,
        rootfs: req.rootfs,
        io: streams.clone(),
        checkpoint: String::new(),
        pid,
    });
    crate::fault::point("create event");
    reservation.fill(container::spawn(Arc::clone(shared), created, streams));
    shared.rest.put_off();
    Ok(pid)
}

/// The answer to a failed Create. containerd takes the codes for "too late" and "not there" as news
/// about the shim or the task, so those arrive as UNKNOWN.
pub(super) fn failed(error: Error) -> ttrpc::Error {
    if matches!(error, Error::Deadline(_) | Error::Unavailable(_)) {
        return ttrpc::error::get_rpc_status(ttrpc::Code::UNKNOWN, error.line());
    }
    error.into()
}

fn create_args(req: &api::CreateTaskRequest) -> Result<CreateArgs, Error> {
    let id = ContainerId::parse(&req.id).map_err(|e| Error::Invalid(e.to_string()))?;
    if !req.checkpoint.is_empty() {
        return Err(Error::Invalid(
            "restoring from a checkpoint is not supported: hull has no CRIU support".to_owned(),
        ));
    }
    let bundle = PathBuf::from(&req.bundle);
    if !bundle.is_absolute() {
        return Err(Error::Invalid(format!(
            "bundle {:?} is not an absolute path",
            req.bundle
        )));
    }
    let mounts = req.rootfs.iter().map(|mount| HostMount {
        fstype: mount.type_.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
    });
    let streams = Io {
        stdin: req.stdin.clone(),
        stdout: req.stdout.clone(),
        stderr: req.stderr.clone(),
        terminal: req.terminal,
    };
    let options = options::parse(req.options.as_ref())?;
    Ok(CreateArgs {
        id,
        bundle,
        mounts: mounts.collect(),
        streams,
        options,
    })
}
