//! Task events: one form for those that a shim sends and those that `ctr events` prints, a log
//! that tests can wait on, and the server that receives them in containerd's place.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use containerd_shim_protos::api::{Empty, ForwardRequest};
use containerd_shim_protos::events::task as proto;
use containerd_shim_protos::shim_async::{Events, create_events};
use protobuf::Message;
use serde_json::Value;
use ttrpc::asynchronous::{Server, TtrpcContext};

use crate::time::{block, limit};

/// Between two looks of a call that waits for the end of a stall.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names of containerd's topics")]
pub enum Topic {
    Create,
    Start,
    ExecAdded,
    ExecStarted,
    Exit,
    Oom,
    Paused,
    Resumed,
    Delete,
}

impl Topic {
    fn parse(topic: &str) -> Option<Self> {
        Some(match topic {
            "/tasks/create" => Self::Create,
            "/tasks/start" => Self::Start,
            "/tasks/exec-added" => Self::ExecAdded,
            "/tasks/exec-started" => Self::ExecStarted,
            "/tasks/exit" => Self::Exit,
            "/tasks/oom" => Self::Oom,
            "/tasks/paused" => Self::Paused,
            "/tasks/resumed" => Self::Resumed,
            "/tasks/delete" => Self::Delete,
            _ => return None,
        })
    }
}

/// One task event, reduced to what tests ask about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it tells.
    pub topic: Topic,
    /// The container.
    pub container: String,
    /// The exec it is about; empty for the init.
    pub exec: String,
    /// The pid, or 0 where the event has none.
    pub pid: u32,
    /// The exit status of an exit or delete.
    pub status: u32,
}

impl Event {
    /// From what the shim sent; nothing for topics that are not about tasks.
    fn from_request(request: &ForwardRequest) -> Option<Self> {
        let topic = Topic::parse(&request.envelope.topic)?;
        let bytes = &request.envelope.event.value;
        Some(match topic {
            Topic::Create => {
                let event = parse::<proto::TaskCreate>(bytes);
                Self::of_init(topic, event.container_id, event.pid)
            }
            Topic::Start => {
                let event = parse::<proto::TaskStart>(bytes);
                Self::of_init(topic, event.container_id, event.pid)
            }
            Topic::ExecAdded => {
                let event = parse::<proto::TaskExecAdded>(bytes);
                Self {
                    exec: event.exec_id,
                    ..Self::of_init(topic, event.container_id, 0)
                }
            }
            Topic::ExecStarted => {
                let event = parse::<proto::TaskExecStarted>(bytes);
                Self {
                    exec: event.exec_id,
                    ..Self::of_init(topic, event.container_id, event.pid)
                }
            }
            Topic::Exit => {
                let event = parse::<proto::TaskExit>(bytes);
                Self::of_init(topic, event.container_id, event.pid)
                    .ended(event.id, event.exit_status)
            }
            Topic::Delete => {
                let event = parse::<proto::TaskDelete>(bytes);
                Self::of_init(topic, event.container_id, event.pid)
                    .ended(event.id, event.exit_status)
            }
            Topic::Oom => Self::of_init(topic, parse::<proto::TaskOOM>(bytes).container_id, 0),
            Topic::Paused => {
                Self::of_init(topic, parse::<proto::TaskPaused>(bytes).container_id, 0)
            }
            Topic::Resumed => {
                Self::of_init(topic, parse::<proto::TaskResumed>(bytes).container_id, 0)
            }
        })
    }

    /// From a line of `ctr events`: date, time, zone, zone name, namespace, topic, JSON.
    pub(crate) fn from_ctr(line: &str, namespace: &str) -> Option<Self> {
        let (head, json) = line.split_at(line.find('{')?);
        let mut words = head.split_whitespace().rev();
        let topic = Topic::parse(words.next()?)?;
        if words.next()? != namespace {
            return None;
        }
        let event: Value = serde_json::from_str(json).ok()?;
        let text = |key: &str| {
            event
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned()
        };
        let number = |key: &str| {
            let number = event.get(key).and_then(Value::as_u64).unwrap_or(0);
            u32::try_from(number).unwrap_or(u32::MAX)
        };
        let base = Self::of_init(topic, text("container_id"), number("pid"));
        Some(match topic {
            Topic::ExecAdded | Topic::ExecStarted => Self {
                exec: text("exec_id"),
                ..base
            },
            Topic::Exit | Topic::Delete => base.ended(text("id"), number("exit_status")),
            Topic::Create | Topic::Start | Topic::Oom | Topic::Paused | Topic::Resumed => base,
        })
    }

    fn of_init(topic: Topic, container: String, pid: u32) -> Self {
        Self {
            topic,
            container,
            exec: String::new(),
            pid,
            status: 0,
        }
    }

