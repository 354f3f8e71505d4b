use http::{StatusCode, header, request::Parts};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};
use kubeplane_auth::X509;
use kubeplane_clock::SharedClock;
use kubeplane_core::auth::{Authenticator as _, GROUP_AUTHENTICATED};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use std::{fmt, sync::Arc, time::Duration};

/// How long the API server may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// What a request is refused with, and why.
type Refused = (StatusCode, String);

/// Lets the API server say who may read a path: bearer tokens by TokenReview, rights by
/// SubjectAccessReview. Client certificates are believed where it is known [who signs
/// them](Self::client_authorities).
#[derive(Clone)]
pub struct DelegatedAccess {
    client: kube::Client,
    clock: SharedClock,
    authorities: Option<Arc<Authorities>>,
}

struct Authorities {
    x509: X509,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Who asks, in the words of a SubjectAccessReview.
type User = SubjectAccessReviewSpec;

impl fmt::Debug for DelegatedAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DelegatedAccess")
    }
}

impl DelegatedAccess {
    /// Asks through this client, whose user needs the ClusterRole `system:auth-delegator` or its like.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client, clock: kubeplane_clock::real(), authorities: None }
    }

    /// Takes time from this clock in place of the machine's.
    #[must_use]
    pub fn clock(self, clock: SharedClock) -> Self {
        Self { clock, ..self }
    }

    /// Also believes client certificates of these authorities, PEM.
    ///
    /// # Errors
    /// When there is no certificate in it, or a malformed one.
    pub fn client_authorities(mut self, pem: &str) -> Result<Self, String> {
        let x509 = X509::from_pem(pem, self.clock.clone()).map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| error.to_string())?;
        self.authorities = Some(Arc::new(Authorities { x509, verifier }));
        Ok(self)
    }

    /// What looks at client certificates in the handshake, if any are believed.
    pub(super) fn verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.authorities.as_ref().map(|authorities| authorities.verifier.clone())
    }

    /// Whether the sender of a request may GET its path. The certificates the client has shown are in the
    /// extensions, as `Arc<`[`PeerCertificates`](kubeplane_core::auth::PeerCertificates)`>`.
    ///
    /// # Errors
    /// The status to refuse with, and why: 401 for strangers, 403 for those without the right, 500 when the API
    /// server cannot be asked, or this component may not ask it.
    pub async fn check(&self, head: &Parts) -> Result<(), Refused> {
        let asking = async {
            let user = self.user(head).await?;
            self.authorize(user, head.uri.path()).await
        };
        let answer = kubeplane_clock::timeout(self.clock.as_ref(), LIMIT, asking).await;
        let late =
            || (StatusCode::INTERNAL_SERVER_ERROR, "the API server does not answer\n".into());
        answer.unwrap_or_else(|| Err(late()))
    }

    async fn user(&self, head: &Parts) -> Result<User, Refused> {
        if let Some(authorities) = &self.authorities
            && let Ok(Some(user)) = authorities.x509.authenticate(head).await
        {
            let mut groups = user.groups;
            groups.push(GROUP_AUTHENTICATED.to_owned());
            return Ok(User { user: Some(user.name), groups: Some(groups), ..User::default() });
        }
        let refused = || (StatusCode::UNAUTHORIZED, "Unauthorized\n".to_owned());
        let value = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(refused)?;
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), ..Default::default() },
            ..Default::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let review = reviews.create(&PostParams::default(), &review).await;
        let review = review.map_err(|error| failed("whose a token is", &error))?;
        let status = review.status.unwrap_or_default();
        if status.authenticated != Some(true) {
            return Err(refused());
        }
        let user = status.user.unwrap_or_default();
        Ok(User {
            user: user.username,
            uid: user.uid,
            groups: user.groups,
            extra: user.extra,
            ..User::default()
        })
    }

    async fn authorize(&self, mut user: User, path: &str) -> Result<(), Refused> {
        let name = user.user.clone().unwrap_or_default();
        user.non_resource_attributes =
            Some(NonResourceAttributes { path: Some(path.to_owned()), verb: Some("get".into()) });
        let review = SubjectAccessReview { spec: user, ..Default::default() };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = reviews.create(&PostParams::default(), &review).await;
        let review = review.map_err(|error| failed("who may read this", &error))?;
        if review.status.is_some_and(|status| status.allowed) {
            return Ok(());
        }
        Err((StatusCode::FORBIDDEN, format!("forbidden: User {name:?} cannot get path {path:?}\n")))
    }
}

