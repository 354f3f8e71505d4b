//! Passing requests on to other servers: what they lose and get on the way, and connections that are handed over.

mod frames;

use crate::{Api, Body, Held, body};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use kubeplane_core::auth::PeerAddress;
use tokio::io::copy_bidirectional;

/// Belong to one connection, not to the request.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a request asks to take its connection over.
#[must_use]
pub fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).iter();
    let mut texts = connection.filter_map(|value| value.to_str().ok());
    texts.any(|text| text.to_ascii_lowercase().contains("upgrade"))
}

/// Removes what belongs to one connection: what HTTP says does, and what the headers themselves name.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let connection = headers.get_all(header::CONNECTION).iter();
    let named: Vec<HeaderName> = connection
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.into_iter().for_each(|name| drop(headers.remove(name)));
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(*name)));
}

/// Removes what a client says to this server alone: who it is, and as whom it asks.
pub fn remove_credentials(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    let impersonation: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    impersonation.into_iter().for_each(|name| drop(headers.remove(name)));
}

/// The value of `X-Forwarded-For`: who stood there before, and who sent it here. `None` where nobody knows.
#[must_use]
pub fn forwarded_for(head: &Parts) -> Option<HeaderValue> {
    let peer = head.extensions.get::<PeerAddress>()?.0.to_string();
    let before = head.headers.get_all("x-forwarded-for").iter();
    let mut all: Vec<&str> = before.filter_map(|value| value.to_str().ok()).collect();
    all.push(&peer);
    all.join(", ").parse().ok()
}

/// Hands a connection over to whom the other server handed its own: answers 101 as that did, and copies both ways from
/// then on, in a task of the server that ends when either side closes.
#[must_use]
pub fn switch(
    api: &Api,
    mut answer: Response<Incoming>,
    client_side: OnUpgrade,
    held: Held,
) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = answer.headers().clone();
    let upgrade = answer.headers().get(header::UPGRADE);
    let framed = upgrade.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let other_side = hyper::upgrade::on(&mut answer);
    api.spawn(async move {
        let _held = held;
        match tokio::try_join!(client_side, other_side) {
            Ok((client, other)) => {
                let (mut client, mut other) = (TokioIo::new(client), TokioIo::new(other));
                let copied = match framed {
                    true => frames::pass(client, other).await,
                    false => copy_bidirectional(&mut client, &mut other).await.map(|_| ()),
                };
                tracing::debug!(?copied, "stream ended");
            }
            Err(error) => tracing::debug!(%error, "connection was not taken over"),
        }
    });
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_belongs_to_a_connection_stays_with_it() {
        let mut all = headers(&[
            ("connection", "keep-alive, X-Own"),
            ("x-own", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("accept", "*/*"),
        ]);
        assert!(!asks_for_upgrade(&all));
        remove_hop_by_hop(&mut all);
        assert_eq!(all, headers(&[("accept", "*/*")]));
        assert!(asks_for_upgrade(&headers(&[("connection", "keep-alive, Upgrade")])));
    }

    #[test]
    fn what_a_client_says_to_the_server_alone_stays_there() {
        let mut all = headers(&[
            ("authorization", "Bearer x"),
            ("impersonate-user", "root"),
            ("impersonate-extra-scope", "all"),
            ("accept", "*/*"),
        ]);
        remove_credentials(&mut all);
        assert_eq!(all, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn who_sent_a_request_is_added_to_who_sent_it_before() {
        let request = Request::get("/").header("x-forwarded-for", "10.0.0.1").body(()).unwrap();
        let (mut head, ()) = request.into_parts();
        assert_eq!(forwarded_for(&head), None);
        head.extensions.insert(PeerAddress([10, 0, 0, 2].into()));
        assert_eq!(forwarded_for(&head).unwrap(), "10.0.0.1, 10.0.0.2");
    }
}
