//! A certificate that is replaced while servers and clients go on showing it.

use crate::{Error, Identity, Result, inspect};
use jiff::Timestamp;
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// A certificate and its key, which may be replaced by newer ones: every handshake that begins after
/// [`set`](Self::set) shows the new certificate, connections that are open stay as they are.
///
/// It is what a rustls server (`with_cert_resolver`) or client (`with_client_cert_resolver`) asks.
///
/// ```
/// use kubeplane_pki::{Authority, LiveIdentity, Request, Usage};
/// let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse()?;
/// let authority = Authority::generate("kubernetes", now)?;
/// let request = Request::new("kube-apiserver", Usage::Server).names(["localhost"]);
/// let live = LiveIdentity::new(authority.issue(&request, now)?)?;
/// assert!(!live.is_due(now));
/// let late: jiff::Timestamp = "2026-12-15T00:00:00Z".parse()?;
/// assert!(live.is_due(late));
/// live.set(authority.issue(&request, late)?)?;
/// assert!(!live.is_due(late));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LiveIdentity(RwLock<Shown>);

#[derive(Debug)]
struct Shown {
    identity: Identity,
    certified: Arc<CertifiedKey>,
    due: Timestamp,
}

impl LiveIdentity {
    /// Shows this certificate until another is set.
    ///
    /// # Errors
    /// When certificate or key are malformed, or do not belong together.
    pub fn new(identity: Identity) -> Result<Self> {
        Ok(Self(RwLock::new(Shown::of(identity)?)))
    }

    /// Shows this certificate from now on.
    ///
    /// # Errors
    /// When certificate or key are malformed, or do not belong together; the old one is shown still.
    pub fn set(&self, identity: Identity) -> Result<()> {
        let shown = Shown::of(identity)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(())
    }

    /// What is shown now.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.shown().identity.clone()
    }

    /// Whether it is time to replace what is shown; see [`CertificateInfo::due`](crate::CertificateInfo::due).
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        now >= self.shown().due
    }

    fn shown(&self) -> RwLockReadGuard<'_, Shown> {
        // Whoever panicked has left the old value or the new one, whole.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    fn of(identity: Identity) -> Result<Self> {
        let malformed = |what| move |why: String| Error::Malformed { what, why };
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
                .collect::<std::result::Result<_, _>>()
                .map_err(|error| malformed("certificate")(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
            .map_err(|error| malformed("key")(error.to_string()))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider)
            .map_err(|error| malformed("certificate")(error.to_string()))?;
        let due = inspect(&identity.certificate)?.due();
        Ok(Self { identity, certified: Arc::new(certified), due })
    }
}

impl ResolvesServerCert for LiveIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown().certified.clone())
    }
}

impl ResolvesClientCert for LiveIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.shown().certified.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Request, Usage};

    #[test]
    fn a_handshake_shows_what_was_set_last_and_a_bad_one_changes_nothing() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let authority = Authority::generate("kubernetes", now).unwrap();
        let issue = |name: &str| authority.issue(&Request::new(name, Usage::Both), now).unwrap();
        let (first, second) = (issue("first"), issue("second"));
        let live = LiveIdentity::new(first.clone()).unwrap();
        let shown = |live: &LiveIdentity| {
            let certified = ResolvesClientCert::resolve(live, &[], &[]).unwrap();
            let pem = crate::pem("CERTIFICATE", &certified.cert[0]);
            inspect(&pem).unwrap().common_name
        };
        assert_eq!(shown(&live), "first");
        let mixed = Identity { certificate: second.certificate.clone(), key: first.key.clone() };
        assert!(live.set(mixed).is_err());
        assert!(live.set(Identity { certificate: String::new(), key: String::new() }).is_err());
        assert_eq!(shown(&live), "first");
        live.set(second.clone()).unwrap();
        assert_eq!(shown(&live), "second");
        assert_eq!(live.identity(), second);
    }
}
