//! Connections to a member: one for calls, and one for watches, so that watches nobody reads hold up no call.

use crate::{
    options::{EtcdOptions, EtcdTls, chain},
    source::EtcdSource,
};
use hyper_util::rt::TokioIo;
use kubeplane_clock::{SharedClock, timeout};
use std::{io, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};
use tonic::transport::{Channel, Endpoint, Uri};

/// How long it may take to connect to a member.
const CONNECT: Duration = Duration::from_secs(2);
/// The protocol within TLS.
const HTTP_2: &[u8] = b"h2";

/// How many bytes may be on their way on one stream, and on all of a connection.
#[derive(Debug, Clone, Copy)]
struct Windows {
    stream: u32,
    connection: u32,
}

/// Answers are read as they come.
const CALLS: Windows = Windows { stream: 1 << 20, connection: 1 << 28 };
/// A watch that nobody reads holds its stream's part of the connection's window: this is enough for 4096 of them.
const WATCHES: Windows = Windows { stream: 1 << 18, connection: 1 << 30 };

/// The connections to one member, each made when it is first used and again when it is lost.
#[derive(Debug, Clone)]
pub(crate) struct Channels {
    pub(crate) calls: Channel,
    pub(crate) watches: Channel,
}

impl Channels {
    /// To the member at this URL.
    pub(crate) fn new(url: &str, options: &EtcdOptions) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| chain(&error))?;
        match endpoint.uri().scheme_str() {
            Some("http") => {
                let endpoint = endpoint.connect_timeout(CONNECT).tcp_nodelay(true);
                Ok(Self::each(&endpoint, options, Endpoint::connect_lazy))
            }
            Some("https") => {
                let tls = options.tls.clone().ok_or("https needs certificates")?;
                Self::secured(endpoint.uri(), tls, options)
            }
            _ => Err("neither http:// nor https://".into()),
        }
    }

    /// tonic reads certificates once for all connections; so for it there is no TLS, and all of it is done here.
    fn secured(uri: &Uri, tls: EtcdTls, options: &EtcdOptions) -> Result<Self, String> {
        let authority = uri.authority().ok_or("no host")?;
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|error| chain(&error))?
            .origin(uri.clone());
        let (tls, clock) = (Arc::new(tls), options.clock.clone());
        let connect = |endpoint: &Endpoint| {
            let (tls, clock) = (tls.clone(), clock.clone());
            endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
                let (tls, clock) = (tls.clone(), clock.clone());
                async move { secure(&uri, &tls, &clock).await.map(TokioIo::new) }
            }))
        };
        Ok(Self::each(&endpoint, options, connect))
    }

    fn each(
        endpoint: &Endpoint,
        options: &EtcdOptions,
        connect: impl Fn(&Endpoint) -> Channel,
    ) -> Self {
        let tuned = |windows: Windows| {
            let endpoint = endpoint
                .clone()
                .http2_keep_alive_interval(options.keep_alive)
                .keep_alive_timeout(options.keep_alive / 2)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(windows.stream)
                .initial_connection_window_size(windows.connection);
            connect(&endpoint)
        };
        Self { calls: tuned(CALLS), watches: tuned(WATCHES) }
    }
}

/// Connects, with the certificates as they are now.
async fn secure(uri: &Uri, tls: &EtcdTls, clock: &SharedClock) -> io::Result<TlsStream<TcpStream>> {
    let connected = timeout(clock.as_ref(), CONNECT, handshake(uri, tls)).await;
    connected.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}

async fn handshake(uri: &Uri, tls: &EtcdTls) -> io::Result<TlsStream<TcpStream>> {
    let config = client_config(tls).await?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = tls.server_name.clone().unwrap_or_else(|| host.clone());
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) {
        Ok(stream)
    } else {
        Err(io::Error::other("no HTTP/2 is spoken there"))
    }
}

async fn client_config(tls: &EtcdTls) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(certificates(&tls.ca).await?);
    if roots.is_empty() {
        let reason = format!("no authority to trust, {unusable} that cannot be used");
        return Err(io::Error::other(reason));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let mut config = match &tls.identity {
        Some((certificate, key)) => {
            let chain = certificates(certificate).await?;
            let key = PrivateKeyDer::from_pem_slice(&key.read().await?);
            let key = key.map_err(io::Error::other)?;
            builder.with_client_auth_cert(chain, key).map_err(io::Error::other)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols.push(HTTP_2.to_vec());
    Ok(config)
}

async fn certificates(source: &EtcdSource) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = source.read().await?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    certificates.map_err(io::Error::other)
}
