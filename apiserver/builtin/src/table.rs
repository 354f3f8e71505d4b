//! Cells that many kinds print: ages, labels, selectors, containers.

use crate::look::Look;
use jiff::Timestamp;
use kubeplane_core::Object;
use serde_json::Value;

/// The age of an object.
pub(crate) fn age(object: &Object, now: Timestamp) -> Value {
    since(object.text(&["metadata", "creationTimestamp"]), now).into()
}

/// When the object was made, as a time.
pub(crate) fn created_at(object: &Object) -> Value {
    match object.text(&["metadata", "creationTimestamp"]) {
        "" => Value::Null,
        time => time.into(),
    }
}

/// The time gone since an RFC 3339 time, in a few words.
pub(crate) fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => human_duration(now.duration_since(time).as_millis()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// A duration with two or three significant figures, in the form kubectl's users know.
pub(crate) fn human_duration(milliseconds: i128) -> String {
    let seconds = milliseconds / 1000;
    let two = |first: i128, unit: &str, second: i128, smaller: &str| {
        if second == 0 {
            format!("{first}{unit}")
        } else {
            format!("{first}{unit}{second}{smaller}")
        }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(hours / 24, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        () if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        () => format!("{}y", hours / 24 / 365),
    }
}

/// `a=b,c=d`, or `<none>`.
pub(crate) fn labels(map: &Value) -> String {
    let Some(map) = map.as_object().filter(|map| !map.is_empty()) else {
        return "<none>".to_owned();
    };
    let mut pairs: Vec<_> =
        map.iter().map(|(key, value)| (key, value.as_str().unwrap_or_default())).collect();
    pairs.sort();
    let pairs: Vec<_> = pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// A LabelSelector in its text form, or `<none>`.
pub(crate) fn selector(selector: &Value) -> String {
    let text = selector_text(selector);
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// A LabelSelector in its text form.
pub(crate) fn selector_text(selector: &Value) -> String {
    let mut parts = Vec::new();
    for (key, value) in selector.sub("matchLabels").as_object().into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in selector.list("matchExpressions") {
        let key = expression.text("key");
        let mut values: Vec<_> =
            expression.list("values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression.text("operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".to_owned(),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    let texts: Vec<_> = parts.into_iter().map(|(_, text)| text).collect();
    texts.join(",")
}

/// The names and the images of the containers of a pod spec.
pub(crate) fn containers(spec: &Value) -> [Value; 2] {
    let joined = |field: &str| {
        let texts: Vec<_> =
            spec.list("containers").iter().map(|container| container.text(field)).collect();
        texts.join(",").into()
    };
    [joined("name"), joined("image")]
}

/// The text, or another one for an empty text.
pub(crate) fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

/// The first three of a list, and how many more there are.
pub(crate) fn first_three(list: &[String]) -> String {
    let shown = list[..list.len().min(3)].join(",");
    if list.len() > 3 { format!("{shown} + {} more...", list.len() - 3) } else { shown }
}
