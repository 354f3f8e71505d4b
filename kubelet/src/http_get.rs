//! GET requests to pods, for probes and lifecycle hooks.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kubeplane_pki::Unverified;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::{net::IpAddr, sync::Arc};
use tokio::{net::TcpStream, task::JoinSet};

const MAX_BODY: usize = 10 << 10;
const MAX_REDIRECTS: usize = 10;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) https: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Target {
    /// Where an action of a container of a pod with this address goes.
    pub(crate) fn of(
        action: &HTTPGetAction,
        container: &Container,
        pod_ip: &str,
    ) -> Result<Self, String> {
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
        let path = action.path.as_deref().unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            https: action.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https")),
            host: host.to_owned(),
            port: port(&action.port, container)?,
            path: format!("{slash}{path}"),
        })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    /// The place a redirect leads to, if that is on the same host.
    fn redirected(&self, location: &str) -> Option<Self> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(Self { path: location.to_owned(), ..self.clone() });
        }
        let uri: Uri = location.parse().ok()?;
        let https = uri.scheme_str() == Some("https");
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        (host == self.host).then(|| Self {
            https,
            host,
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}

/// The number of a port that a container names or numbers.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            match named {
                Some(port) => port.container_port,
                None => name.parse().map_err(|_| format!("port {name} not found"))?,
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

/// The headers of an action, with those every probe has.
pub(crate) fn headers(action: &HTTPGetAction, agent: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for given in action.http_headers.iter().flatten() {
        let name = HeaderName::try_from(given.name.as_str());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&given.value)) {
            headers.append(name, value);
        }
    }
    if !headers.contains_key(header::USER_AGENT)
        && let Ok(agent) = HeaderValue::from_str(agent)
    {
        headers.insert(header::USER_AGENT, agent);
    }
    if !headers.contains_key(header::ACCEPT) {
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    }
    headers
}

/// Asks once, following redirects on the same host.
///
/// # Errors
/// In the words users see, when there is no answer.
pub(crate) async fn get(target: &Target, headers: &HeaderMap) -> Result<Answer, String> {
    let mut target = target.clone();
    for _ in 0..MAX_REDIRECTS {
        let (answer, location) = once(&target, headers)
            .await
            .map_err(|error| format!("Get {:?}: {error}", target.url()))?;
        let next = location
            .filter(|_| (300..400).contains(&answer.status))
            .and_then(|location| target.redirected(&location));
        match next {
            Some(next) => target = next,
            None => return Ok(answer),
        }
    }
    Err(format!("Get {:?}: stopped after {MAX_REDIRECTS} redirects", target.url()))
}

async fn once(target: &Target, headers: &HeaderMap) -> Result<(Answer, Option<String>), String> {
    let authority = target.authority();
    let tcp = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .map_err(|error| format!("dial tcp {authority}: {}", connect_words(&error)))?;
    if target.https {
        let name = server_name(&target.host)?;
        let tls = tokio_rustls::TlsConnector::from(Arc::new(tls_config()?))
            .connect(name, tcp)
            .await
            .map_err(|error| error.to_string())?;
        exchange(TokioIo::new(tls), target, headers).await
    } else {
        exchange(TokioIo::new(tcp), target, headers).await
    }
}

fn connect_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        _ => error.to_string(),
    }
}

async fn exchange<T>(
    io: T,
    target: &Target,
    headers: &HeaderMap,
) -> Result<(Answer, Option<String>), String>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let words = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(words)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let mut request = Request::get(target.path.as_str())
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    *request.headers_mut() = headers.clone();
    if !headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(&target.authority())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    let response = sender.send_request(request).await.map_err(words)?;
    let status = response.status().as_u16();
    let location = response.headers().get(header::LOCATION);
    let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
    // A longer body is cut: only its beginning is ever shown.
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    Ok((Answer { status, body: body.unwrap_or_default() }, location))
}

fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(ServerName::from(ip)),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(|error| error.to_string()),
    }
}

fn tls_config() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // Probes ask whether a pod answers, not who it is.
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Unverified::new(provider))
        .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    fn container() -> Container {
        serde_json::from_value(
            json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}),
        )
        .unwrap()
    }

    #[test]
    fn ports_have_numbers_or_names() {
        let number =
            |value: serde_json::Value| port(&serde_json::from_value(value).unwrap(), &container());
        assert_eq!(number(json!("web")), Ok(8080));
        assert_eq!(number(json!("81")), Ok(81));
        assert_eq!(number(json!(82)), Ok(82));
        assert_eq!(number(json!("no")), Err("port no not found".to_owned()));
        assert_eq!(number(json!(0)), Err("invalid port number: 0".to_owned()));
    }

    #[tokio::test]
    async fn redirects_are_followed_on_the_same_host() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            for answer in [
                "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            ] {
                let (mut io, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                let _ = io.read(&mut buffer).await.unwrap();
                io.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let action = serde_json::from_value(json!({"path": "start", "port": port})).unwrap();
        let target = Target::of(&action, &container(), "127.0.0.1").unwrap();
        let headers = HeaderMap::new();
        let (answer, ()) = tokio::join!(get(&target, &headers), server);
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "hi"));
    }

    #[tokio::test]
    async fn a_closed_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let target = Target { https: false, host: "127.0.0.1".into(), port, path: "/x".into() };
        let error = get(&target, &HeaderMap::new()).await.unwrap_err();
        let expected = format!(
            "Get \"http://127.0.0.1:{port}/x\": dial tcp 127.0.0.1:{port}: connect: connection refused"
        );
        assert_eq!(error, expected);
    }
}
