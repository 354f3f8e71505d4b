//! How pods are spread over domains of the cluster.

use crate::{check, look::At};
use kubeplane_core::field::Errors;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn constraints(list: &At<'_>, errors: &mut Errors) {
    let all: Vec<_> = list.items().collect();
    for (index, constraint) in all.iter().enumerate() {
        let (key, action) = (constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"));
        check::positive(&constraint.get("maxSkew"), errors);
        if key.str().is_empty() {
            errors.push(key.required("can not be empty"));
        }
        if !matches!(action.str(), "DoNotSchedule" | "ScheduleAnyway") {
            errors.push(action.not_supported(&["DoNotSchedule", "ScheduleAnyway"]));
        }
        let pair = |at: &At<'_>| {
            format!("{{{}, {}}}", at.get("topologyKey").str(), at.get("whenUnsatisfiable").str())
        };
        if all[index + 1..].iter().any(|other| pair(other) == pair(constraint)) {
            errors.push(
                constraint.get("{topologyKey, whenUnsatisfiable}").duplicate_as(pair(constraint)),
            );
        }
        let domains = constraint.get("minDomains");
        if domains.is_set() {
            check::positive(&domains, errors);
            if action.str() != "DoNotSchedule" {
                let action = action.str();
                let detail = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                );
                errors.push(domains.invalid(detail));
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            check::one_of_if_set(&constraint.get(policy), &["Honor", "Ignore"], errors);
        }
        label_keys(constraint, errors);
        check::label_selector(&constraint.get("labelSelector"), errors);
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys` of a term; by now their requirements stand in the selector.
pub(super) fn label_keys(term: &At<'_>, errors: &mut Errors) {
    let (matched, mismatched) = (term.get("matchLabelKeys"), term.get("mismatchLabelKeys"));
    let selector = term.get("labelSelector");
    for keys in [&matched, &mismatched].into_iter().filter(|keys| !keys.is_empty()) {
        if !selector.is_set() {
            errors.push(keys.forbidden("must not be specified when labelSelector is not set"));
            continue;
        }
        for key in keys.items() {
            check::qualified_name(&key, errors);
        }
    }
    let indices: BTreeMap<_, _> =
        matched.items().enumerate().map(|(index, key)| (key.str(), index)).collect();
    let mut seen: BTreeSet<_> = selector.get("matchLabels").entries().map(|(key, _)| key).collect();
    for expression in selector.get("matchExpressions").items() {
        let key = expression.get("key").str();
        if let Some(index) = indices.get(key).filter(|_| seen.contains(key)) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(term.index(*index).invalid_as(key, detail));
        }
        seen.insert(key);
    }
    for key in matched.items() {
        if mismatched.items().any(|other| other.str() == key.str()) {
            errors.push(key.invalid("exists in both matchLabelKeys and mismatchLabelKeys"));
        }
    }
}
