//! The API's own form of failure: the one place a `Status` is built.

use crate::{
    field,
    identity::{GroupKind, GroupResource},
};
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::fmt;

/// A failed request, as the client will see it.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError(Box<Inner>);

#[derive(Debug, Clone, PartialEq)]
struct Inner {
    code: StatusCode,
    reason: &'static str,
    /// What clients are told in its place.
    foreign: Option<String>,
    message: String,
    details: Option<Details>,
    continues: Option<String>,
}

/// More about a failure.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// The name of the object.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its resource, or its kind where the original says so.
    pub kind: String,
    /// The object's uid.
    pub uid: String,
    /// What exactly is wrong.
    pub causes: Vec<Cause>,
    /// After how many seconds to try again; zero for none.
    pub retry_after_seconds: u32,
}

/// One cause of a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable.
    pub reason: String,
    /// In words.
    pub message: String,
    /// The field, if it is about one.
    pub field: String,
}

/// What an API call returns.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// A failure of this code, reason (empty for none) and message.
    #[must_use]
    pub fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            reason,
            foreign: None,
            message: message.into(),
            details: None,
            continues: None,
        }))
    }

    fn about(mut self, resource: &GroupResource, name: &str) -> Self {
        self.0.details = Some(Details {
            name: name.to_owned(),
            group: resource.group.to_string(),
            kind: resource.resource.to_string(),
            ..Details::default()
        });
        self
    }

    /// Replaces the details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.0.details = Some(details);
        self
    }

    /// A reason that is none of the API's own, as a webhook may give one: clients are told it, and
    /// [`reason`](Self::reason) stays as it is. Empty for none.
    #[must_use]
    pub fn with_foreign_reason(mut self, reason: impl Into<String>) -> Self {
        self.0.foreign = Some(reason.into()).filter(|reason| !reason.is_empty());
        self
    }

    /// A token with which an expired list can be continued, inconsistently.
    #[must_use]
    pub fn continue_with(mut self, token: impl Into<String>) -> Self {
        self.0.continues = Some(token.into());
        self
    }

    /// Asks the client to wait this long before it tries again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// 404: the object is not there.
    #[must_use]
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("{resource} {name:?} not found"))
            .about(resource, name)
    }

    /// 404: nothing is served under the path.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with_details(Details::default())
    }

    /// 409: an object of the name exists.
    #[must_use]
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "AlreadyExists",
            format!("{resource} {name:?} already exists"),
        )
        .about(resource, name)
    }

    /// 409: the object changed, or a precondition does not hold.
    #[must_use]
    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(resource, name)
    }

    /// 409 of a stale `resourceVersion`, in the original's words.
    #[must_use]
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 409 of server-side apply: fields owned by others.
    #[must_use]
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
            .with_details(Details { causes, ..Details::default() })
    }

    /// 422: the object breaks rules of its kind.
    #[must_use]
    pub fn invalid(kind: &GroupKind, name: &str, errors: &[field::Error]) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for text in errors.iter().map(ToString::to_string) {
            // What is said twice is two causes, but one part of the message.
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let joined = match texts.len() {
            0 => String::new(),
            1 => format!(": {}", texts[0]),
            _ => format!(": [{}]", texts.join(", ")),
        };
        let causes = errors
            .iter()
            .map(|error| Cause {
                reason: error.kind.reason().to_owned(),
                message: error.body(),
                field: error.path.to_string(),
            })
            .collect();
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid",
            format!("{kind} {name:?} is invalid{joined}"),
        )
        .with_details(Details {
            name: name.to_owned(),
            group: kind.group.to_string(),
            kind: kind.kind.to_string(),
            causes,
            ..Details::default()
        })
    }

    /// 403: the user may not do it.
    #[must_use]
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = match (resource.resource.is_empty(), name.is_empty()) {
            (true, true) => format!("forbidden: {why}"),
            (true, false) => format!("forbidden: {name:?}: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} {name:?} is forbidden: {why}"),
        };
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).about(resource, name)
    }

    /// 401: no or bad credentials.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 400: the request makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 405: the resource has no such verb.
    #[must_use]
    pub fn method_not_supported(resource: &GroupResource, verb: &str) -> Self {
        let message =
            format!("{verb} is not supported on resources of kind {:?}", resource.to_string());
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).about(resource, "")
    }

    /// 405: a path that is served takes no such method.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
            .with_details(Details::default())
    }

    /// 410: the revision asked for is no longer kept.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 413: the body is too large.
    #[must_use]
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// 415: no decoder for the body's type.
    #[must_use]
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// 406: no encoder for what the client accepts.
    #[must_use]
    pub fn not_acceptable(offered: &[&str]) -> Self {
        let message =
            format!("only the following media types are accepted: {}", offered.join(", "));
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// 422 without field errors.
    #[must_use]
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    /// 429.
    #[must_use]
    pub fn too_many_requests(message: impl Into<String>, retry_after: u32) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
            .retry_after(retry_after)
    }

    /// 500: our fault.
    #[must_use]
    pub fn internal(why: impl fmt::Display) -> Self {
        let cause = Cause { message: why.to_string(), ..Cause::default() };
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("Internal error occurred: {why}"),
        )
        .with_details(Details { causes: vec![cause], ..Details::default() })
    }

    /// 503: try again later.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// 504: it took too long, and may or may not have been done.
    #[must_use]
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
    }

    /// The HTTP status code.
    #[must_use]
    pub fn code(&self) -> StatusCode {
        self.0.code
    }

    /// The machine-readable reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.0.reason
    }

    /// In words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// More about it, if there is more.
    #[must_use]
    pub fn details(&self) -> Option<&Details> {
        self.0.details.as_ref()
    }

    /// The `Status` object.
    #[must_use]
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.0.message, "code": self.0.code.as_u16(),
        });
        let reason = self.0.foreign.as_deref().unwrap_or(self.0.reason);
        if !reason.is_empty() {
            status["reason"] = reason.into();
        }
        if let Some(details) = &self.0.details {
            status["details"] = details.to_value();
        }
        if let Some(token) = &self.0.continues {
            status["metadata"] = json!({"continue": token});
        }
        status
    }
}

/// The `Status` of a success, with optional details.
#[must_use]
pub fn success(details: Option<Details>) -> Value {
    let mut status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    if let Some(details) = details {
        status["details"] = details.to_value();
    }
    status
}

impl Details {
    fn to_value(&self) -> Value {
        let mut value = Map::new();
        let texts = [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ];
        for (key, text) in texts {
            put(&mut value, key, text);
        }
        if !self.causes.is_empty() {
            value.insert("causes".into(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_seconds > 0 {
            value.insert("retryAfterSeconds".into(), self.retry_after_seconds.into());
        }
        Value::Object(value)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut value = Map::new();
        for (key, text) in
            [("reason", &self.reason), ("message", &self.message), ("field", &self.field)]
        {
            put(&mut value, key, text);
        }
        Value::Object(value)
    }
}

fn put(map: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        map.insert(key.to_owned(), text.into());
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for ApiError {}
