//! One client for each endpoint, so that connections are used again.

use crate::{
    connect::{Connector, Identity, NotConnected},
    endpoint::Endpoint,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error},
    rt::{TokioExecutor, TokioTimer},
};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::reader::ObjectReader;
use parking_lot::Mutex;
use rustls::{crypto::CryptoProvider, sign::CertifiedKey};
use std::{collections::HashMap, error::Error as _, fmt, sync::Arc, time::Duration};

/// The largest answer to a post, in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// How many endpoints are kept; with more, all are forgotten.
const MAX_ENDPOINTS: usize = 512;
/// How long a connection is kept for the next call.
const IDLE: Duration = Duration::from_secs(90);

type HttpClient<B> = Client<Connector, B>;

/// Why a call came to nothing, in the original's words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// There is no way to call at all: no address, or authorities that cannot be read.
    NoClient(String),
    /// The call did not come to an answer, or to one that is none.
    Call {
        /// The status it is counted under.
        code: u16,
        /// Why.
        why: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoClient(why) | Self::Call { why, .. } => f.write_str(why),
        }
    }
}

impl std::error::Error for Failure {}

/// The clients of all endpoints, which are sent bodies of one kind.
pub struct Clients<B = Full<Bytes>> {
    provider: Arc<CryptoProvider>,
    seed: Seed,
    identity: Option<Identity>,
    /// The certificate that connections were last made with, where it may be renewed.
    shown: Mutex<Option<Arc<CertifiedKey>>>,
    made: Mutex<HashMap<Endpoint, HttpClient<B>>>,
}

impl<B> fmt::Debug for Clients<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("made", &self.made.lock().len()).finish_non_exhaustive()
    }
}

impl<B> Clients<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Clients without a certificate; chance picks among the endpoints of a Service.
    #[must_use]
    pub fn new(provider: Arc<CryptoProvider>, seed: Seed) -> Self {
        Self { provider, seed, identity: None, shown: Mutex::default(), made: Mutex::default() }
    }

    /// Shows this certificate to whoever asks.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sends a request to an endpoint, and returns the answer as soon as its head is there. The host and the port of the
    /// URI are where it goes to, or for a Service the name its certificate must have.
    ///
    /// # Errors
    /// When it cannot be sent, or no answer comes.
    ///
    /// # Cancellation
    /// The request may have been received.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        reader: &Arc<dyn ObjectReader>,
        request: Request<B>,
    ) -> Result<Response<Incoming>, Failure> {
        let client = self.client(endpoint, reader).map_err(Failure::NoClient)?;
        let response = client.request(request).await;
        response.map_err(|error| Failure::Call { code: 503, why: because(&error) })
    }

    /// Forgets the connections to an endpoint: the next call makes new ones.
    pub fn forget(&self, endpoint: &Endpoint) {
        self.made.lock().remove(endpoint);
    }

    fn client(
        &self,
        endpoint: &Endpoint,
        reader: &Arc<dyn ObjectReader>,
    ) -> Result<HttpClient<B>, String> {
        let mut made = self.made.lock();
        if self.was_renewed() {
            // A connection that is in use all the time would outlive the certificate it was made with.
            made.clear();
        }
        if let Some(client) = made.get(endpoint) {
            return Ok(client.clone());
        }
        let connector = Connector::new(
            self.provider.clone(),
            endpoint,
            self.identity.as_ref(),
            reader.clone(),
            self.seed.clone(),
        )?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        if made.len() >= MAX_ENDPOINTS {
            made.clear();
        }
        made.insert(endpoint.clone(), client.clone());
        Ok(client)
    }
}

impl<B> Clients<B> {
    /// Whether the certificate is another one than at the last call.
    fn was_renewed(&self) -> bool {
        let Some(now) = self.identity.as_ref().and_then(Identity::shown) else { return false };
        let before = self.shown.lock().replace(now.clone());
        before.is_some_and(|before| !Arc::ptr_eq(&before, &now))
    }
}

impl Clients<Full<Bytes>> {
    /// Posts JSON to an endpoint's own path, and returns the body of the answer.
    ///
    /// # Errors
    /// When there is no answer in time, or it is no success.
    pub async fn post(
        &self,
        clock: &SharedClock,
        endpoint: &Endpoint,
        reader: &Arc<dyn ObjectReader>,
        json: Vec<u8>,
        timeout: Duration,
    ) -> Result<Bytes, Failure> {
        let uri = endpoint.uri(timeout).map_err(Failure::NoClient)?;
        let exchange = self.exchange(endpoint, reader, &uri, json);
        match kubeplane_clock::timeout(&**clock, timeout, exchange).await {
            Some(result) => result,
            None => Err(unanswered(&uri, "context deadline exceeded")),
        }
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        reader: &Arc<dyn ObjectReader>,
        uri: &Uri,
        json: Vec<u8>,
    ) -> Result<Bytes, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .body(Full::new(Bytes::from(json)))
            .map_err(|error| unanswered(uri, &error.to_string()))?;
        let response = match self.send(endpoint, reader, request).await {
            Ok(response) => response,
            Err(Failure::Call { why, .. }) => return Err(unanswered(uri, &why)),
            Err(failure) => return Err(failure),
        };
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| unanswered(uri, &error.to_string()))?.to_bytes();
        match status.is_success() {
            true => Ok(body),
            false => Err(refused(status, &body)),
        }
    }
}

/// The call did not come to an answer.
fn unanswered(uri: &Uri, why: &str) -> Failure {
    Failure::Call { code: 503, why: format!("Post {:?}: {why}", uri.to_string()) }
}

/// The innermost reason that was put in words here.
fn because(error: &Error) -> String {
    let mut inner = error.source();
    let mut last = error.to_string();
    while let Some(found) = inner {
        if let Some(own) = found.downcast_ref::<NotConnected>() {
            return own.0.clone();
        }
        last = found.to_string();
        inner = found.source();
    }
    last
}

/// An HTTP error in the words of the original's client.
fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let said = String::from_utf8_lossy(body);
    let said = said.trim().chars().take(2048).collect::<String>();
    let why = match status.as_u16() {
        404 => "the server could not find the requested resource".to_owned(),
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later"
            .to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request".to_owned(),
        code if code >= 500 => {
            format!("an error on the server ({said:?}) has prevented the request from succeeding")
        }
        _ => "unknown".to_owned(),
    };
    Failure::Call { code: status.as_u16(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{
        SignatureAlgorithm, SignatureScheme,
        client::ResolvesClientCert,
        sign::{Signer, SigningKey},
    };

    #[derive(Debug)]
    struct NoKey;

    impl SigningKey for NoKey {
        fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
            None
        }

        fn algorithm(&self) -> SignatureAlgorithm {
            SignatureAlgorithm::ECDSA
        }
    }

    fn certificate() -> Arc<CertifiedKey> {
        Arc::new(CertifiedKey::new(Vec::new(), Arc::new(NoKey)))
    }

    #[derive(Debug)]
    struct Current(Mutex<Arc<CertifiedKey>>);

    impl ResolvesClientCert for Current {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(self.0.lock().clone())
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    #[test]
    fn connections_are_left_once_after_the_certificate_was_renewed() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let current = Arc::new(Current(Mutex::new(certificate())));
        let clients = Clients::<Full<Bytes>>::new(provider, Seed::new(1))
            .identity(Identity::from_resolver(current.clone()));
        let mut left = [clients.was_renewed(), clients.was_renewed()].to_vec();
        *current.0.lock() = certificate();
        left.extend([clients.was_renewed(), clients.was_renewed()]);
        assert_eq!(left, [false, false, true, false]);
    }
}
