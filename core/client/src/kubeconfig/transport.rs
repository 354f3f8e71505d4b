//! Requests over one HTTP/2 connection.

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Config,
    client::{Body, ConfigExt, retry::RetryPolicy},
};
use std::time::Duration;
use tower::{
    BoxError, ServiceBuilder, ServiceExt as _, retry::RetryLayer, util::BoxCloneSyncService,
};

/// How long a connection may be silent before the server is asked whether it is there, and how long for its answer; as
/// client-go does it.
const SILENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(15);

/// Sends requests, and shares what it sends them over with its clones.
pub(super) type Transport = BoxCloneSyncService<Request<Body>, Response<Answer>, BoxError>;

/// What an answer is read from.
pub(super) type Answer = UnsyncBoxBody<Bytes, BoxError>;

/// An answer by whatever connection it comes.
pub(super) fn answer<B>(response: Response<B>) -> Response<Answer>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

/// Of what a request is about to be: a watch goes on for as long as it is read, and an upgraded connection belongs to
/// who asked for it. Neither shares a connection: a server takes so many requests on each at a time, and those would be
/// among them for good.
pub(super) fn is_shared<B>(request: &Request<B>) -> bool {
    !is_watch(request.uri()) && !request.headers().contains_key(header::UPGRADE)
}

pub(super) fn is_watch(uri: &http::Uri) -> bool {
    let mut parameters = uri.query().unwrap_or_default().split('&');
    parameters.any(|parameter| matches!(parameter, "watch=true" | "watch=1" | "watch"))
}

/// What sends requests as `config` says: all of them over one connection, where the server speaks HTTP/2, and else as
/// [`kube::Client`]. `None` where that has to do it, by way of a proxy.
pub(super) fn shared(config: &Config) -> Result<Option<Transport>, BoxError> {
    if config.proxy_url.is_some() {
        return Ok(None);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tls = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http();
    let tls = match &config.tls_server_name {
        Some(name) => {
            tls.with_server_name_resolver(FixedServerNameResolver::new(name.clone().try_into()?))
        }
        None => tls,
    };
    let mut connector = TimeoutConnector::new(tls.enable_all_versions().wrap_connector(tcp));
    connector.set_connect_timeout(config.connect_timeout);
    let pool: Client<_, Body> = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(SILENCE)
        .http2_keep_alive_timeout(ANSWER)
        .build(connector);
    let retries = config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retries)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(pool)
        .map_response(answer);
    Ok(Some(BoxCloneSyncService::new(service)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use http_body_util::Full;
    use hyper::service::service_fn;
    use hyper_util::{rt::TokioIo, server::conn::auto};
    use kubeplane_pki::{Authority, Request as Wanted, Usage};
    use rustls::{ServerConfig, crypto::aws_lc_rs};
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    use std::{
        convert::Infallible,
        net::{IpAddr, Ipv4Addr},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_util::task::AbortOnDropHandle;

    /// A server that answers with the version of HTTP it was asked in, how many connections it took, and the
    /// configuration of its clients.
    async fn serve(protocols: &[&str]) -> (AbortOnDropHandle<()>, Arc<AtomicUsize>, Config) {
        let authority = Authority::generate("kubernetes", jiff::Timestamp::now()).unwrap();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let wanted = Wanted::new("server", Usage::Server).addresses([address]);
        let own = authority.issue(&wanted, jiff::Timestamp::now()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = taken.clone();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
                    let answer = service_fn(|request: Request<hyper::body::Incoming>| async move {
                        let version = format!("{:?}", request.version());
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(version))))
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    drop(server.serve_connection(stream, answer).await);
                });
            }
        });
        let mut config = Config::new(format!("https://127.0.0.1:{port}").parse().unwrap());
        let root = CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap();
        config.root_cert = Some(vec![root.to_vec()]);
        (AbortOnDropHandle::new(server), taken, config)
    }

    async fn version(transport: &Transport) -> String {
        let request = Request::get("/version").body(Body::empty()).unwrap();
        let answer = transport.clone().oneshot(request).await.unwrap();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn transport(config: &Config) -> Transport {
        // It says by whom TLS is done.
        drop(kube::Client::try_from(config.clone()).unwrap());
        shared(config).unwrap().unwrap()
    }

    #[tokio::test]
    async fn requests_share_a_connection() {
        let (_server, taken, config) = serve(&["h2", "http/1.1"]).await;
        let transport = transport(&config);
        assert_eq!(version(&transport).await, "HTTP/2.0");
        let all = join_all((0..50).map(|_| version(&transport))).await;
        assert!(all.iter().all(|version| version == "HTTP/2.0"), "{all:?}");
        assert_eq!(taken.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_server_that_speaks_no_http2_is_spoken_to_as_before() {
        let (_server, _, config) = serve(&["http/1.1"]).await;
        assert_eq!(version(&transport(&config)).await, "HTTP/1.1");
    }

    #[test]
    fn what_goes_on_for_long_has_a_connection_of_its_own() {
        let get = |uri: &str| Request::get(uri).body(()).unwrap();
        for uri in ["/api/v1/pods", "/api/v1/pods?limit=5", "/apis/x/v1/watchers"] {
            assert!(is_shared(&get(uri)), "{uri}");
        }
        for uri in ["/api/v1/pods?watch=true", "/api/v1/pods?limit=5&watch=1", "/api/v1/pods?watch"]
        {
            assert!(!is_shared(&get(uri)), "{uri}");
        }
        let mut exec = get("/api/v1/namespaces/a/pods/b/exec?command=sh");
        exec.headers_mut().insert(header::UPGRADE, "websocket".parse().unwrap());
        assert!(!is_shared(&exec));
    }
}
