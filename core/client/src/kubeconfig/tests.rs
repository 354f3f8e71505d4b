use super::*;
use bytes::Bytes;
use futures::{AsyncBufReadExt, FutureExt, StreamExt, future, stream, stream::BoxStream};
use http::header;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kubeplane_clock::{Clock as _, PausedClock};
use kubeplane_core::component::lifecycle;
use kubeplane_pki::{Authority, Identity, Request as Wanted, Usage};
use std::{convert::Infallible, path::Path};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

/// The begin of 2026.
const START: jiff::Timestamp = jiff::Timestamp::constant(1_767_225_600, 0);
const LIMIT: Duration = Duration::from_secs(30);

type Frames = BoxStream<'static, std::result::Result<Frame<Bytes>, Infallible>>;

/// Says who asked, and goes on for good where a watch is asked for.
async fn answer(
    request: Request<Incoming>,
) -> std::result::Result<Response<StreamBody<Frames>>, Infallible> {
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.map_or("nobody", |value| value.to_str().unwrap()).to_owned();
    let code = if shown == "Bearer ended" { 401 } else { 200 };
    let line = stream::once(future::ready(Ok(Frame::data(Bytes::from(format!("{shown}\n"))))));
    let frames: Frames = match transport::is_watch(request.uri()) {
        true => line.chain(stream::pending()).boxed(),
        false => line.boxed(),
    };
    Ok(Response::builder().status(code).body(StreamBody::new(frames)).unwrap())
}

/// A server and the kubeconfig of a user who has a token and a certificate in files.
struct Ground {
    home: tempfile::TempDir,
    clock: PausedClock,
    _server: AbortOnDropHandle<()>,
}

