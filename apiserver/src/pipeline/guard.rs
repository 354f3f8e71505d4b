use super::{Exchange, Next, Step};
use crate::body::Body;
use async_trait::async_trait;
use futures::FutureExt;
use http::Response;
use kubeplane_core::{ApiError, status::ApiResult};
use std::panic::AssertUnwindSafe;

/// Turns a panic of a later step into a 500 for that request alone.
#[derive(Debug)]
pub(crate) struct Guard;

#[async_trait]
impl Step for Guard {
    async fn run(&self, exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        let info = exchange.info.clone();
        AssertUnwindSafe(next.run(exchange)).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(path = info.path, "a request panicked");
            Err(ApiError::internal(
                "this request caused the API server to panic; look in the logs for details",
            ))
        })
    }
}