/// The answer when the API server does not say what it was asked.
fn failed(what: &str, error: &kube::Error) -> Refused {
    let why = match error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "this component may not ask the API server {what} (its user lacks the ClusterRole \
             system:auth-delegator): {}\n",
            status.message
        ),
        error => format!("the API server could not be asked {what}: {error}\n"),
    };
    (StatusCode::INTERNAL_SERVER_ERROR, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;
    use kubeplane_clock::PausedClock;
    use kubeplane_core::auth::PeerCertificates;
    use kubeplane_pki::{Authority, Request as CertificateRequest, Usage};
    use parking_lot::Mutex;

    /// A client of an API server that answers everything so, and what it was asked.
    fn answering(code: u16, body: &'static str) -> (kube::Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let log = log.clone();
            async move {
                let path = request.uri().path().to_owned();
                let bytes = request.into_body().collect_bytes().await?;
                log.lock().push(format!("{path} {}", String::from_utf8_lossy(&bytes)));
                let answer =
                    Response::builder().status(code).body(Body::from(body.as_bytes().to_vec()));
                Ok::<_, kube::Error>(answer.unwrap())
            }
        });
        (kube::Client::new(service, "default"), asked)
    }

    fn metrics() -> http::request::Builder {
        Request::builder().uri("/metrics")
    }

    fn head(builder: http::request::Builder) -> Parts {
        builder.body(()).unwrap().into_parts().0
    }

    #[tokio::test]
    async fn a_component_without_the_right_to_ask_says_what_it_lacks() {
        let body = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,
            "message":"tokenreviews.authentication.k8s.io is forbidden"}"#;
        let (client, _) = answering(403, body);
        let head = head(metrics().header("authorization", "Bearer secret"));
        let (code, why) = DelegatedAccess::new(client).check(&head).await.unwrap_err();
        assert_eq!(code, 500);
        for part in ["tokenreviews.authentication.k8s.io is forbidden", "system:auth-delegator"] {
            assert!(why.contains(part), "{why}");
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_an_api_server_that_does_not_answer() {
        let silent = tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, kube::Error>>()
        });
        let clock = PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let access = DelegatedAccess::new(kube::Client::new(silent, "default"));
        let access = access.clock(Arc::new(clock.clone()));
        let head = head(metrics().header("authorization", "Bearer secret"));
        let asking = tokio::spawn(async move { access.check(&head).await });
        while clock.next_wake().is_none() {
            tokio::task::yield_now().await;
        }
        clock.advance(LIMIT);
        let (code, why) = asking.await.unwrap().unwrap_err();
        assert_eq!((code.as_u16(), why.as_str()), (500, "the API server does not answer\n"));
    }

    #[tokio::test]
    async fn a_certificate_of_the_authority_says_who_asks_and_another_does_not() {
        let now = jiff::Timestamp::now();
        let ours = Authority::generate("kubernetes", now).unwrap();
        let theirs = Authority::generate("kubernetes", now).unwrap();
        let allowed = r#"{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","spec":{},
            "status":{"allowed":true}}"#;
        let (client, asked) = answering(201, allowed);
        let access = DelegatedAccess::new(client).client_authorities(ours.certificate()).unwrap();
        let request = CertificateRequest::new("admin", Usage::Client).organization("masters");
        let shown = |authority: &Authority| {
            let pem = authority.issue(&request, now).unwrap().certificate;
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            head(metrics().extension(Arc::new(PeerCertificates(vec![der.to_vec()]))))
        };
        access.check(&shown(&ours)).await.unwrap();
        let asked = std::mem::take(&mut *asked.lock());
        assert_eq!(asked.len(), 1, "{asked:?}");
        for part in ["subjectaccessreviews", r#""user":"admin""#, "masters", "system:authenticated"]
        {
            assert!(asked[0].contains(part), "{asked:?}");
        }
        assert_eq!(access.check(&shown(&theirs)).await.unwrap_err().0, 401);
        assert!(access.client_authorities("nothing").is_err());
    }
}
