//! Clients in the server's own process: the whole pipeline without a socket.

use crate::{
    api::Connections,
    body::{self, Body},
    cut_off::CutOff,
    pipeline::{InProcess, Pipeline},
};
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Request, Response, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use kube_client::{Client, client::Body as ClientBody};
use kubeplane_core::auth::UserInfo;
use std::{convert::Infallible, sync::Arc};
use tower::service_fn as tower_service_fn;

type Answer = Result<Response<Body>, body::BoxError>;

/// How many bytes of an upgraded connection are on their way at most.
const PIPE: usize = 64 * 1024;

/// A client that is this user.
pub(crate) fn of(pipeline: Pipeline, connections: Connections, user: UserInfo) -> Client {
    let user = Arc::new(user);
    let agent = agent(&user);
    let service = tower_service_fn(move |request: Request<ClientBody>| {
        let request = identified(request.map(body::boxed), user.clone(), || agent.clone());
        let (pipeline, connections) = (pipeline.clone(), connections.clone());
        let answer: BoxFuture<'static, Answer> =
            Box::pin(async move { answer(pipeline, &connections, request).await });
        answer
    });
    Client::new(service, "default")
}

/// One request of this user, answered where it is awaited.
pub(crate) async fn send(
    pipeline: Pipeline,
    connections: &Connections,
    user: Arc<UserInfo>,
    request: Request<Body>,
) -> Answer {
    let request = identified(request, user.clone(), || agent(&user));
    answer(pipeline, connections, request).await
}

/// What a user calls itself who says nothing else.
fn agent(user: &UserInfo) -> HeaderValue {
    let name = user.name.rsplit(':').next().unwrap_or_default();
    HeaderValue::from_str(&format!("{name}/in-process"))
        .unwrap_or(HeaderValue::from_static("in-process"))
}

fn identified(
    mut request: Request<Body>,
    user: Arc<UserInfo>,
    agent: impl FnOnce() -> HeaderValue,
) -> Request<Body> {
    request.extensions_mut().insert(InProcess(user));
    request.headers_mut().entry(header::USER_AGENT).or_insert_with(agent);
    request
}

async fn answer(pipeline: Pipeline, connections: &Connections, request: Request<Body>) -> Answer {
    if request.headers().contains_key(header::UPGRADE) {
        return upgraded(pipeline, connections, request).await;
    }
    Ok(pipeline.call(request).await)
}

/// An upgrade needs a connection to take over: a pipe with HTTP/1.1 spoken at both ends. Whoever takes it over has the ends
/// themselves, so that it is they that a [`CutOff`] has to end.
async fn upgraded(pipeline: Pipeline, connections: &Connections, request: Request<Body>) -> Answer {
    let user = request.extensions().get::<InProcess>().cloned();
    let cut = request.extensions().get::<CutOff>().cloned();
    let cut = cut.unwrap_or_else(|| CutOff::when(futures::future::pending()));
    let (near, far) = tokio::io::duplex(PIPE);
    let (near, far) = (TokioIo::new(cut.guard(near)), TokioIo::new(cut.guard(far)));
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(user) = user.clone() {
            request.extensions_mut().insert(user);
        }
        let pipeline = pipeline.clone();
        async move { Ok::<_, Infallible>(pipeline.call(request.map(body::boxed)).await) }
    });
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(far, service).with_upgrades();
    let (mut sender, sending) = hyper::client::conn::http1::handshake(near).await?;
    // Both ends stop when the connection is dropped by whoever holds its other side, or with the server.
    let (serving, sending) = (serving.boxed(), sending.with_upgrades().boxed());
    connections.spawn(async move {
        let (served, sent) = tokio::join!(serving, sending);
        if let Some(error) = served.err().or(sent.err()) {
            tracing::debug!(%error, "in-process connection ended");
        }
    });
    let (mut head, sent) = request.into_parts();
    // A server sees the path alone.
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse()?;
    head.headers.entry(header::HOST).or_insert(HeaderValue::from_static("in-process"));
    // Upgrades carry no body to speak of.
    let sent = http_body_util::Full::new(body::read(sent).await?);
    let response = sender.send_request(Request::from_parts(head, sent)).await?;
    Ok(response.map(body::boxed))
}
