use super::Call;
use crate::{
    body::{self, Body, BoxError},
    messages::{self, Content},
    options::ListOptions,
    output::{Accepted, Media, Offer},
    watch::{Frames, Start, Watch},
};
use futures::stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use kubeplane_core::{protobuf, status::ApiResult};
use prometheus_client::metrics::counter::Counter;
use std::time::Duration;

/// The shortest time after which a watch without `timeoutSeconds` ends; the longest is twice that.
const SHORTEST: Duration = Duration::from_secs(1800);

struct Sending {
    watch: Watch,
    events: Counter,
}

/// Watches objects.
pub(super) async fn serve(mut call: Call) -> ApiResult<Response<Body>> {
    let accepted = Accepted::of(&call.head, Offer::stream(call.definition()))?;
    let options =
        ListOptions::parse(&call.query(), &call.info, call.definition(), call.api.features())?;
    if accepted.is_protobuf_object() {
        call.resource.cache().keep_protobuf();
    }
    let random = SHORTEST.mul_f64(1.0 + call.api.seed().fraction());
    let start = Start {
        resource: call.resource.clone(),
        filter: options.filter,
        after: options.version,
        initial_events: options.initial_events,
        bookmarks: options.bookmarks,
        timeout: options.timeout.unwrap_or(random),
    };
    let watch = Watch::open(&call.api, start, Frames::new(&accepted)).await?;
    let events = call.api.0.metrics.watch_events(&call.info);
    let sending = Sending { watch, events };
    let frames = stream::unfold(sending, |mut sending| async move {
        let (bytes, count) = sending.watch.next().await?;
        sending.events.inc_by(count);
        Some((Ok::<_, BoxError>(Frame::data(bytes)), sending))
    });
    let mut response = Response::new(body::boxed(StreamBody::new(frames)));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    let (kind, content) = match accepted.media {
        Media::Protobuf => (protobuf::WATCH_CONTENT_TYPE, Content::Frames),
        _ => ("application/json", Content::Lines),
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(messages::send(&call.api, &mut call.head, content, response))
}
