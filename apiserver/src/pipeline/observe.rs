use super::{Exchange, Next, Step};
use crate::{body::Body, metrics::ApiMetrics, output};
use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::status::ApiResult;
use tracing::Instrument;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Gives a request its id, counts and times it, and sends the warnings that came up.
#[derive(Debug)]
pub(crate) struct Observe {
    pub(crate) clock: SharedClock,
    pub(crate) seed: Seed,
    pub(crate) metrics: ApiMetrics,
}

#[async_trait]
impl Step for Observe {
    fn name(&self) -> &'static str {
        "observe"
    }

    async fn run(&self, mut exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        let id = exchange.head.headers.get(&AUDIT_ID).cloned().unwrap_or_else(|| self.id());
        exchange.head.headers.insert(AUDIT_ID, id.clone());
        let accept: HeaderMap = exchange
            .head
            .headers
            .get_all(header::ACCEPT)
            .iter()
            .map(|value| (header::ACCEPT, value.clone()))
            .collect();
        let (info, warnings) = (exchange.info.clone(), exchange.warnings.clone());
        let span = tracing::info_span!("request", verb = info.verb, path = info.path);
        let start = self.clock.elapsed();
        let answer = next.run(exchange).instrument(span).await;
        let mut response = answer.unwrap_or_else(|error| {
            tracing::debug!(verb = info.verb, path = info.path, %error, "refused");
            output::failure(&accept, &error)
        });
        let took = self.clock.elapsed().saturating_sub(start);
        self.metrics.answered(&info, response.status(), took);
        response.headers_mut().insert(AUDIT_ID, id);
        for warning in warnings.take() {
            if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", quoted(&warning))) {
                response.headers_mut().append(header::WARNING, value);
            }
        }
        Ok(response)
    }
}

impl Observe {
    fn id(&self) -> HeaderValue {
        let id = uuid::Builder::from_random_bytes(self.seed.bytes::<16>()).into_uuid().to_string();
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unknown"))
    }
}

/// A quoted string as headers carry it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
