use super::{items, text};
use serde_json::Value;

/// Whether one expression holds for labels (or fields).
pub(super) fn expression(own: &Value, value: Option<&str>) -> bool {
    let values: Vec<_> = items(&own["values"]).iter().map(text).collect();
    let number = |text: &str| text.parse::<i64>().ok();
    let compare = |holds: fn(i64, i64) -> bool| {
        let both = value.and_then(number).zip(values.first().and_then(|own| number(own)));
        both.is_some_and(|(a, b)| holds(a, b))
    };
    match text(&own["operator"]) {
        "In" => value.is_some_and(|value| values.contains(&value)),
        "NotIn" => value.is_none_or(|value| !values.contains(&value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|a, b| a > b),
        "Lt" => compare(|a, b| a < b),
        other => panic!("operator {other}"),
    }
}

/// Whether a LabelSelector picks these labels: none picks nothing, an empty one everything.
pub(super) fn picks(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let value = |key: &str| labels.get(key).and_then(Value::as_str);
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    equal.into_iter().all(|(key, own)| value(key) == own.as_str())
        && items(&selector["matchExpressions"])
            .iter()
            .all(|own| expression(own, value(text(&own["key"]))))
}

/// Whether a node matches one term of node affinity.
pub(super) fn node_term(term: &Value, node: &Value) -> bool {
    let (labels, fields) = (items(&term["matchExpressions"]), items(&term["matchFields"]));
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    labels.iter().all(|own| expression(own, super::label(node, text(&own["key"]))))
        && fields.iter().all(|own| expression(own, node["metadata"]["name"].as_str()))
}

/// Whether a node matches the node selector and the required node affinity of a pod.
pub(super) fn required_node(pod: &Value, node: &Value) -> bool {
    let wanted = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    if !wanted.into_iter().all(|(key, value)| super::label(node, key) == value.as_str()) {
        return false;
    }
    let required =
        &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    required.is_null()
        || items(&required["nodeSelectorTerms"]).iter().any(|term| node_term(term, node))
}

/// Whether a toleration covers a taint.
pub(super) fn tolerates(own: &Value, taint: &Value) -> bool {
    let (effect, key) = (text(&own["effect"]), text(&own["key"]));
    (effect.is_empty() || effect == text(&taint["effect"]))
        && (key.is_empty() || key == text(&taint["key"]))
        && match text(&own["operator"]) {
            "Exists" => true,
            "" | "Equal" => text(&own["value"]) == text(&taint["value"]),
            other => panic!("operator {other}"),
        }
}

/// Whether a node has a taint that keeps the pod away.
pub(super) fn repels(node: &Value, pod: &Value) -> bool {
    items(&node["spec"]["taints"])
        .iter()
        .filter(|taint| taint["effect"] == "NoSchedule" || taint["effect"] == "NoExecute")
        .any(|taint| !items(&pod["spec"]["tolerations"]).iter().any(|own| tolerates(own, taint)))
}
