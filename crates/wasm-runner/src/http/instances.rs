//! Instances of the guest: how they are made, which requests they take on, and when they are given up.

use super::admission::Permit;
use super::life::{Duty, Exchange, Life};
use super::metrics::Metrics;
use super::settings::{INSTANCE_IDLE, SHARED_BY, Settings};
use super::template::Template;
use super::threads::sign_of_life;
use crate::failure::report_request;
use crate::state::State;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::time::{Sleep, sleep};
use wasmtime::component::GuestTaskId;
use wasmtime::{Engine, Error, Result, Store, StoreContextMut, Trap, WasmBacktrace};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, ProxyPre, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};

/// The guest and what its instances get.
pub(crate) struct Guest {
    pub(crate) engine: Engine,
    pub(crate) linked: ProxyPre<State>,
    pub(crate) template: Template,
    pub(crate) settings: Settings,
    /// Whether traps are told with a backtrace.
    pub(crate) says_where: bool,
    pub(crate) metrics: Arc<Metrics>,
    /// Instances that there may be at once.
    pub(crate) room: usize,
    /// Instances that work on something.
    pub(crate) busy: Arc<AtomicUsize>,
}

const TOO_SLOW: &str = "its start functions take too long";

/// There is no room for another instance now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no room for another instance: {0}")]
pub(crate) struct NoRoom(pub(crate) String);

impl Guest {
    /// Whether requests may share an instance, one after the other or at once.
    fn is_reusable(&self) -> bool {
        matches!(self.linked, ProxyPre::P3(_))
    }

    /// A store with a fresh instance in it.
    async fn make(&self) -> Result<Instance<State, Expiration, Worker>> {
        sign_of_life();
        let counted = Counted::new(&self.metrics, self.room)?;
        let store = self.template.store(&self.engine);
        let mut store = store.map_err(Error::new)?;
        let instantiated = self.linked.instantiate_async(&mut store);
        let proxy = match tokio::time::timeout(self.settings.request_timeout, instantiated).await {
            Ok(Ok(proxy)) => proxy,
            Ok(Err(error)) => return Err(self.no_instance(&store, error)),
            Err(_) => return Err(Error::msg(TOO_SLOW)),
        };
        self.metrics.instantiations.fetch_add(1, Ordering::Relaxed);
        let life = Life::new();
        let busy = Busy {
            is_busy: false,
            count: Arc::clone(&self.busy),
        };
        Ok(Instance {
            store,
            proxy,
            view: <State as WasiHttpView>::http,
            expiration: Expiration {
                life: Arc::clone(&life),
                busy,
                settings: self.settings,
                sleep: Box::pin(sleep(INSTANCE_IDLE)),
            },
            state: Worker {
                life,
                reuse: if self.is_reusable() {
                    self.settings.reuse
                } else {
                    1
                },
                shared_by: if self.is_reusable() { SHARED_BY } else { 1 },
                settings: self.settings,
                says_where: self.says_where,
                metrics: Arc::clone(&self.metrics),
                counted,
            },
        })
    }

    fn no_instance(&self, store: &Store<State>, error: Error) -> Error {
        if let Some(refusal) = store.data().limits.refusal() {
            return NoRoom(refusal).into();
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return NoRoom(error.to_string()).into();
        }
        if is_trap(&error) {
            self.metrics.traps.fetch_add(1, Ordering::Relaxed);
        }
        report_request(&error, self.says_where);
        error
    }

    /// Makes an instance and throws it away, to find out whether that works.
    ///
    /// # Errors
    /// What a command would end with.
    pub(crate) async fn try_out(&self) -> Result<()> {
        sign_of_life();
        let store = self.template.store(&self.engine);
        let mut store = store.map_err(Error::new)?;
        let instantiated = self.linked.instantiate_async(&mut store);
        match tokio::time::timeout(self.settings.request_timeout, instantiated).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => match store.data().limits.refusal() {
                Some(refusal) => Err(NoRoom(refusal).into()),
                None => Err(error),
            },
            Err(_) => Err(Error::msg(TOO_SLOW)),
        }
    }
}

