use crate::harness::{Admins, Names};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{
    http1::{self, SendRequest},
    http2,
};
use kubeplane_apiserver::{Api, ApiServer, Builder, Finish, TlsOptions, WriteHook};
use kubeplane_clock::PausedClock;
use kubeplane_core::{
    GroupResource, Object,
    component::{Component, lifecycle},
    status::ApiResult,
};
use kubeplane_pki::{Authority, Request as CertificateRequest, Usage};
use kubeplane_store_memory::MemoryStore;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

/// How long a busy machine may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn builder(address: SocketAddr, tls: TlsOptions) -> Builder {
    ApiServer::builder(Arc::new(MemoryStore::new()))
        .resources(kubeplane_builtin::all())
        .authenticate(Names)
        .authorize(Admins)
        .listen(address, tls)
}

fn server(address: SocketAddr, tls: TlsOptions) -> ApiServer {
    builder(address, tls).build().unwrap()
}

pub(crate) async fn secured(authority: &Authority, address: SocketAddr) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
}

/// A connection of one's own; it ends with the second.
pub(crate) async fn connect(
    authority: &Authority,
    address: SocketAddr,
) -> (SendRequest<Full<Bytes>>, AbortOnDropHandle<()>) {
    let stream = secured(authority, address).await;
    let (sender, connection) =
        http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    // It ends with an error when the server leaves no time for an answer.
    let connection = tokio::spawn(async move { connection.await.unwrap_or_default() });
    (sender, AbortOnDropHandle::new(connection))
}

pub(crate) fn request(method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    let request = request.header("authorization", "Bearer admin");
    request.header("content-type", "application/json").body(Full::from(body)).unwrap()
}

pub(crate) fn pki() -> (Authority, TlsOptions) {
    let now = jiff::Timestamp::now();
    let authority = Authority::generate("ca", now).unwrap();
    let request = CertificateRequest::new("server", Usage::Server).names(["localhost"]);
    let identity = authority.issue(&request, now).unwrap();
    let tls = TlsOptions::from_pem(identity.certificate.clone(), identity.key.clone());
    (authority, tls)
}

#[tokio::test]
async fn it_listens_serves_and_stops() {
    let (authority, tls) = pki();
    let api = server("127.0.0.1:0".parse().unwrap(), tls.clone());
    let mut bound = api.bound();
    let (side, mut supervision) = lifecycle();
    let running = tokio::spawn(Box::new(api).run(side));
    assert!(supervision.became_ready().await);
    let address = bound.wait_for(Option::is_some).await.unwrap().unwrap();

    let taken = server(address, tls);
    let error = Box::new(taken).run(lifecycle().0).await.unwrap_err();
    assert!(error.to_string().contains("the port is in use"), "{error}");

    let (mut sender, _connection) = connect(&authority, address).await;
    let request = request("GET", "/api/v1/namespaces?watch=1", "");
    let mut watching = sender.send_request(request).await.unwrap();
    assert_eq!(watching.status(), StatusCode::OK);

    supervision.stop();
    while let Some(frame) = watching.frame().await {
        frame.unwrap();
    }
    running.await.unwrap().unwrap();
}

/// In HTTP/2 nobody else leaves the body out, and one that is sent breaks the answer for clients.
#[tokio::test]
async fn what_answers_head_has_no_body() {
    let (authority, tls) = pki();
    let api = server("127.0.0.1:0".parse().unwrap(), tls);
    let mut bound = api.bound();
    let (side, mut supervision) = lifecycle();
    let running = tokio::spawn(Box::new(api).run(side));
    assert!(supervision.became_ready().await);
    let address = bound.wait_for(Option::is_some).await.unwrap().unwrap();
    let stream = secured(&authority, address).await;
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        http2::handshake(executor, hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    for (method, path) in
        [("GET", "/readyz"), ("HEAD", "/readyz"), ("HEAD", "/version"), ("HEAD", "/api/v1/pods")]
    {
        let request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        let request = request.header("authorization", "Bearer admin");
        let answer =
            sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}");
    }
    drop((sender, connection));
    supervision.stop();
    running.await.unwrap().unwrap();
}

/// Never comes to an end, and says when it begins.
#[derive(Debug)]
struct Endless(mpsc::Sender<()>);

#[async_trait]
impl WriteHook for Endless {
    async fn before_create(&self, _: &Api, _: &mut Object, _dry_run: bool) -> ApiResult<Finish> {
        self.0.send(()).await.unwrap();
        std::future::pending().await
    }
}

/// A supervisor drops a component that takes longer than 15 seconds. Here a connection, and then the write that goes on
/// without it, would take for ever.
#[tokio::test]
async fn all_that_is_under_way_at_the_end_has_ten_seconds_together() {
    let (authority, tls) = pki();
    let clock = PausedClock::starting_at(jiff::Timestamp::now());
    let (began, mut has_begun) = mpsc::channel(1);
    let api = builder("127.0.0.1:0".parse().unwrap(), tls)
        .clock(Arc::new(clock.clone()))
        .hook(GroupResource::new("", "configmaps"), Arc::new(Endless(began)))
        .build()
        .unwrap();
    let mut bound = api.bound();
    let (side, mut supervision) = lifecycle();
    let running = tokio::spawn(Box::new(api).run(side));
    assert!(supervision.became_ready().await);
    let address = bound.wait_for(Option::is_some).await.unwrap().unwrap();
    let (mut sender, _connection) = connect(&authority, address).await;
    let path = "/api/v1/namespaces/default/configmaps";
    let writing = request("POST", path, r#"{"metadata": {"name": "a"}}"#);
    let writing = tokio::spawn(async move { sender.send_request(writing).await });
    tokio::time::timeout(LIMIT, has_begun.recv()).await.unwrap().unwrap();

    supervision.stop();
    let grace = Duration::from_secs(10);
    let waits = async {
        while clock.next_wake() != Some(grace) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, waits).await.expect("it gives them a time");
    clock.advance(grace);
    let ended = tokio::time::timeout(LIMIT, running).await.expect("it ends when that is over");
    ended.unwrap().unwrap();
    assert!(writing.await.unwrap().is_err(), "what was not done is not answered");
}
