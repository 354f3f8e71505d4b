//! The steps every request takes, one file each, in this order:
//!
//! ```text
//!   observe ─> guard ─> deadline ─> authenticate ─> audit ─> impersonate ─> fairness ─> authorize ─> dispatch
//! ```
//!
//! A request runs in the tracing span `request`, and the own work of each step in one of its own below it,
//! side by side: `request_info`, `authentication`, `impersonation`, `queue`, `authorization`, then, made by
//! the verbs and the writer, `decode`, `admission`, `validation`, `store` and `response`. All but the first
//! are of level debug; `audit` is there only where a server has an audit log; nothing is computed for a span nobody listens to.

mod audit;
mod authenticate;
mod authorize;
mod deadline;
mod dispatch;
mod fairness;
mod guard;
mod impersonate;
mod observe;

pub(crate) use audit::Audit;
pub(crate) use authenticate::{Authenticate, InProcess};
pub use authorize::forbidden;
pub(crate) use authorize::{Authorize, Union};
pub(crate) use deadline::Deadline;
pub(crate) use dispatch::Dispatch;
pub(crate) use fairness::{Desk, Dump, Fairness, Placed};
pub(crate) use guard::Guard;
pub(crate) use impersonate::Impersonate;
pub(crate) use observe::Observe;

use crate::{
    audit::Record,
    body::{self, Body, BoxError},
    info::RequestInfo,
    metrics::Labels,
    output::{self, Wish},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{Method, Request, Response, StatusCode, header, request::Parts, uri::PathAndQuery};
use http_body::Body as _;
use kubeplane_core::{
    admission::Warnings,
    auth::UserInfo,
    status::{ApiError, ApiResult},
};
use std::{
    convert::Infallible,
    fmt::Debug,
    sync::{Arc, OnceLock},
};
use tracing::Instrument;

/// A request on its way.
pub(crate) struct Exchange {
    pub(crate) head: Parts,
    pub(crate) body: Body,
    pub(crate) info: Arc<RequestInfo>,
    pub(crate) user: Arc<UserInfo>,
    pub(crate) warnings: Arc<Warnings>,
    /// Where what is done is recorded, if it is.
    pub(crate) audit: Option<Arc<Record>>,
    /// What the request is counted under.
    pub(crate) labels: Labels,
    /// The flow schema and priority level it belongs to, once they are known.
    pub(crate) placed: Arc<OnceLock<Placed>>,
}

/// One step.
#[async_trait]
pub(crate) trait Step: Debug + Send + Sync + 'static {
    async fn run(&self, exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>>;
}

/// The steps behind the present one.
#[derive(Clone, Copy)]
pub(crate) struct Next<'a>(&'a [Arc<dyn Step>]);

impl Next<'_> {
    pub(crate) async fn run(self, exchange: Exchange) -> ApiResult<Response<Body>> {
        let Some((step, rest)) = self.0.split_first() else {
            return Err(ApiError::no_such_path());
        };
        step.run(exchange, Next(rest)).await
    }
}

/// All steps as a service.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline(Arc<[Arc<dyn Step>]>);

impl Pipeline {
    pub(crate) fn new(steps: Vec<Arc<dyn Step>>) -> Self {
        Self(steps.into())
    }

    /// Answers a request; failures become Status answers.
    pub(crate) fn call(self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let span = tracing::info_span!(
            "request",
            path = request.uri().path(),
            verb = tracing::field::Empty,
            code = tracing::field::Empty,
        );
        Box::pin(async move { self.answered(request).await }.instrument(span))
    }

    async fn answered(self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let (wish, bare) = (Wish::of(&head), head.method == Method::HEAD);
        let response = match self.answer(head, body).await {
            Ok(response) => response,
            Err(error) => output::failure(&wish, &error),
        };
        if bare { headless(response) } else { response }
    }

    async fn answer(&self, head: Parts, body: Body) -> ApiResult<Response<Body>> {
        let info = tracing::debug_span!("request_info")
            .in_scope(|| RequestInfo::parse(&head.method, &head.uri));
        let info = match info {
            Ok(info) => info,
            Err(error) => return Ok(unread(&head, &error)),
        };
        tracing::Span::current().record("verb", info.verb.as_str());
        let info = Arc::new(info);
        let user = Arc::new(UserInfo::anonymous());
        let exchange = Exchange {
            head,
            body,
            info,
            user,
            warnings: Arc::default(),
            audit: None,
            labels: Labels::default(),
            placed: Arc::default(),
        };
        Next(&self.0).run(exchange).await
    }
}

/// What answers `HEAD`: everything but the body, which HTTP/2 would send.
fn headless(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(head, body::empty())
}

/// The page for a path that cannot be read, which comes before all else that is said of a request.
fn unread(head: &Parts, error: &ApiError) -> Response<Body> {
    let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let text = format!("Internal Server Error: {path:?}: failed to create RequestInfo: {error}\n");
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    output::page(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// The pipeline for any kind of request body.
#[derive(Debug, Clone)]
pub struct Service(pub(crate) Pipeline);

impl<B> tower::Service<Request<B>> for Service
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.0.clone().call(request.map(body::boxed)).map(Ok).boxed()
    }
}
