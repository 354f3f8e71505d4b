//! Whether roles and bindings make sense.

use super::GROUP;
use crate::{check, look::At};
use kubeplane_core::{Object, field::Errors, names};

pub(super) fn role(object: &Object, cluster: bool) -> Errors {
    let mut errors = Errors::new();
    for rule in At::top(object.map(), "rules").items() {
        self::rule(&rule, cluster, &mut errors);
    }
    let aggregation = At::top(object.map(), "aggregationRule");
    if cluster && aggregation.is_set() {
        let selectors = aggregation.get("clusterRoleSelectors");
        if selectors.is_empty() {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(selectors.required(detail));
        }
        for selector in selectors.items() {
            let before = errors.len();
            check::label_selector(&selector, &mut errors);
            if errors.len() > before {
                // The original shows what came of reading it, which is nothing.
                errors
                    .push(selector.invalid_as(serde_json::Value::Null, "invalid label selector."));
            }
        }
    }
    errors
}

/// Values that an aggregation looks for, and that are no values of labels, stay if there were such.
pub(super) fn role_update(object: &Object, old: &Object, cluster: bool) -> Errors {
    let mut errors = role(object, cluster);
    let mut before = Errors::new();
    for selector in At::top(old.map(), "aggregationRule").get("clusterRoleSelectors").items() {
        check::label_selector(&selector, &mut before);
    }
    if cluster && !before.is_empty() {
        check::forgive_selected_values(&mut errors);
    }
    errors
}

fn rule(rule: &At<'_>, cluster: bool, errors: &mut Errors) {
    let [verbs, urls, groups, resources, resource_names] =
        ["verbs", "nonResourceURLs", "apiGroups", "resources", "resourceNames"]
            .map(|field| rule.get(field));
    if verbs.is_empty() {
        errors.push(verbs.required("verbs must contain at least one value"));
    }
    if !urls.is_empty() {
        if !cluster {
            errors.push(urls.invalid("namespaced rules cannot apply to non-resource URLs"));
        }
        if groups.len() + resources.len() + resource_names.len() > 0 {
            errors.push(
                urls.invalid("rules cannot apply to both regular resources and non-resource URLs"),
            );
        }
        return;
    }
    if groups.is_empty() {
        errors.push(groups.required("resource rules must supply at least one api group"));
    }
    if resources.is_empty() {
        errors.push(resources.required("resource rules must supply at least one resource"));
    }
}

pub(super) fn binding(object: &Object, cluster: bool) -> Errors {
    let mut errors = Errors::new();
    let role = At::top(object.map(), "roleRef");
    let (group, kind, name) = (role.get("apiGroup"), role.get("kind"), role.get("name"));
    if group.str() != GROUP {
        errors.push(group.not_supported(&[GROUP]));
    }
    let kinds: &[&str] = if cluster { &["ClusterRole"] } else { &["Role", "ClusterRole"] };
    if !kinds.contains(&kind.str()) {
        errors.push(kind.not_supported(kinds));
    }
    if check::required(&name, &mut errors) {
        check::messages(&name, names::is_path_segment_name(name.str()), &mut errors);
    }
    for subject in At::top(object.map(), "subjects").items() {
        self::subject(&subject, cluster, &mut errors);
    }
    errors
}

fn subject(subject: &At<'_>, cluster: bool, errors: &mut Errors) {
    let (kind, group, name) = (subject.get("kind"), subject.get("apiGroup"), subject.get("name"));
    let named = check::required(&name, errors);
    match kind.str() {
        "ServiceAccount" => {
            if named {
                check::dns_subdomain(&name, errors);
            }
            if !group.str().is_empty() {
                errors.push(group.not_supported(&[""]));
            }
            let namespace = subject.get("namespace");
            if cluster {
                check::required(&namespace, errors);
            }
        }
        "User" | "Group" if group.str() != GROUP => errors.push(group.not_supported(&[GROUP])),
        "User" | "Group" => {}
        _ => errors.push(kind.not_supported(&["ServiceAccount", "User", "Group"])),
    }
}

/// What a binding grants never changes.
pub(super) fn role_ref_kept(object: &Object, old: &Object) -> Errors {
    let role = At::top(object.map(), "roleRef");
    let before = At::top(old.map(), "roleRef");
    let same = ["apiGroup", "kind", "name"]
        .iter()
        .all(|field| role.get(field).str() == before.get(field).str());
    if same { Errors::new() } else { vec![role.invalid("cannot change roleRef")] }
}
