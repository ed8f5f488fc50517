//! The daemon: serves the task API for the containers of one pod, until it is told to stop.
//!
//! One thread, but for what decides on large configs. It never forks, mounts or changes its directory, and nothing on it blocks but the file systems
//! of bundles and log files: what else could is done by children of the launcher.

mod leave;
mod rest;

use crate::args::Args;
use crate::container::Request;
use crate::error::Error;
use crate::events::{self, Publisher};
use crate::registry::Registry;
use crate::server;
use crate::start::READY;
use crate::turn;
use crate::wasm::Wasm;
use hull_launcher::client::Launcher;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use leave::{Connected, Leave};
pub(crate) use rest::Rest;

/// How long queued events may take when the daemon leaves.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);
/// How long the end of a compilation that nobody wants may take.
const WASM_DEADLINE: Duration = Duration::from_secs(10);
/// How long a container may take to describe itself for the log.
const DESCRIBE_DEADLINE: Duration = Duration::from_secs(1);

/// What every part of the daemon may use.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) namespace: String,
    /// containerd's gRPC socket.
    pub(crate) address: String,
    pub(crate) launcher: Launcher,
    pub(crate) publisher: Publisher,
    pub(crate) registry: Registry,
    pub(crate) layout: hull_cgroup::Layout,
    pub(crate) facts: hull_plan::Host,
    pub(crate) leave: Leave,
    pub(crate) wasm: Wasm,
    pub(crate) rest: Rest,
}

impl Shared {
    /// Shutdown: leaves once there is no container. Asked while there are some, it is remembered.
    pub(crate) fn shutdown(&self) {
        self.leave.ask(self.registry.is_empty());
    }

    /// A container is gone, or one that was to be made; a shutdown that was asked for before may be
    /// due.
    pub(crate) fn container_removed(&self) {
        self.rest.put_off();
        if self.registry.is_empty() {
            self.leave.emptied();
        }
    }

    /// Writes what the daemon knows to the log, for people who look for a fault.
    async fn describe(&self) {
        log::info!(
            "state: {}, launcher {}, {} events wait",
            self.leave,
            if self.launcher.is_busy() {
                "busy"
            } else {
                "idle"
            },
            self.publisher.waiting(),
        );
        for (id, container) in self.registry.all() {
            let line = match container {
                None => "being created".to_owned(),
                Some(container) => {
                    let asked = container.ask(|reply| Request::Describe { reply });
                    match tokio::time::timeout(DESCRIBE_DEADLINE, asked).await {
                        Ok(Ok(line)) => line,
                        Ok(Err(e)) => e.line(),
                        Err(_) => "does not answer".to_owned(),
                    }
                }
            };
            log::info!("state of container {id}: {line}");
        }
    }
}

/// The signals that mean something to the daemon, besides SIGCHLD.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user: Signal,
}

impl Signals {
    fn watch() -> Result<Self, Error> {
        let watch = |kind| signal(kind).map_err(|e| Error::host("watch signals", e));
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            user: watch(SignalKind::user_defined1())?,
        })
    }
}

/// Returns when it is time to leave.
async fn stay(shared: &Arc<Shared>, signals: &mut Signals) {
    let mut due = std::pin::pin!(shared.leave.due(&shared.registry));
    loop {
        tokio::select! {
            () = &mut due => return,
            _ = signals.terminate.recv() => return log::info!("leaving at SIGTERM"),
            _ = signals.interrupt.recv() => return log::info!("leaving at SIGINT"),
            _ = signals.user.recv() => {
                let shared = Arc::clone(shared);
                turn::spawn("state for the log", async move { shared.describe().await });
            }
        }
    }
}

