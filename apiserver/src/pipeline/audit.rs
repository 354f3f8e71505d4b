use super::{Exchange, Next, Step};
use crate::{
    audit::{AuditLog, Level, Record, Stage},
    body::{self, Body},
    held::Held,
    info::RequestInfo,
    registry::Registry,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use http::{Response, StatusCode, header, request::Parts};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use kubeplane_clock::SharedClock;
use kubeplane_core::{ApiError, Definition, status::ApiResult};
use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

/// Records requests as the policy asks for it.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) log: Arc<AuditLog>,
    pub(crate) clock: SharedClock,
    pub(crate) registry: Arc<Registry>,
}

#[async_trait]
impl Step for Audit {
    async fn run(&self, mut exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        let info = exchange.info.clone();
        let user = Some(&exchange.user);
        let Some(record) = Record::begin(&self.log, &self.clock, &exchange.head, &info, user)
        else {
            return next.run(exchange).await;
        };
        exchange.audit = Some(record.clone());
        if !record.stage(Stage::RequestReceived).await {
            record.rejected();
            return Err(ApiError::internal("failed to store audit event"));
        }
        let end = Arc::new(End { record: record.clone(), goes_on: AtomicBool::new(false) });
        if info.is_long_running() && exchange.head.extensions.get::<OnUpgrade>().is_some() {
            Held::add(&mut exchange.head.extensions, end.clone());
        }
        let headers = exchange.head.headers.clone();
        let writes = matches!(
            info.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        );
        if writes && info.is_resource() && !info.is_long_running() {
            let tee = Tee { inner: exchange.body, record: record.clone() };
            exchange.body = body::boxed(tee);
        }
        let answer = AssertUnwindSafe(next.run(exchange)).catch_unwind().await;
        record.request(&info.verb, &headers, self.definition(&info).as_ref());
        match answer {
            Ok(answer) => finished(&record, &info, answer, end).await,
            Err(panic) => {
                record.failed(&ApiError::internal("APIServer panic'd"));
                record.stage(Stage::Panic).await;
                std::panic::resume_unwind(panic)
            }
        }
    }
}

impl Audit {
    /// The kind of the body of a write.
    fn definition(&self, info: &RequestInfo) -> Option<Arc<Definition>> {
        let found = self.registry.find(&info.group_version(), &info.resource)?;
        let whole = matches!(info.subresource.as_str(), "" | "status");
        whole.then(|| found.definition().clone())
    }
}

async fn finished(
    record: &Arc<Record>,
    info: &RequestInfo,
    answer: ApiResult<Response<Body>>,
    end: Arc<End>,
) -> ApiResult<Response<Body>> {
    let mut response = match answer {
        Ok(response) => response,
        Err(error) => {
            record.failed(&error);
            if info.is_long_running() {
                record.stage(Stage::ResponseStarted).await;
            }
            record.stage(Stage::ResponseComplete).await;
            return Err(error);
        }
    };
    record.answered(response.status());
    if info.is_long_running() {
        record.stage(Stage::ResponseStarted).await;
        end.goes_on.store(true, Ordering::Relaxed);
        return Ok(response.map(|inner| body::boxed(Ending { inner, _end: end })));
    }
    if is_read(record, info, &response) {
        let (head, body) = response.into_parts();
        let bytes = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Err(ApiError::internal(error)),
        };
        record.response(head.status, &head.headers, &bytes);
        response = Response::from_parts(head, body::full(bytes));
    }
    record.stage(Stage::ResponseComplete).await;
    Ok(response)
}

/// Whether the answer itself is of interest: where the policy asks for answers, and where it may be a Status.
fn is_read(record: &Record, info: &RequestInfo, response: &Response<Body>) -> bool {
    let known = response.headers().contains_key(header::CONTENT_TYPE);
    let small = response.body().size_hint().exact().is_some();
    let may_be_status = info.verb == "delete" || response.status() >= StatusCode::BAD_REQUEST;
    known
        && info.is_resource()
        && (record.level() >= Level::RequestResponse || may_be_status && small)
}

/// A refused request behind which nobody was found.
pub(super) async fn nobody(
    log: &Arc<AuditLog>,
    clock: &SharedClock,
    head: &Parts,
    info: &RequestInfo,
    error: &ApiError,
) {
    if let Some(record) = Record::begin(log, clock, head, info, None) {
        record.failed(error);
        record.stage(Stage::ResponseStarted).await;
    }
}

/// A request body that is noted while it is read.
struct Tee {
    inner: Body,
    record: Arc<Record>,
}

impl http_body::Body for Tee {
    type Data = Bytes;
    type Error = body::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.record.read(data.clone());
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

/// Notes, when it is dropped last, that a request that went on after its answer began has ended.
#[derive(Debug)]
struct End {
    record: Arc<Record>,
    goes_on: AtomicBool,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.goes_on.load(Ordering::Relaxed) {
            self.record.stage_now(Stage::ResponseComplete);
        }
    }
}

/// An answer that goes on for long; its end is noted.
struct Ending {
    inner: Body,
    _end: Arc<End>,
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = body::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
