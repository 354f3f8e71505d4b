//! The health and metrics port of a component that has no server of its own.

mod access;

pub use access::DelegatedAccess;

use async_trait::async_trait;
use axum::{Router, extract::Request, middleware, response::IntoResponse};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use kubeplane_core::component::{Component, ComponentError, Lifecycle};
use kubeplane_pki::Identity;
use kubeplane_telemetry::{Health, Metrics, router};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// Serves `/livez`, `/readyz` and `/healthz` to everybody and `/metrics` to those whom the API server
/// lets read it, all over TLS.
#[derive(Debug)]
pub struct HealthEndpoint {
    name: String,
    address: SocketAddr,
    serving: Identity,
    health: Health,
    metrics: Metrics,
    access: DelegatedAccess,
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
        Self { name, address, serving, health, metrics, access }
    }

    fn tls(&self) -> Result<TlsAcceptor, ComponentError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(self.serving.certificate.as_bytes())
            .collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(self.serving.key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn routes(&self) -> Router {
        let access = self.access.clone();
        router(self.health.clone(), self.metrics.clone()).layer(middleware::from_fn(
            move |request: Request, next: middleware::Next| {
                let access = access.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    if path == "/metrics"
                        && let Err(refused) = access.check(request.headers(), &path).await
                    {
                        return refused.into_response();
                    }
                    next.run(request).await
                }
            },
        ))
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
        let service = TowerToHyperService::new(self.routes());
        lifecycle.ready();
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = lifecycle.stopping() => return Ok(()),
            };
            let Ok((connection, _)) = accepted else { continue };
            let (tls, service) = (tls.clone(), service.clone());
            connections.spawn(async move {
                let Ok(secured) = tls.accept(connection).await else { return };
                let server = auto::Builder::new(TokioExecutor::new());
                // A client that goes away mid-answer is its own affair.
                let _ = server.serve_connection(TokioIo::new(secured), service).await;
            });
        }
    }
}
