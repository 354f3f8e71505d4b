//! The objects every cluster starts with: the RBAC policy of Kubernetes 1.36.

use kubeplane_core::Object;
use serde_json::Value;

const POLICY: &str = include_str!("bootstrap/policy.jsonl");

/// The annotation of bootstrap objects that are brought back to their original rights at every start.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// The roles and bindings of the bootstrap policy, cluster-wide ones first.
#[must_use]
pub fn policy() -> Vec<Object> {
    POLICY
        .lines()
        .filter_map(|line| Object::parse(line.as_bytes()).ok())
        .map(without_nulls)
        .collect()
}

fn without_nulls(mut object: Object) -> Object {
    object.map_mut().retain(|_, value| !value.is_null());
    object
}

/// What an existing bootstrap object must become so that it grants at least what `wanted` grants: missing
/// rules, subjects, labels and annotations are added, nothing is taken away. `None` when nothing lacks, or
/// the object opted out by setting its [`AUTO_UPDATE`] annotation to `false`. A binding to another role
/// must be deleted and made anew, which is left to its owner.
#[must_use]
pub fn reconciled(existing: &Object, wanted: &Object) -> Option<Object> {
    if existing.annotation(AUTO_UPDATE) == Some("false") {
        return None;
    }
    let mut object = existing.clone();
    for map in ["labels", "annotations"] {
        let lacking: Vec<_> = wanted
            .at(&["metadata", map])
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(key, _)| existing.at(&["metadata", map, key]).is_none())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !lacking.is_empty() {
            object.map_at_mut(&["metadata", map]).extend(lacking);
        }
    }
    // The rules of aggregated roles are their controller's.
    if wanted.at(&["aggregationRule"]).is_none() {
        add_missing(&mut object, wanted, "rules");
    }
    add_missing(&mut object, wanted, "subjects");
    (object != *existing).then_some(object)
}

fn add_missing(object: &mut Object, wanted: &Object, list: &str) {
    let Some(wanted) = wanted.at(&[list]).and_then(Value::as_array) else { return };
    let mut present = object.at(&[list]).and_then(Value::as_array).cloned().unwrap_or_default();
    let before = present.len();
    for item in wanted {
        if !present.contains(item) {
            present.push(item.clone());
        }
    }
    if present.len() > before {
        object.set(&[list], present);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_whole_and_reconciling_only_adds() {
        let policy = policy();
        assert_eq!(policy.len(), 135);
        let wanted = policy.iter().find(|object| object.name() == "system:node-proxier").unwrap();
        assert_eq!(reconciled(wanted, wanted), None);
        let mut less = wanted.clone();
        less.set(&["rules"], serde_json::json!([{"verbs": ["get"], "nonResourceURLs": ["/mine"]}]));
        let mended = reconciled(&less, wanted).unwrap();
        let rules = mended.at(&["rules"]).unwrap().as_array().unwrap();
        assert_eq!(rules.len(), 1 + wanted.at(&["rules"]).unwrap().as_array().unwrap().len());
        less.set(&["metadata", "annotations", AUTO_UPDATE], "false");
        assert_eq!(reconciled(&less, wanted), None);
    }
}
