//! A request passed on, and its answer passed back.

use super::{
    backend::{Backends, unreachable},
    links::Links,
    target::Target,
};
use crate::kubelet::without_token;
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, request::Parts,
};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use kubeplane_apiserver::{
    Body, HandlerRequest, body,
    forward::{asks_for_upgrade, forwarded_for, remove_credentials, remove_hop_by_hop, switch},
};
use kubeplane_core::status::{ApiError, ApiResult};
use std::fmt::Write as _;

/// Pages up to this size get their links rewritten.
const PAGE: usize = 8 * 1024 * 1024;

/// Are the API server's business with its own clients.
const CORS: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

pub(super) async fn forward(
    backends: &Backends,
    mut request: HandlerRequest,
    target: &Target,
    path: &str,
) -> ApiResult<Response<Body>> {
    let upgrades = asks_for_upgrade(&request.head.headers);
    if path.is_empty() && !upgrades && matches!(request.head.method, Method::GET | Method::HEAD) {
        return Ok(to_the_root(&request.head.uri));
    }
    let client_side = if upgrades { request.upgrade() } else { None };
    if upgrades && client_side.is_none() {
        return Err(ApiError::bad_request("this connection cannot be upgraded"));
    }
    let links = Links::new(&request.head, &request.info, &target.authority());
    let sent = outgoing(&request, target, path, &links, upgrades)?;
    let mut sender = backends.open(&request.api, target).await?;
    let mut answer = sender.send_request(sent).await.map_err(|error| unreachable(&error))?;
    if let Some(client_side) = client_side {
        match answer.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                return Ok(switch(&request.api, answer, client_side, request.held()));
            }
            code if code.as_u16() < 400 => {
                let why = format!("invalid upgrade response: status code {}", code.as_u16());
                return Err(ApiError::internal(why));
            }
            _ => {}
        }
    }
    remove_hop_by_hop(answer.headers_mut());
    CORS.iter().for_each(|name| drop(answer.headers_mut().remove(*name)));
    Ok(rewritten(answer, &links).await)
}

/// An empty path cannot be asked for: relative links would miss the last part.
fn to_the_root(uri: &Uri) -> Response<Body> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn outgoing(
    request: &HandlerRequest,
    target: &Target,
    path: &str,
    links: &Links,
    upgrades: bool,
) -> ApiResult<Request<Body>> {
    let head = &request.head;
    let mut uri = if path.is_empty() { "/".to_owned() } else { escaped_path(path) };
    let forwarded_uri = links.below(&uri);
    if let Some(query) = head.uri.query() {
        let _ = write!(uri, "?{query}");
    }
    let mut sent = Request::new(request.body.take());
    *sent.method_mut() = head.method.clone();
    *sent.uri_mut() = uri.parse().map_err(ApiError::internal)?;
    *sent.headers_mut() = passed(head, upgrades);
    let headers = sent.headers_mut();
    let host = head.headers.get(header::HOST).cloned();
    // HTTP/2 names the host in the URI.
    let host = host.or_else(|| head.uri.authority()?.as_str().parse().ok());
    let host = host.or_else(|| target.authority().parse().ok());
    host.into_iter().for_each(|host| drop(headers.insert(header::HOST, host)));
    if let Ok(value) = HeaderValue::from_str(&forwarded_uri) {
        headers.insert("x-forwarded-uri", value);
    }
    if let Some(value) = forwarded_for(head) {
        headers.insert("x-forwarded-for", value);
    }
    Ok(sent)
}

/// What the client said, but for what it said to the API server alone.
fn passed(head: &Parts, upgrades: bool) -> HeaderMap {
    let mut headers = head.headers.clone();
    let protocols = headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    let protocols =
        protocols.and_then(|value| without_token(&header::SEC_WEBSOCKET_PROTOCOL, &value));
    if !upgrades {
        remove_hop_by_hop(&mut headers);
    }
    // Its links could not be rewritten.
    headers.remove(header::ACCEPT_ENCODING);
    remove_credentials(&mut headers);
    if let Some(protocols) = protocols {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
    }
    headers
}

/// Percent-encodes what cannot stand in a path.
fn escaped_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~$&+,/:;=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The answer with links that lead through the API server.
async fn rewritten(answer: Response<Incoming>, links: &Links) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    if let Some(location) = head.headers.get(header::LOCATION).and_then(|text| text.to_str().ok()) {
        if let Ok(value) = HeaderValue::from_str(&links.rewrite(location)) {
            head.headers.insert(header::LOCATION, value);
        }
        return Response::from_parts(head, body::boxed(body));
    }
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if kind != Some("text/html") || head.headers.contains_key(header::CONTENT_ENCODING) {
        return Response::from_parts(head, body::boxed(body));
    }
    match page(body).await {
        Page::Whole(bytes) => {
            let text = links.rewrite_page(&bytes);
            head.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(head, body::full(text))
        }
        Page::Part(begun, rest) => {
            let begun = futures::stream::once(async move { Ok(Frame::data(begun)) });
            let rest = rest.into_data_stream();
            let rest = futures::StreamExt::map(rest, |data| data.map(Frame::data));
            let all = futures::StreamExt::chain(begun, rest);
            Response::from_parts(head, body::boxed(StreamBody::new(all)))
        }
    }
}

enum Page {
    Whole(Bytes),
    /// Too large, or cut off.
    Part(Bytes, Incoming),
}

async fn page(mut body: Incoming) -> Page {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Page::Part(all.freeze(), body) };
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data);
        }
        if all.len() > PAGE {
            return Page::Part(all.freeze(), body);
        }
    }
    Page::Whole(all.freeze())
}
