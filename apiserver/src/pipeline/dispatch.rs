use super::{Exchange, Next, Step};
use crate::{
    api::Api, body::Body, delegation::DelegatedRequest, discovery, requester::on_behalf, verbs,
};
use async_trait::async_trait;
use http::{Method, Response, header};
use kubeplane_core::{ApiError, status::ApiResult};
use tracing::Instrument;

/// Finds who serves the request.
#[derive(Debug)]
pub(crate) struct Dispatch {
    api: Api,
    /// Whether lists and objects may be compressed.
    compresses: bool,
}

impl Dispatch {
    pub(crate) fn new(api: Api) -> Self {
        let compresses = api.features().is_on("APIResponseCompression");
        Self { api, compresses }
    }

    /// A write goes on to its end when the client goes away, so that what it allocated is kept or given
    /// back.
    async fn resource(&self, mut exchange: Exchange) -> ApiResult<Response<Body>> {
        if !self.compresses {
            exchange.head.headers.remove(header::ACCEPT_ENCODING);
        }
        let reads = matches!(exchange.info.verb.as_str(), "get" | "list" | "watch");
        let alone = !reads && !exchange.info.is_long_running();
        let user = exchange.user.clone();
        let serving = on_behalf(user, verbs::serve(self.api.clone(), exchange));
        if !alone {
            return serving.await;
        }
        let task = self.api.0.writes.spawn(serving.in_current_span());
        task.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ApiError::unavailable("the server is shutting down")),
        })
    }
}

#[async_trait]
impl Step for Dispatch {
    async fn run(&self, exchange: Exchange, _next: Next<'_>) -> ApiResult<Response<Body>> {
        let delegation = self.api.registry().delegation();
        if let Some(delegate) = delegation.of(&exchange.info) {
            let Exchange { head, body, user, .. } = exchange;
            let api = self.api.clone();
            return delegate.serve(DelegatedRequest { head, body, user, api }).await;
        }
        if exchange.info.is_resource() {
            return self.resource(exchange).await;
        }
        let path = exchange.info.path.clone();
        let below = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')
            })
        };
        let routes = self.api.0.routes.iter().filter(|(prefix, _)| below(prefix));
        if let Some((_, route)) = routes.max_by_key(|(prefix, _)| prefix.len()) {
            return route.serve(&self.api, &exchange.head, exchange.body).await;
        }
        match exchange.head.method {
            Method::GET | Method::HEAD => discovery::serve(&self.api, &exchange.head),
            _ => Err(ApiError::no_such_path()),
        }
    }
}
