//! One ttrpc connection (<https://github.com/containerd/ttrpc/blob/main/PROTOCOL.md>): frames come in,
//! each request is answered beside the others, answers go out in the order in which they are ready.
//!
//! The framing and the messages are those of the `ttrpc` crate, its server is not: it says "invalid
//! argument" of a service that it does not know, where containerd has to read "unimplemented" to try
//! the older version of an API, and it holds any number of requests.

use super::Services;
use super::accept::Accepted;
use crate::daemon::Connected;
use crate::turn;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use ttrpc::asynchronous::TtrpcContext;
use ttrpc::proto::{
    Codec as _, GenMessage, GenMessageError, MESSAGE_LENGTH_MAX, MESSAGE_TYPE_DATA,
    MESSAGE_TYPE_REQUEST, MessageHeader,
};
use ttrpc::{Code, Request, Response, Status, get_status};

/// Most requests of one connection at a time. containerd waits for every process of a container with
/// one each, so there may be many.
const REQUESTS: usize = 4096;
/// Answers that may wait for a slow reader. What is ready beyond that waits in its request.
const ANSWERS: usize = 64;
/// Most requests fit into one read of this many bytes.
const READ: usize = 1024;

/// A connection and what can be called on it.
pub(super) struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    services: Services,
    _connected: Connected,
}

impl Connection {
    pub(super) fn new(accepted: Accepted, services: Services) -> Self {
        let (reader, writer) = accepted.stream.into_split();
        Self {
            reader: BufReader::with_capacity(READ, reader),
            writer,
            services,
            _connected: accepted.connected,
        }
    }

    /// Answers until the other side closes or the daemon leaves. When the other side has closed, its
    /// requests are dropped: nobody waits for their answers, and what they asked for is carried
    /// through without them.
    pub(super) async fn run(mut self, mut left: watch::Receiver<bool>) {
        let (answers, queue) = mpsc::channel(ANSWERS);
        let writing = turn::spawn("answers", write(self.writer, queue));
        let mut requests = JoinSet::new();
        loop {
            let frame = tokio::select! {
                biased;
                _ = left.wait_for(|left| *left) => break,
                frame = GenMessage::read_from(&mut self.reader) => frame,
            };
            // Not in the select: a frame of which half was read must not be dropped.
            while requests.try_join_next().is_some() {}
            let id = match &frame {
                Ok(message) => message.header.stream_id,
                Err(GenMessageError::ReturnError(header, _)) => header.stream_id,
                Err(GenMessageError::InternalError(_)) => {
                    writing.abort();
                    return;
                }
            };
            match request_of(frame, requests.len()) {
                Ok(Some(request)) => {
                    let call = call(Arc::clone(&self.services), request);
                    let answers = answers.clone();
                    requests.spawn(turn::watched("request", async move {
                        // The other side may have gone.
                        drop(answers.send(frame_of(id, call.await)).await);
                    }));
                }
                Ok(None) => {}
                // Only a reader that takes nothing makes this wait, and it waits for itself alone.
                Err(refused) => drop(answers.send(frame_of(id, Err(refused))).await),
            }
        }
        // There is no container, so none of them can wait for long.
        while requests.join_next().await.is_some() {}
        drop(answers);
        drop(writing.await);
    }
}

/// The request in a frame, if it is one that is to be answered.
fn request_of(
    frame: Result<GenMessage, GenMessageError>,
    open: usize,
) -> Result<Option<(MessageHeader, Request)>, Status> {
    let refuse = |code, text: String| Err(get_status(code, text));
    let GenMessage { header, payload } = match frame {
        Ok(message) => message,
        // The crate has read it to its end and thrown it away.
        Err(GenMessageError::ReturnError(header, _)) => {
            let text = format!(
                "message length {} exceed maximum message size of {MESSAGE_LENGTH_MAX}",
                header.length
            );
            return refuse(Code::RESOURCE_EXHAUSTED, text);
        }
        Err(GenMessageError::InternalError(_)) => return Ok(None),
    };
    match header.type_ {
        _ if header.stream_id % 2 != 1 => {
            refuse(Code::INVALID_ARGUMENT, "stream id must be odd".to_owned())
        }
        MESSAGE_TYPE_REQUEST if open >= REQUESTS => refuse(
            Code::RESOURCE_EXHAUSTED,
            format!("{REQUESTS} requests of this connection have no answer yet"),
        ),
        MESSAGE_TYPE_REQUEST => match Request::decode(payload) {
            Ok(request) => Ok(Some((header, request))),
            Err(e) => refuse(Code::INVALID_ARGUMENT, format!("request: {e}")),
        },
        MESSAGE_TYPE_DATA => refuse(
            Code::INVALID_ARGUMENT,
            "Stream is no longer active".to_owned(),
        ),
        // Whatever later versions send; the reference ignores it, too.
        _ => Ok(None),
    }
}

/// Calls the method that the request names.
async fn call(
    services: Services,
    (header, request): (MessageHeader, Request),
) -> Result<Response, Status> {
    let unimplemented = |what: &str, name: &str| {
        // A name of megabytes would make an answer of megabytes.
        let name: String = name.chars().take(128).collect();
        get_status(Code::UNIMPLEMENTED, format!("{what} {name}"))
    };
    let service = services
        .get(&request.service)
        .ok_or_else(|| unimplemented("service", &request.service))?;
    let method = service
        .methods
        .get(&request.method)
        .ok_or_else(|| unimplemented("method", &request.method))?;
    let context = TtrpcContext {
        mh: header,
        metadata: ttrpc::context::from_pb(&request.metadata),
        timeout_nano: request.timeout_nano,
        ..TtrpcContext::default()
    };
    let answer = match u64::try_from(request.timeout_nano) {
        Ok(nanoseconds) if nanoseconds > 0 => {
            let limit = Duration::from_nanos(nanoseconds);
            timeout(limit, method.handler(context, request))
                .await
                .map_err(|_elapsed| get_status(Code::DEADLINE_EXCEEDED, "deadline exceeded"))?
        }
        _ => method.handler(context, request).await,
    };
    answer.map_err(|error| {
        let text = error.to_string();
        if let ttrpc::Error::RpcStatus(status) = error {
            return status;
        }
        // A message that does not decode comes so.
        get_status(Code::INVALID_ARGUMENT, text)
    })
}

/// The bytes of an answer.
fn frame_of(id: u32, answer: Result<Response, Status>) -> Vec<u8> {
    let failed = |status| Response {
        status: protobuf::MessageField::some(status),
        ..Response::default()
    };
    let encoded = |response: &Response| response.encode().unwrap_or_default();
    let mut payload = encoded(&answer.unwrap_or_else(failed));
    if payload.len() > MESSAGE_LENGTH_MAX {
        let text = format!(
            "the answer of {} bytes exceeds the maximum of {MESSAGE_LENGTH_MAX}",
            payload.len()
        );
        payload = encoded(&failed(get_status(Code::RESOURCE_EXHAUSTED, text)));
    }
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame: Vec<u8> = MessageHeader::new_response(id, length).into();
    frame.append(&mut payload);
    frame
}

/// Writes until there are no more answers or nobody takes them; then the reader sees the end, too.
async fn write(mut half: OwnedWriteHalf, mut answers: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = answers.recv().await {
        if half.write_all(&frame).await.is_err() {
            return;
        }
    }
}
