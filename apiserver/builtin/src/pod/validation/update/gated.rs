//! A pod held back by scheduling gates may narrow down the nodes it can go to.

use crate::look::{At, Look};
use kubeplane_core::field::Errors;
use serde_json::Value;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

pub(super) fn narrowing(spec: &At<'_>, before: &At<'_>, errors: &mut Errors) {
    let (selector, old) = (spec.get("nodeSelector"), before.get("nodeSelector"));
    if old.entries().any(|(key, value)| selector.key(key).value() != value.value()) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(selector.invalid(detail));
    }
    let terms = |spec: &At<'_>| {
        spec.value()
            .sub("affinity")
            .sub("nodeAffinity")
            .sub(REQUIRED)
            .list("nodeSelectorTerms")
            .to_vec()
    };
    let olds = terms(before);
    let at = spec.get("affinity").get("nodeAffinity").get(REQUIRED).get("nodeSelectorTerms");
    if olds.is_empty() {
        return;
    }
    if at.len() != olds.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.push(at.invalid(detail));
    }
    for (new, old) in at.items().zip(&olds) {
        if !only_adds(new.value(), old) {
            errors.push(new.invalid("only additions are allowed (no mutations or deletions)"));
        }
    }
}

fn only_adds(new: &Value, old: &Value) -> bool {
    let lists = ["matchExpressions", "matchFields"];
    let was_empty = lists.iter().all(|list| old.list(list).is_empty());
    if was_empty {
        return lists.iter().all(|list| new.list(list).is_empty());
    }
    lists.iter().all(|list| new.list(list).starts_with(old.list(list)))
}

/// Sets the node affinity as it was, for the comparison of what is left.
pub(super) fn forget_node_affinity(new: &mut Value, old: &Value) {
    let before = old.sub("affinity").get("nodeAffinity");
    let Some(spec) = new.as_object_mut() else {
        return;
    };
    let affinity = spec.entry("affinity").or_insert_with(|| Value::Object(serde_json::Map::new()));
    if let Some(map) = affinity.as_object_mut() {
        match before {
            Some(value) => drop(map.insert("nodeAffinity".to_owned(), value.clone())),
            None => drop(map.remove("nodeAffinity")),
        }
        if map.is_empty() && !old.has("affinity") {
            spec.remove("affinity");
        }
    }
}
