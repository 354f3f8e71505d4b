use crate::{Error, X509};
use async_trait::async_trait;
use http::{HeaderMap, request::Parts};
use kubeplane_clock::SharedClock;
use kubeplane_core::{
    auth::{Authenticator, PeerCertificates, UserInfo},
    status::{ApiError, ApiResult},
};
use std::{collections::BTreeMap, sync::Arc};

/// Which headers tell who asks, and whose word counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestHeaderNames {
    /// Common names of certificates that may tell; empty for any.
    pub allowed: Vec<String>,
    /// Headers with the user's name; the first that is there counts.
    pub users: Vec<String>,
    /// Headers with the user's uid; the first that is there counts.
    pub uids: Vec<String>,
    /// Headers with groups; all count.
    pub groups: Vec<String>,
    /// What headers with more about the user begin with.
    pub extra_prefixes: Vec<String>,
}

impl RequestHeaderNames {
    /// `X-Remote-User`, `X-Remote-Uid`, `X-Remote-Group` and `X-Remote-Extra-`, from whoever has a certificate of this
    /// common name.
    #[must_use]
    pub fn usual(allowed: &str) -> Self {
        Self {
            allowed: vec![allowed.to_owned()],
            users: vec!["X-Remote-User".to_owned()],
            uids: vec!["X-Remote-Uid".to_owned()],
            groups: vec!["X-Remote-Group".to_owned()],
            extra_prefixes: vec!["X-Remote-Extra-".to_owned()],
        }
    }
}

/// Takes the word of an authenticating proxy for who asks: the proxy comes with a certificate of an authority of its own,
/// and tells the user in headers. This is how the server in front talks to an extension API server.
#[derive(Debug)]
pub struct RequestHeader {
    proxies: X509,
    names: RequestHeaderNames,
}

impl RequestHeader {
    /// Trusts proxies whose certificates the authorities of a PEM bundle signed.
    ///
    /// # Errors
    /// When the bundle holds no certificate, or a malformed one.
    pub fn from_pem(
        bundle: &str,
        names: RequestHeaderNames,
        clock: SharedClock,
    ) -> Result<Self, Error> {
        Ok(Self { proxies: X509::from_pem(bundle, clock)?, names })
    }

    fn user(&self, headers: &HeaderMap) -> Option<UserInfo> {
        let first = |names: &[String]| {
            let values = names.iter().filter_map(|name| headers.get(name.as_str()));
            let mut texts = values.map(|value| text(value.as_bytes()));
            texts.find(|value| !value.is_empty()).unwrap_or_default()
        };
        let name = first(&self.names.users);
        if name.is_empty() {
            return None;
        }
        let groups = self.names.groups.iter().flat_map(|name| headers.get_all(name.as_str()));
        let groups = groups.map(|value| text(value.as_bytes())).filter(|group| !group.is_empty());
        let mut user = UserInfo::new(name, groups.collect::<Vec<_>>());
        user.uid = first(&self.names.uids);
        user.extra = self.extra(headers);
        Some(user)
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.names.extra_prefixes {
            let prefix = prefix.to_ascii_lowercase();
            for (name, value) in headers {
                if let Some(key) = name.as_str().strip_prefix(&prefix) {
                    extra.entry(unescaped(key)).or_default().push(text(value.as_bytes()));
                }
            }
        }
        extra
    }
}

#[async_trait]
impl Authenticator for RequestHeader {
    async fn authenticate(&self, request: &Parts) -> ApiResult<Option<UserInfo>> {
        let Some(chain) = request.extensions.get::<Arc<PeerCertificates>>() else {
            return Ok(None);
        };
        // A certificate of another authority may be one that speaks for its owner.
        let Ok(proxy) = self.proxies.user(chain) else { return Ok(None) };
        if !self.names.allowed.is_empty() && !self.names.allowed.contains(&proxy.name) {
            tracing::debug!(proxy = proxy.name, "no proxy of this name may tell who asks");
            return Err(ApiError::unauthorized());
        }
        Ok(self.user(&request.headers))
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// The key with its percent-encoded bytes decoded; as it is when they are malformed.
fn unescaped(key: &str) -> String {
    let mut out = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        match (first, digits.and_then(|digits| std::str::from_utf8(digits).ok())) {
            (b'%', Some(digits)) => {
                let Ok(byte) = u8::from_str_radix(digits, 16) else { return key.to_owned() };
                out.push(byte);
                rest = &tail[2..];
            }
            (b'%', None) => return key.to_owned(),
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use jiff::Timestamp;
    use kubeplane_pki::{Authority, Request as Signed, Usage};

    fn authority(name: &str) -> Authority {
        Authority::generate(name, Timestamp::now()).unwrap()
    }

    fn sent(by: &Authority, name: &str, headers: &[(&str, &str)]) -> Parts {
        let leaf = by.issue(&Signed::new(name, Usage::Client), Timestamp::now()).unwrap();
        let der = rustls_pki_types::CertificateDer::from_pem_slice(leaf.certificate.as_bytes());
        let mut request = Request::new(());
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request.extensions_mut().insert(Arc::new(PeerCertificates(vec![der.unwrap().to_vec()])));
        request.into_parts().0
    }

    use rustls_pki_types::pem::PemObject;

    #[tokio::test]
    async fn only_the_proxy_tells_who_asks() {
        let front = authority("front-proxy-ca");
        let names = RequestHeaderNames::usual("front-proxy-client");
        let own =
            RequestHeader::from_pem(front.certificate(), names, kubeplane_clock::real()).unwrap();
        let headers = [
            ("X-Remote-User", "jane"),
            ("X-Remote-Uid", "7"),
            ("X-Remote-Group", "a"),
            ("X-Remote-Group", "b"),
            ("X-Remote-Extra-Acme.com%2fProject", "x"),
        ];
        let user = own.authenticate(&sent(&front, "front-proxy-client", &headers)).await;
        let user = user.unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "7"));
        assert_eq!(user.groups, ["a", "b"]);
        assert_eq!(user.extra["acme.com/project"], ["x"]);
        assert!(own.authenticate(&sent(&front, "somebody", &headers)).await.is_err());
        let other = authority("front-proxy-ca");
        let stranger = own.authenticate(&sent(&other, "front-proxy-client", &headers)).await;
        assert_eq!(stranger.unwrap(), None);
        let silent = own.authenticate(&sent(&front, "front-proxy-client", &[])).await;
        assert_eq!(silent.unwrap(), None);
    }

    #[test]
    fn malformed_escapes_stay() {
        assert_eq!(unescaped("a%2fb"), "a/b");
        for key in ["a%", "a%2", "a%zz", "%ff"] {
            assert_eq!(unescaped(key), key);
        }
    }
}
