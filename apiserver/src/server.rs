//! The server as a component: its listener, its clients in the process, its start and end.

use crate::{
    api::{self, Api},
    body::{self, Body, BoxError},
    builder::Builder,
    client, compaction,
    error::{Error, Result},
    pipeline::{Pipeline, Service},
    tls::TlsOptions,
};
use async_trait::async_trait;
use bytes::Bytes;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use kube_client::Client;
use kubeplane_clock::SharedClock;
use kubeplane_core::{
    auth::{GROUP_AUTHENTICATED, GROUP_MASTERS, PeerAddress, PeerCertificates, UserInfo},
    component::{Component, ComponentError, Lifecycle},
    reader::ObjectReader,
};
use kubeplane_store_trait::Store;
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// How long all that is under way gets to finish, less than a component is given to stop: what a supervisor drops is not
/// told of.
const GRACE: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many requests one HTTP/2 connection may have under way.
const STREAMS: u32 = 1000;

/// Where and how the server listens.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    config: Arc<rustls::ServerConfig>,
}

impl Listener {
    pub(crate) fn new(address: SocketAddr, tls: &TlsOptions) -> Result<Self> {
        Ok(Self { address, config: tls.config()? })
    }

    async fn bind(&self) -> Result<TcpListener> {
        let address = self.address;
        TcpListener::bind(address).await.map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => Error::PortInUse { address },
            _ => Error::Listen { address, source },
        })
    }
}

/// An API server, built and not running yet. Its clients work at once.
#[derive(Debug)]
pub struct ApiServer {
    api: Api,
    pipeline: Pipeline,
    listener: Option<Listener>,
    bound: tokio::sync::watch::Sender<Option<SocketAddr>>,
}

impl ApiServer {
    /// Begins to put a server together on this store.
    #[must_use]
    pub fn builder(store: Arc<dyn Store>) -> Builder {
        Builder::new(store)
    }

    pub(crate) fn new(api: Api, pipeline: Pipeline, listener: Option<Listener>) -> Self {
        Self { api, pipeline, listener, bound: tokio::sync::watch::Sender::new(None) }
    }

    /// A client of an administrator.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_as(UserInfo::new("system:apiserver", [GROUP_MASTERS, GROUP_AUTHENTICATED]))
    }

    /// A client that is this user. Its requests pass the whole pipeline, as those from the wire do.
    #[must_use]
    pub fn client_as(&self, user: UserInfo) -> Client {
        self.clients().client_as(user)
    }

    /// What makes clients of any user, also after the server was handed to its supervisor.
    #[must_use]
    pub fn clients(&self) -> Clients {
        Clients(self.pipeline.clone(), self.api.0.connections.clone())
    }

    /// The pipeline as a tower service; who asks is found out by the authenticators.
    #[must_use]
    pub fn service(&self) -> Service {
        Service(self.pipeline.clone())
    }

    /// Reads from the watch caches.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn ObjectReader> {
        self.api.reader().clone()
    }

    /// The inside of the server.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api.clone()
    }

    /// The address listened on, once the server runs; the port is the real one when zero was asked for.
    #[must_use]
    pub fn bound(&self) -> tokio::sync::watch::Receiver<Option<SocketAddr>> {
        self.bound.subscribe()
    }
}

/// Makes in-process clients of a server; see [`ApiServer::client_as`].
#[derive(Debug, Clone)]
pub struct Clients(Pipeline, api::Connections);

impl Clients {
    /// A client that is this user.
    #[must_use]
    pub fn client_as(&self, user: UserInfo) -> Client {
        client::of(self.0.clone(), self.1.clone(), user)
    }

    /// Sends one request as this user, by the same way: for a sender who is another user with each request, and would
    /// make a client for each.
    ///
    /// # Errors
    /// When what is to be another protocol cannot be; all that the server refuses is an answer.
    ///
    /// # Cancellation
    /// As when a client goes away: a write that was begun goes on to its end.
    pub async fn send_as<B>(
        &self,
        user: Arc<UserInfo>,
        request: Request<B>,
    ) -> std::result::Result<Response<Body>, BoxError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        client::send(self.0.clone(), &self.1, user, request.map(body::boxed)).await
    }
}

