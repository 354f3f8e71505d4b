//! The bridge from client-side apply: kubectl's annotation with what it applied last.

use super::{
    Request, compare::Comparison, fields::field_set, set::FieldSet, shape::Type, validate::validate,
};
use crate::Object;
use serde_json::Value;

/// The manager that server-side `kubectl apply` uses; others do not take part.
pub(super) const KUBECTL: &str = "kubectl";

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How large all annotations may be, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// The fields client-side apply set last and nobody changed since, which kubectl may take over.
pub(super) fn untouched_fields(live: &Object, request: &Request<'_>) -> Option<FieldSet> {
    let text = live.annotation(ANNOTATION).filter(|text| !text.is_empty())?;
    let applied: Value = serde_json::from_str(text).ok()?;
    let version = applied.get("apiVersion").and_then(Value::as_str)?;
    if version != request.version() {
        return None;
    }
    let applied = applied.as_object()?;
    let ty = Type::root(request.schema);
    validate(ty, live.map(), true).ok()?;
    validate(ty, applied, true).ok()?;
    let comparison = Comparison::of(ty, applied, live.map());
    let mut set = field_set(ty, applied);
    set.subtract(&comparison.modified);
    set.subtract(&comparison.added);
    set.subtract(&comparison.removed);
    Some(set)
}

/// Keeps the annotation, if there is one, at what was applied.
pub(super) fn sync(object: &mut Object, mut applied: Object) {
    if object.annotation(ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    applied.remove(&["metadata", "annotations", ANNOTATION]);
    let mut text = escape_html(&String::from_utf8_lossy(&applied.to_bytes()));
    text.push('\n');
    let others = object.annotations().filter(|(key, _)| *key != ANNOTATION);
    let size: usize = others.map(|(key, value)| key.len() + value.len()).sum();
    if size + ANNOTATION.len() + text.len() > MAX_ANNOTATIONS {
        object.remove(&["metadata", "annotations", ANNOTATION]);
    } else {
        object.set(&["metadata", "annotations", ANNOTATION], text);
    }
}

/// As Go's JSON encoder does; these characters only stand inside JSON strings.
fn escape_html(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}