/// Runs the daemon whose descriptor 0 is the listening socket and 1 the pipe to `start`.
///
/// # Errors
/// Whatever keeps it from serving; `start` shows it to containerd.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let host = |what: &str, e| Error::host(what.to_owned(), e);
    let listener = hull_sys::fd::take_stdio(0).map_err(|e| host("take the socket", e))?;
    let status = hull_sys::fd::take_stdio(1).map_err(|e| host("take the status pipe", e))?;
    let mut status = std::fs::File::from(status);
    let served = serve(args, UnixListener::from(listener), &mut status);
    if let Err(error) = &served {
        // Best effort: `start` may be gone.
        drop(status.write_all(error.line().as_bytes()));
        log::error!("{}", error.line());
    }
    served
}

fn serve(args: &Args, listener: UnixListener, status: &mut std::fs::File) -> Result<(), Error> {
    let host = |what: &str| {
        let what = what.to_owned();
        move |e: hull_sys::Errno| Error::host(what, e)
    };
    let own = |what: &str| {
        let what = what.to_owned();
        move |e: std::io::Error| Error::host(what, e)
    };
    crate::log::init(
        Path::new("."),
        &args.namespace,
        args.id.as_str(),
        args.debug,
    )
    .map_err(own("open the log"))?;
    hull_sys::process::set_name(c"containerd-shim").map_err(host("set the process name"))?;
    hull_sys::memory::limit_heap();
    // One for the thread that works on a large config: the event loop is not to wait for it at every allocation.
    hull_sys::memory::use_arenas(2);
    hull_sys::process::disable_huge_pages(true).map_err(host("disable huge pages"))?;
    hull_sys::process::set_child_subreaper().map_err(host("become subreaper"))?;
    hull_sys::process::set_not_dumpable().map_err(host("become non-dumpable"))?;
    let layout = hull_cgroup::Layout::detect()?;
    let facts = facts().map_err(host("ask the kernel what it can do"))?;
    listener
        .set_nonblocking(true)
        .map_err(own("use the socket"))?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(own("start the event loop"))?;
    runtime.block_on(async {
        let address = events::address(args.env.ttrpc_address.as_deref(), &args.address);
        let (launcher, launching) = Launcher::new();
        turn::spawn("launcher", launching);
        let shared = Arc::new(Shared {
            namespace: args.namespace.clone(),
            address: args.address.clone(),
            launcher,
            publisher: Publisher::spawn(&args.namespace, address),
            registry: Registry::default(),
            layout,
            facts,
            leave: Leave::default(),
            wasm: Wasm::from_env(),
            rest: Rest::default(),
        });
        turn::spawn("rest", shared.rest.clone().watch());
        let children = signal(SignalKind::child()).map_err(own("watch SIGCHLD"))?;
        let mut signals = Signals::watch()?;
        let reaper = shared.launcher.clone();
        turn::spawn(
            "orphans",
            async move { reaper.reap_orphans(children).await },
        );
        let mut server = server::start(listener, &shared)?;
        if let Err(e) = status.write_all(READY) {
            // It was killed. Another one may have found our socket since; if not, nobody comes, and we leave.
            log::warn!("tell start: {e}");
        }
        log::info!("serving");
        stay(&shared, &mut signals).await;
        // Nothing ran since it was decided, so there is still no container, and there will be none.
        shared.registry.close();
        if let Some(socket) = &args.socket {
            // Whoever looks for us from now on must start another one.
            drop(std::fs::remove_file(socket));
        }
        // A compilation ends with whoever wanted it; what is left of it must be gone before we are.
        let _idle = shared.wasm.idle(WASM_DEADLINE).await;
        // The answer to Shutdown is on its way out.
        server.leave().await;
        if !shared.publisher.flush(FLUSH_DEADLINE).await {
            log::warn!("leaving with events that were not sent");
        }
        Ok(())
    })
}

/// What lowering a config must know about this host.
fn facts() -> Result<hull_plan::Host, hull_sys::Errno> {
    Ok(hull_plan::Host {
        last_capability: hull_sys::cred::last_capability()?,
        grantable_capabilities: hull_sys::cred::capabilities()?.permitted,
        default_apparmor: hull_sys::lsm::apparmor(),
        selinux: hull_sys::lsm::selinux(),
    })
}
