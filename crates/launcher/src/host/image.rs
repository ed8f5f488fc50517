//! Asking containerd about images, through `hull image-module`: its gRPC client is in a process of its own,
//! for a limited time, with an empty environment.

use crate::failure::{At, because};
use crate::sync::Sync;
use hull_abi::{Blame, ContentSource, SetupError, Step};
use hull_sys::fd::{self, Waited};
use hull_sys::{Errno, pidfd};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

const STEP: Step = Step::Artifact;
/// How long containerd may take to answer, a large module included.
const DEADLINE: Duration = Duration::from_secs(30);
/// Longest text that is taken of what it says of a failure.
const MAX_MESSAGE: u64 = 4096;
/// Its exit status where the image is to blame.
const REFUSED: i32 = 1;

/// Finds out which module the image of a container has: a memory file with an encoded
/// `hull_abi::ImageModule`.
pub(super) fn module_of(
    sync: &Sync,
    source: &ContentSource,
    store: &str,
    container: &str,
) -> Result<OwnedFd, SetupError> {
    let args = ["--store", store, "--container", container];
    ask(sync, source, &args).map(OwnedFd::from)
}

/// Fetches a module: a memory file with as many bytes as containerd has under this digest. Whether they are
/// what the digest says is for the caller to see.
pub(super) fn layer(sync: &Sync, source: &ContentSource, digest: &str) -> Result<File, SetupError> {
    ask(sync, source, &["--layer", digest])
}

fn ask(sync: &Sync, source: &ContentSource, args: &[&str]) -> Result<File, SetupError> {
    let ContentSource {
        program,
        address,
        namespace,
    } = source;
    let action = || format!("ask containerd at {address:?} about the image");
    let mut output = memory().at(STEP, action)?;
    let errors = memory().at(STEP, action)?;
    let clone = |file: &File| file.try_clone().map_err(|e| fd::errno(&e));
    let child = Command::new(program)
        .arg("image-module")
        .args(["--address", address, "--namespace", namespace])
        .args(args)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(clone(&output).at(STEP, action)?)
        .stderr(clone(&errors).at(STEP, action)?)
        .process_group(0)
        .spawn()
        .map_err(|e| fd::errno(&e))
        .at(STEP, || format!("start {program:?}"))?;
    let failed = |blame, cause: &str| Err(because(STEP, blame, action(), cause));
    let Some(status) = wait(sync, child).at(STEP, action)? else {
        let seconds = DEADLINE.as_secs();
        return failed(Blame::Host, &format!("no answer within {seconds} s"));
    };
    if status.success() {
        let rewound = output.rewind().map_err(|e| fd::errno(&e));
        rewound.at(STEP, action)?;
        return Ok(output);
    }
    let line = message(errors);
    match (status.code(), line.is_empty()) {
        (Some(REFUSED), false) => Err(because(STEP, Blame::Image, line, "")),
        (_, false) => failed(Blame::Host, &line),
        (_, true) => failed(
            Blame::Host,
            &format!("hull image-module ended with {status}"),
        ),
    }
}

fn memory() -> Result<File, Errno> {
    fd::memory(c"image").map(File::from)
}

/// Waits for the program; `None` when it had to be killed because its time was over or the daemon is gone.
/// It is reaped in any case.
fn wait(sync: &Sync, mut child: Child) -> Result<Option<ExitStatus>, Errno> {
    let pid = i32::try_from(child.id()).map_err(|_| Errno::ESRCH)?;
    let waited =
        pidfd::open(pid).and_then(|pidfd| fd::wait_while_connected(pidfd, sync.as_fd(), DEADLINE));
    if waited != Ok(Waited::Readable) {
        // It may have ended in between, which is as good.
        drop(child.kill());
    }
    let status = child.wait().map_err(|e| fd::errno(&e))?;
    waited.map(|waited| (waited == Waited::Readable).then_some(status))
}

/// What it said, as one line.
fn message(mut errors: File) -> String {
    let mut bytes = Vec::new();
    // Whatever can be read of it is good enough for a message.
    drop(errors.rewind());
    drop(errors.take(MAX_MESSAGE).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    let text = text.strip_prefix("hull: ").unwrap_or(text);
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
