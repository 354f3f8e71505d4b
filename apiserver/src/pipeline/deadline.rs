use super::{Exchange, Next, Step};
use crate::{body::Body, metrics::ApiMetrics, query::Query};
use async_trait::async_trait;
use http::{Response, StatusCode};
use kubeplane_clock::SharedClock;
use kubeplane_core::{ApiError, duration, status::ApiResult};
use std::time::Duration;

/// The longest a request may take that is no watch and no connection.
const LONGEST: Duration = Duration::from_secs(60);

/// Ends requests that take too long.
#[derive(Debug)]
pub(crate) struct Deadline {
    pub(crate) clock: SharedClock,
    pub(crate) metrics: ApiMetrics,
}

#[async_trait]
impl Step for Deadline {
    async fn run(&self, exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        if exchange.info.is_long_running() {
            return next.run(exchange).await;
        }
        let limit = asked(&Query::of(&exchange.head.uri))?.unwrap_or(LONGEST).min(LONGEST);
        let labels = exchange.labels.clone();
        let done = kubeplane_clock::timeout(self.clock.as_ref(), limit, next.run(exchange)).await;
        done.unwrap_or_else(|| {
            self.metrics.terminated(&labels, StatusCode::GATEWAY_TIMEOUT);
            Err(ApiError::timeout("Timeout: request did not complete within the requested timeout"))
        })
    }
}

/// The limit the client asks for, as Go writes durations: `30s`, `1m30s`. None above zero is no limit.
fn asked(query: &Query) -> ApiResult<Option<Duration>> {
    let Some(text) = query.first("timeout").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let nanoseconds = duration::parse(text).map_err(|why| {
        ApiError::bad_request(format!("invalid timeout specified in the request URL - {why}"))
    })?;
    Ok(u64::try_from(nanoseconds).ok().filter(|limit| *limit > 0).map(Duration::from_nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_go_durations() {
        let asked = |query| asked(&Query::parse(query));
        assert_eq!(asked("timeout=1m30s").unwrap(), Some(Duration::from_secs(90)));
        assert_eq!(asked("timeout=0s").unwrap(), None);
        assert_eq!(asked("").unwrap(), None);
        assert_eq!(asked("timeout=-1s").unwrap(), None);
        assert_eq!(
            asked("timeout=soon").unwrap_err().message(),
            "invalid timeout specified in the request URL - time: invalid duration \"soon\""
        );
    }
}
