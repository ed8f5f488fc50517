//! The daemon's side: a launcher that is started when needed, asked for processes, and replaced when
//! it died. Everything here runs on the daemon's one thread and never blocks it.

mod between;
mod child;
mod connection;
mod job;
mod orphans;
mod sync;
mod watch;

pub use child::ChildProcess;
pub use job::{Held, Job, JobError};
pub use sync::{SyncClosed, SyncSocket};
pub use watch::watch;

use hull_abi::{Blame, FdRole, SetupError, Spawn, Step};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the launcher.
const QUEUE: usize = 1024;
/// How long the launcher may take for one clone.
const SPAWN_DEADLINE: Duration = Duration::from_secs(10);

/// A launcher that had nothing to do for this long is let go.
const IDLE: Duration = Duration::from_secs(15);

/// A handle of the launcher; clones share it.
#[derive(Debug, Clone)]
pub struct Launcher {
    orders: mpsc::Sender<Order>,
    in_flight: Arc<AtomicUsize>,
    known: orphans::KnownPids,
}

/// What a new process is made from.
#[derive(Debug)]
pub struct SpawnArgs {
    /// Which kind of process.
    pub spawn: Spawn,
    /// The encoded `Plan`, `ExecPlan` or `HostJob`.
    pub body: Vec<u8>,
    /// Standard streams and, for an exec, the pidfd of init.
    pub fds: Vec<(FdRole, OwnedFd)>,
}

/// A new process and the socket to it.
#[derive(Debug)]
pub struct Launched {
    /// The process.
    pub process: ChildProcess,
    /// Our end of its sync socket.
    pub sync: SyncSocket,
}

#[derive(Debug)]
struct Order {
    args: SpawnArgs,
    reply: oneshot::Sender<Answer>,
    in_flight: InFlight,
}

/// What the launcher made. Until the end of the count the receiver may still learn of a process.
type Answer = (Result<Launched, SetupError>, InFlight);

/// Counts requests whose process may exist without the daemon knowing its pid yet.
#[derive(Debug)]
struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Launcher {
    /// Makes the handle and the work that is to be spawned for it. A launcher process is started with
    /// the first request.
    pub fn new() -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (orders, queue) = mpsc::channel(QUEUE);
        let known = orphans::KnownPids::default();
        let work = serve(queue, known.clone());
        let launcher = Self {
            orders,
            in_flight: Arc::default(),
            known,
        };
        (launcher, work)
    }

    /// Whether a process may exist that the daemon has not heard of yet.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) != 0
    }

    /// Makes a process. Where the launcher clones one in between on the way there, it is the one that
    /// becomes the program.
    ///
    /// # Errors
    /// What the launcher or the process in between says, or that there was no answer in time.
    pub async fn spawn(&self, args: SpawnArgs) -> Result<Launched, SetupError> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let in_flight = InFlight(Arc::clone(&self.in_flight));
        let (reply, answer) = oneshot::channel();
        let between = match args.spawn {
            Spawn::Exec { .. } => Some(between::EXEC_DEADLINE),
            Spawn::Init { between: true, .. } => Some(between::INIT_DEADLINE),
            Spawn::Init { between: false, .. } | Spawn::Job => None,
        };
        let order = Order {
            args,
            reply,
            in_flight,
        };
        if self.orders.send(order).await.is_err() {
            return Err(broken("the launcher's task has ended"));
        }
        let Ok((result, _in_flight)) = answer.await else {
            return Err(broken("the launcher's task has ended"));
        };
        match between {
            Some(limit) => between::follow(result?, &self.known, limit).await,
            None => result,
        }
    }
}

fn broken(cause: &str) -> SetupError {
    crate::failure::because(
        Step::Clone,
        Blame::Hull,
        "ask the launcher".to_owned(),
        cause,
    )
}

/// One request after the other: the launcher answers in order and at once.
async fn serve(mut queue: mpsc::Receiver<Order>, known: orphans::KnownPids) {
    let mut connection: Option<connection::Connection> = None;
    loop {
        let order = match tokio::time::timeout(IDLE, queue.recv()).await {
            Ok(Some(order)) => order,
            Ok(None) => return,
            Err(_) => {
                // It is started again when it is needed; until then its memory is free.
                connection = None;
                match queue.recv().await {
                    Some(order) => order,
                    None => return,
                }
            }
        };
        let answer = tokio::time::timeout(
            SPAWN_DEADLINE,
            connection::spawn(&mut connection, order.args, &known),
        );
        let result = match answer.await {
            Ok(result) => result,
            Err(_) => {
                // Whatever it is doing, its answer would be taken for the next request's.
                if let Some(late) = connection.take() {
                    late.kill();
                }
                Err(broken("no answer within 10 s"))
            }
        };
        // Nobody waits any more: dropping the process's socket ends it at its next step.
        drop(order.reply.send((result, order.in_flight)));
    }
}
