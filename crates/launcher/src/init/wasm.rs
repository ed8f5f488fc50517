//! Wasm: from a module in the container to the runner that will run its compiled form.

use crate::failure::{At, Blamed, because};
use crate::step;
use crate::sync::Sync;
use hull_abi::{Blame, FromInit, Process, RUNNER_FDS, SetupError, Step, ToInit};
use hull_artifact::Key;
use hull_sys::cred::{self, ThreadCapabilities};
use hull_sys::{Errno, fd};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};

/// Largest module that is run. The largest that are known, whole language runtimes, have some 50 MiB.
pub(crate) const MAX_MODULE: u64 = 256 << 20;

/// How many artifacts are tried before we give up: what is in the store, and what is made instead.
const ATTEMPTS: u32 = 3;

/// Everything that becoming a Wasm guest takes, all of it from the daemon.
#[derive(Debug)]
pub(super) struct Runner {
    binary: OwnedFd,
    config: OwnedFd,
    artifact: File,
}

/// Tells the daemon which module it is and gets its compiled form, which is compiled first if it must
/// be. Nothing of the image is trusted with that: the artifact is one that hull's own compiler made
/// from exactly these bytes, and it is read through before it is used.
pub(super) fn obtain(
    sync: &Sync,
    program: String,
    module: &File,
    home: Option<String>,
) -> Result<Runner, SetupError> {
    step::begin(Step::Artifact)?;
    let step = Step::Artifact;
    let digest = match hull_artifact::digest(module, MAX_MODULE).map_err(|e| fd::errno(&e)) {
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
    let action = format!("load the compiled form of {program:?}");
    let request = FromInit::Wasm {
        program,
        digest: *digest.as_bytes(),
        home,
    };
    sync.send_fds(step, &request, &[module.as_fd()])?;
    for left in (0..ATTEMPTS).rev() {
        let (runner, key) = receive(sync)?;
        let flaw = match hull_artifact::verify(&runner.artifact, &key) {
            Ok(()) => return Ok(runner),
            Err(flaw) => flaw.to_string(),
        };
        if left == 0 {
            return Err(because(step, Blame::Host, action, &flaw));
        }
        sync.send(step, &FromInit::BadArtifact { flaw })?;
    }
    Err(because(step, Blame::Hull, action, "it was never tried"))
}

fn receive(sync: &Sync) -> Result<(Runner, Key), SetupError> {
    let step = Step::Artifact;
    let Some((message, fds)) = sync.receive_fds(step)? else {
        hull_sys::process::exit_now(1);
    };
    let (ToInit::Runner { key }, Ok([binary, config, artifact])) =
        (message, <[OwnedFd; 3]>::try_from(fds))
    else {
        return Err(super::out_of_order(step));
    };
    let artifact = artifact.into();
    let runner = Runner {
        binary,
        config,
        artifact,
    };
    Ok((runner, Key::from_bytes(key)))
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
    let env = [format!("{RUNNER_FDS}={config}:{artifact}")];
    super::exec::by_descriptor(&runner.binary, "hull-wasm", &process.args, &env)
}
