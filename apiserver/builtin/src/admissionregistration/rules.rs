//! Which requests a webhook or a policy looks at.

use crate::{
    check,
    defaulting::{map, map_in, maps_in, missing},
    look::At,
};
use kubeplane_core::{field::Errors, names};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const MUTABLE: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
pub(super) const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];

/// The scope of each rule under a key.
pub(super) fn default_rules(owner: &mut Map<String, Value>, key: &str) {
    for rule in maps_in(owner, key) {
        missing(rule, "scope", "*");
    }
}

/// What a set of rules is matched by besides.
pub(super) fn default_matching(owner: &mut Map<String, Value>) {
    missing(owner, "matchPolicy", "Equivalent");
    missing(owner, "namespaceSelector", json!({}));
    missing(owner, "objectSelector", json!({}));
}

/// The MatchResources under a key, if any.
pub(super) fn default_resources(owner: &mut Map<String, Value>, key: &str) {
    if let Some(resources) = map_in(owner, key) {
        default_matching(resources);
        default_rules(resources, "resourceRules");
        default_rules(resources, "excludeResourceRules");
    }
}

/// The spec of an object.
pub(super) fn spec(object: &mut kubeplane_core::Object) -> &mut Map<String, Value> {
    map(object.map_mut(), "spec")
}

/// One rule with its operations.
pub(super) fn rule(rule: &At<'_>, errors: &mut Errors) {
    let operations = rule.get("operations");
    not_empty(&operations, errors);
    alone(&operations, "operations", errors);
    for operation in operations.items().filter(|one| !OPERATIONS.contains(&one.str())) {
        errors.push(operation.not_supported(&OPERATIONS));
    }
    not_empty(&rule.get("apiGroups"), errors);
    alone(&rule.get("apiGroups"), "API groups", errors);
    let versions = rule.get("apiVersions");
    not_empty(&versions, errors);
    alone(&versions, "API versions", errors);
    errors.extend(
        versions.items().filter(|one| one.str().is_empty()).map(|version| version.required("")),
    );
    resources(&rule.get("resources"), errors);
    check::one_of_if_set(&rule.get("scope"), &["*", "Cluster", "Namespaced"], errors);
}

fn not_empty(list: &At<'_>, errors: &mut Errors) {
    if list.is_empty() {
        errors.push(list.required(""));
    }
}

fn alone(list: &At<'_>, what: &str, errors: &mut Errors) {
    if list.len() > 1 && list.items().any(|item| item.str() == "*") {
        let detail = format!("if '*' is present, must not specify other {what}");
        errors.push(list.invalid(detail));
    }
}

fn resources(list: &At<'_>, errors: &mut Errors) {
    not_empty(list, errors);
    let (mut whole, mut everywhere) = (HashSet::new(), HashSet::new());
    // As in the original, the last resource without a subresource decides.
    let mut plain = false;
    for item in list.items() {
        let text = item.str();
        if text.is_empty() {
            errors.push(item.required(""));
            continue;
        }
        let Some((resource, part)) = text.split_once('/') else {
            plain = text != "*";
            continue;
        };
        if whole.contains(resource) {
            let detail = format!("if '{resource}/*' is present, must not specify {text}");
            errors.push(item.invalid(detail));
        }
        if everywhere.contains(part) {
            let detail = format!("if '*/{part}' is present, must not specify {text}");
            errors.push(item.invalid(detail));
        }
        if part == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            everywhere.insert(part);
        }
    }
    let has = |wanted: &str| list.items().any(|item| item.str() == wanted);
    if list.len() > 1 && has("*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.push(list.invalid(detail));
    }
    if has("*") && plain {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.push(list.invalid(detail));
    }
}

/// A MatchResources, where there is one.
pub(super) fn match_resources(at: &At<'_>, errors: &mut Errors) {
    if !at.is_set() {
        return;
    }
    let policy = at.get("matchPolicy");
    if policy.is_set() {
        check::one_of_if_set(&policy, &MATCH_POLICIES, errors);
    } else {
        errors.push(policy.required(""));
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        if at.get(selector).is_set() {
            check::label_selector(&at.get(selector), errors);
        } else {
            errors.push(at.get(selector).required(""));
        }
    }
    for rules in ["resourceRules", "excludeResourceRules"] {
        for rule in at.get(rules).items() {
            named_rule(&rule, errors);
        }
    }
}

fn named_rule(rule: &At<'_>, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for name in rule.get("resourceNames").items() {
        check::messages(&name, names::is_path_segment_name(name.str()), errors);
        if !seen.insert(name.str()) {
            errors.push(name.duplicate());
        }
    }
    self::rule(rule, errors);
}

/// Deletions cannot be mutated.
pub(super) fn mutable(at: &At<'_>, errors: &mut Errors) {
    let place = at.get("resourceRules").get("operations");
    for rule in at.get("resourceRules").items() {
        for operation in rule.get("operations").items() {
            if !MUTABLE.contains(&operation.str()) {
                errors.push(place.with(operation.value()).not_supported(&MUTABLE));
            }
        }
    }
}
