//! Connections to what requests are passed on to.

use super::target::{Speaks, Target};
use crate::{
    KubeletClient,
    dial::{Connection, Dial, said},
};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use kubeplane_apiserver::{Api, Body};
use kubeplane_core::status::{ApiError, ApiResult};
use kubeplane_pki::Unverified;
use rustls::{ClientConfig, crypto::CryptoProvider, pki_types::ServerName};
use std::{fmt, sync::Arc, time::Duration};
use tokio_rustls::TlsConnector;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Everything requests are passed on to.
pub(super) struct Backends {
    pub(super) kubelets: KubeletClient,
    pub(super) dial: Arc<dyn Dial>,
    /// `None` when the provider has no usable TLS versions.
    tls: Option<TlsConnector>,
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backends").field("dial", &self.dial).finish_non_exhaustive()
    }
}

impl Backends {
    pub(super) fn new(
        kubelets: KubeletClient,
        provider: Arc<CryptoProvider>,
        dial: Arc<dyn Dial>,
    ) -> Self {
        // Certificates of pods are by anybody.
        let verifier = Unverified::new(provider.clone());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(|config| config.dangerous().with_custom_certificate_verifier(verifier));
        let tls = config.ok().map(|config| Arc::new(config.with_no_client_auth()).into());
        Self { kubelets, dial, tls }
    }

    pub(super) fn with_dial(&self, dial: Arc<dyn Dial>) -> Self {
        Self { kubelets: self.kubelets.clone(), dial, tls: self.tls.clone() }
    }

    /// A connection on which one request can be sent.
    pub(super) async fn open(&self, api: &Api, target: &Target) -> ApiResult<SendRequest<Body>> {
        let opening = self.connect(api, target);
        let opened = kubeplane_clock::timeout(&**api.clock(), CONNECT_LIMIT, opening).await;
        opened
            .unwrap_or_else(|| Err(format!("dial tcp {}: i/o timeout", target.authority())))
            .map_err(|why| unreachable(&why))
    }

    async fn connect(&self, api: &Api, target: &Target) -> Result<SendRequest<Body>, String> {
        let (host, port) = (target.host.as_str(), target.port);
        let stream = match (&target.node, target.speaks) {
            (Some(node), Speaks::Kubelet) => {
                return self.kubelets.dial(api, node, host, port).await;
            }
            (Some(node), _) => self.dial.connect_node(node, host, port).await,
            (None, _) => self.dial.connect(host, port).await,
        };
        let stream =
            stream.map_err(|error| format!("dial tcp {}: {}", target.authority(), said(&error)))?;
        if target.speaks == Speaks::Http {
            return handshake(api, stream).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let tls = self.tls.as_ref().ok_or("tls: no usable version")?;
        let secured = tls.connect(name, stream).await.map_err(|error| format!("tls: {error}"))?;
        handshake(api, secured).await
    }
}

pub(super) fn unreachable(why: &dyn fmt::Display) -> ApiError {
    ApiError::unavailable(format!("error trying to reach service: {why}"))
}

async fn handshake(api: &Api, stream: impl Connection) -> Result<SendRequest<Body>, String> {
    let (sender, driver) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends with the connection, which ends when both the sender and an upgraded stream are dropped.
    api.spawn(async move {
        if let Err(error) = driver.with_upgrades().await {
            tracing::debug!(%error, "connection of a proxied request ended");
        }
    });
    Ok(sender)
}
