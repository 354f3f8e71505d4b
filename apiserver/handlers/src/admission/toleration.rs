//! Which tolerations others include.

use serde_json::Value;

fn text<'a>(toleration: &'a Value, key: &str) -> &'a str {
    toleration[key].as_str().unwrap_or_default()
}

fn same(one: &Value, other: &Value) -> bool {
    ["key", "operator", "value", "effect"].iter().all(|key| text(one, key) == text(other, key))
        && one["tolerationSeconds"].as_i64() == other["tolerationSeconds"].as_i64()
}

/// Whether one tolerates whatever the other does.
pub(super) fn includes(one: &Value, other: &Value) -> bool {
    if same(one, other) {
        return true;
    }
    let any_key = text(one, "key").is_empty() && text(one, "operator") == "Exists";
    let any_effect = text(one, "effect").is_empty();
    if (text(one, "key") != text(other, "key") && !any_key)
        || (text(one, "effect") != text(other, "effect") && !any_effect)
    {
        return false;
    }
    if text(one, "effect") == "NoExecute" {
        let seconds = |toleration: &Value| toleration["tolerationSeconds"].as_i64();
        let longer = |most: i64| seconds(other).is_none_or(|own| own > most);
        if seconds(one).is_some_and(longer) {
            return false;
        }
    }
    match text(one, "operator") {
        "Equal" | "" => {
            text(other, "operator") == "Equal" && text(one, "value") == text(other, "value")
        }
        "Exists" => true,
        _ => false,
    }
}

/// Both lists, without what others include.
pub(super) fn merge(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let known = merged.iter().any(|kept| includes(kept, one));
        let later = all[index + 1..].iter();
        let comes = later.into_iter().any(|later| !same(one, later) && includes(later, one));
        if !known && !comes {
            merged.push((*one).clone());
        }
    }
    merged
}
