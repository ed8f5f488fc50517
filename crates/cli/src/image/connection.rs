//! A connection to containerd
//! (<https://github.com/containerd/containerd/tree/main/api/services>).

use std::cell::Cell;
use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{
    GetContainerRequest, GetImageRequest, InfoRequest, ListImagesRequest, ReadContentRequest,
};
use containerd_client::tonic::metadata::{Ascii, MetadataValue};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, Request, Status};

use super::manifest::Descriptor;
use crate::error::Error;

/// How long everything that is asked of a containerd may take. The shim waits a little longer.
const PATIENCE: Duration = Duration::from_secs(25);
/// The header that names the namespace.
const NAMESPACE: &str = "containerd-namespace";
/// Largest message that is taken: content comes in pieces of a mebibyte, the list of images in one.
const MAX_MESSAGE: usize = 64 << 20;

/// A containerd and one of its namespaces.
#[derive(Debug)]
pub(crate) struct Connection {
    channel: Channel,
    address: String,
    namespace: String,
    header: MetadataValue<Ascii>,
    calls: Cell<u32>,
}

/// Does something with containerd on an event loop of its own, for a limited time.
///
/// # Errors
/// What came of it, or that the time is over.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new("make an event loop", error))?;
    runtime.block_on(async {
        let late = |_| {
            let seconds = PATIENCE.as_secs();
            Error::new("containerd", format!("no answer within {seconds} s"))
        };
        tokio::time::timeout(PATIENCE, work).await.map_err(late)?
    })
}

impl Connection {
    /// Connects to containerd's gRPC socket.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(crate) async fn open(address: &str, namespace: &str) -> Result<Self, Error> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let header = MetadataValue::try_from(namespace)
            .map_err(|_| Error::new(format!("namespace {namespace:?}"), "it is no header value"))?;
        let channel = containerd_client::connect(path)
            .await
            .map_err(|error| Error::caused(format!("connect to containerd at {path}"), &error))?;
        Ok(Self {
            channel,
            address: path.to_owned(),
            namespace: namespace.to_owned(),
            header,
            calls: Cell::new(0),
        })
    }

    /// The path of the socket.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The namespace that is asked.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// How many calls were made.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.get()
    }

    /// The name of a container's image; `None` for a container that is not known, or has none.
    ///
    /// # Errors
    /// When containerd does not say.
    pub(crate) async fn image_of(&self, container: &str) -> Result<Option<String>, Error> {
        let id = container.to_owned();
        let mut client = ContainersClient::new(self.channel.clone());
        let answer = client.get(self.request(GetContainerRequest { id })).await;
        let known = known(answer).map_err(|status| failed("container", container, &status))?;
        let image = known.and_then(|answer| answer.into_inner().container);
        Ok(image
            .map(|found| found.image)
            .filter(|name| !name.is_empty()))
    }

    /// What an image is: the descriptor of its manifest or index. `None` for one that is not known.
    ///
    /// # Errors
    /// When containerd does not say.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<Descriptor>, Error> {
        let request = GetImageRequest {
            name: name.to_owned(),
        };
        let mut client = ImagesClient::new(self.channel.clone());
        let answer = client.get(self.request(request)).await;
        let known = known(answer).map_err(|status| failed("image", name, &status))?;
        let target = known.and_then(|answer| answer.into_inner().image?.target);
        Ok(target.map(Descriptor::from))
    }

    /// The digests of all images.
    ///
    /// # Errors
    /// When containerd does not say.
    pub(crate) async fn images(&self) -> Result<HashSet<String>, Error> {
        let mut client =
            ImagesClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let answer = client
            .list(self.request(ListImagesRequest::default()))
            .await;
        let answer =
            answer.map_err(|status| failed("images of namespace", &self.namespace, &status))?;
        let images = answer.into_inner().images.into_iter();
        Ok(images
            .filter_map(|image| Some(image.target?.digest))
            .collect())
    }

    /// Whether containerd has the content of a digest.
    ///
    /// # Errors
    /// When it does not say.
    pub(crate) async fn has(&self, digest: &str) -> Result<bool, Error> {
        let request = InfoRequest {
            digest: digest.to_owned(),
        };
        let mut client = ContentClient::new(self.channel.clone());
        let answer = known(client.info(self.request(request)).await);
        let known = answer.map_err(|status| failed("content", digest, &status))?;
        Ok(known.is_some())
    }

    /// Passes the content of a digest on, piece by piece; gives whether containerd has it.
    ///
    /// # Errors
    /// When it cannot be read, or what `take` says.
    pub(crate) async fn read(
        &self,
        digest: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let request = ReadContentRequest {
            digest: digest.to_owned(),
            ..ReadContentRequest::default()
        };
        let failed = |status: Status| failed("content", digest, &status);
        let mut client =
            ContentClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let answer = known(client.read(self.request(request)).await).map_err(failed)?;
        let Some(answer) = answer else {
            return Ok(false);
        };
        let mut pieces = answer.into_inner();
        loop {
            // That there is no such content is said in place of its first piece.
            match known(pieces.message().await).map_err(failed)? {
                Some(Some(piece)) => take(&piece.data)?,
                Some(None) => return Ok(true),
                None => return Ok(false),
            }
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        self.calls.set(self.calls.get() + 1);
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert(NAMESPACE, self.header.clone());
        request
    }
}

/// `None` for what containerd does not have.
fn known<T>(answer: Result<T, Status>) -> Result<Option<T>, Status> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

fn failed(what: &str, name: &str, status: &Status) -> Error {
    Error::new(
        format!("ask containerd for {what} {name:?}"),
        format!("{} ({:?})", status.message(), status.code()),
    )
}
