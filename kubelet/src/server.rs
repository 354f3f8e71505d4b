//! The server of the kubelet: logs, commands and ports of its pods, for those who may.
//!
//! ```text
//!   TLS (tls) ── who? client certificate or token ── may they? ──> answer
//!                        (access: TokenReview, SubjectAccessReview)     │
//!                                              logs, streams, stats, telemetry
//! ```

mod access;
mod answer;
mod connection;
mod containers;
mod logs;
mod query;
mod requested;
mod routes;
mod stats;
mod streams;
mod tls;

use crate::{Error, Result, config::KubeletConfig, host::Host};
use access::Access;
use axum::Router;
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinSet};

const HANDSHAKE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// What requests are answered with.
struct Serving {
    host: Arc<Host>,
    access: Access,
    telemetry: Router,
    tls: tls::Tls,
}

/// Checks the certificates of the configuration.
pub(crate) fn check(config: &KubeletConfig) -> Result<()> {
    tls::Tls::of(config).map(|_| ())
}

/// Opens the port, if the configuration has a certificate to serve with.
pub(crate) async fn bind(config: &KubeletConfig) -> Result<Option<TcpListener>> {
    if config.serving.is_none() && config.serving_live.is_none() {
        return Ok(None);
    }
    let listen = |source| Error::Listen { address: config.listen, source };
    TcpListener::bind(config.listen).await.map(Some).map_err(listen)
}

/// Answers requests until dropped.
pub(crate) async fn serve(host: Arc<Host>, listener: TcpListener, telemetry: Router) {
    let tls = match tls::Tls::of(&host.config) {
        Ok(Some(tls)) => tls,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(%error, "the server of the kubelet cannot start");
            return;
        }
    };
    let access =
        Access::new(host.client.clone(), host.clock.clone(), host.config.node_name.clone());
    let serving = Arc::new(Serving { host: host.clone(), access, telemetry, tls });
    let mut connections = JoinSet::new();
    if host.config.request_serving {
        connections.spawn(requested::keep(host.clone(), serving.tls.served.clone()));
    }
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    connections.spawn(connect(serving.clone(), tcp));
                }
                Err(error) => {
                    tracing::warn!(%error, "the server of the kubelet cannot take a connection");
                    host.clock.sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(serving: Arc<Serving>, tcp: tokio::net::TcpStream) {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "a connection delays its packets");
    }
    let clock = serving.host.clock.clone();
    let acceptor = serving.tls.acceptor.clone();
    let shaken = kubeplane_clock::timeout(clock.as_ref(), HANDSHAKE, acceptor.accept(tcp)).await;
    match shaken {
        Some(Ok(io)) => connection::run(serving, io).await,
        Some(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        None => tracing::debug!("a TLS handshake took too long"),
    }
}
