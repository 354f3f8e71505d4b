//! What a request for an upgrade asks for, and the answer to it.

use crate::{Error, Result, websocket::Codec};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
    },
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Names the protocols a SPDY client can speak, and the one the server chose.
pub const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Names the protocols a server can speak, when it speaks none of the client's.
pub const ACCEPTED_PROTOCOLS: HeaderName =
    HeaderName::from_static("x-accepted-stream-protocol-versions");
pub(crate) const SPDY: &str = "SPDY/3.1";
pub(crate) const PORT_FORWARD: &str = "portforward.k8s.io";
const TUNNELLED_PORT_FORWARD: &str = "SPDY/3.1+portforward.k8s.io";

/// What an upgraded connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Running a command in a container, or joining the one that runs.
    RemoteCommand,
    /// Connections to ports of a pod.
    PortForward,
}

/// What carries the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Carrier {
    /// SPDY/3.1 frames.
    Spdy,
    /// SPDY/3.1 frames inside WebSocket messages.
    SpdyInWebSocket,
    /// WebSocket messages that begin with a channel number.
    WebSocket {
        /// Messages are text with base64 data.
        base64: bool,
    },
}

/// What client and server have agreed on, with the answer that says so.
#[derive(Debug, Clone)]
pub struct Upgrade {
    purpose: Purpose,
    carrier: Carrier,
    version: u8,
    headers: HeaderMap,
}

impl Upgrade {
    /// What the connection is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// What carries the streams.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// The version of the remote command protocol, 1 to 5.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The headers of the answer, which has status 101.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The answer, status 101 with its headers, and no body.
    #[must_use]
    pub fn response(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = self.headers.clone();
        response
    }

    pub(crate) fn codec(&self) -> Codec {
        let base64 = matches!(self.carrier, Carrier::WebSocket { base64: true });
        Codec { base64, close_signal: self.version >= 5 }
    }
}

/// Whether a request asks for some upgrade of its connection.
#[must_use]
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    values(headers, &CONNECTION).any(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// Chooses the protocol for a request with these headers.
///
/// # Errors
/// `NotAnUpgrade` (answer 400) and `NoCommonProtocol` (answer 403, with [`rejection_headers`]).
pub fn negotiate(headers: &HeaderMap, purpose: Purpose) -> Result<Upgrade> {
    if !is_upgrade(headers) {
        return Err(Error::not_an_upgrade("Upgrade request required"));
    }
    let upgrade = values(headers, &UPGRADE).next().unwrap_or_default().to_ascii_lowercase();
    if upgrade == "websocket" {
        return web_socket(headers, purpose);
    }
    if upgrade.contains("spdy/3.1") {
        return spdy(headers, purpose);
    }
    Err(Error::not_an_upgrade(format!(
        "missing upgrade headers in request: Upgrade is {upgrade:?}"
    )))
}

/// The headers that tell a client what it could have asked for.
#[must_use]
pub fn rejection_headers(error: &Error) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Error::NoCommonProtocol { accepted, .. } = error {
        for protocol in accepted.iter().filter(|protocol| !protocol.is_empty()) {
            headers.append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(protocol));
        }
    }
    headers
}

/// A protocol name, what carries it, and its version.
type Offer = (&'static str, Carrier, u8);

const RAW: Carrier = Carrier::WebSocket { base64: false };
const BASE64: Carrier = Carrier::WebSocket { base64: true };

const SPDY_COMMANDS: &[Offer] = &[
    ("v4.channel.k8s.io", Carrier::Spdy, 4),
    ("v3.channel.k8s.io", Carrier::Spdy, 3),
    ("v2.channel.k8s.io", Carrier::Spdy, 2),
    ("channel.k8s.io", Carrier::Spdy, 1),
];
const SPDY_FORWARDS: &[Offer] = &[(PORT_FORWARD, Carrier::Spdy, 1)];
const WEB_SOCKET_COMMANDS: &[Offer] = &[
    ("v5.channel.k8s.io", RAW, 5),
    ("v4.channel.k8s.io", RAW, 4),
    ("v4.base64.channel.k8s.io", BASE64, 4),
    ("channel.k8s.io", RAW, 1),
    ("base64.channel.k8s.io", BASE64, 1),
    ("", RAW, 1),
];
const WEB_SOCKET_FORWARDS: &[Offer] = &[
    (TUNNELLED_PORT_FORWARD, Carrier::SpdyInWebSocket, 1),
    ("v4.channel.k8s.io", RAW, 4),
    ("v4.base64.channel.k8s.io", BASE64, 4),
    ("", RAW, 4),
];

fn spdy(headers: &HeaderMap, purpose: Purpose) -> Result<Upgrade> {
    let requested = list(headers, &STREAM_PROTOCOL);
    if requested.is_empty() {
        return Err(Error::not_an_upgrade(format!("header {STREAM_PROTOCOL} names no protocol")));
    }
    let offers = match purpose {
        Purpose::RemoteCommand => SPDY_COMMANDS,
        Purpose::PortForward => SPDY_FORWARDS,
    };
    let (name, carrier, version) = choose(requested, offers)?;
    let mut answer = HeaderMap::new();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static(SPDY));
    answer.insert(STREAM_PROTOCOL, HeaderValue::from_static(name));
    Ok(Upgrade { purpose, carrier, version, headers: answer })
}

