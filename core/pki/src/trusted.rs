//! Servers that are believed for what they were trusted with.

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Believes servers whose certificate leads to one of those that are trusted, or is one of them: the certificate of a
/// server stands for itself, as it does with Go, whether it is an authority or not. Its times, purpose and names count
/// all the same.
#[derive(Debug)]
pub struct Trusted {
    provider: Arc<CryptoProvider>,
    /// `None` where nothing is trusted.
    chains: Option<Arc<WebPkiServerVerifier>>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// Trusts these, for `dangerous().with_custom_certificate_verifier`; what is no certificate is passed over.
    #[must_use]
    pub fn new(
        provider: Arc<CryptoProvider>,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Arc<Self> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        Arc::new(Self { provider, chains: chains.build().ok(), certificates })
    }
}

/// What of a server's certificate counts beside who signed it.
fn stands_for_itself(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let (_, read) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < read.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > read.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    let purposes = read.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    if purposes.is_some_and(|purposes| !purposes.value.any && !purposes.value.server_auth) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    Ok(ServerCertVerified::assertion())
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificates.iter().any(|trusted| trusted == end_entity) {
            return stands_for_itself(end_entity, server_name, now);
        }
        let Some(chains) = &self.chains else { return Err(CertificateError::UnknownIssuer.into()) };
        chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Request, Usage};
    use rustls::pki_types::pem::PemObject;
    use std::time::Duration;

    fn leaf(authority: &Authority) -> CertificateDer<'static> {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let address = "127.0.0.1".parse().unwrap();
        let request = Request::new("web", Usage::Server).addresses([address]);
        let identity = authority.issue(&request, now).unwrap();
        CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()
    }

    #[test]
    fn a_server_stands_for_itself_within_its_times_and_names() {
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let authority = Authority::generate("ca", now).unwrap();
        let (one, other) = (leaf(&authority), leaf(&authority));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let trusted = Trusted::new(provider, vec![one.clone()]);
        let at = |seconds: i64| {
            UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap()))
        };
        let then = now.as_second() + 3600;
        let checked = |leaf: &CertificateDer<'_>, name: &str, when: i64| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            trusted.verify_server_cert(leaf, &[], &name, &[], at(when)).map(drop)
        };
        assert!(checked(&one, "127.0.0.1", then).is_ok());
        assert!(checked(&other, "127.0.0.1", then).is_err(), "another of the same authority");
        assert!(checked(&one, "127.0.0.2", then).is_err());
        assert!(checked(&one, "127.0.0.1", then + 100 * 365 * 86_400).is_err());
    }
}
