use super::{Exchange, Next, Step};
use crate::{
    body::{self, Body},
    held::Held,
    info::RequestInfo,
    metrics::{ApiMetrics, Counted, Labels},
    output::{self, Wish},
    registry::Registry,
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use hyper::upgrade::OnUpgrade;
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::status::ApiResult;
use prometheus_client::metrics::histogram::Histogram;
use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// Gives a request its id, counts and times it, and sends the warnings that came up.
#[derive(Debug)]
pub(crate) struct Observe {
    pub(crate) clock: SharedClock,
    pub(crate) seed: Seed,
    pub(crate) metrics: ApiMetrics,
    pub(crate) registry: Arc<Registry>,
}

#[async_trait]
impl Step for Observe {
    async fn run(&self, mut exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        let id = exchange.head.headers.get(&AUDIT_ID).cloned().unwrap_or_else(|| self.id());
        exchange.head.headers.insert(AUDIT_ID, id.clone());
        let wish = Wish::of(&exchange.head);
        let (info, warnings) = (exchange.info.clone(), exchange.warnings.clone());
        let labels = Labels::of(&exchange.head, &info, &self.registry);
        let dry_run = Labels::dry_run(&exchange.head);
        exchange.labels = labels.clone();
        let placed = exchange.placed.clone();
        let counted = Arc::new(OnceLock::new());
        if info.is_long_running() && exchange.head.extensions.get::<OnUpgrade>().is_some() {
            Held::add(&mut exchange.head.extensions, counted.clone());
        }
        let start = self.clock.elapsed();
        let answer = next.run(exchange).await;
        let mut response = answer.unwrap_or_else(|error| {
            tracing::debug!(verb = info.verb, path = info.path, %error, "refused");
            output::failure(&wish, &error)
        });
        let took = self.clock.elapsed().saturating_sub(start);
        self.metrics.answered(&info, &labels, dry_run, response.status(), took);
        tracing::Span::current().record("code", response.status().as_u16());
        response = self.measured(response, &info, &labels, counted);
        response.headers_mut().insert(AUDIT_ID, id);
        let kept = HeaderValue::from_static("no-cache, private");
        response.headers_mut().entry(header::CACHE_CONTROL).or_insert(kept);
        if let Some(placed) = placed.get() {
            response.headers_mut().insert(SCHEMA, placed.schema.clone());
            response.headers_mut().insert(LEVEL, placed.level.clone());
        }
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

impl Observe {
    /// The answer, counted as long as it is sent, or its bytes counted.
    fn measured(
        &self,
        response: Response<Body>,
        info: &RequestInfo,
        labels: &Labels,
        counted: Arc<OnceLock<Counted>>,
    ) -> Response<Body> {
        let taken_over = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if !response.status().is_success() && !taken_over {
            return response;
        }
        if info.is_long_running() {
            counted.get_or_init(|| self.metrics.long_running(labels));
            return response.map(|inner| body::boxed(Measured::stream(inner, counted)));
        }
        if !matches!(info.verb.as_str(), "get" | "list") {
            return response;
        }
        let sizes = self.metrics.response_size(labels);
        match response.body().size_hint().exact() {
            Some(bytes) => {
                sizes.observe(approximate(bytes));
                response
            }
            None => response.map(|inner| body::boxed(Measured::list(inner, sizes))),
        }
    }
}

fn approximate(bytes: u64) -> f64 {
    u32::try_from(bytes).map_or(f64::from(u32::MAX), f64::from)
}

/// A body whose end, or whose size, is of interest.
struct Measured {
    inner: Body,
    bytes: u64,
    sizes: Option<Histogram>,
    _counted: Option<Arc<OnceLock<Counted>>>,
}

impl Measured {
    fn stream(inner: Body, counted: Arc<OnceLock<Counted>>) -> Self {
        Self { inner, bytes: 0, sizes: None, _counted: Some(counted) }
    }

    fn list(inner: Body, sizes: Histogram) -> Self {
        Self { inner, bytes: 0, sizes: Some(sizes), _counted: None }
    }
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = body::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if let Some(sizes) = &self.sizes {
            sizes.observe(approximate(self.bytes));
        }
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
