use super::{Exchange, Next, Step};
use crate::{body::Body, metrics::ApiMetrics};
use async_trait::async_trait;
use http::{Response, StatusCode};
use kubeplane_clock::SharedClock;
use kubeplane_core::{ApiError, auth::GROUP_MASTERS, status::ApiResult};
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::Instrument;

/// Reading requests served at once.
const READING: usize = 400;
/// Writing requests served at once.
const WRITING: usize = 200;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(15);

/// Bounds how many requests are served at once; those above it wait, and are sent away in the end.
#[derive(Debug)]
pub(crate) struct Inflight {
    reading: Semaphore,
    writing: Semaphore,
    clock: SharedClock,
    metrics: ApiMetrics,
}

impl Inflight {
    pub(crate) fn new(clock: SharedClock, metrics: ApiMetrics) -> Self {
        Self { reading: Semaphore::new(READING), writing: Semaphore::new(WRITING), clock, metrics }
    }
}

#[async_trait]
impl Step for Inflight {
    async fn run(&self, exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        if exchange.info.is_long_running() || exchange.user.is_in(GROUP_MASTERS) {
            return next.run(exchange).await;
        }
        let reads = matches!(exchange.info.verb.as_str(), "get" | "list");
        let slots = if reads { &self.reading } else { &self.writing };
        let waiting = self.metrics.waiting(!reads);
        let permit = kubeplane_clock::timeout(self.clock.as_ref(), PATIENCE, slots.acquire())
            .instrument(tracing::debug_span!("queue"))
            .await;
        drop(waiting);
        let Some(Ok(_permit)) = permit else {
            self.metrics.terminated(&exchange.labels, StatusCode::TOO_MANY_REQUESTS);
            return Err(ApiError::too_many_requests(
                "Too many requests, please try again later.",
                1,
            ));
        };
        let _counted = self.metrics.inflight(!reads);
        next.run(exchange).await
    }
}
