//! One connection: its requests, and what it is upgraded to.

use super::{
    Serving,
    access::{User, Verdict},
    answer::{Answer, headless, text},
    routes,
};
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use parking_lot::Mutex;
use std::{convert::Infallible, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What goes on after the answer, on the same connection.
#[derive(Clone, Default)]
pub(super) struct Afterwards(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl Afterwards {
    /// Does this once the connection is upgraded.
    pub(super) fn push(&self, work: BoxFuture<'static, ()>) {
        self.0.lock().push(work);
    }
}

/// Answers the requests of a connection, and does what it is upgraded to.
pub(super) async fn run(serving: Arc<Serving>, io: TlsStream<TcpStream>) {
    let shown = io.get_ref().1.peer_certificates().map(<[_]>::to_vec);
    let afterwards = Afterwards::default();
    let service = {
        let afterwards = afterwards.clone();
        hyper::service::service_fn(move |request| {
            // A certificate can end while its connection goes on.
            let user = serving.tls.user(shown.as_deref(), serving.host.clock.now());
            let serving = serving.clone();
            let afterwards = afterwards.clone();
            async move {
                let bare = request.method() == Method::HEAD;
                let answer = handle(&serving, user, request, &afterwards).await;
                Ok::<_, Infallible>(if bare { headless(answer) } else { answer })
            }
        })
    };
    let server = auto::Builder::new(TokioExecutor::new());
    let served = server.serve_connection_with_upgrades(TokioIo::new(io), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended with an error");
    }
    let work = std::mem::take(&mut *afterwards.0.lock());
    for work in work {
        work.await;
    }
}

async fn handle(
    serving: &Arc<Serving>,
    certified: Option<User>,
    request: Request<Incoming>,
    afterwards: &Afterwards,
) -> Answer {
    let user = match (certified, bearer(request.headers())) {
        (Some(user), _) => user,
        (None, None) => return text(StatusCode::UNAUTHORIZED, "Unauthorized"),
        (None, Some(token)) => match serving.access.authenticate(&token).await {
            Ok(Some(user)) => user,
            Ok(None) => return text(StatusCode::UNAUTHORIZED, "Unauthorized"),
            Err(error) => {
                tracing::warn!(error, "failed to ask whose token it is");
                return text(StatusCode::UNAUTHORIZED, "Unauthorized");
            }
        },
    };
    let path = request.uri().path().to_owned();
    match serving.access.authorize(&user, request.method(), &path).await {
        Verdict::Allowed => routes::route(serving, request, afterwards).await,
        Verdict::Forbidden(verb, subresource) => {
            let message = format!(
                "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{subresource}])",
                user.name
            );
            text(StatusCode::FORBIDDEN, message)
        }
        Verdict::Unknown(why) => {
            let message = format!("Authorization error (user={}): {why}", user.name);
            text(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}
