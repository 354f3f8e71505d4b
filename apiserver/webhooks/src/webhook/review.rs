//! AdmissionReviews: what is sent, and what has to come back.

use crate::attributes::{Matched, admission_request};
use base64::{DecodeError, Engine as _, engine::general_purpose::STANDARD};
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
/// In the original's words, when it is none: what cannot be decoded counts as a call that failed.
pub(super) fn read(
    body: &[u8],
    version: Version,
    uid: &str,
    mutating: bool,
) -> Result<Answer, String> {
    let (review, patch) = decoded(body).map_err(|why| format!("failed to call webhook: {why}"))?;
    verified(&review, patch, version, uid, mutating)
        .map_err(|why| format!("received invalid webhook response: {why}"))
}

/// An answer, each part of which has the type it must have, with its patch.
fn decoded(body: &[u8]) -> Result<(Map<String, Value>, Vec<u8>), String> {
    let review: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    let Some(response) = review.get("response").filter(|response| !response.is_null()) else {
        return Ok((review, Vec::new()));
    };
    let mistyped = |of: &str, found: &Value, wanted: &str| {
        let found = json_type(found);
        Err(format!("json: cannot unmarshal {found} into Go struct field {of} of type {wanted}"))
    };
    if !response.is_object() {
        return mistyped("AdmissionReview.response", response, "v1.AdmissionResponse");
    }
    if let Some((field, found, wanted)) = odd_field(response) {
        return mistyped(&format!("AdmissionResponse.response.{field}"), found, wanted);
    }
    let patch = response.get("patch").and_then(Value::as_str).unwrap_or_default();
    let patch = STANDARD.decode(patch).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            _ => patch.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })?;
    Ok((review, patch))
}

/// The first field of a response that has the wrong type, with what it should have.
fn odd_field(response: &Value) -> Option<(&'static str, &Value, &'static str)> {
    type Is = fn(&Value) -> bool;
    const FIELDS: [(&str, &str, Is); 5] = [
        ("uid", "types.UID", Value::is_string),
        ("allowed", "bool", Value::is_boolean),
        ("status", "v1.Status", Value::is_object),
        ("patch", "[]uint8", Value::is_string),
        ("patchType", "v1.PatchType", Value::is_string),
    ];
    let set = |name: &str| response.get(name).filter(|found| !found.is_null());
    let single = FIELDS.into_iter().find_map(|(name, wanted, is)| {
        set(name).filter(|found| !is(found)).map(|found| (name, found, wanted))
    });
    let of_texts = |name: &'static str, wanted: &'static str, right: Is| {
        let found = set(name)?;
        if !right(found) {
            return Some((name, found, wanted));
        }
        let parts: Vec<&Value> = match found {
            Value::Array(list) => list.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => Vec::new(),
        };
        let odd = parts.into_iter().find(|part| !part.is_string() && !part.is_null())?;
        Some((name, odd, "string"))
    };
    single
        .or_else(|| of_texts("auditAnnotations", "map[string]string", Value::is_object))
        .or_else(|| of_texts("warnings", "[]string", Value::is_array))
}

/// What JSON calls a value.
fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What a decoded answer says, if it is the answer to this review.
fn verified(
    review: &Map<String, Value>,
    patch: Vec<u8>,
    version: Version,
    uid: &str,
    mutating: bool,
) -> Result<Answer, String> {
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
        let why = read(review.to_string().as_bytes(), Version::V1, "u", mutating).unwrap_err();
        why.strip_prefix("received invalid webhook response: ").unwrap_or(&why).to_owned()
    }

    /// What has a wrong type is no answer at all, and never taken for a refusal.
    #[test]
    fn what_cannot_be_decoded_is_a_failed_call() {
        let said = |response: Value| refused(&answer(response), true);
        let field = |rest: &str| format!("failed to call webhook: json: cannot unmarshal {rest}");
        for (response, why) in [
            (
                json!("x"),
                "string into Go struct field AdmissionReview.response of type v1.AdmissionResponse",
            ),
            (
                json!({"allowed": "yes"}),
                "string into Go struct field AdmissionResponse.response.allowed of type bool",
            ),
            (
                json!({"uid": 7}),
                "number into Go struct field AdmissionResponse.response.uid of type types.UID",
            ),
            (
                json!({"status": []}),
                "array into Go struct field AdmissionResponse.response.status of type v1.Status",
            ),
            (
                json!({"warnings": "x"}),
                "string into Go struct field AdmissionResponse.response.warnings of type []string",
            ),
            (
                json!({"warnings": ["x", {}]}),
                "object into Go struct field AdmissionResponse.response.warnings of type string",
            ),
            (
                json!({"auditAnnotations": {"a": true}}),
                "bool into Go struct field AdmissionResponse.response.auditAnnotations of type string",
            ),
        ] {
            assert_eq!(said(response), field(why));
        }
        assert_eq!(
            said(json!({"patch": "W10="[..3].to_owned() + "!"})),
            "failed to call webhook: illegal base64 data at input byte 3"
        );
        assert!(
            read(b"<html>", Version::V1, "u", true).unwrap_err().starts_with(
                "failed to call webhook: couldn't get version/kind; json parse error: "
            )
        );
        assert_eq!(
            said(json!({"allowed": null, "warnings": null, "patch": null})),
            "expected response.uid=\"u\", got \"\""
        );
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
