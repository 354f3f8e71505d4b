use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::ConfigExt;
use secrecy::ExposeSecret;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

/// One HTTP/2 connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    authority: String,
    token: Option<String>,
}

impl Connection {
    pub(crate) async fn open(config: &kube::Config) -> Result<Self> {
        let host = config.cluster_url.host().context("a server without a host")?.to_owned();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let mut tls = config.rustls_client_config()?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let name = config.tls_server_name.clone().unwrap_or_else(|| host.clone());
        let stream =
            TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from(name)?, stream).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(64 << 20)
            .handshake(TokioIo::new(stream))
            .await?;
        // It ends when the last sender is gone.
        tokio::spawn(connection);
        let token = config.auth_info.token.as_ref().map(|token| token.expose_secret().to_owned());
        Ok(Self { sender, authority: format!("{host}:{port}"), token })
    }

    /// Sends a request and returns the answer's head; its body is still to be read.
    pub(crate) async fn open_stream(&self, call: Call) -> Result<Response<Incoming>> {
        let uri = format!("https://{}{}", self.authority, call.path);
        let mut request = Request::builder()
            .method(call.method)
            .uri(uri)
            .header(header::USER_AGENT, "load")
            .header(header::ACCEPT, call.accept);
        if let Some(kind) = call.content_type {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut sender = self.sender.clone();
        sender.ready().await?;
        Ok(sender.send_request(request.body(Full::new(call.body))?).await?)
    }

    /// Sends a request and reads the answer: its status and size.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer> {
        let response = self.open_stream(call).await?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut answer = Answer { status, size: 0, start: Vec::new() };
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            answer.size += data.len();
            let wanted = 2048_usize.saturating_sub(answer.start.len()).min(data.len());
            answer.start.extend_from_slice(&data[..wanted]);
        }
        Ok(answer)
    }

    /// Sends a request and returns the whole answer.
    pub(crate) async fn read(&self, call: Call) -> Result<Bytes> {
        let response = self.open_stream(call).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }

    /// As `send`, but an answer that is no success is an error.
    pub(crate) async fn succeed(&self, call: Call) -> Result<Answer> {
        let what = format!("{} {}", call.method, call.path);
        let answer = self.send(call).await?;
        if answer.status >= 300 {
            bail!("{what}: {} {}", answer.status, String::from_utf8_lossy(&answer.start));
        }
        Ok(answer)
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) size: usize,
    /// The body's first 2 KiB.
    pub(crate) start: Vec<u8>,
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    path: String,
    accept: &'static str,
    content_type: Option<&'static str>,
    body: Bytes,
}

impl Call {
    fn new(method: Method, path: impl Into<String>) -> Self {
        let (accept, content_type) = ("application/json", None);
        Self { method, path: path.into(), accept, content_type, body: Bytes::new() }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, path).body("application/json", body)
    }

    pub(crate) fn put(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self::new(Method::PUT, path).body("application/json", body)
    }

    pub(crate) fn patch(
        path: impl Into<String>,
        kind: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        Self::new(Method::PATCH, path).body(kind, body)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(crate) fn accept(mut self, kind: &'static str) -> Self {
        self.accept = kind;
        self
    }

    fn body(mut self, kind: &'static str, body: impl Into<Bytes>) -> Self {
        self.content_type = Some(kind);
        self.body = body.into();
        self
    }
}
