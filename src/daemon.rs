//! The daemon: serves the task API for the containers of one pod, until it is told to stop.
//!
//! One thread. It never forks, mounts or changes its directory, and nothing on it blocks: what could
//! is done by children of the launcher.

use crate::args::Args;
use crate::error::Error;
use crate::events::{self, Publisher};
use crate::registry::Registry;
use crate::server;
use crate::start::READY;
use hull_launcher::client::Launcher;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// How long queued events may take when the daemon leaves.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);
/// After the last container of a daemon that was asked to leave, a pod may still get a new one.
const GRACE: Duration = Duration::from_millis(500);

/// What every part of the daemon may use.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) namespace: String,
    pub(crate) launcher: Launcher,
    pub(crate) publisher: Publisher,
    pub(crate) registry: Registry,
    pub(crate) layout: hull_cgroup::Layout,
    pub(crate) facts: hull_plan::Host,
    leave: Leave,
}

/// Whether and when the daemon ends.
#[derive(Debug, Default)]
struct Leave {
    asked: AtomicBool,
    now: Notify,
}

impl Shared {
    /// Shutdown: leaves once there is no container. Asked while there are some, it is remembered.
    pub(crate) fn shutdown(&self) {
        self.leave.asked.store(true, Ordering::Relaxed);
        if self.registry.is_empty() {
            self.leave.now.notify_one();
        }
    }

    /// A container is gone; a shutdown that was asked for before may be due.
    pub(crate) fn container_removed(self: &Arc<Self>) {
        hull_sys::process::trim_heap();
        if !self.leave.asked.load(Ordering::Relaxed) || !self.registry.is_empty() {
            return;
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            if shared.registry.is_empty() {
                shared.leave.now.notify_one();
            }
        });
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
    hull_sys::process::limit_heap();
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
        let shared = Arc::new(Shared {
            namespace: args.namespace.clone(),
            launcher: Launcher::new(),
            publisher: Publisher::spawn(&args.namespace, address),
            registry: Registry::default(),
            layout,
            facts,
            leave: Leave::default(),
        });
        let children = signal(SignalKind::child()).map_err(own("watch SIGCHLD"))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(own("watch SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(own("watch SIGINT"))?;
        let reaper = shared.launcher.clone();
        tokio::spawn(async move { reaper.reap_orphans(children).await });
        let mut server = server::start(listener, &shared).await?;
        status.write_all(READY).map_err(own("tell start"))?;
        log::info!("serving");
        tokio::select! {
            () = shared.leave.now.notified() => {}
            _ = terminate.recv() => log::info!("leaving at SIGTERM"),
            _ = interrupt.recv() => log::info!("leaving at SIGINT"),
        }
        if let Some(socket) = &args.socket {
            // Whoever looks for us from now on must start another one.
            drop(std::fs::remove_file(socket));
        }
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
    let exists = |path: &str| Path::new(path).exists();
    Ok(hull_plan::Host {
        last_capability: hull_sys::cred::last_capability()?,
        grantable_capabilities: hull_sys::cred::capabilities()?.permitted,
        default_apparmor: exists("/sys/kernel/security/apparmor"),
        selinux: exists("/sys/fs/selinux/enforce"),
    })
}
