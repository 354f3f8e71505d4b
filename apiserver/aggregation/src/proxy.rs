//! Requests passed on to an extension API server, and its answers passed back.

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
    request::Parts,
};
use http_body_util::{BodyExt, Limited};
use hyper::upgrade::OnUpgrade;
use kubeplane_apiserver::{
    Api, Body, Delegate, DelegatedRequest, Held, body,
    forward::{asks_for_upgrade, forwarded_for, remove_credentials, remove_hop_by_hop, switch},
};
use kubeplane_core::{
    auth::UserInfo,
    status::{ApiError, ApiResult},
};
use kubeplane_outbound::{Clients, Endpoint, Failure};
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How long an extension API server may take for a document about itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The largest document about itself, in bytes.
const MAX_DOCUMENT: usize = 32 * 1024 * 1024;

const USER: &str = "x-remote-user";
const UID: &str = "x-remote-uid";
const GROUP: &str = "x-remote-group";
const EXTRA: &str = "x-remote-extra-";

/// An extension API server behind a Service.
#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) endpoint: Endpoint,
    /// The name its certificate must have, and its port.
    authority: String,
    clients: Arc<Clients<Body>>,
    available: AtomicBool,
}

impl Extension {
    pub(crate) fn new(endpoint: Endpoint, authority: String, clients: Arc<Clients<Body>>) -> Self {
        Self { endpoint, authority, clients, available: AtomicBool::new(false) }
    }

    /// Lets requests through, or none.
    pub(crate) fn set_available(&self, available: bool) {
        self.available.store(available, Ordering::Relaxed);
    }

    /// Makes new connections from now on.
    pub(crate) fn reconnect(&self) {
        self.clients.forget(&self.endpoint);
    }

    /// Asks for a document about the extension itself, as one of the system's own users.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(crate) async fn fetch(
        &self,
        api: &Api,
        user: &UserInfo,
        path: &str,
        accept: &str,
    ) -> Result<Response<Bytes>, String> {
        let mut sent = Request::new(body::empty());
        *sent.uri_mut() = self.uri(path)?;
        identify(sent.headers_mut(), user);
        if !tells_uids(api) {
            sent.headers_mut().remove(UID);
        }
        let accept = HeaderValue::from_str(accept).map_err(|error| error.to_string())?;
        sent.headers_mut().insert(header::ACCEPT, accept);
        let exchange = async {
            let answer = self.clients.send(&self.endpoint, api.reader(), sent).await;
            let (head, body) = answer.map_err(|failure| failure.to_string())?.into_parts();
            let body = Limited::new(body, MAX_DOCUMENT).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        let answered = kubeplane_clock::timeout(&**api.clock(), PATIENCE, exchange).await;
        answered.unwrap_or_else(|| Err("context deadline exceeded".to_owned()))
    }

    fn uri(&self, path: &str) -> Result<Uri, String> {
        let uri = format!("https://{}{path}", self.authority).parse();
        uri.map_err(|error: http::uri::InvalidUri| error.to_string())
    }

    async fn pass(&self, request: DelegatedRequest) -> ApiResult<Response<Body>> {
        let DelegatedRequest { mut head, body, user, api } = request;
        let upgrades = asks_for_upgrade(&head.headers);
        let client_side = match upgrades {
            true => head.extensions.remove::<OnUpgrade>(),
            false => None,
        };
        if upgrades && client_side.is_none() {
            return Err(ApiError::bad_request("this connection cannot be upgraded"));
        }
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut sent = Request::new(body);
        *sent.method_mut() = head.method.clone();
        *sent.uri_mut() = self.uri(path).map_err(ApiError::internal)?;
        *sent.headers_mut() = passed(&head, &user, upgrades);
        if !tells_uids(&api) {
            sent.headers_mut().remove(UID);
        }
        let answer = self.clients.send(&self.endpoint, api.reader(), sent).await;
        let mut answer = answer.map_err(|failure| unreachable(&failure))?;
        if let Some(client_side) = client_side
            && answer.status() == StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(switch(&api, answer, client_side, Held::of(&head.extensions)));
        }
        if answer.status().is_redirection() && answer.headers().contains_key(header::LOCATION) {
            let why = "the backend attempted to redirect this request, which is not permitted";
            return Err(ApiError::new(StatusCode::BAD_GATEWAY, "", why));
        }
        remove_hop_by_hop(answer.headers_mut());
        Ok(answer.map(body::boxed))
    }
}