fn web_socket(headers: &HeaderMap, purpose: Purpose) -> Result<Upgrade> {
    let key = web_socket_key(headers)?;
    let mut requested = list(headers, &SEC_WEBSOCKET_PROTOCOL);
    if requested.is_empty() {
        requested.push(String::new());
    }
    let offers = match purpose {
        Purpose::RemoteCommand => WEB_SOCKET_COMMANDS,
        Purpose::PortForward => WEB_SOCKET_FORWARDS,
    };
    let (name, carrier, version) = choose(requested, offers)?;
    Ok(Upgrade { purpose, carrier, version, headers: web_socket_answer(key, name)? })
}

pub(crate) fn web_socket_key(headers: &HeaderMap) -> Result<&HeaderValue> {
    let key = headers.get(SEC_WEBSOCKET_KEY);
    key.ok_or_else(|| Error::not_an_upgrade("header sec-websocket-key is missing"))
}

/// The headers of the answer to a request with this key, for which this protocol was chosen (or none: an empty name).
pub(crate) fn web_socket_answer(key: &HeaderValue, protocol: &str) -> Result<HeaderMap> {
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|error| Error::not_an_upgrade(error.to_string()))?;
    let mut answer = HeaderMap::new();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if !protocol.is_empty() {
        let protocol = HeaderValue::from_str(protocol)
            .map_err(|error| Error::not_an_upgrade(error.to_string()))?;
        answer.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(answer)
}

/// The client's wishes come in its order of preference.
fn choose(requested: Vec<String>, offers: &[Offer]) -> Result<Offer> {
    requested
        .iter()
        .find_map(|wish| offers.iter().find(|(name, ..)| name == wish))
        .copied()
        .ok_or_else(|| Error::NoCommonProtocol {
            accepted: offers.iter().map(|(name, ..)| *name).collect(),
            requested,
        })
}

pub(crate) fn values<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

pub(crate) fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    values(headers, name)
        .flat_map(|value| value.split(','))
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_spdy_client_gets_its_first_known_protocol() {
        let asked = headers(&[
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v9.channel.k8s.io, v4.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
        ]);
        let upgrade = negotiate(&asked, Purpose::RemoteCommand).unwrap();
        assert_eq!((upgrade.carrier(), upgrade.version()), (Carrier::Spdy, 4));
        assert_eq!(upgrade.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
        assert_eq!(upgrade.response().status(), 101);
    }

    #[test]
    fn a_web_socket_client_gets_a_key_and_its_protocol() {
        let asked = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "SPDY/3.1+portforward.k8s.io"),
        ]);
        let upgrade = negotiate(&asked, Purpose::PortForward).unwrap();
        assert_eq!(upgrade.carrier(), Carrier::SpdyInWebSocket);
        assert_eq!(upgrade.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let refused = negotiate(&asked, Purpose::RemoteCommand).unwrap_err();
        assert_eq!(refused.http_status(), 403);
        assert_eq!(rejection_headers(&refused).get_all(ACCEPTED_PROTOCOLS).iter().count(), 5);
    }

    #[test]
    fn anything_else_is_a_bad_request() {
        for pairs in [
            &[][..],
            &[("connection", "Upgrade"), ("upgrade", "h2c")],
            &[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")],
            &[("connection", "Upgrade"), ("upgrade", "websocket")],
        ] {
            let error = negotiate(&headers(pairs), Purpose::RemoteCommand).unwrap_err();
            assert_eq!(error.http_status(), 400, "{pairs:?}");
        }
    }
}
