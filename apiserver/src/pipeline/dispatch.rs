use super::{Exchange, Next, Step};
use crate::{
    api::Api, body::Body, delegation::DelegatedRequest, discovery, output, requester::on_behalf,
    verbs,
};
use async_trait::async_trait;
use http::{Response, header};
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

    /// What nobody serves has a Status only below what the server itself is known for; elsewhere it is the multiplexer of the
    /// original that says so, by a page.
    fn told(&self, path: &str, answer: ApiResult<Response<Body>>) -> ApiResult<Response<Body>> {
        let mut parts = path.split('/').skip(1);
        let own = match (parts.next(), parts.next()) {
            (Some("api" | "version"), _) => true,
            (Some("apis"), Some(group)) if !group.is_empty() => self.api.registry().is_own(group),
            _ => false,
        };
        match answer {
            Err(error) if !own && error == ApiError::no_such_path() => Ok(output::nowhere()),
            answer => answer,
        }
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
        let path = exchange.info.path.clone();
        if path.starts_with("//") || path.starts_with("/apis//") {
            return Ok(output::nowhere());
        }
        let delegation = self.api.registry().delegation();
        if let Some(delegate) = delegation.of(&exchange.info) {
            let Exchange { head, body, user, .. } = exchange;
            let api = self.api.clone();
            return delegate.serve(DelegatedRequest { head, body, user, api }).await;
        }
        if exchange.info.is_resource() {
            let answer = self.resource(exchange).await;
            return self.told(&path, answer);
        }
        let below = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')
            })
        };
        let routes = self.api.0.routes.iter().filter(|(prefix, _)| below(prefix));
        if let Some((_, route)) = routes.max_by_key(|(prefix, _)| prefix.len()) {
            return route.serve(&self.api, &exchange.head, exchange.body).await;
        }
        self.told(&path, discovery::serve(&self.api, &exchange.head))
    }
}