#[async_trait]
impl Delegate for Extension {
    async fn serve(&self, request: DelegatedRequest) -> ApiResult<Response<Body>> {
        if !self.available.load(Ordering::Relaxed) {
            return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "service unavailable"));
        }
        match self.pass(request).await {
            Err(error) if error.code() == StatusCode::SERVICE_UNAVAILABLE => {
                Ok(plain(StatusCode::SERVICE_UNAVAILABLE, error.message()))
            }
            answer => answer,
        }
    }
}

/// As Go's `http.Error`: the original answers in plain text here.
fn plain(code: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(body::full(format!("{text}\n")));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn unreachable(failure: &Failure) -> ApiError {
    // Without endpoints there is nowhere to send it, which the original says in two words.
    let why = match failure.to_string() {
        why if why.starts_with("dial tcp") || why.starts_with("tls:") => {
            format!("error trying to reach service: {why}")
        }
        why if why.contains("not found") || why.contains("no endpoints") => {
            "service unavailable".to_owned()
        }
        why => format!("error trying to reach service: {why}"),
    };
    ApiError::unavailable(why)
}

/// What the client said, but for what it said to the API server alone, and who it is.
fn passed(head: &Parts, user: &UserInfo, upgrades: bool) -> HeaderMap {
    let mut headers = head.headers.clone();
    if !upgrades {
        remove_hop_by_hop(&mut headers);
    }
    remove_credentials(&mut headers);
    headers.remove(header::HOST);
    // The bodies of requests are passed on as they come.
    if !matches!(head.method, Method::GET | Method::HEAD) && !upgrades {
        headers.remove(header::CONTENT_LENGTH);
    }
    identify(&mut headers, user);
    if let Some(value) = forwarded_for(head) {
        headers.insert("x-forwarded-for", value);
    }
    headers
}

/// Whether extensions are told the uid of who asks.
fn tells_uids(api: &Api) -> bool {
    api.features().is_on("RemoteRequestHeaderUID")
}

/// Says who asks; whatever the client said about that is gone.
pub(crate) fn identify(headers: &mut HeaderMap, user: &UserInfo) {
    let told: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            matches!(name.as_str(), USER | UID | GROUP) || name.as_str().starts_with(EXTRA)
        })
        .cloned()
        .collect();
    told.into_iter().for_each(|name| drop(headers.remove(name)));
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes());
        // Bytes beyond ASCII go as they are, as in the original.
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    user.groups.iter().for_each(|group| add(GROUP, group));
    for (key, values) in &user.extra {
        let name = format!("{EXTRA}{}", escaped(key));
        values.iter().for_each(|value| add(&name, value));
    }
}

/// Percent-encodes what cannot stand in a header's name, and `%` itself.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_what_the_server_found_out() {
        let mut headers = HeaderMap::new();
        headers.insert("X-Remote-User", HeaderValue::from_static("root"));
        headers.append("X-Remote-Group", HeaderValue::from_static("system:masters"));
        headers.insert("X-Remote-Extra-Scope", HeaderValue::from_static("all"));
        let mut user = UserInfo::new("jane", ["a", "b"]);
        user.extra.insert("acme.com/pro%ject".to_owned(), vec!["x".to_owned(), "y".to_owned()]);
        identify(&mut headers, &user);
        let all = |name: &str| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(all(USER), ["jane"]);
        assert_eq!(all(GROUP), ["a", "b"]);
        assert!(all(UID).is_empty() && all("x-remote-extra-scope").is_empty());
        assert_eq!(all("x-remote-extra-acme.com%2fpro%25ject"), ["x", "y"]);
    }
}
