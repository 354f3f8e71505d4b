use super::{Exchange, Next, Step};
use crate::{body::Body, query::Query};
use async_trait::async_trait;
use http::Response;
use kubeplane_clock::SharedClock;
use kubeplane_core::{ApiError, status::ApiResult};
use std::time::Duration;

/// The longest a request may take that is no watch and no connection.
const LONGEST: Duration = Duration::from_secs(60);

/// Ends requests that take too long.
#[derive(Debug)]
pub(crate) struct Deadline {
    pub(crate) clock: SharedClock,
}

#[async_trait]
impl Step for Deadline {
    fn name(&self) -> &'static str {
        "deadline"
    }

    async fn run(&self, exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        if exchange.info.is_long_running() {
            return next.run(exchange).await;
        }
        let limit = asked(&Query::of(&exchange.head.uri))?.unwrap_or(LONGEST).min(LONGEST);
        let done = kubeplane_clock::timeout(self.clock.as_ref(), limit, next.run(exchange)).await;
        done.unwrap_or_else(|| {
            Err(ApiError::timeout("Timeout: request did not complete within the requested timeout"))
        })
    }
}

fn asked(query: &Query) -> ApiResult<Option<Duration>> {
    let Some(text) = query.first("timeout").filter(|text| !text.is_empty()) else { return Ok(None) };
    let bad = || ApiError::bad_request("invalid timeout specified in the request URL");
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
    let number: f64 = text[..unit].parse().map_err(|_| bad())?;
    let seconds = match &text[unit..] {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(bad()),
    };
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| bad())?;
    Ok((!duration.is_zero()).then_some(duration))
}
