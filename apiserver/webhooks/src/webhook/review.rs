//! AdmissionReviews: what is sent, and what has to come back.

use crate::attributes::{Matched, admission_request};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kubeplane_core::{Object, admission::Request, status::ApiResult};
use serde_json::{Map, Value, json};

/// A version of reviews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V1Beta1,
}

impl Version {
    /// The first of those a webhook understands that is known here.
    pub(super) fn choose(understood: &[String]) -> Option<Self> {
        understood.iter().find_map(|version| match version.as_str() {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1Beta1),
            _ => None,
        })
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

fn raw(object: Option<Object>) -> Value {
    object.map_or(Value::Null, Object::into_value)
}

/// The review sent to a webhook.
///
/// # Errors
/// When the objects cannot be converted into the version that it wants.
pub(super) async fn of(
    request: &Request<'_>,
    matched: &Matched,
    version: Version,
    uid: &str,
) -> ApiResult<Vec<u8>> {
    let mut described = admission_request(request, matched);
    described.insert("uid".to_owned(), uid.into());
    let (object, old) = matched.views(request).await?;
    described.insert("object".to_owned(), raw(object));
    described.insert("oldObject".to_owned(), raw(old));
    let review = json!({
        "kind": "AdmissionReview", "apiVersion": version.api_version(), "request": described,
    });
    Ok(serde_json::to_vec(&review).unwrap_or_default())
}

/// What a webhook answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    /// The Status that goes with a refusal.
    pub(super) result: Option<Value>,
    /// The JSON patch; empty for none.
    pub(super) patch: Vec<u8>,
    pub(super) patch_type: String,
    pub(super) annotations: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
}

/// Reads the answer to a review.
///
/// # Errors
/// In the original's words, when it is none.
pub(super) fn read(
    body: &[u8],
    version: Version,
    uid: &str,
    mutating: bool,
) -> Result<Answer, String> {
    let review: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    let response = review.get("response").filter(|response| response.is_object());
    let response = response.ok_or("webhook response was absent")?;
    let text = |key: &str| response.get(key).and_then(Value::as_str);
    if version == Version::V1 {
        let answered = text("uid").unwrap_or_default();
        if answered != uid {
            return Err(format!("expected response.uid={uid:?}, got {answered:?}"));
        }
        let of = |key: &str| review.get(key).and_then(Value::as_str).unwrap_or_default();
        let (found, kind) = (of("apiVersion"), of("kind"));
        if found != version.api_version() || kind != "AdmissionReview" {
            return Err(format!(
                "expected webhook response of {}, Kind=AdmissionReview, got {found}, Kind={kind}",
                version.api_version()
            ));
        }
    }
    let patch = STANDARD
        .decode(text("patch").unwrap_or_default())
        .map_err(|error| format!("illegal base64 data in response.patch: {error}"))?;
    let patch_type = match version {
        Version::V1 => {
            check_patch(&patch, text("patchType"), mutating)?;
            text("patchType").unwrap_or_default()
        }
        Version::V1Beta1 => "JSONPatch",
    };
    let annotations = response.get("auditAnnotations").and_then(Value::as_object);
    let warnings = response.get("warnings").and_then(Value::as_array);
    Ok(Answer {
        allowed: response.get("allowed").and_then(Value::as_bool).unwrap_or_default(),
        result: response.get("status").filter(|status| status.is_object()).cloned(),
        patch: if mutating { patch } else { Vec::new() },
        patch_type: patch_type.to_owned(),
        annotations: annotations
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
        warnings: warnings
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    })
}

fn check_patch(patch: &[u8], patch_type: Option<&str>, mutating: bool) -> Result<(), String> {
    let why = match (mutating, patch.is_empty(), patch_type) {
        (true, false, None) => "webhook returned response.patch but not response.patchType",
        (true, true, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, _, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (false, false, _) => "validating webhook may not return response.patch",
        (false, _, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(response: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    fn refused(review: &Value, mutating: bool) -> String {
        read(review.to_string().as_bytes(), Version::V1, "u", mutating).unwrap_err()
    }

    #[test]
    fn answers_must_be_whole() {
        assert_eq!(refused(&json!({}), true), "webhook response was absent");
        let other = answer(json!({"uid": "v", "allowed": true}));
        assert_eq!(refused(&other, true), r#"expected response.uid="u", got "v""#);
        let patch = answer(json!({"uid": "u", "allowed": true, "patch": "W10="}));
        assert_eq!(
            refused(&patch, true),
            "webhook returned response.patch but not response.patchType"
        );
        assert_eq!(refused(&patch, false), "validating webhook may not return response.patch");
        let mut old = answer(json!({"uid": "u", "allowed": true}));
        old["apiVersion"] = "admission.k8s.io/v1beta1".into();
        assert_eq!(
            refused(&old, true),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got \
             admission.k8s.io/v1beta1, Kind=AdmissionReview"
        );
    }

    #[test]
    fn older_answers_are_taken_as_they_are() {
        let review = json!({"response": {"allowed": true, "patch": "W10="}}).to_string();
        let read = read(review.as_bytes(), Version::V1Beta1, "u", true).unwrap();
        assert!(read.allowed && read.patch == b"[]" && read.patch_type == "JSONPatch");
    }
}
