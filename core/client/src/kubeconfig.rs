//! Clients of a kubeconfig that go on when what it says is renewed.

mod generation;
mod held;
mod transport;

use crate::Result;
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use generation::{Files, Generation};
use held::Held;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use kube::{Client, Config, client::Body};
use kubeplane_clock::SharedClock;
use kubeplane_core::component::{Component, ComponentError, Lifecycle};
use parking_lot::RwLock;
use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::{Mutex, Notify};
use tower::{BoxError, Service, ServiceExt as _};

/// How often the files are looked at. Tokens in files are good for that long at least after they were renewed.
const PERIOD: Duration = Duration::from_secs(60);
/// The least time between two looks.
const SPACING: Duration = Duration::from_secs(1);

/// Clients of a kubeconfig's user, which take up what is renewed on the disk while they are in use: the file itself with
/// the certificates in it, and the certificates, keys, tokens and authorities in files that it names.
///
/// # Contract
/// A [`CredentialReload`] has to run, or [`look`](Self::look) be called. Requests that begin after a look show what
/// was found then. When certificates, authorities or the server changed, watches that began before are ended, as if the
/// connection had broken, and everything else goes on to its end. What cannot be used, as a certificate whose key was
/// not written yet, changes nothing.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use kubeplane_client::KubeconfigClients;
/// let clients = KubeconfigClients::open("scheduler.kubeconfig", kubeplane_clock::real()).await?;
/// let (client, reload) = (clients.client(), clients.reload());
/// // `reload` is a component: run it beside what uses `client`.
/// # drop((client, reload));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KubeconfigClients(Arc<Shared>);

struct Shared {
    path: PathBuf,
    /// What the user shows in place of the kubeconfig's certificate, from when on it is there.
    certificate: Option<PathBuf>,
    clock: SharedClock,
    now: RwLock<Arc<Generation>>,
    looking: Mutex<()>,
    /// It is time for a look: the server did not know the user, or was not reached.
    hurry: Notify,
}

impl fmt::Debug for KubeconfigClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeconfigClients").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl KubeconfigClients {
    /// Of the current context of this file.
    ///
    /// # Errors
    /// When the file, or one that it names, cannot be read or used.
    pub async fn open(path: impl Into<PathBuf>, clock: SharedClock) -> Result<Self> {
        Self::begin(path.into(), None, clock).await
    }

    /// The same, but its user shows the certificate in this file (PEM, its key behind it) in place of the kubeconfig's,
    /// while there is such a file. The kubeconfig stays as it is.
    ///
    /// # Errors
    /// As [`open`](Self::open); also when the file is there and cannot be used.
    pub async fn open_with_certificate(
        path: impl Into<PathBuf>,
        certificate: impl Into<PathBuf>,
        clock: SharedClock,
    ) -> Result<Self> {
        Self::begin(path.into(), Some(certificate.into()), clock).await
    }

    async fn begin(
        path: PathBuf,
        certificate: Option<PathBuf>,
        clock: SharedClock,
    ) -> Result<Self> {
        let files = Files::of(&path, certificate.as_deref())?;
        let first = Generation::read(&path, certificate.as_deref(), files, None).await?;
        Ok(Self(Arc::new(Shared {
            path,
            certificate,
            clock,
            now: RwLock::new(Arc::new(first)),
            looking: Mutex::new(()),
            hurry: Notify::new(),
        })))
    }

    /// What the file said when it was last looked at.
    #[must_use]
    pub fn config(&self) -> Config {
        self.0.current().config.clone()
    }

    /// The user's client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.made(true)
    }

    /// A client of the same server that shows nothing of who it is.
    #[must_use]
    pub fn without_user(&self) -> Client {
        self.made(false)
    }

    /// The same as a service, for clients that show themselves in another way.
    #[must_use]
    pub fn service_without_user(
        &self,
    ) -> impl Service<
        Request<Body>,
        Response = Response<UnsyncBoxBody<Bytes, BoxError>>,
        Error = BoxError,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static {
        self.current(false).map_response(transport::answer)
    }

    fn made(&self, as_user: bool) -> Client {
        let namespace = self.0.current().config.default_namespace.clone();
        Client::new(self.current(as_user), namespace)
    }

    fn current(&self, as_user: bool) -> Current {
        Current { shared: self.0.clone(), as_user }
    }

    /// What looks at the files from time to time, and at once when the server does not know the user any more.
    #[must_use]
    pub fn reload(&self) -> CredentialReload {
        CredentialReload { clients: self.clone() }
    }

    /// Has the [`CredentialReload`] that runs look at once: there is something new.
    pub fn hurry(&self) {
        self.0.hurry.notify_one();
    }

    /// Looks at the files now; whether there was something new.
    ///
    /// # Errors
    /// When what is new cannot be used; the old goes on.
    ///
    /// # Cancellation
    /// Either everything is taken up or nothing.
    pub async fn look(&self) -> Result<bool> {
        let _only = self.0.looking.lock().await;
        let certificate = self.0.certificate.as_deref();
        let (files, now) = (Files::of(&self.0.path, certificate)?, self.0.current());
        if files == now.files {
            return Ok(false);
        }
        let next = Generation::read(&self.0.path, certificate, files, Some(&now)).await?;
        let replaced = !next.shares_connections_with(&now);
        *self.0.now.write() = Arc::new(next);
        if replaced {
            now.over.cancel();
        }
        Ok(true)
    }
}

impl Shared {
    fn current(&self) -> Arc<Generation> {
        self.now.read().clone()
    }
}

/// Sends requests by whatever client there is at the time.
#[derive(Clone)]
struct Current {
    shared: Arc<Shared>,
    as_user: bool,
}

impl Service<Request<Body>> for Current {
    type Response = Response<Held>;
    type Error = BoxError;
    type Future = BoxFuture<'static, std::result::Result<Response<Held>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (shared, as_user) = (self.shared.clone(), self.as_user);
        Box::pin(async move {
            let now = shared.current();
            let goes_on = transport::is_watch(request.uri());
            let sender = if as_user { &now.user } else { &now.nobody };
            let answer = sender.send(request).await;
            let unknown =
                |answer: &Response<_>| as_user && answer.status() == StatusCode::UNAUTHORIZED;
            if answer.as_ref().map_or(true, unknown) {
                shared.hurry.notify_one();
            }
            let over = goes_on.then(|| now.over.clone());
            Ok(answer?.map(|body| Held::new(body, over)))
        })
    }
}

/// Looks at the files of [`KubeconfigClients`] once a minute, and a moment after a request was refused for want of a
/// known user or the server was not reached. What cannot be used is logged and tried again with the next look.
#[derive(Debug)]
pub struct CredentialReload {
    clients: KubeconfigClients,
}

#[async_trait]
impl Component for CredentialReload {
    fn name(&self) -> &str {
        "credentials"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        lifecycle.ready();
        let shared = &self.clients.0;
        let looks = async {
            loop {
                let period = shared.clock.sleep(PERIOD);
                tokio::select! {
                    biased;
                    () = shared.hurry.notified() => {}
                    () = period => {}
                }
                match self.clients.look().await {
                    Ok(true) => {
                        tracing::info!(file = %shared.path.display(), "credentials were read anew")
                    }
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%error, "new credentials cannot be used"),
                }
                shared.clock.sleep(SPACING).await;
            }
        };
        tokio::select! {
            biased;
            () = lifecycle.stopping() => {}
            () = looks => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
