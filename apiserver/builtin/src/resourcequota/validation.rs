//! Whether a ResourceQuota makes sense.

use super::quota_name;
use crate::{check, look::At, pod::validation::quantity_value};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path},
};
use std::collections::BTreeSet;

const COMPUTE: &[&str] =
    &["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
const OTHERS: &[&str] = &[
    "ephemeral-storage",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];
const OPPOSITES: [[&str; 2]; 2] =
    [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

/// Whether quotas know the resource.
pub(super) fn is_standard(name: &str) -> bool {
    COMPUTE.contains(&name)
        || OTHERS.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// Whether a resource is counted within a scope.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => resource == "pods" || COMPUTE.contains(&resource),
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ => true,
    }
}

pub(super) fn spec(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    amounts(&spec.get("hard"), &mut errors);
    scopes(&spec, &mut errors);
    if spec.get("scopeSelector").is_set() {
        scope_selector(&spec, &mut errors);
    }
    errors
}

fn amounts(list: &At<'_>, errors: &mut Errors) {
    for (name, amount) in list.entries() {
        quota_name(&amount, name, errors);
        quantity_value(&amount, name, errors);
    }
}

fn scopes(spec: &At<'_>, errors: &mut Errors) {
    let (list, hard) = (spec.get("scopes"), spec.get("hard"));
    let shown = |detail| list.invalid(detail);
    for scope in list.items() {
        if !SCOPES.contains(&scope.str()) {
            errors.push(shown("unsupported scope"));
        }
        for _ in misfits(&hard, scope.str()) {
            errors.push(shown("unsupported scope applied to resource"));
        }
    }
    let named: BTreeSet<_> = list.items().map(|scope| scope.str()).collect();
    for _ in OPPOSITES.iter().filter(|pair| pair.iter().all(|scope| named.contains(scope))) {
        errors.push(shown("conflicting scopes"));
    }
}

fn misfits<'a>(hard: &At<'a>, scope: &'a str) -> impl Iterator<Item = &'a str> {
    let names = hard.entries().map(|(name, _)| name);
    names.filter(move |name| is_standard(name) && !fits(scope, name))
}

fn scope_selector(spec: &At<'_>, errors: &mut Errors) {
    let selector = spec.get("scopeSelector");
    let list = selector.get("matchExpressions");
    let mut named = BTreeSet::new();
    for requirement in list.items() {
        // The original's paths have no index here.
        let at = |field| list.get(field).with(requirement.get(field).value());
        let (scope, operator, values) = (at("scopeName"), at("operator"), at("values"));
        if !SCOPES.contains(&scope.str()) {
            errors.push(scope.invalid("unsupported scope"));
        }
        for _ in misfits(&spec.get("hard"), scope.str()) {
            let detail = "unsupported scope applied to resource";
            errors.push(list.invalid_as(selector.value().clone(), detail));
        }
        let bare = !matches!(scope.str(), "PriorityClass" | "VolumeAttributesClass");
        if SCOPES.contains(&scope.str()) && bare && operator.str() != "Exists" {
            errors.push(operator.invalid(
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                 ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                 ResourceQuotaScopeCrossNamespacePodAffinity",
            ));
        }
        match operator.str() {
            "In" | "NotIn" if values.is_empty() => errors.push(values.required(
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(values.invalid(
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(operator.invalid("not a valid selector operator")),
        }
        named.insert(scope.str());
    }
    for _ in OPPOSITES.iter().filter(|pair| pair.iter().all(|scope| named.contains(scope))) {
        errors.push(spec.get("scopes").invalid("conflicting scopes"));
    }
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = spec(object);
    let scopes = |object| At::top(Object::map(object), "spec").get("scopes");
    let set = |at: &At<'_>| at.items().map(|scope| scope.str().to_owned()).collect::<BTreeSet<_>>();
    if set(&scopes(object)) != set(&scopes(old)) {
        errors.push(scopes(object).invalid(check::IMMUTABLE));
    }
    errors
}

pub(super) fn status(object: &Object) -> Errors {
    let mut errors = Errors::new();
    if object.resource_version().is_empty() {
        errors.push(Error::required(&Path::new("resourceVersion"), ""));
    }
    let status = At::top(object.map(), "status");
    amounts(&status.get("hard"), &mut errors);
    amounts(&status.get("used"), &mut errors);
    errors
}
