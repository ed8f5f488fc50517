//! HTTP servers: components that export `wasi:http/incoming-handler` of WASI 0.2 or `wasi:http/handler` of
//! WASI 0.3. The order of all that happens to them.
//!
//! A request of 0.2 gets an instance of its own. One of 0.3 shares it with others, before it and beside it.

mod admission;
mod body;
mod connection;
mod instances;
mod life;
mod listen;
mod metrics;
mod observe;
mod outgoing;
mod pool;
mod server;
mod service;
mod settings;
mod stream;
mod template;
mod threads;

use crate::artifact::{Artifact, Loaded};
use crate::failure::{Failure, TIMED_OUT, line, report_trap, say};
use crate::filter::{Calls, Sockets};
use crate::limits::Limits;
use crate::{linker, lockdown};
use admission::Admission;
pub(crate) use admission::Permit;
use hull_abi::RunnerConfig;
use hull_sys::eventfd::EventFd;
use hull_sys::{last_call, memory, process};
use instances::{Guest, NoRoom, is_trap};
use metrics::Metrics;
pub(crate) use outgoing::Outgoing;
use service::Service;
pub(crate) use settings::connections_share;
use settings::{OVERTIME, Settings};
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use template::Template;
use tokio::net::{TcpListener, UnixListener};
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime_wasi_http::handler::{ProxyHandler, ProxyPre};
use wasmtime_wasi_http::{p2, p3};

/// Serves until a signal ends it. `component` is loaded in an engine for one instance and only says what it
/// needs; `artifact` is loaded again where many fit. Neither is needed after that.
pub(crate) fn run(
    component: Component,
    artifact: Artifact,
    config: RunnerConfig,
    metrics_socket: Option<OwnedFd>,
) -> Result<Infallible, Failure> {
    let settings = Settings::of(&config);
    let threads = threads::available(config.cpus);
    memory::use_arenas(threads);
    // More than places: those of WASI 0.3 may have something to do after their last answer.
    let room = settings.concurrency + settings.concurrency / 2;
    let engine = pool::engine(&component, room, &config.settings)?;
    drop(component);
    let loaded = artifact.component(&engine)?;
    drop(artifact);
    let runtime = threads::event_loop(threads, settings.request_timeout)?;
    let _entered = runtime.enter();
    let listeners = listen::listen(&config)?;
    let life = life(&config);
    let metrics = Arc::new(Metrics::default());
    let guest = guest(engine, &loaded, config, Arc::clone(&metrics), room)?;
    let metrics_listener = metrics_socket.map(observe::listener).transpose()?;
    let wake = hear_signals(life, settings, threads)?;

    // From here on it is the guest's turn: a component may have start functions.
    lockdown::system_calls(Calls::Server, Sockets::of(guest.template.network()))?;
    let requests = Arc::clone(&metrics);
    // By threads whose time is watched, which this one's is not where there are several.
    let server = runtime.spawn(async move {
        if let Err(error) = guest.try_out().await {
            if is_trap(&error) {
                process::exit_now(report_trap(&error, guest.says_where));
            }
            threads::look();
            return Err(match error.downcast_ref::<NoRoom>() {
                Some(NoRoom(why)) => Failure::not_runnable("cannot make its memory", why),
                None => Failure::not_runnable("cannot instantiate it", error),
            });
        }
        let listeners = Listeners {
            clients: listeners,
            metrics: metrics_listener,
        };
        serve(guest, settings, listeners, wake).await
    });
    threads::wait(&runtime, threads, &requests.in_flight, server)?
}

/// What is listened on.
struct Listeners {
    clients: Vec<TcpListener>,
    metrics: Option<UnixListener>,
}

async fn serve(
    guest: Guest,
    settings: Settings,
    listeners: Listeners,
    wake: &'static EventFd,
) -> Result<Infallible, Failure> {
    let metrics = Arc::clone(&guest.metrics);
    let busy = Arc::clone(&guest.busy);
    let service = Arc::new(Service {
        admission: Admission::new(
            settings.concurrency,
            settings.queue,
            settings.heads,
            Arc::clone(&metrics),
        ),
        guest: ProxyHandler::new(guest),
        settings,
        metrics,
    });
    if let Some(listener) = listeners.metrics {
        tokio::spawn(observe::run(listener, Arc::clone(&service)));
    }
    let clients = listeners.clients;
    say(&format!(
        "hull-wasm: listening on {}",
        listen::shown(&clients)
    ));
    process::exit_now(server::run(clients, service, wake, busy).await)
}

/// The whole life of the server, where an annotation limits it.
fn life(config: &RunnerConfig) -> Option<last_call::Life> {
    let time = Duration::from_millis(config.settings.timeout_ms?);
    let program = &config.program;
    Some(last_call::Life {
        time,
        message: line(&format!(
            "hull-wasm: {program}: it has run for {time:?}, its time limit"
        )),
        code: TIMED_OUT,
    })
}

/// From here on SIGTERM and SIGINT no longer end the process at once.
fn hear_signals(
    life: Option<last_call::Life>,
    settings: Settings,
    threads: usize,
) -> Result<&'static EventFd, Failure> {
    let overdue = last_call::Overdue {
        message: format!(
            "hull-wasm: the guest has computed for {} seconds without a pause, which nothing but the end of \
             the server stops\n",
            (settings.request_timeout + OVERTIME).as_secs()
        ),
        code: TIMED_OUT,
        at_once: threads == 1,
    };
    EventFd::new()
        .and_then(|wake| last_call::listen(wake, settings.drain_timeout, overdue, life))
        .map_err(|errno| Failure::internal("cannot install signal handlers", errno))
}

fn guest(
    engine: Engine,
    loaded: &Loaded,
    config: RunnerConfig,
    metrics: Arc<Metrics>,
    room: usize,
) -> Result<Guest, Failure> {
    let unlinked = |error| Failure::not_runnable("cannot link it", error);
    let linked = linker::with_wasi(&engine)?
        .instantiate_pre(&loaded.component)
        .map_err(unlinked)?;
    let linked = match p3::bindings::ServicePre::new(linked.clone()) {
        Ok(service) => ProxyPre::P3(service),
        Err(_) => ProxyPre::P2(p2::bindings::ProxyPre::new(linked).map_err(unlinked)?),
    };
    let limits = Limits::new(&config, loaded.own_code);
    Ok(Guest {
        engine,
        says_where: !config.settings.no_backtrace,
        linked,
        settings: Settings::of(&config),
        template: Template::new(config, limits)?,
        metrics,
        room,
        busy: Arc::new(AtomicUsize::new(0)),
    })
}
