//! Conditions of a definition.

use kubeplane_core::Object;
use serde_json::{Map, Value};

fn list(crd: &Object) -> &[Value] {
    crd.at(&["status", "conditions"]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn find<'a>(crd: &'a Object, kind: &str) -> Option<&'a Value> {
    list(crd).iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
}

/// `True`, `False` or `Unknown`; `None` when the condition is not there.
pub(crate) fn status<'a>(crd: &'a Object, kind: &str) -> Option<&'a str> {
    find(crd, kind)?.get("status").and_then(Value::as_str)
}

/// Whether the condition is there and true.
pub(crate) fn is_true(crd: &Object, kind: &str) -> bool {
    status(crd, kind) == Some("True")
}

/// Sets a condition; the time steps only when the status does. Returns whether anything changed.
pub(crate) fn set_at(
    crd: &mut Object,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: &str,
) -> bool {
    let old = find(crd, kind).cloned();
    let text = |field: &str| {
        old.as_ref().and_then(|old| old.get(field)).and_then(Value::as_str).unwrap_or_default()
    };
    if text("status") == status && text("reason") == reason && text("message") == message {
        return false;
    }
    let since = match (text("status") == status, text("lastTransitionTime")) {
        (true, since) if !since.is_empty() => since,
        _ => now,
    };
    let entries = [
        ("type", kind),
        ("status", status),
        ("lastTransitionTime", since),
        ("reason", reason),
        ("message", message),
    ];
    let condition: Map<String, Value> =
        entries.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let mut conditions = list(crd).to_vec();
    match conditions
        .iter_mut()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
    {
        Some(slot) => *slot = Value::Object(condition),
        None => conditions.push(Value::Object(condition)),
    }
    crd.set(&["status", "conditions"], conditions);
    true
}

/// Removes a condition; whether it was there.
pub(crate) fn remove(crd: &mut Object, kind: &str) -> bool {
    let mut conditions = list(crd).to_vec();
    let before = conditions.len();
    conditions.retain(|condition| condition.get("type").and_then(Value::as_str) != Some(kind));
    let found = conditions.len() < before;
    if found {
        crd.set(&["status", "conditions"], conditions);
    }
    found
}
