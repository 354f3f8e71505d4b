//! The health and metrics port of a component that has no server of its own.

mod access;

pub use access::DelegatedAccess;

use async_trait::async_trait;
use axum::{
    Extension, Router, extract::Request, http::header, middleware, response::IntoResponse,
    routing::any,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use kubeplane_clock::SharedClock;
use kubeplane_core::{
    auth::PeerCertificates,
    component::{Component, ComponentError, Lifecycle},
};
use kubeplane_pki::{Identity, LiveIdentity};
use kubeplane_telemetry::{Health, Metrics, router};
use rustls::ServerConfig;
use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The form of metrics that every reader knows.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The pause when no connection can be taken.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves `/livez`, `/readyz` and `/healthz` to everybody and `/metrics`, with what is below it, to those whom the API
/// server lets read it, all over TLS. They show a token, or a client certificate where [`DelegatedAccess`] knows its
/// authority.
#[derive(Debug)]
pub struct HealthEndpoint {
    name: String,
    address: SocketAddr,
    serving: Serving,
    health: Health,
    metrics: Metrics,
    access: DelegatedAccess,
    clock: SharedClock,
    pages: Vec<Page>,
}

/// Metrics that are made when somebody asks for them.
#[derive(Clone)]
struct Page {
    path: &'static str,
    make: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("path", &self.path).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Serving {
    Fixed(Identity),
    Live(Arc<LiveIdentity>),
}

impl HealthEndpoint {
    /// Serves the checks and metrics of `component`.
    #[must_use]
    pub fn new(
        component: &str,
        address: SocketAddr,
        serving: Identity,
        health: Health,
        metrics: Metrics,
        access: DelegatedAccess,
    ) -> Self {
        let name = format!("{component}-endpoint");
        let clock = kubeplane_clock::real();
        let serving = Serving::Fixed(serving);
        Self { name, address, serving, health, metrics, access, clock, pages: Vec::new() }
    }

    /// Serves with this certificate in place of the first, one that somebody renews.
    #[must_use]
    pub fn serving(self, live: Arc<LiveIdentity>) -> Self {
        Self { serving: Serving::Live(live), ..self }
    }

    /// Serves more metrics at this path below `/metrics`: plain text of Prometheus, made anew for each request.
    #[must_use]
    pub fn page(
        mut self,
        path: &'static str,
        make: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        self.pages.push(Page { path, make: Arc::new(make) });
        self
    }

    /// Takes time from this clock in place of the machine's.
    #[must_use]
    pub fn clock(self, clock: SharedClock) -> Self {
        Self { clock, ..self }
    }

    fn tls(&self) -> Result<TlsAcceptor, ComponentError> {
        let live = match &self.serving {
            Serving::Fixed(identity) => Arc::new(LiveIdentity::new(identity.clone())?),
            Serving::Live(live) => live.clone(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match self.access.verifier() {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let config = builder.with_cert_resolver(live);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn routes(&self) -> Router {
        let access = self.access.clone();
        let mut routes = router(self.health.clone(), self.metrics.clone());
        for page in &self.pages {
            let make = page.make.clone();
            let answer = move || async move { ([(header::CONTENT_TYPE, PLAIN)], make()) };
            routes = routes.route(page.path, any(answer));
        }
        routes.layer(middleware::from_fn(move |request: Request, next: middleware::Next| {
            let access = access.clone();
            async move {
                let (head, body) = request.into_parts();
                if head.uri.path().starts_with("/metrics")
                    && let Err(refused) = access.check(&head).await
                {
                    return refused.into_response();
                }
                next.run(Request::from_parts(head, body)).await
            }
        }))
    }
}

#[async_trait]
impl Component for HealthEndpoint {
    fn name(&self) -> &str {
        &self.name
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let tls = self.tls()?;
        let listener = TcpListener::bind(self.address)
            .await
            .map_err(|error| format!("listen on {}: {error}", self.address))?;
        let service = self.routes();
        lifecycle.ready();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((tcp, _)) => {
                        let clock = self.clock.clone();
                        connections.spawn(serve(tls.clone(), clock, tcp, service.clone()));
                    }
                    Err(error) => {
                        // Out of file descriptors, mostly: wait for some to be closed.
                        tracing::warn!(%error, "connection not accepted");
                        self.clock.sleep(PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = lifecycle.stopping() => return Ok(()),
            }
        }
    }
}

async fn serve(tls: TlsAcceptor, clock: SharedClock, tcp: TcpStream, routes: Router) {
    let secured = match kubeplane_clock::timeout(clock.as_ref(), HANDSHAKE, tls.accept(tcp)).await {
        Some(Ok(secured)) => secured,
        Some(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
        None => return tracing::debug!("TLS handshake took too long"),
    };
    let shown = secured.get_ref().1.peer_certificates().unwrap_or_default();
    let shown = PeerCertificates(shown.iter().map(|certificate| certificate.to_vec()).collect());
    let service = TowerToHyperService::new(routes.layer(Extension(Arc::new(shown))));
    let server = auto::Builder::new(TokioExecutor::new());
    // A client that goes away mid-answer is its own affair.
    let _ = server.serve_connection(TokioIo::new(secured), service).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;
    use kubeplane_clock::PausedClock;
    use kubeplane_core::component::lifecycle;
    use kubeplane_pki::{Authority, Request as CertificateRequest, Usage};
    use std::net::Ipv4Addr;
    use tokio::io::AsyncReadExt as _;

    const LIMIT: Duration = Duration::from_secs(30);

    fn endpoint(address: SocketAddr) -> HealthEndpoint {
        let now = jiff::Timestamp::now();
        let authority = Authority::generate("ca", now).unwrap();
        let serving = authority.issue(&CertificateRequest::new("part", Usage::Server), now);
        let nobody = tower::service_fn(|_: Request<Body>| async {
            Err::<Response<Body>, _>(std::io::Error::other("nobody is asked"))
        });
        let access = DelegatedAccess::new(kube::Client::new(nobody, "default"));
        let (health, metrics) = (Health::new(), Metrics::new());
        HealthEndpoint::new("part", address, serving.unwrap(), health, metrics, access)
    }

    #[tokio::test]
    async fn whoever_does_not_finish_the_handshake_is_sent_away() {
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let clock = PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let (own, mut supervision) = lifecycle();
        let part = endpoint(address).clock(Arc::new(clock.clone()));
        let running = tokio::spawn(Box::new(part).run(own));
        assert!(supervision.became_ready().await);
        let mut silent = TcpStream::connect(address).await.unwrap();
        let begun = async {
            while clock.next_wake() != Some(HANDSHAKE) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIMIT, begun).await.unwrap();
        clock.advance(HANDSHAKE);
        let end = tokio::time::timeout(LIMIT, silent.read(&mut [0; 1])).await.unwrap();
        assert_eq!(end.unwrap_or_default(), 0, "the connection is closed");
        supervision.stop();
        running.await.unwrap().unwrap();
    }
}
