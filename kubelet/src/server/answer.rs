use axum::body::{Body, HttpBody as _};
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// An answer of the server.
pub(super) type Answer = Response<Body>;

/// A plain text.
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    let mut answer = Response::new(Body::from(text.into()));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}

/// What answers `HEAD`: everything but the body, which HTTP/2 would send.
pub(super) fn headless(answer: Answer) -> Answer {
    let (mut head, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(head, Body::empty())
}

/// An object as JSON.
pub(super) fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut answer = Response::new(Body::from(body));
            let json = HeaderValue::from_static("application/json");
            answer.headers_mut().insert(header::CONTENT_TYPE, json);
            answer
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