impl Ground {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let served = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                connections.spawn(async move { drop(served.await) });
            }
        });
        let home = tempfile::tempdir().unwrap();
        let file = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
             clusters: [{{name: c, cluster: {{server: 'http://{address}', certificate-authority: ca.crt}}}}]\n\
             users: [{{name: u, user: {{tokenFile: token, client-certificate: own.crt, client-key: own.key}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n"
        );
        std::fs::write(home.path().join("kubeconfig"), file).unwrap();
        let ground = Self {
            home,
            clock: PausedClock::starting_at(START),
            _server: AbortOnDropHandle::new(server),
        };
        let authority = Authority::generate("kubernetes", START).unwrap();
        ground.write("ca.crt", authority.certificate());
        ground.write("token", "first\n");
        let identity = identity();
        ground.write("own.crt", &identity.certificate);
        ground.write("own.key", &identity.key);
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    async fn clients(&self) -> KubeconfigClients {
        let clock = Arc::new(self.clock.clone());
        KubeconfigClients::open(self.path("kubeconfig"), clock).await.unwrap()
    }
}

fn identity() -> Identity {
    let authority = Authority::generate("kubernetes", START).unwrap();
    authority.issue(&Wanted::new("somebody", Usage::Client), START).unwrap()
}

async fn shown(client: &Client) -> std::result::Result<String, u16> {
    let request = Request::get("/who").body(Vec::new()).unwrap();
    match client.request_text(request).await {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(kube::Error::Api(status)) => Err(status.code),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_look_takes_up_what_is_new_and_leaves_what_cannot_be_used() {
    let ground = Ground::new().await;
    let clients = ground.clients().await;
    let (user, nobody) = (clients.client(), clients.without_user());
    assert_eq!(shown(&user).await, Ok("Bearer first".to_owned()));
    assert_eq!(shown(&nobody).await, Ok("nobody".to_owned()));
    assert!(!clients.look().await.unwrap(), "nothing is new");
    let watch = Request::get("/all?watch=true").body(Vec::new()).unwrap();
    let mut lines = Box::pin(user.request_stream(watch).await.unwrap()).lines();
    assert_eq!(lines.next().await.unwrap().unwrap(), "Bearer first");

    ground.write("token", "second");
    assert!(clients.look().await.unwrap());
    assert_eq!(shown(&user).await, Ok("Bearer second".to_owned()));
    assert!(lines.next().now_or_never().is_none(), "a token is asked for when a request begins");

    let next = identity();
    ground.write("own.crt", &next.certificate);
    ground.write("token", "third");
    let error = clients.look().await.unwrap_err().to_string();
    assert!(error.contains("kubeconfig: "), "{error}");
    assert_eq!(shown(&user).await, Ok("Bearer second".to_owned()), "its key is still to come");
    assert!(lines.next().now_or_never().is_none());

    ground.write("own.key", &next.key);
    assert!(clients.look().await.unwrap());
    assert_eq!(shown(&user).await, Ok("Bearer third".to_owned()));
    let end = tokio::time::timeout(LIMIT, lines.next()).await.unwrap().unwrap().unwrap_err();
    assert!(end.to_string().contains("renewed"), "{end}");
    assert_eq!(shown(&nobody).await, Ok("nobody".to_owned()));
}

#[tokio::test]
async fn files_are_read_anew_on_the_clock_and_when_the_user_is_not_known_any_more() {
    let ground = Ground::new().await;
    let clients = ground.clients().await;
    let user = clients.client();
    let (own, supervision) = lifecycle();
    let running = tokio::spawn(Box::new(clients.reload()).run(own));
    let waits = async || {
        while ground.clock.next_wake().is_none() {
            tokio::task::yield_now().await;
        }
    };
    waits().await;
    ground.write("token", "second");
    assert_eq!(shown(&user).await, Ok("Bearer first".to_owned()));
    ground.clock.advance(PERIOD);
    until(&user, Ok("Bearer second".to_owned())).await;

    // Whoever is refused does not wait for a minute to pass.
    waits().await;
    ground.clock.advance(SPACING);
    waits().await;
    ground.write("token", "ended");
    ground.clock.advance(PERIOD);
    until(&user, Err(401)).await;
    ground.write("token", "third");
    let deadline = tokio::time::Instant::now() + LIMIT;
    while shown(&user).await != Ok("Bearer third".to_owned()) {
        // Time passes while it waits, and not while it reads.
        if ground.clock.next_wake().is_some() {
            ground.clock.advance(SPACING);
        }
        assert!(tokio::time::Instant::now() < deadline, "the new token is not read");
    }
    assert!(ground.clock.elapsed() < PERIOD * 3, "{:?}", ground.clock.elapsed());
    supervision.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_beside_the_kubeconfig_counts_more_while_it_is_there() {
    let ground = Ground::new().await;
    let beside = ground.path("current.pem");
    let clock: SharedClock = Arc::new(ground.clock.clone());
    let opened =
        KubeconfigClients::open_with_certificate(ground.path("kubeconfig"), &beside, clock).await;
    let clients = opened.unwrap();
    let named = || clients.config().auth_info.client_certificate.unwrap_or_default();
    assert!(named().ends_with("own.crt"), "{}", named());
    let user = clients.client();
    let watch = Request::get("/all?watch=true").body(Vec::new()).unwrap();
    let mut lines = Box::pin(user.request_stream(watch).await.unwrap()).lines();
    assert_eq!(lines.next().await.unwrap().unwrap(), "Bearer first");

    let other = identity();
    ground.write("current.pem", &other.certificate);
    clients.look().await.unwrap_err();
    assert!(named().ends_with("own.crt"), "there is no key to it yet: {}", named());
    ground.write("current.pem", &format!("{}{}", other.certificate, other.key));
    assert!(clients.look().await.unwrap());
    assert_eq!(Path::new(&named()), beside);
    assert_eq!(shown(&user).await, Ok("Bearer first".to_owned()), "its token is the same");
    let end = tokio::time::timeout(LIMIT, lines.next()).await.unwrap().unwrap().unwrap_err();
    assert!(end.to_string().contains("renewed"), "{end}");

    std::fs::remove_file(&beside).unwrap();
    assert!(clients.look().await.unwrap());
    assert!(named().ends_with("own.crt"), "{}", named());
}

async fn until(client: &Client, expected: std::result::Result<String, u16>) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let now = shown(client).await;
        if now == expected {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{now:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_named() {
    let clock: SharedClock = Arc::new(PausedClock::starting_at(START));
    let none = KubeconfigClients::open("/nowhere/kubeconfig", clock.clone()).await.unwrap_err();
    assert!(none.to_string().starts_with("kubeconfig /nowhere/kubeconfig: "), "{none}");
    let ground = Ground::new().await;
    ground.write("token", "\n");
    let empty = KubeconfigClients::open(ground.path("kubeconfig"), clock).await.unwrap_err();
    assert!(empty.to_string().contains("empty token"), "{empty}");
}