    fn ended(mut self, id: String, status: u32) -> Self {
        if id != self.container {
            self.exec = id;
        }
        self.status = status;
        self
    }

    /// Whether it is this topic of this container's init or exec.
    pub fn is(&self, topic: Topic, container: &str, exec: &str) -> bool {
        self.topic == topic && self.container == container && self.exec == exec
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.topic, self.container)?;
        if !self.exec.is_empty() {
            write!(f, "/{}", self.exec)?;
        }
        write!(f, " pid {} status {}", self.pid, self.status)
    }
}

fn parse<M: Message>(bytes: &[u8]) -> M {
    M::parse_from_bytes(bytes).unwrap_or_else(|error| panic!("event does not decode: {error}"))
}

/// The events so far, in the order in which they came. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct EventLog(Arc<(Mutex<Vec<Event>>, Condvar)>);

impl EventLog {
    /// Adds an event and wakes who waits for it.
    pub fn push(&self, event: Event) {
        self.lock().push(event);
        self.0.1.notify_all();
    }

    /// All events, oldest first.
    pub fn all(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// The events of one container, oldest first.
    pub fn of(&self, container: &str) -> Vec<Event> {
        self.lock()
            .iter()
            .filter(|event| event.container == container)
            .cloned()
            .collect()
    }

    /// The topics of one container, oldest first.
    pub fn topics(&self, container: &str) -> Vec<Topic> {
        self.of(container).iter().map(|event| event.topic).collect()
    }

    /// The containers that have events.
    pub fn containers(&self) -> HashSet<String> {
        self.lock()
            .iter()
            .map(|event| event.container.clone())
            .collect()
    }

    /// Waits for an event; fails the test when it does not come.
    pub fn wait_for(&self, topic: Topic, container: &str, exec: &str) -> Event {
        self.wait_within(limit(), |event| event.is(topic, container, exec))
            .unwrap_or_else(|| {
                panic!(
                    "no {topic:?} of {container}/{exec} came; events: {:#?}",
                    self.of(container)
                )
            })
    }

    /// Waits for the first event that `wanted` accepts.
    pub fn wait_within(&self, limit: Duration, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let deadline = Instant::now() + limit;
        let mut events = self.lock();
        loop {
            if let Some(event) = events.iter().find(|event| wanted(event)) {
                return Some(event.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.0.1.wait_timeout(events, left);
            events = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Receives a shim's events in containerd's place.
pub struct EventSink {
    log: EventLog,
    socket: PathBuf,
    stalled: Arc<AtomicBool>,
    /// `None` while it is away. Under a lock only to let threads share the sink: a server is not `Sync`.
    server: Mutex<Option<Server>>,
}

impl std::fmt::Debug for EventSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventSink")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

struct Receiver {
    log: EventLog,
    stalled: Arc<AtomicBool>,
}

#[async_trait]
impl Events for Receiver {
    async fn forward(
        &self,
        _context: &TtrpcContext,
        request: ForwardRequest,
    ) -> ttrpc::Result<Empty> {
        while self.stalled.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        if let Some(event) = Event::from_request(&request) {
            self.log.push(event);
        }
        Ok(Empty::new())
    }
}

impl EventSink {
    /// Listens on `socket`.
    pub fn listen(socket: &Path) -> Self {
        let sink = Self {
            log: EventLog::default(),
            socket: socket.to_owned(),
            stalled: Arc::default(),
            server: Mutex::new(None),
        };
        sink.come_back();
        sink
    }

    /// From now on no call is answered, as by a containerd that is stopped; or every one is again.
    pub fn stall(&self, stall: bool) {
        self.stalled.store(stall, Ordering::Relaxed);
    }

    /// Nobody listens any more, and whoever was connected is not.
    pub fn go_away(&self) {
        if let Some(mut server) = self.server().take() {
            // One that is down already is as good.
            drop(block(server.shutdown()));
            drop(std::fs::remove_file(&self.socket));
        }
    }

    /// Listens again.
    pub fn come_back(&self) {
        let address = format!("unix://{}", self.socket.display());
        let receiver = Receiver {
            log: self.log.clone(),
            stalled: Arc::clone(&self.stalled),
        };
        let server = block(async {
            let service = create_events(Arc::new(receiver));
            let mut server = Server::new().bind(&address)?.register_service(service);
            server.start().await?;
            ttrpc::Result::Ok(server)
        })
        .unwrap_or_else(|error| panic!("event server on {address}: {error}"));
        *self.server() = Some(server);
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came so far.
    pub fn log(&self) -> &EventLog {
        &self.log
    }
}

impl Drop for EventSink {
    fn drop(&mut self) {
        self.stall(false);
        self.go_away();
    }
}
