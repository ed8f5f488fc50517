//! The publisher against a real ttrpc server that speaks containerd's event service.

mod delivery;
mod scripted;

use super::*;
use async_trait::async_trait;
use containerd_shim_protos::api::{Empty, ForwardRequest};
use containerd_shim_protos::events::task as message;
use containerd_shim_protos::shim_async::{Events, create_events};
use protobuf::Message;
use std::path::{Path, PathBuf};
use ttrpc::asynchronous::{Server, TtrpcContext};

/// More than any of this takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What arrives, as topic and id of the container.
struct Recorder(mpsc::UnboundedSender<(String, String)>);

#[async_trait]
impl Events for Recorder {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let envelope = request.envelope.unwrap();
        assert_eq!(envelope.namespace, "ns");
        assert!(envelope.timestamp.seconds > 1_700_000_000);
        let any = envelope.event.unwrap();
        // Field 1 of every event is the id of the container.
        let event = message::TaskOOM::parse_from_bytes(&any.value).unwrap();
        assert!(any.type_url.starts_with("containerd.events.Task"));
        self.0.send((envelope.topic, event.container_id)).unwrap();
        Ok(Empty::new())
    }
}

async fn serve(path: &Path, into: &mpsc::UnboundedSender<(String, String)>) -> Server {
    let service = create_events(Arc::new(Recorder(into.clone())));
    let listener = tokio::net::UnixListener::bind(path).unwrap();
    let mut server = Server::new()
        .register_service(service)
        .add_listener(listener.into());
    server.start().await.unwrap();
    server
}

fn socket() -> (tempfile::TempDir, PathBuf, Publisher) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.sock.ttrpc");
    let publisher = Publisher::spawn("ns", path.to_str().unwrap().to_owned());
    (dir, path, publisher)
}

fn oom(id: usize) -> Event {
    Event::Oom { id: id.to_string() }
}

#[tokio::test]
async fn events_arrive_in_order_under_their_topics() {
    let (_dir, path, publisher) = socket();
    let (into, mut arrived) = mpsc::unbounded_channel();
    let _server = serve(&path, &into).await;
    let now = SystemTime::now();
    let id = || "c1".to_owned();
    let exec_id = || "e1".to_owned();
    let events = [
        Event::Create {
            id: id(),
            bundle: "/b".to_owned(),
            rootfs: Vec::new(),
            io: Io::default(),
            checkpoint: String::new(),
            pid: 1,
        },
        Event::Start { id: id(), pid: 1 },
        Event::ExecAdded {
            id: id(),
            exec_id: exec_id(),
        },
        Event::ExecStarted {
            id: id(),
            exec_id: exec_id(),
            pid: 2,
        },
        Event::Exit {
            id: id(),
            process: exec_id(),
            pid: 2,
            status: 0,
            exited_at: now,
        },
        Event::Paused { id: id() },
        Event::Resumed { id: id() },
        Event::Oom { id: id() },
        Event::Exit {
            id: id(),
            process: id(),
            pid: 1,
            status: 137,
            exited_at: now,
        },
        Event::Delete {
            id: id(),
            pid: 1,
            status: 137,
            exited_at: now,
        },
    ];
    for event in events {
        publisher.publish(event);
    }
    assert!(publisher.flush(PATIENCE).await);
    let mut topics = Vec::new();
    while let Ok((topic, id)) = arrived.try_recv() {
        assert_eq!(id, "c1");
        topics.push(topic);
    }
    let expected = [
        "create",
        "start",
        "exec-added",
        "exec-started",
        "exit",
        "paused",
        "resumed",
        "oom",
        "exit",
        "delete",
    ];
    assert_eq!(topics, expected.map(|topic| format!("/tasks/{topic}")));
}

/// containerd comes late, and later restarts; nothing is lost, doubled or out of order.
#[tokio::test]
async fn a_restart_of_the_receiver_loses_nothing() {
    let (_dir, path, publisher) = socket();
    let (into, mut arrived) = mpsc::unbounded_channel();
    publisher.publish(oom(0));
    assert!(
        !publisher.flush(Duration::from_millis(50)).await,
        "nobody listens"
    );
    let mut server = serve(&path, &into).await;
    publisher.publish(oom(1));
    assert!(publisher.flush(PATIENCE).await);
    server.shutdown().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    publisher.publish(oom(2));
    let _server = serve(&path, &into).await;
    publisher.publish(oom(3));
    assert!(publisher.flush(PATIENCE).await);
    for id in 0..4 {
        assert_eq!(arrived.try_recv().unwrap().1, id.to_string());
    }
    assert!(arrived.try_recv().is_err());
}

/// With nobody there, publishing returns at once and memory is bounded.
#[tokio::test]
async fn beyond_the_bound_events_are_dropped_and_counted() {
    let (_dir, path, publisher) = socket();
    for id in 0..QUEUE - RESERVED + 10 {
        publisher.publish(oom(id));
    }
    assert_eq!(publisher.dropped.load(Ordering::Relaxed), 10);
    // There is still room for what must not be lost.
    for id in 0..RESERVED + 5 {
        publisher.publish(Event::Delete {
            id: id.to_string(),
            pid: 1,
            status: 0,
            exited_at: SystemTime::now(),
        });
    }
    assert_eq!(publisher.dropped.load(Ordering::Relaxed), 15);
    drop(path);
}

#[test]
fn the_address_is_ttrpcs_own_or_made_from_grpcs() {
    let grpc = "/run/containerd/containerd.sock";
    for (ttrpc, path) in [
        (Some("/run/x.ttrpc"), "/run/x.ttrpc"),
        (Some("unix:///run/x.ttrpc"), "/run/x.ttrpc"),
        (Some(""), "/run/containerd/containerd.sock.ttrpc"),
        (None, "/run/containerd/containerd.sock.ttrpc"),
    ] {
        assert_eq!(address(ttrpc, grpc), path);
    }
}
