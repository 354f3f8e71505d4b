//! Which nodes a pod asks for: node selectors and node affinity.

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, PreferredSchedulingTerm,
};
use kubeplane_core::names::is_valid_label_value;
use std::{cmp::Ordering, collections::BTreeMap};

/// Whether the pod's `nodeSelector` and required node affinity allow the node. A term that is malformed or
/// empty matches no node.
#[must_use]
pub fn node_affinity_matches(pod: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let wanted = pod.node_selector.iter().flatten();
    if !wanted.into_iter().all(|(key, value)| label(labels, key) == Some(value)) {
        return false;
    }
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|selector| node_selector_matches(selector, node))
}

/// Whether one of the selector's terms matches the node.
#[must_use]
pub fn node_selector_matches(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| node_selector_term_matches(term, node))
}

/// Whether all requirements of the term hold; an empty term matches nothing.
#[must_use]
pub fn node_selector_term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let (labels, fields) = (term.match_expressions.as_deref(), term.match_fields.as_deref());
    let (labels, fields) = (labels.unwrap_or_default(), fields.unwrap_or_default());
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    labels.iter().all(|requirement| label_matches(requirement, node.metadata.labels.as_ref()))
        && fields.iter().all(|requirement| field_matches(requirement, node))
}

/// The sum of the weights of the preferred terms that match the node.
#[must_use]
pub fn node_affinity_score(terms: &[PreferredSchedulingTerm], node: &Node) -> i64 {
    let matching = terms.iter().filter(|term| node_selector_term_matches(&term.preference, node));
    matching.map(|term| i64::from(term.weight)).sum()
}

fn label<'a>(labels: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a String> {
    labels?.get(key)
}

fn label_matches(
    requirement: &NodeSelectorRequirement,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    let value = label(labels, &requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)) && are_label_values(values),
        "NotIn" => {
            !values.is_empty()
                && value.is_none_or(|value| !values.contains(value))
                && are_label_values(values)
        }
        "Exists" => value.is_some() && values.is_empty(),
        "DoesNotExist" => value.is_none() && values.is_empty(),
        "Gt" => compare(value, values) == Some(Ordering::Greater),
        "Lt" => compare(value, values) == Some(Ordering::Less),
        _ => false,
    }
}

/// Whether labels can have all of these values; a requirement with another one is malformed.
fn are_label_values(values: &[String]) -> bool {
    values.iter().all(|value| is_valid_label_value(value).is_empty())
}

fn compare(value: Option<&String>, values: &[String]) -> Option<Ordering> {
    let [bound] = values else { return None };
    let (value, bound): (i64, i64) = (value?.parse().ok()?, bound.parse().ok()?);
    Some(value.cmp(&bound))
}

/// The only field is `metadata.name`; others are empty.
fn field_matches(requirement: &NodeSelectorRequirement, node: &Node) -> bool {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let value = if requirement.key == "metadata.name" { name } else { "" };
    match (requirement.operator.as_str(), requirement.values.as_deref().unwrap_or_default()) {
        ("In", [only]) => only == value,
        ("NotIn", [only]) => only != value,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn matches(pod: Value) -> bool {
        let node = json!({"metadata": {"name": "n1", "labels": {"zone": "a", "cpus": "8"}}});
        let (pod, node) =
            (serde_json::from_value(pod).unwrap(), serde_json::from_value(node).unwrap());
        node_affinity_matches(&pod, &node)
    }

    fn required(terms: Value) -> Value {
        let required = json!({"nodeSelectorTerms": terms});
        json!({"containers": [], "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": required,
        }}})
    }

    #[test]
    fn selectors_and_affinity_both_hold() {
        assert!(matches(json!({"containers": []})));
        assert!(matches(json!({"containers": [], "nodeSelector": {"zone": "a"}})));
        assert!(!matches(json!({"containers": [], "nodeSelector": {"zone": "b"}})));
        let expression = |operator: &str, values: Value| {
            required(
                json!([{"matchExpressions": [{"key": "cpus", "operator": operator, "values": values}]}]),
            )
        };
        assert!(matches(expression("Gt", json!(["4"]))));
        assert!(!matches(expression("Lt", json!(["4"]))));
        assert!(!matches(expression("Gt", json!(["x"]))));
        assert!(matches(expression("In", json!(["8", "9"]))));
        assert!(!matches(expression("NotIn", json!(["8"]))));
    }

    #[test]
    fn terms_are_alternatives_and_empty_ones_match_nothing() {
        let named = |name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        assert!(matches(required(json!([named("n2"), named("n1")]))));
        assert!(!matches(required(json!([named("n2"), {}]))));
        assert!(!matches(required(json!([]))));
    }
}
