//! Refusals and failures in the original's words.

use http::StatusCode;
use kubeplane_core::status::{ApiError, Cause, Details};
use kubeplane_outbound::Failure;
use serde_json::Value;

/// Why a webhook's word does not stand.
#[derive(Debug)]
pub(super) enum CallError {
    /// It could not be asked, or its answer is none; may be ignored.
    Failed {
        /// Why.
        why: String,
        /// The code it is counted under.
        code: u16,
    },
    /// It said no.
    Denied(ApiError),
    /// It was not asked, or its answer cannot be followed.
    Refused(ApiError),
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoClient(why) => {
                Self::failed(500, format!("could not get REST client: {why}"))
            }
            Failure::Call { code, why } => {
                Self::failed(code, format!("failed to call webhook: {why}"))
            }
            other => Self::failed(500, format!("failed to call webhook: {other:?}")),
        }
    }
}

impl CallError {
    pub(super) fn failed(code: u16, why: impl Into<String>) -> Self {
        Self::Failed { why: why.into(), code }
    }
}

/// The refusal that a webhook's Status makes.
pub(super) fn denied(webhook: &str, result: Option<&Value>) -> ApiError {
    let text = |key: &str| {
        result.and_then(|result| result.get(key)).and_then(Value::as_str).unwrap_or_default()
    };
    let by = format!("admission webhook {webhook:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    let code = result.and_then(|result| result.get("code")).and_then(Value::as_u64);
    let code = code
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| *code >= 400)
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(StatusCode::BAD_REQUEST);
    let error =
        ApiError::new(code, reason(text("reason")), message).with_foreign_reason(text("reason"));
    match result.and_then(|result| result.get("details")).filter(|details| details.is_object()) {
        Some(details) => error.with_details(self::details(details)),
        None => error,
    }
}

/// Reasons are of a fixed set here; others are left out, and only told to clients.
pub(crate) fn reason(sent: &str) -> &'static str {
    const KNOWN: [&str; 19] = [
        "Unauthorized",
        "Forbidden",
        "NotFound",
        "AlreadyExists",
        "Conflict",
        "Gone",
        "Invalid",
        "ServerTimeout",
        "StoreReadError",
        "Timeout",
        "TooManyRequests",
        "BadRequest",
        "MethodNotAllowed",
        "NotAcceptable",
        "RequestEntityTooLarge",
        "UnsupportedMediaType",
        "InternalError",
        "Expired",
        "ServiceUnavailable",
    ];
    KNOWN.into_iter().find(|known| *known == sent).unwrap_or_default()
}

fn details(details: &Value) -> Details {
    let text =
        |of: &Value, key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let causes = details.get("causes").and_then(Value::as_array).into_iter().flatten();
    let retry = details.get("retryAfterSeconds").and_then(Value::as_u64).unwrap_or_default();
    Details {
        name: text(details, "name"),
        group: text(details, "group"),
        kind: text(details, "kind"),
        uid: text(details, "uid"),
        causes: causes
            .map(|cause| Cause {
                reason: text(cause, "reason"),
                message: text(cause, "message"),
                field: text(cause, "field"),
            })
            .collect(),
        retry_after_seconds: u32::try_from(retry).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals_say_who_and_why() {
        let said = |status: Value| {
            let error = denied("a.b.c", Some(&status));
            (error.code().as_u16(), error.reason(), error.message().to_owned())
        };
        let by = |rest: &str| format!("admission webhook \"a.b.c\" denied the request{rest}");
        assert_eq!(denied("a.b.c", None).message(), by(" without explanation"));
        assert_eq!(said(json!({"message": "no"})), (400, "", by(": no")));
        assert_eq!(said(json!({"code": 200, "message": "no"})), (400, "", by(": no")));
        assert_eq!(
            said(json!({"code": 403, "reason": "Forbidden"})),
            (403, "Forbidden", by(": Forbidden"))
        );
        // A reason of its own is passed on, though nothing here knows it.
        let own = denied("a.b.c", Some(&json!({"code": 451, "reason": "Unlawful"})));
        assert_eq!(
            (own.code().as_u16(), own.reason(), own.message()),
            (451, "", &*by(": Unlawful"))
        );
        assert_eq!(own.to_status()["reason"], "Unlawful");
        assert_eq!(denied("a.b.c", None).to_status().get("reason"), None);
    }
}
