use crate::dial::{Dial, Tcp, said};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use kubeplane_apiserver::{Api, Body, body};
use kubeplane_core::{
    GroupResource, Object,
    status::{ApiError, ApiResult},
};
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::{ResolvesClientCert, WantsClientCert},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use std::{fmt, sync::Arc, time::Duration};
use tokio_rustls::TlsConnector;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const DEFAULT_PORT: u16 = 10250;
/// In the original's order of preference.
const ADDRESS_TYPES: [&str; 5] =
    ["Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"];

/// Why a [`KubeletClient`] could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeletClientError {
    /// A certificate or key is malformed.
    #[error("kubelet client credentials: {0}")]
    Credentials(String),
}

/// Talks to kubelets over TLS with a client certificate.
#[derive(Clone)]
pub struct KubeletClient {
    tls: TlsConnector,
    address_types: Vec<&'static str>,
    dial: Arc<dyn Dial>,
}

impl fmt::Debug for KubeletClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeletClient")
            .field("address_types", &self.address_types)
            .field("dial", &self.dial)
            .finish_non_exhaustive()
    }
}

impl KubeletClient {
    /// Trusts kubelets whose certificates `authority` signed; shows `certificate`. All PEM.
    ///
    /// # Errors
    /// When one of them is malformed.
    pub fn new(
        authority: &str,
        certificate: &str,
        key: &str,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, KubeletClientError> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
        let chain = chain.map_err(|error| malformed(&error))?;
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| malformed(&error))?;
        let config = trusting(authority, provider)?.with_client_auth_cert(chain, key);
        Ok(Self::of(config.map_err(|error| malformed(&error))?))
    }

    /// The same with whatever certificate `identity` has when a connection is made: one that is renewed
    /// while the server runs.
    ///
    /// # Errors
    /// When the authority is malformed.
    pub fn resolving(
        authority: &str,
        identity: Arc<dyn ResolvesClientCert>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, KubeletClientError> {
        Ok(Self::of(trusting(authority, provider)?.with_client_cert_resolver(identity)))
    }

    fn of(config: ClientConfig) -> Self {
        Self {
            tls: TlsConnector::from(Arc::new(config)),
            address_types: vec!["InternalIP", "Hostname", "ExternalIP"],
            dial: Arc::new(Tcp),
        }
    }

    /// Reaches nodes through `dial` instead of the machine's own network.
    #[must_use]
    pub fn dialing(mut self, dial: Arc<dyn Dial>) -> Self {
        self.dial = dial;
        self
    }

    /// Which addresses of a node to try, most wanted first: `InternalIP`, `Hostname` and so on.
    #[must_use]
    pub fn address_types(mut self, wanted: &[&str]) -> Self {
        self.address_types = wanted
            .iter()
            .filter_map(|kind| ADDRESS_TYPES.into_iter().find(|own| own == kind))
            .collect();
        self
    }

    /// Sends a request without a body to a node's kubelet. An answer of 101 can be upgraded.
    ///
    /// # Errors
    /// 404 when there is no such node, 500 when the kubelet cannot be reached.
    pub async fn send(
        &self,
        api: &Api,
        node: &str,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
    ) -> ApiResult<Response<Incoming>> {
        let (host, port) = self.address(api, node).await?;
        let dial = self.dial(api, node, &host, port);
        let connected = kubeplane_clock::timeout(&**api.clock(), CONNECT_LIMIT, dial).await;
        let mut sender = connected
            .unwrap_or_else(|| Err(format!("dial tcp {host}:{port}: i/o timeout")))
            .map_err(|why| ApiError::internal(format!("error dialing backend: {why}")))?;
        let uri: Uri = path_and_query.parse().map_err(ApiError::internal)?;
        let mut request = Request::new(body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let authority = format!("{host}:{port}").parse().map_err(ApiError::internal)?;
        request.headers_mut().insert(header::HOST, authority);
        sender
            .send_request(request)
            .await
            .map_err(|error| ApiError::internal(format!("error dialing backend: {error}")))
    }

    pub(crate) async fn dial(
        &self,
        api: &Api,
        node: &str,
        host: &str,
        port: u16,
    ) -> Result<http1::SendRequest<Body>, String> {
        let connection = self.dial.connect_node(node, host, port).await;
        let connection =
            connection.map_err(|error| format!("dial tcp {host}:{port}: {}", said(&error)))?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let secured =
            self.tls.connect(name, connection).await.map_err(|error| format!("tls: {error}"))?;
        let (sender, driver) =
            http1::handshake(TokioIo::new(secured)).await.map_err(|error| error.to_string())?;
        // Ends with the connection, which ends when both the sender and an upgraded stream are dropped.
        api.spawn(async move {
            if let Err(error) = driver.with_upgrades().await {
                tracing::debug!(%error, "connection to a kubelet ended");
            }
        });
        Ok(sender)
    }

    /// Where a node's kubelet listens.
    pub(crate) async fn address(&self, api: &Api, node: &str) -> ApiResult<(String, u16)> {
        let nodes = GroupResource::new("", "nodes");
        // As it is: a kubelet may have come back elsewhere a moment ago.
        let object = api
            .reader()
            .get_fresh(&nodes, "", node)
            .await?
            .ok_or_else(|| ApiError::not_found(&nodes, node))?;
        let port = object
            .at(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"])
            .and_then(Value::as_u64);
        let port = port
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port != 0)
            .unwrap_or(DEFAULT_PORT);
        let host = self.address_types.iter().find_map(|kind| address_of(&object, kind));
        let host = host.ok_or_else(|| nowhere(&object))?;
        Ok((host, port))
    }
}

/// The refusal of a node whose addresses are none of those that are looked for, in the original's words.
fn nowhere(node: &Object) -> ApiError {
    let known = node.at(&["status", "addresses"]).and_then(Value::as_array).into_iter().flatten();
    let text = |address: &Value, key: &str| address[key].as_str().unwrap_or_default().to_owned();
    let known = known.map(|one| format!("{{{} {}}}", text(one, "type"), text(one, "address")));
    let known: Vec<String> = known.collect();
    let why = format!("no preferred addresses found; known addresses: [{}]", known.join(" "));
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", why)
}

fn malformed(error: &dyn fmt::Display) -> KubeletClientError {
    KubeletClientError::Credentials(error.to_string())
}

/// Trusts servers whose certificates `authority` (PEM) signed.
fn trusting(
    authority: &str,
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, KubeletClientError> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        let root = root.map_err(|error| malformed(&error))?;
        roots.add(root).map_err(|error| malformed(&error))?;
    }
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| malformed(&error))?;
    Ok(builder.with_root_certificates(roots))
}

fn address_of(node: &Object, kind: &str) -> Option<String> {
    let addresses = node.at(&["status", "addresses"])?.as_array()?;
    let found = addresses.iter().find(|address| address["type"] == kind)?;
    found["address"].as_str().map(str::to_owned)
}
