use super::{Exchange, Next, Step};
use crate::{api::Api, body::Body, discovery, verbs};
use async_trait::async_trait;
use http::{Method, Response};
use kubeplane_core::{ApiError, status::ApiResult};

/// Finds who serves the request.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pub(crate) api: Api,
}

#[async_trait]
impl Step for Dispatch {
    fn name(&self) -> &'static str {
        "dispatch"
    }

    async fn run(&self, exchange: Exchange, _next: Next<'_>) -> ApiResult<Response<Body>> {
        if exchange.info.is_resource() {
            return verbs::serve(self.api.clone(), exchange).await;
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
