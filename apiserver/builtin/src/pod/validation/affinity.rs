//! Affinity to nodes and to other pods.

use super::spread::label_keys;
use crate::{check, look::At};
use kubeplane_core::{field::Errors, names};

pub(super) fn affinity(affinity: &At<'_>, errors: &mut Errors) {
    let nodes = affinity.get("nodeAffinity");
    let required = nodes.get("requiredDuringSchedulingIgnoredDuringExecution");
    if required.is_set() {
        node_selector(&required, errors);
    }
    for preferred in nodes.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
        weight(&preferred.get("weight"), errors);
        node_selector_term(&preferred.get("preference"), true, errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.get(kind);
        for term in pods.get("requiredDuringSchedulingIgnoredDuringExecution").items() {
            pod_term(&term, errors);
        }
        for preferred in pods.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
            weight(&preferred.get("weight"), errors);
            pod_term(&preferred.get("podAffinityTerm"), errors);
        }
    }
}

fn weight(at: &At<'_>, errors: &mut Errors) {
    let weight = at.int().unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(at.invalid_as(weight, "must be in the range 1-100"));
    }
}

/// Terms of which one must hold.
pub(crate) fn node_selector(selector: &At<'_>, errors: &mut Errors) {
    let terms = selector.get("nodeSelectorTerms");
    if terms.is_empty() {
        return errors.push(terms.required("must have at least one node selector term"));
    }
    for term in terms.items() {
        node_selector_term(&term, false, errors);
    }
}

fn node_selector_term(term: &At<'_>, any_value: bool, errors: &mut Errors) {
    for requirement in term.get("matchExpressions").items() {
        node_requirement(&requirement, any_value, errors);
    }
    for requirement in term.get("matchFields").items() {
        node_field_requirement(&requirement, errors);
    }
}

fn node_requirement(requirement: &At<'_>, any_value: bool, errors: &mut Errors) {
    let (operator, values) = (requirement.get("operator"), requirement.get("values"));
    match (operator.str(), values.len()) {
        ("In" | "NotIn", 0) => {
            errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
        }
        ("Exists" | "DoesNotExist", 1..) => {
            errors.push(
                values.forbidden(
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ),
            );
        }
        ("Gt" | "Lt", count) if count != 1 => {
            errors.push(
                values.required("must be specified single value when `operator` is 'Lt' or 'Gt'"),
            );
        }
        ("In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt", _) => {}
        _ => errors.push(operator.invalid("not a valid selector operator")),
    }
    check::qualified_name(&requirement.get("key"), errors);
    if !any_value {
        for value in values.items() {
            check::label_value(&value, errors);
        }
    }
}

fn node_field_requirement(requirement: &At<'_>, errors: &mut Errors) {
    let (operator, values, key) =
        (requirement.get("operator"), requirement.get("values"), requirement.get("key"));
    match operator.str() {
        "In" | "NotIn" if values.len() != 1 => {
            let detail =
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(values.required(detail));
        }
        "In" | "NotIn" => {}
        _ => errors.push(operator.invalid("not a valid selector operator")),
    }
    if key.str() == "metadata.name" {
        for value in values.items() {
            check::dns_subdomain(&value, errors);
        }
    } else {
        errors.push(key.invalid("not a valid field selector key"));
    }
}

fn pod_term(term: &At<'_>, errors: &mut Errors) {
    check::label_selector(&term.get("labelSelector"), errors);
    check::label_selector(&term.get("namespaceSelector"), errors);
    for namespace in term.get("namespaces").items() {
        let problems = names::is_dns1123_label(namespace.str()).into_iter();
        errors.extend(
            problems.map(|message| term.get("namespace").invalid_as(namespace.str(), message)),
        );
    }
    label_keys(term, errors);
    let key = term.get("topologyKey");
    if key.str().is_empty() {
        errors.push(key.required("can not be empty"));
    }
    check::qualified_name(&key, errors);
}
