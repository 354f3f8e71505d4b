//! TLS of the server: client certificates are asked for in the handshake, and verified for the requests.

mod verifier;

use super::access::User;
use crate::{Error, Result, config::KubeletConfig};
use jiff::Timestamp;
use kubeplane_pki::{Identity, LiveIdentity};
use rustls::{
    RootCertStore, ServerConfig,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject};
use std::{sync::Arc, time::Duration};
use tokio_rustls::TlsAcceptor;
use verifier::AskOnly;

/// What connections are taken with.
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    /// The certificate of new connections.
    pub(super) served: Arc<LiveIdentity>,
    /// `None` when no client certificate is believed.
    authorities: Option<Arc<dyn ClientCertVerifier>>,
}

impl Tls {
    /// Of the certificates of a configuration; `None` when it has none to serve with.
    pub(super) fn of(config: &KubeletConfig) -> Result<Option<Self>> {
        let bad = |error: &dyn std::fmt::Display| Error::certificate("serving certificate", error);
        let served = match (&config.serving_live, &config.serving) {
            (Some(live), _) => live.clone(),
            (None, Some(serving)) => {
                let (certificate, key) = (serving.certificate.clone(), serving.key.clone());
                let live = LiveIdentity::new(Identity { certificate, key });
                Arc::new(live.map_err(|error| bad(&error))?)
            }
            (None, None) => return Ok(None),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(&error))?;
        let authorities = match roots(config)? {
            None => None,
            Some(roots) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = verifier.build();
                Some(verifier.map_err(|error| Error::certificate("client authorities", error))?)
            }
        };
        let builder = match &authorities {
            None => builder.with_no_client_auth(),
            Some(verifier) => {
                builder.with_client_cert_verifier(Arc::new(AskOnly(verifier.clone())))
            }
        };
        let mut tls = builder.with_cert_resolver(served.clone());
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Some(Self { acceptor: TlsAcceptor::from(Arc::new(tls)), served, authorities }))
    }

    /// Who the certificate names that a client has shown, if an authority vouches for it now.
    pub(super) fn user(
        &self,
        shown: Option<&[CertificateDer<'static>]>,
        now: Timestamp,
    ) -> Option<User> {
        let (leaf, between) = shown?.split_first()?;
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        if let Err(error) = self.authorities.as_ref()?.verify_client_cert(leaf, between, now) {
            tracing::debug!(%error, "a client certificate is not believed");
            return None;
        }
        let info = kubeplane_pki::inspect(&kubeplane_pki::pem("CERTIFICATE", leaf)).ok()?;
        let mut groups = info.organizations;
        groups.push("system:authenticated".to_owned());
        Some(User { name: info.common_name, groups, ..User::default() })
    }
}

fn roots(config: &KubeletConfig) -> Result<Option<RootCertStore>> {
    let Some(pem) = &config.client_ca else { return Ok(None) };
    let bad = |error: &dyn std::fmt::Display| Error::certificate("client authorities", error);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| bad(&error))?;
        roots.add(certificate).map_err(|error| bad(&error))?;
    }
    if roots.is_empty() {
        return Err(bad(&"it contains no certificate"));
    }
    Ok(Some(roots))
}
