use super::access::User;
use crate::{Error, Result, config::KubeletConfig};
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Takes connections with the certificate of the configuration, asking for one of the client's.
pub(super) fn acceptor(config: &KubeletConfig) -> Result<Option<TlsAcceptor>> {
    let Some(serving) = &config.serving else { return Ok(None) };
    let bad = |error: &dyn std::fmt::Display| Error::certificate("serving certificate", error);
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(serving.certificate.as_bytes())
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| bad(&error))?;
    let key = PrivateKeyDer::from_pem_slice(serving.key.as_bytes())
        .map_err(|error| Error::certificate("serving key", error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?;
    let builder = match roots(config)? {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| Error::certificate("client authorities", error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut tls = builder.with_single_cert(chain, key).map_err(|error| bad(&error))?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(tls))))
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

/// Who a verified client certificate names.
pub(super) fn user(certificates: Option<&[CertificateDer<'_>]>) -> Option<User> {
    let leaf = certificates?.first()?;
    let body = STANDARD.encode(leaf.as_ref());
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let pem =
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    let info = kubeplane_pki::inspect(&pem).ok()?;
    let mut groups = info.organizations;
    groups.push("system:authenticated".to_owned());
    Some(User { name: info.common_name, groups, ..User::default() })
}
