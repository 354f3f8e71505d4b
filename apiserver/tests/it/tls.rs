use crate::harness::{Admins, Names};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use kubeplane_apiserver::{ApiServer, TlsOptions};
use kubeplane_core::component::{Component, lifecycle};
use kubeplane_pki::{Authority, Request as CertificateRequest, Usage};
use kubeplane_store_memory::MemoryStore;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpStream;

fn server(address: SocketAddr, tls: TlsOptions) -> ApiServer {
    ApiServer::builder(Arc::new(MemoryStore::new()))
        .resources(kubeplane_builtin::all())
        .authenticate(Names)
        .authorize(Admins)
        .listen(address, tls)
        .build()
        .unwrap()
}

fn pki() -> (Authority, TlsOptions) {
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

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let stream =
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("/api/v1/namespaces?watch=1")
        .header("host", "localhost")
        .header("authorization", "Bearer admin")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let mut watching = sender.send_request(request).await.unwrap();
    assert_eq!(watching.status(), StatusCode::OK);

    supervision.stop();
    while let Some(frame) = watching.frame().await {
        frame.unwrap();
    }
    running.await.unwrap().unwrap();
    connection.abort();
}