impl HandlerState for Guest {
    type StoreData = State;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> Result<Instance<State, Expiration, Worker>> {
        self.make().await
    }
}

/// Whether the guest's own code failed.
pub(crate) fn is_trap(error: &Error) -> bool {
    error.is::<Trap>() || error.is::<WasmBacktrace>()
}

/// A request on its way to an instance.
pub(crate) struct Ticket {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) permit: Arc<Permit>,
}

/// An instance's care for a request.
struct Care(Ticket);

impl Drop for Care {
    fn drop(&mut self) {
        self.0.exchange.done();
    }
}

/// One instance's share of the counters.
struct Counted(Arc<Metrics>);

impl Counted {
    fn new(metrics: &Arc<Metrics>, room: usize) -> Result<Self> {
        // From here on it is taken back.
        let counted = Self(Arc::clone(metrics));
        if metrics.instances.fetch_add(1, Ordering::Relaxed) < room {
            Ok(counted)
        } else {
            Err(NoRoom(format!("there are {room}")).into())
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Which requests an instance takes on.
pub(crate) struct Worker {
    life: Arc<Life>,
    reuse: usize,
    shared_by: usize,
    settings: Settings,
    says_where: bool,
    metrics: Arc<Metrics>,
    #[expect(dead_code, reason = "counts the instance until it is dropped")]
    counted: Counted,
}

impl WorkerState for Worker {
    type StoreData = State;
    type RequestData = Ticket;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.reuse {
            ShouldAccept::Never
        } else if concurrent >= self.shared_by {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        mut store: StoreContextMut<'_, State>,
        ticket: Ticket,
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        ticket.exchange.taken_on(Arc::clone(&self.life));
        if self.shared_by == 1 {
            store.data_mut().permit = Some(Arc::clone(&ticket.permit));
        }
        let limit = self.settings.request_timeout;
        let care = Care(ticket);
        Box::pin(async move {
            sleep(limit).await;
            if care.0.exchange.is_waiting() {
                care.0.exchange.is_late();
            } else {
                // There is an answer, and the guest goes on with its body.
                std::future::pending::<()>().await;
            }
        })
    }

    fn drop(&self, mut store: Store<State>, result: Result<()>) {
        let permit = store.data_mut().permit.take();
        if let Err(error) = result {
            self.life.failed();
            if is_trap(&error) {
                self.metrics.traps.fetch_add(1, Ordering::Relaxed);
            }
            report_request(&error, self.says_where);
        }
        // First the instance, then its place.
        drop(store);
        drop(permit);
    }
}

/// Whether an instance works on something, counted.
struct Busy {
    is_busy: bool,
    count: Arc<AtomicUsize>,
}

impl Busy {
    fn set(&mut self, is_busy: bool) {
        if is_busy && !self.is_busy {
            self.count.fetch_add(1, Ordering::SeqCst);
        } else if self.is_busy && !is_busy {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
        self.is_busy = is_busy;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// When an instance is given up. Asked whenever the guest waits for something.
pub(crate) struct Expiration {
    life: Arc<Life>,
    busy: Busy,
    settings: Settings,
    sleep: Pin<Box<Sleep>>,
}

impl WorkerExpiration for Expiration {
    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        status: WorkerStatus,
        since: Instant,
    ) -> Poll<()> {
        sign_of_life();
        let limit = self.settings.request_timeout;
        self.busy.set(status != WorkerStatus::Idle);
        let deadline = if status == WorkerStatus::Idle {
            self.life.is_idle();
            since.checked_add(INSTANCE_IDLE)
        } else {
            match self.life.duty(context.waker()) {
                Duty::Answer(came) => came.checked_add(limit),
                Duty::Body => None,
                Duty::Failed => return Poll::Ready(()),
                // What it does after its answer takes no longer than an answer.
                Duty::Nothing(over) => since.max(over).checked_add(limit),
            }
        };
        let Some(deadline) = deadline.map(tokio::time::Instant::from) else {
            return Poll::Pending;
        };
        // A timer that runs out too early is set anew then: to do that for each request takes longer.
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
        while self.sleep.as_mut().poll(context).is_ready() {
            if self.sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
