//! Connections: TLS over TCP, to an address or to what stands behind a Service.

use crate::{
    endpoint::{Endpoint, Place},
    resolve,
};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use kubeplane_clock::Seed;
use kubeplane_core::reader::ObjectReader;
use kubeplane_pki::{Trusted, Unverified};
use rustls::{
    ClientConfig, RootCertStore, client::ResolvesClientCert, crypto::CryptoProvider,
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A client certificate and its key.
#[derive(Debug)]
pub struct Identity(Source);

#[derive(Debug)]
enum Source {
    Fixed { chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static> },
    Resolver(Arc<dyn ResolvesClientCert>),
}

impl Identity {
    /// From PEM.
    ///
    /// # Errors
    /// When there is no certificate or no key, or they are malformed.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, String> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(certificates.as_bytes()).collect();
        let chain = chain.map_err(|error| error.to_string())?;
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Self(Source::Fixed { chain, key }))
    }

    /// Whatever this says when a connection is made: a certificate that is renewed meanwhile. Another answer than
    /// the last (another `Arc`) makes clients leave their connections.
    #[must_use]
    pub fn from_resolver(resolver: Arc<dyn ResolvesClientCert>) -> Self {
        Self(Source::Resolver(resolver))
    }

    /// The certificate of now, where it may become another one.
    pub(crate) fn shown(&self) -> Option<Arc<CertifiedKey>> {
        match &self.0 {
            Source::Fixed { .. } => None,
            Source::Resolver(resolver) => resolver.resolve(&[], &[]),
        }
    }
}

/// Makes connections to one endpoint.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: TlsConnector,
    place: Arc<Place>,
    reader: Arc<dyn ObjectReader>,
    seed: Seed,
}

/// An open connection.
pub(crate) struct Secured(TokioIo<TlsStream<TcpStream>>);

/// Why there is none, in the original's words.
#[derive(Debug)]
pub(crate) struct NotConnected(pub(crate) String);

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotConnected {}

impl Connector {
    pub(crate) fn new(
        provider: Arc<CryptoProvider>,
        endpoint: &Endpoint,
        identity: Option<&Identity>,
        reader: Arc<dyn ObjectReader>,
        seed: Seed,
    ) -> Result<Self, String> {
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = config.dangerous();
        let config = match endpoint.insecure {
            true => config.with_custom_certificate_verifier(Unverified::new(provider)),
            false => {
                let trusted = Trusted::new(provider, roots(&endpoint.authorities)?);
                config.with_custom_certificate_verifier(trusted)
            }
        };
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(Identity(Source::Resolver(resolver))) => {
                config.with_client_cert_resolver(resolver.clone())
            }
            Some(Identity(Source::Fixed { chain, key })) => config
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| error.to_string())?,
        };
        // One HTTP/2 connection would lead all calls to one of a Service's backends.
        config.alpn_protocols = match &endpoint.place {
            Place::Service { .. } => vec![b"http/1.1".to_vec()],
            Place::Url(_) => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { tls, place: Arc::new(endpoint.place.clone()), reader, seed })
    }

    async fn connect(self, uri: Uri) -> Result<Secured, NotConnected> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let (address, port) = match &*self.place {
            Place::Url(_) => (host.clone(), uri.port_u16().unwrap_or(443)),
            Place::Service { namespace, name, port, .. } => {
                resolve::service(&self.reader, &self.seed, namespace, name, *port)
                    .await
                    .map_err(NotConnected)?
            }
        };
        let shown = match address.contains(':') {
            true => format!("[{address}]:{port}"),
            false => format!("{address}:{port}"),
        };
        let stream = TcpStream::connect((address.as_str(), port)).await;
        let stream =
            stream.map_err(|error| NotConnected(format!("dial tcp {shown}: {}", said(&error))))?;
        // Best effort: without it only small frames wait a little.
        let _ = stream.set_nodelay(true);
        let name = ServerName::try_from(host).map_err(|error| NotConnected(error.to_string()))?;
        let secured = self.tls.connect(name, stream).await;
        let secured = secured.map_err(|error| NotConnected(unverified(&error)))?;
        Ok(Secured(TokioIo::new(secured)))
    }
}

/// A failure to connect as the original says it.
fn said(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    format!("connect: {}", text.to_lowercase())
}

fn unverified(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                .to_owned()
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("tls: failed to verify certificate: x509: {why}")
        }
        _ => format!("tls: {error}"),
    }
}

/// The authorities of some PEM, as Go takes them: what is no certificate is passed over, as long as there is one.
fn roots(authorities: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if authorities.is_empty() {
        return Ok(rustls_native_certs::load_native_certs().certs);
    }
    let (mut roots, mut why) = (Vec::new(), None);
    for root in CertificateDer::pem_slice_iter(authorities) {
        let read = root.map_err(|error| error.to_string()).and_then(|root| {
            let tried = RootCertStore::empty().add(root.clone());
            tried.map(|()| root).map_err(|error| error.to_string())
        });
        match read {
            Ok(root) => roots.push(root),
            Err(error) => {
                why.get_or_insert_with(|| format!("failed to parse certificate: {error}"));
            }
        }
    }
    if !roots.is_empty() {
        return Ok(roots);
    }
    let has_blocks = authorities.windows(10).any(|part| part == b"-----BEGIN");
    let why = why.unwrap_or_else(|| match has_blocks {
        true => "no valid certificate authority data seen".to_owned(),
        false => "unable to parse bytes as PEM block".to_owned(),
    });
    Err(format!("unable to load root certificates: {why}"))
}

/// Whether connections can be made with these authorities, in PEM; none at all are the machine's own.
///
/// # Errors
/// Why not, in the original's words.
pub fn check_authorities(authorities: &[u8]) -> Result<(), String> {
    match authorities {
        [] => Ok(()),
        authorities => roots(authorities).map(drop),
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Secured;
    type Error = NotConnected;
    type Future = futures::future::BoxFuture<'static, Result<Secured, NotConnected>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), NotConnected>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

impl Connection for Secured {
    fn connected(&self) -> Connected {
        let (_, session) = self.0.inner().get_ref();
        match session.alpn_protocol() {
            Some(b"h2") => Connected::new().negotiated_h2(),
            _ => Connected::new(),
        }
    }
}

impl Read for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_read_before_they_are_used() {
        let said = |pem: &[u8]| check_authorities(pem).unwrap_err();
        let before = "unable to load root certificates:";
        assert_eq!(said(b"nonsense"), format!("{before} unable to parse bytes as PEM block"));
        let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(said(key), format!("{before} no valid certificate authority data seen"));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(said(broken).starts_with(&format!("{before} failed to parse certificate: ")));
        assert_eq!(check_authorities(b""), Ok(()));
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let authority = kubeplane_pki::Authority::generate("ca", now).unwrap();
        let mixed = [&broken[..], authority.certificate().as_bytes()].concat();
        assert_eq!(check_authorities(&mixed), Ok(()));
    }
}
