//! A containerd that does with each event what a script says. It speaks ttrpc by hand, since a server of
//! the library neither drops a connection nor keeps an answer back.

use super::message;
use containerd_shim_protos::api::ForwardRequest;
use protobuf::Message as _;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// What becomes of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// It is taken, and that is said.
    Take,
    /// The same, but it takes that long to say so.
    TakeAfter(Duration),
    /// It is taken, and the connection ends before the answer.
    TakeAndBreak,
    /// It is taken and answered, and then the connection ends.
    TakeAndLeave,
    /// The connection ends, and it is not taken.
    Break,
    /// The answer is an error.
    Refuse(ttrpc::Code),
    /// It is taken, and no answer comes, ever.
    Silence,
    /// The connection ends, and for that long nobody listens.
    Away(Duration),
}

/// Runs on the present runtime; gives the ids of the containers whose events were taken, in that order.
pub(super) fn serve(path: &Path, script: Vec<Act>) -> mpsc::UnboundedReceiver<usize> {
    let (taken, receiver) = mpsc::unbounded_channel();
    let listener = UnixListener::bind(path).unwrap();
    let server = Server {
        path: path.to_owned(),
        script: script.into(),
        taken,
    };
    tokio::spawn(server.run(listener));
    receiver
}

struct Server {
    path: PathBuf,
    script: VecDeque<Act>,
    taken: mpsc::UnboundedSender<usize>,
}

impl Server {
    async fn run(mut self, mut listener: UnixListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // An end in the middle of a request is the publisher's affair.
            if let Ok(Some(absence)) = self.talk(stream).await {
                drop(listener);
                std::fs::remove_file(&self.path).unwrap();
                sleep(absence).await;
                listener = UnixListener::bind(&self.path).unwrap();
            }
        }
    }

    /// One connection; gives how long nobody is to listen after it.
    async fn talk(&mut self, mut stream: UnixStream) -> io::Result<Option<Duration>> {
        loop {
            let (number, event) = receive(&mut stream).await?;
            let act = self.script.pop_front().unwrap_or(Act::Take);
            if let Act::Take
            | Act::TakeAfter(_)
            | Act::TakeAndBreak
            | Act::TakeAndLeave
            | Act::Silence = act
            {
                self.taken.send(event).unwrap();
            }
            let mut answer = ttrpc::Response::new();
            match act {
                Act::Take | Act::TakeAndLeave => {}
                Act::TakeAfter(pause) => sleep(pause).await,
                Act::Break | Act::TakeAndBreak => {
                    end(&mut stream).await?;
                    return Ok(None);
                }
                Act::Refuse(code) => {
                    let status = answer.status.mut_or_insert_default();
                    status.set_code(code);
                    status.message = "no".to_owned();
                }
                Act::Silence => continue,
                Act::Away(absence) => {
                    end(&mut stream).await?;
                    return Ok(Some(absence));
                }
            }
            send(&mut stream, number, &answer).await?;
            if act == Act::TakeAndLeave {
                end(&mut stream).await?;
                return Ok(None);
            }
        }
    }
}

/// Ends a connection at once. Closing it may take until the child of another test has closed its copy, and the
/// clock would not wait for that.
async fn end(stream: &mut UnixStream) -> io::Result<()> {
    stream.shutdown().await
}

/// The number of a request and the id of the container that its event is about.
async fn receive(stream: &mut UnixStream) -> io::Result<(u32, usize)> {
    let mut head = [0; 10];
    stream.read_exact(&mut head).await?;
    let field = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
    let mut body = vec![0; usize::try_from(field(0)).unwrap()];
    stream.read_exact(&mut body).await?;
    let request = ttrpc::Request::parse_from_bytes(&body).unwrap();
    assert_eq!(request.timeout_nano, 0, "containerd would give up");
    let forward = ForwardRequest::parse_from_bytes(&request.payload).unwrap();
    let any = forward.envelope.unwrap().event.unwrap();
    let event = message::TaskOOM::parse_from_bytes(&any.value).unwrap();
    Ok((field(4), event.container_id.parse().unwrap()))
}

async fn send(stream: &mut UnixStream, number: u32, answer: &ttrpc::Response) -> io::Result<()> {
    const RESPONSE: u8 = 2;
    let body = answer.write_to_bytes().unwrap();
    let length = u32::try_from(body.len()).unwrap();
    let mut frame = [length.to_be_bytes(), number.to_be_bytes()].concat();
    frame.extend([RESPONSE, 0]);
    frame.extend(body);
    stream.write_all(&frame).await
}
