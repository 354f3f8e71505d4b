//! One client for each place of webhooks, so that connections are used again.

use super::{
    answer::CallError,
    connect::{Connector, NotConnected},
    hook::Endpoint,
};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, Error},
    rt::{TokioExecutor, TokioTimer},
};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::reader::ObjectReader;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use std::{collections::HashMap, error::Error as _, fmt, sync::Arc, time::Duration};

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// How many places are kept; with more, all are forgotten.
const MAX_PLACES: usize = 512;
/// How long a connection is kept for the next call.
const IDLE: Duration = Duration::from_secs(90);

type HttpClient = Client<Connector, Full<Bytes>>;

/// The clients of all webhooks.
pub(crate) struct Clients {
    provider: Arc<CryptoProvider>,
    seed: Seed,
    made: Mutex<HashMap<Endpoint, HttpClient>>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("made", &self.made.lock().len()).finish_non_exhaustive()
    }
}

impl Clients {
    pub(crate) fn new(provider: Arc<CryptoProvider>, seed: Seed) -> Self {
        Self { provider, seed, made: Mutex::default() }
    }

    fn client(
        &self,
        endpoint: &Endpoint,
        reader: &Arc<dyn ObjectReader>,
    ) -> Result<HttpClient, String> {
        let mut made = self.made.lock();
        if let Some(client) = made.get(endpoint) {
            return Ok(client.clone());
        }
        let connector = Connector::new(
            self.provider.clone(),
            &endpoint.authorities,
            endpoint.place.clone(),
            reader.clone(),
            self.seed.clone(),
        )?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        if made.len() >= MAX_PLACES {
            made.clear();
        }
        made.insert(endpoint.clone(), client.clone());
        Ok(client)
    }

    /// Posts a review, and returns the body of the answer.
    pub(super) async fn post(
        &self,
        clock: &SharedClock,
        endpoint: &Endpoint,
        reader: &Arc<dyn ObjectReader>,
        review: Vec<u8>,
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        let no_client =
            |why: String| CallError::failed(500, format!("could not get REST client: {why}"));
        let uri = endpoint.uri(timeout).map_err(no_client)?;
        let client = self.client(endpoint, reader).map_err(no_client)?;
        let exchange = exchange(client, uri.clone(), review);
        match kubeplane_clock::timeout(&**clock, timeout, exchange).await {
            Some(result) => result,
            None => Err(unanswered(&uri, "context deadline exceeded")),
        }
    }
}

/// The call did not come to an answer.
fn unanswered(uri: &Uri, why: &str) -> CallError {
    CallError::failed(503, format!("failed to call webhook: Post {:?}: {why}", uri.to_string()))
}

async fn exchange(client: HttpClient, uri: Uri, review: Vec<u8>) -> Result<Bytes, CallError> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(uri.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, */*")
        .body(Full::new(Bytes::from(review)))
        .map_err(|error| unanswered(&uri, &error.to_string()))?;
    let response = client.request(request).await;
    let response = response.map_err(|error| unanswered(&uri, &because(&error)))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| unanswered(&uri, &error.to_string()))?.to_bytes();
    match status.is_success() {
        true => Ok(body),
        false => Err(refused(status, &body)),
    }
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

/// An HTTP error of a webhook in the words of the original's client.
fn refused(status: StatusCode, body: &[u8]) -> CallError {
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
    CallError::failed(status.as_u16(), format!("failed to call webhook: {why}"))
}