#[async_trait]
impl Component for ApiServer {
    fn name(&self) -> &str {
        "kube-apiserver"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> std::result::Result<(), ComponentError> {
        let store = self.api.store().clone();
        // What was begun ends with this, also when it is dropped.
        let _stopping = self.api.stopping().clone().drop_guard();
        let _compaction =
            AbortOnDropHandle::new(tokio::spawn(compaction::run(store, self.api.clock().clone())));
        let Some(listener) = &self.listener else {
            lifecycle.ready();
            lifecycle.stopping().await;
            self.api.stopping().cancel();
            finish(&self.api, &Deadline::after(GRACE, self.api.clock())).await;
            return Ok(());
        };
        let socket = listener.bind().await?;
        self.bound.send_replace(socket.local_addr().ok());
        lifecycle.ready();
        let connections = self.accept(&socket, &listener.config, &lifecycle).await;
        // No one new is let in, watches end, and what is under way gets its time.
        drop(socket);
        self.api.stopping().cancel();
        let deadline = Deadline::after(GRACE, self.api.clock());
        connections.finish(&deadline).await;
        finish(&self.api, &deadline).await;
        Ok(())
    }
}

/// Until when what is under way may go on.
struct Deadline<'a> {
    clock: &'a SharedClock,
    /// On the clock's own count.
    at: Duration,
}

impl<'a> Deadline<'a> {
    fn after(grace: Duration, clock: &'a SharedClock) -> Self {
        Self { clock, at: clock.elapsed().saturating_add(grace) }
    }

    /// Whether the work ended in time; it is asked once in any case.
    async fn meets(&self, work: impl Future<Output = ()>) -> bool {
        let left = self.at.saturating_sub(self.clock.elapsed());
        kubeplane_clock::timeout(self.clock.as_ref(), left, work).await.is_some()
    }
}

/// Waits for writes whose clients did not, and for connections that were taken over.
async fn finish(api: &Api, deadline: &Deadline<'_>) {
    api.0.writes.close();
    if !deadline.meets(api.0.writes.wait()).await {
        tracing::warn!(left = api.0.writes.len(), "writes did not end in time");
    }
    if !deadline.meets(api.0.connections.ended()).await {
        tracing::warn!("connections that were taken over did not end in time");
    }
}

/// Connections being served.
struct Connections {
    tasks: JoinSet<()>,
    graceful: GracefulShutdown,
}

impl Connections {
    async fn finish(mut self, deadline: &Deadline<'_>) {
        if !deadline.meets(self.graceful.shutdown()).await {
            tracing::warn!(left = self.tasks.len(), "connections did not end in time");
        }
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl ApiServer {
    async fn accept(
        &self,
        socket: &TcpListener,
        config: &Arc<rustls::ServerConfig>,
        lifecycle: &Lifecycle,
    ) -> Connections {
        let acceptor = TlsAcceptor::from(config.clone());
        let mut connections =
            Connections { tasks: JoinSet::new(), graceful: GracefulShutdown::new() };
        loop {
            tokio::select! {
                () = lifecycle.stopping() => return connections,
                Some(_) = connections.tasks.join_next(), if !connections.tasks.is_empty() => {}
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let watcher = connections.graceful.watcher();
                        let serving =
                            serve(self.api.clone(), self.pipeline.clone(), acceptor.clone(), stream, peer, watcher);
                        connections.tasks.spawn(serving);
                    }
                    Err(error) => {
                        // Out of file descriptors, mostly: wait for some to be closed.
                        tracing::warn!(%error, "connection not accepted");
                        self.api.clock().sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
    }
}

async fn serve(
    api: Api,
    pipeline: Pipeline,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Small frames of a watch must not wait for more.
    let _ = stream.set_nodelay(true);
    let handshake =
        kubeplane_clock::timeout(api.clock().as_ref(), HANDSHAKE, acceptor.accept(stream)).await;
    let stream = match handshake {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => {
            api.0.metrics.handshake_failed();
            return tracing::debug!(%peer, %error, "TLS handshake failed");
        }
        None => {
            api.0.metrics.handshake_failed();
            return tracing::debug!(%peer, "TLS handshake took too long");
        }
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates =
        PeerCertificates(certificates.iter().map(|certificate| certificate.to_vec()).collect());
    let certificates = (!certificates.0.is_empty()).then(|| Arc::new(certificates));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let extensions = request.extensions_mut();
        extensions.insert(PeerAddress(peer.ip()));
        if let Some(certificates) = &certificates {
            extensions.insert(certificates.clone());
        }
        let pipeline = pipeline.clone();
        async move { Ok::<_, Infallible>(pipeline.call(request.map(body::boxed)).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    let connection =
        builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
