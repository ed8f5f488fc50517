//! Wasm: from a module in the container to the runner that will run its compiled form.

use super::program::Module;
use crate::failure::{At, Blamed, because};
use crate::step;
use crate::sync::Sync;
use hull_abi::{Blame, FromInit, Process, RUNNER_FDS, SetupError, Step, ToInit, WasmRequest};
use hull_artifact::{Key, MAX_MODULE, NOTED_SIZE};
use hull_sys::cred::{self, ThreadCapabilities};
use hull_sys::{Errno, fd};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{FUSE_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, fstatfs};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

/// How many artifacts are tried before we give up: what is in the store, and what is made instead.
const ATTEMPTS: u32 = 3;

/// Everything that becoming a Wasm guest takes, all of it from the daemon.
#[derive(Debug)]
pub(super) struct Runner {
    binary: OwnedFd,
    config: OwnedFd,
    artifact: File,
    /// Where a server tells how it does.
    metrics: Option<OwnedFd>,
}

/// Tells the daemon which module it is and gets its compiled form, which is compiled first if it must
/// be. Nothing of the image is trusted with that: the artifact is one that hull's own compiler made
/// from exactly these bytes, and it is read through before it is used, unless that was done since it was
/// last changed.
pub(super) fn obtain(
    sync: &Sync,
    module: Module,
    home: Option<String>,
) -> Result<Runner, SetupError> {
    step::begin(Step::Artifact)?;
    let step = Step::Artifact;
    let Module {
        path: program,
        function,
        file,
    } = module;
    let action = format!("load the compiled form of {program:?}");
    let reference = if is_closed_at_once(&file) {
        None
    } else {
        let opened = open(
            program.as_str(),
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        Some(opened.at(step, || format!("open {program:?}"))?)
    };
    let is_large = file.metadata().is_ok_and(|meta| meta.len() >= NOTED_SIZE);
    if is_large && reference.is_none() {
        let request = WasmRequest::Module {
            program: program.clone(),
            function: function.clone(),
            home: home.clone(),
        };
        sync.send_fds(step, &FromInit::Wasm(request), &[file.as_fd()])?;
        if let Some(answer) = receive(sync)? {
            return good(sync, action, answer);
        }
    }
    let digest = match hull_artifact::digest(&file, MAX_MODULE).map_err(|e| fd::errno(&e)) {
        Err(Errno::EFBIG) => {
            let cause = format!("it is larger than {} MiB", MAX_MODULE >> 20);
            return Err(because(
                step,
                Blame::Image,
                format!("read {program:?}"),
                &cause,
            ));
        }
        other => other
            .at(step, || format!("read {program:?}"))
            .blame(Blame::Image)?,
    };
    let request = WasmRequest::Digested {
        program,
        function,
        digest: *digest.as_bytes(),
        home,
    };
    let handed = reference.as_ref().map_or(file.as_fd(), OwnedFd::as_fd);
    sync.send_fds(step, &FromInit::Wasm(request), &[handed])?;
    let answer = receive(sync)?.ok_or_else(|| super::out_of_order(step))?;
    good(sync, action, answer)
}

/// Whether nobody has to be asked to close a file that is open for reading. FUSE asks its server
/// (`FUSE_FLUSH`), which may be the container's own and never answer, and an overlay asks what is below it. The
/// daemon and the launcher close what they get, so of such files they get a descriptor that only refers to
/// the file (`O_PATH`).
fn is_closed_at_once(file: &File) -> bool {
    let Ok(kind) = fstatfs(file).map(|of| of.filesystem_type()) else {
        return false;
    };
    if kind != OVERLAYFS_SUPER_MAGIC {
        return kind != FUSE_SUPER_MAGIC;
    }
    let root = std::fs::metadata("/").map(|meta| meta.dev());
    root.is_ok_and(|root| fd::device(file) == Ok(root))
}

/// The same where the root has no such program: the image may be a module. The daemon asks containerd and ends
/// us with the error if it is none.
pub(super) fn obtain_of_image(
    sync: &Sync,
    error: SetupError,
    home: Option<String>,
) -> Result<Runner, SetupError> {
    let step = Step::Artifact;
    step::begin(step)?;
    let request = WasmRequest::Absent { error, home };
    sync.send(step, &FromInit::Wasm(request))?;
    let answer = receive(sync)?.ok_or_else(|| super::out_of_order(step))?;
    let action = "load the compiled form of the image".to_owned();
    good(sync, action, answer)
}

/// What the daemon gave.
struct Answer {
    runner: Runner,
    key: Key,
    /// The artifact need not be read through.
    checked: bool,
}

/// A runner whose artifact is good: another one is asked for as long as it is not.
fn good(sync: &Sync, action: String, mut answer: Answer) -> Result<Runner, SetupError> {
    let step = Step::Artifact;
    for left in (0..ATTEMPTS).rev() {
        let Answer {
            runner,
            key,
            checked,
        } = answer;
        if checked {
            return Ok(runner);
        }
        let flaw = match hull_artifact::verify(&runner.artifact, &key) {
            Ok(()) => return Ok(runner),
            Err(flaw) => flaw.to_string(),
        };
        if left == 0 {
            return Err(because(step, Blame::Host, action, &flaw));
        }
        let request = WasmRequest::BadArtifact { flaw };
        sync.send(step, &FromInit::Wasm(request))?;
        answer = receive(sync)?.ok_or_else(|| super::out_of_order(step))?;
    }
    Err(because(step, Blame::Hull, action, "it was never tried"))
}

/// The answer to what we have told of the module; `None` when its digest is wanted.
fn receive(sync: &Sync) -> Result<Option<Answer>, SetupError> {
    let step = Step::Artifact;
    let Some((message, fds)) = sync.receive_fds(step)? else {
        hull_sys::process::exit_now(1);
    };
    if message == ToInit::Digest {
        return Ok(None);
    }
    let mut fds = fds.into_iter();
    let (ToInit::Runner { key, checked }, Some(binary), Some(config), Some(artifact)) =
        (message, fds.next(), fds.next(), fds.next())
    else {
        return Err(super::out_of_order(step));
    };
    let artifact = artifact.into();
    let runner = Runner {
        binary,
        config,
        artifact,
        metrics: fds.next(),
    };
    Ok(Some(Answer {
        runner,
        key: Key::from_bytes(key),
        checked,
    }))
}

/// Becomes the runner. Returns only if that fails.
///
/// Whatever the spec grants, a guest cannot use capabilities and execve cannot be reached by it: the
/// runner gets none. Its environment is ours alone, since its C library and allocator listen to it;
/// the guest's is in the config.
pub(super) fn execute(runner: &Runner, process: &Process) -> Result<(), SetupError> {
    let step = Step::Exec;
    cred::no_new_privileges().at(step, || "set no_new_privs".to_owned())?;
    match cred::limit_bounding_set(0) {
        // Without CAP_SETPCAP it stays; with no_new_privs nothing can be gained from it.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno).at(step, || "empty the bounding set".to_owned()),
    }
    cred::set_ambient(0).at(step, || "clear ambient capabilities".to_owned())?;
    cred::set_capabilities(ThreadCapabilities::default())
        .at(step, || "drop all capabilities".to_owned())?;
    let inherit = |file| fd::inherit(file).at(step, || "pass a descriptor on".to_owned());
    let (config, artifact) = (
        inherit(runner.config.as_fd())?,
        inherit(runner.artifact.as_fd())?,
    );
    let mut numbers = format!("{RUNNER_FDS}={config}:{artifact}");
    if let Some(metrics) = &runner.metrics {
        numbers = format!("{numbers}:{}", inherit(metrics.as_fd())?);
    }
    let env = [numbers];
    super::exec::by_descriptor(&runner.binary, "hull-wasm", &process.args, &env)
}
