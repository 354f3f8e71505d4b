use crate::Error;
use async_trait::async_trait;
use kubeplane_clock::SharedClock;
use kubeplane_core::{
    auth::{Authenticator, PeerCertificates, UserInfo},
    status::{ApiError, ApiResult},
};
use parking_lot::Mutex;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::{
    prelude::FromDer,
    x509::{AttributeTypeAndValue, X509Name},
};

/// Where it stands by which credential somebody was known.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// The attribute of a subject that holds the uid.
const UID: &str = "1.3.6.1.4.1.57683.2";

/// Authenticates clients by certificate: the common name is the user, each organization a group. The user's extra tells
/// the certificate's fingerprint, and its uid is the attribute 1.3.6.1.4.1.57683.2 of the subject, if there is one.
#[derive(Debug)]
pub struct X509 {
    anchors: Vec<TrustAnchor<'static>>,
    clock: SharedClock,
    /// Whether the uid is read.
    uids: bool,
    verified: Mutex<HashMap<usize, Verified>>,
}

/// How many verified connections are remembered before those that ended are forgotten.
const REMEMBERED: usize = 1024;

/// The user of a connection, by the address of its chain; that cannot be taken by another while the chain is
/// pointed to.
#[derive(Debug)]
struct Verified {
    chain: Weak<PeerCertificates>,
    user: UserInfo,
    /// When the first certificate of the chain ends, in seconds since 1970.
    until: i64,
}

impl X509 {
    /// Trusts the authorities of a PEM bundle.
    ///
    /// # Errors
    /// When the bundle holds no certificate, or a malformed one.
    pub fn from_pem(bundle: &str, clock: SharedClock) -> Result<Self, Error> {
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            let certificate = certificate.map_err(|error| Error::Authority(error.to_string()))?;
            let anchor = anchor_from_trusted_cert(&certificate)
                .map_err(|error| Error::Authority(error.to_string()))?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() {
            return Err(Error::Authority("no certificate in the bundle".into()));
        }
        Ok(Self { anchors, clock, uids: true, verified: Mutex::default() })
    }

    /// Reads the uid that a certificate says, which is so unless said otherwise, or does not look for one, as with the gate
    /// `AllowParsingUserUIDFromCertAuth` off.
    #[must_use]
    pub fn reading_uids(mut self, uids: bool) -> Self {
        self.uids = uids;
        self
    }

    /// Verifies a connection's chain once, not with every request: a signature costs more than most reads.
    pub(crate) fn user(&self, chain: &Arc<PeerCertificates>) -> Result<UserInfo, String> {
        let place = Arc::as_ptr(chain) as usize;
        let now = self.clock.now().as_second();
        if let Some(verified) = self.verified.lock().get(&place)
            && now <= verified.until
        {
            return Ok(verified.user.clone());
        }
        let user = self.verify(chain)?;
        let until = chain.0.iter().map(|der| ends(der)).min().unwrap_or(i64::MIN);
        let mut verified = self.verified.lock();
        if verified.len() >= REMEMBERED {
            verified.retain(|_, verified| verified.chain.strong_count() > 0);
        }
        let chain = Arc::downgrade(chain);
        verified.insert(place, Verified { chain, user: user.clone(), until });
        Ok(user)
    }

    fn verify(&self, chain: &PeerCertificates) -> Result<UserInfo, String> {
        let (leaf, rest) = chain.0.split_first().ok_or("no certificate")?;
        let leaf = CertificateDer::from(leaf.as_slice());
        let intermediates: Vec<_> =
            rest.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let seconds = u64::try_from(self.clock.now().as_second()).unwrap_or_default();
        EndEntityCert::try_from(&leaf)
            .and_then(|certificate| {
                certificate
                    .verify_for_usage(
                        ALL_VERIFICATION_ALGS,
                        &self.anchors,
                        &intermediates,
                        UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
                        KeyUsage::client_auth(),
                        None,
                        None,
                    )
                    .map(|_| ())
            })
            .map_err(|error| error.to_string())?;
        subject(&leaf, self.uids)
    }
}

/// When a certificate ends, in seconds since 1970; long ago for what is none.
fn ends(der: &[u8]) -> i64 {
    let parsed = x509_parser::certificate::X509Certificate::from_der(der);
    parsed.map_or(i64::MIN, |(_, certificate)| certificate.validity().not_after.timestamp())
}

