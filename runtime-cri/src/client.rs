mod containers;
mod images;
mod sandboxes;
mod stats;

use crate::{
    ContainerRuntime, Error, EventStream, Result,
    v1::{
        self, image_service_client::ImageServiceClient,
        runtime_service_client::RuntimeServiceClient,
    },
};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use hyper_util::rt::TokioIo;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::UnixStream;
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

const MAX_MESSAGE: usize = 16 << 20;

/// How a [`CriClient`] talks to its runtime.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// How long most requests may take; the default is 2 minutes. Sandboxes get twice that, stopping and
    /// running commands get it on top of their own time, and pulling an image has no limit.
    pub request_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { request_timeout: Duration::from_secs(120) }
    }
}

/// A runtime reached over the container runtime interface, version 1, such as containerd or CRI-O.
///
/// Clones share one connection, which is made anew when the runtime comes back after a restart.
#[derive(Debug, Clone)]
pub struct CriClient {
    socket: PathBuf,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    timeout: Duration,
}

impl CriClient {
    /// Connects to the runtime that listens at the Unix socket `path` and asks its version.
    ///
    /// # Errors
    /// `Unavailable` when nothing answers there or the socket may not be used, `Unimplemented` when what
    /// answers does not speak version 1 of the interface.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self> {
        Self::connect_with(path, ClientOptions::default()).await
    }

    /// Like [`CriClient::connect`], with options.
    ///
    /// # Errors
    /// Those of [`CriClient::connect`].
    pub async fn connect_with(path: impl AsRef<Path>, options: ClientOptions) -> Result<Self> {
        let socket = path.as_ref().to_path_buf();
        let channel = channel(socket.clone()).await?;
        let client = Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
            timeout: options.request_timeout,
            socket,
        };
        client.version().await.map_err(|error| match error {
            Error::Unimplemented { message } => Error::unimplemented(format!(
                "the runtime at {} does not speak version 1 of the container runtime interface: {message}",
                client.socket.display()
            )),
            other => other,
        })?;
        Ok(client)
    }

    /// The socket the runtime listens at.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        self.runtime.clone()
    }

    fn image_service(&self) -> ImageServiceClient<Channel> {
        self.images.clone()
    }

    fn request<T>(&self, message: T) -> Request<T> {
        limited(message, self.timeout)
    }
}

fn limited<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

async fn channel(socket: PathBuf) -> Result<Channel> {
    let shown = socket.display().to_string();
    let unavailable = |source: Box<dyn std::error::Error + Send + Sync>| Error::Unavailable {
        message: format!("cannot connect to the container runtime at {shown}: {}", root(&*source)),
        source: Some(source),
    };
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The authority of the address is never looked up: the connector goes to the socket.
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(connector).await.map_err(|error| unavailable(error.into()))
}

/// The innermost cause, which is the one that names what the system said.
fn root<'a>(
    mut error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[async_trait]
impl ContainerRuntime for CriClient {
    async fn version(&self) -> Result<v1::VersionResponse> {
        let request = self.request(v1::VersionRequest { version: "v1".to_owned() });
        Ok(self.runtime().version(request).await?.into_inner())
    }

    async fn status(&self, verbose: bool) -> Result<v1::StatusResponse> {
        let request = self.request(v1::StatusRequest { verbose });
        Ok(self.runtime().status(request).await?.into_inner())
    }

    async fn update_pod_cidr(&self, pod_cidr: &str) -> Result<()> {
        let network_config = Some(v1::NetworkConfig { pod_cidr: pod_cidr.to_owned() });
        let runtime_config = Some(v1::RuntimeConfig { network_config });
        let request = self.request(v1::UpdateRuntimeConfigRequest { runtime_config });
        self.runtime().update_runtime_config(request).await?;
        Ok(())
    }

    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse> {
        let request = self.request(v1::RuntimeConfigRequest {});
        Ok(self.runtime().runtime_config(request).await?.into_inner())
    }

    async fn events(&self) -> Result<EventStream> {
        let request = Request::new(v1::GetEventsRequest {});
        let events = self.runtime().get_container_events(request).await?.into_inner();
        Ok(events.map_err(Error::from).boxed())
    }
}
