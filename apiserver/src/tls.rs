//! TLS of the listener: client certificates are asked for, and looked at by authenticators only.

mod verifier;

use crate::error::{Error, Result};
use rustls::{ServerConfig, crypto::CryptoProvider, server::ResolvesServerCert};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{fmt, sync::Arc};
use verifier::AskOnly;

/// The serving certificate and key.
#[derive(Clone)]
pub struct TlsOptions(Source);

#[derive(Clone)]
enum Source {
    Pem { chain: Vec<u8>, key: Vec<u8> },
    Resolver(Arc<dyn ResolvesServerCert>),
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions").finish_non_exhaustive()
    }
}

impl TlsOptions {
    /// From PEM texts: the certificate chain, leaf first, and its key.
    #[must_use]
    pub fn from_pem(chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self(Source::Pem { chain: chain.into(), key: key.into() })
    }

    /// With whatever certificate this says at the time of a handshake: one that is renewed while the server
    /// runs.
    #[must_use]
    pub fn from_resolver(resolver: Arc<dyn ResolvesServerCert>) -> Self {
        Self(Source::Resolver(resolver))
    }

    pub(crate) fn config(&self) -> Result<Arc<ServerConfig>> {
        let bad = |why: &dyn fmt::Display| Error::Tls { reason: why.to_string() };
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(&error))?
            .with_client_cert_verifier(Arc::new(AskOnly::new(provider)));
        let mut config = match &self.0 {
            Source::Resolver(resolver) => builder.with_cert_resolver(resolver.clone()),
            Source::Pem { chain, key } => {
                let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
                    .collect::<std::result::Result<_, _>>()
                    .map_err(|error| bad(&format!("serving certificate: {error}")))?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| bad(&format!("serving key: {error}")))?;
                builder.with_single_cert(chain, key).map_err(|error| bad(&error))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