fn subject(leaf: &[u8], uids: bool) -> Result<UserInfo, String> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(leaf)
        .map_err(|error| error.to_string())?;
    let text = |attribute: &AttributeTypeAndValue<'_>| attribute.as_str().map(str::to_owned).ok();
    let subject = certificate.subject();
    // Of several the last counts, as where the original looks at a certificate.
    let name = subject.iter_common_name().filter_map(text).last().unwrap_or_default();
    if name.is_empty() {
        return Err("the certificate has no common name".into());
    }
    let mut user = UserInfo::new(name, subject.iter_organization().filter_map(text));
    user.uid = uid(subject, uids)?;
    let print: String = Sha256::digest(leaf).iter().map(|byte| format!("{byte:02x}")).collect();
    user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={print}")]);
    Ok(user)
}

/// The uid that a subject says; none if it is not `read`.
fn uid(subject: &X509Name<'_>, read: bool) -> Result<String, String> {
    if !read {
        return Ok(String::new());
    }
    let own = subject.iter_attributes().filter(|part| part.attr_type().to_id_string() == UID);
    let found: Result<Vec<&str>, _> = own.map(AttributeTypeAndValue::as_str).collect();
    let found = found.map_err(|error| error.to_string())?;
    match &found[..] {
        [] => Ok(String::new()),
        [""] => Err("UID cannot be an empty string".into()),
        [one] => Ok((*one).to_owned()),
        several => Err(format!("expected 1 UID, but found multiple: {several:?}")),
    }
}

#[async_trait]
impl Authenticator for X509 {
    async fn authenticate(&self, request: &http::request::Parts) -> ApiResult<Option<UserInfo>> {
        let Some(chain) = request.extensions.get::<Arc<PeerCertificates>>() else {
            return Ok(None);
        };
        if chain.0.is_empty() {
            return Ok(None);
        }
        self.user(chain).map(Some).map_err(|why| {
            tracing::debug!(why, "client certificate refused");
            ApiError::unauthorized()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_pki::{Authority, Request, Usage};

    fn parts(pem: &str) -> http::request::Parts {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut request = http::Request::new(());
        request.extensions_mut().insert(Arc::new(PeerCertificates(vec![der.to_vec()])));
        request.into_parts().0
    }

    #[tokio::test]
    async fn a_certificate_of_the_authority_names_the_user_and_any_other_is_refused() {
        let clock = kubeplane_clock::real();
        let ours = Authority::generate("kubernetes", clock.now()).unwrap();
        let theirs = Authority::generate("kubernetes", clock.now()).unwrap();
        let x509 = X509::from_pem(ours.certificate(), clock.clone()).unwrap();
        let admin = Request::new("admin", Usage::Client).organization("system:masters");
        let good = ours.issue(&admin, clock.now()).unwrap();
        let user = x509.authenticate(&parts(&good.certificate)).await.unwrap().unwrap();
        let mut expected = UserInfo::new("admin", ["system:masters"]);
        let der = CertificateDer::from_pem_slice(good.certificate.as_bytes()).unwrap();
        let print: String = Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect();
        expected.extra.insert(CREDENTIAL_ID.into(), vec![format!("X509SHA256={print}")]);
        assert_eq!(user, expected);
        let forged = theirs.issue(&admin, clock.now()).unwrap();
        assert_eq!(x509.authenticate(&parts(&forged.certificate)).await.unwrap_err().code(), 401);
        let server = ours.issue(&Request::new("admin", Usage::Server), clock.now()).unwrap();
        assert!(x509.authenticate(&parts(&server.certificate)).await.is_err());
        let none = http::Request::new(()).into_parts().0;
        assert_eq!(x509.authenticate(&none).await.unwrap(), None);
    }

    /// The attribute of a uid of one letter, alone in its set.
    fn attribute(letter: u8) -> Vec<u8> {
        let mut bytes = vec![0x31, 0x10, 0x30, 0x0e, 0x06, 0x09];
        bytes.extend([0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xc2, 0x53, 0x02]);
        bytes.extend([0x0c, 0x01, letter]);
        bytes
    }

    #[test]
    fn a_subject_says_one_uid_at_most() {
        let told = |parts: &[Vec<u8>], read: bool| {
            let parts = parts.concat();
            let mut name = vec![0x30, u8::try_from(parts.len()).unwrap()];
            name.extend(parts);
            uid(&X509Name::from_der(&name).unwrap().1, read)
        };
        let said = |parts: &[Vec<u8>]| told(parts, true);
        assert_eq!(said(&[]), Ok(String::new()));
        assert_eq!(said(&[attribute(b'7')]), Ok("7".to_owned()));
        let several = said(&[attribute(b'7'), attribute(b'8')]).unwrap_err();
        assert!(several.contains("found multiple"), "{several}");
        for parts in [vec![attribute(b'7')], vec![attribute(b'7'), attribute(b'8')]] {
            assert_eq!(told(&parts, false), Ok(String::new()), "nobody looks at it");
        }
    }
}
