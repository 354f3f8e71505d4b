//! Requests, limits and claims.

use super::spec::{Owner, Scene};
use crate::{check, look::At};
use kubeplane_core::{
    field::{Error, Errors},
    names,
    quantity::Quantity,
};
use kubeplane_workload::{
    pod_spec,
    resources::{container_limits, container_requests, is_pod_level},
};
use std::collections::BTreeSet;

const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const PAGES: &str = "hugepages-";

/// Claims on devices that a pod brings along.
pub(super) fn claims(claims: &At<'_>, owner: &Owner<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for claim in claims.items() {
        if matches!(owner, Owner::Pod { is_static: true, .. }) {
            errors.push(Error::forbidden(
                &kubeplane_core::field::Path::root(),
                "static pods do not support resource claims",
            ));
            continue;
        }
        let name = claim.get("name");
        if check::required(&name, errors) {
            if seen.insert(name.str()) {
                check::dns_label(&name, errors);
            } else {
                errors.push(name.duplicate());
            }
        }
        let (of, template) =
            (claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName"));
        if of.is_set() && template.is_set() {
            let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
            errors.push(claim.invalid(detail));
        }
        if !of.is_set() && !template.is_set() {
            let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
            errors.push(claim.invalid(detail));
        }
        for reference in [of, template].iter().filter(|reference| reference.is_set()) {
            check::dns_subdomain(reference, errors);
        }
    }
}

/// The resources of a container.
pub(super) fn container(resources: &At<'_>, claims: &BTreeSet<&str>, errors: &mut Errors) {
    requirements(resources, container_resource, claims, errors);
}

/// What a runtime class adds to a pod; the original takes it for limits.
pub(crate) fn overhead(overhead: &At<'_>, errors: &mut Errors) {
    let limits = overhead.get("limits").with(overhead.value());
    amounts(&limits, container_resource, errors);
    let names = |prefix: &str| overhead.entries().any(|(name, _)| name.starts_with(prefix));
    if names(PAGES) && !names("cpu") && !names("memory") {
        errors.push(overhead.forbidden("HugePages require cpu or memory"));
    }
}

fn requirements(
    resources: &At<'_>,
    name: fn(&At<'_>, &str, &mut Errors),
    claims: &BTreeSet<&str>,
    errors: &mut Errors,
) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    amounts(&limits, name, errors);
    amounts(&requests, name, errors);
    for (resource, request) in requests.entries() {
        let limit = limits.key(resource);
        let (amount, most) = (check::quantity(&request), check::quantity(&limit));
        let exact = !is_overcommit_allowed(resource);
        if !limit.is_set() {
            if exact {
                errors.push(limits.required("Limit must be set for non overcommitable resources"));
            }
        } else if amount != most && exact {
            let detail = format!("must be equal to {resource} limit of {most}");
            errors.push(requests.invalid_as(amount.to_string(), detail));
        } else if amount > most {
            let detail = format!("must be less than or equal to {resource} limit of {most}");
            errors.push(requests.invalid_as(amount.to_string(), detail));
        }
    }
    let named = |found: fn(&str) -> bool| {
        [&limits, &requests].iter().any(|list| list.entries().any(|(n, _)| found(n)))
    };
    if named(|name| name.starts_with(PAGES)) && !named(|name| matches!(name, "cpu" | "memory")) {
        errors.push(resources.forbidden("HugePages require cpu or memory"));
    }
    claims_of(&resources.get("claims"), claims, errors);
}

fn amounts(list: &At<'_>, name: fn(&At<'_>, &str, &mut Errors), errors: &mut Errors) {
    for (resource, amount) in list.entries() {
        name(&amount, resource, errors);
        quantity_value(&amount, resource, errors);
        let quantity = check::quantity(&amount);
        if resource.starts_with(PAGES) && !is_whole_pages(resource, &quantity) {
            let detail = format!("{quantity} is not positive integer multiple of {resource}");
            errors.push(amount.invalid_as(quantity.to_string(), detail));
        }
    }
}

/// An amount is not negative, and whole where the resource is counted.
pub(crate) fn quantity_value(at: &At<'_>, resource: &str, errors: &mut Errors) {
    let quantity = check::quantity(at);
    if quantity.sign() < 0 {
        errors.push(at.invalid_as(quantity.to_string(), check::NEGATIVE));
    }
    if (COUNTED.contains(&resource) || is_extended(resource)) && quantity.milli_value() % 1000 != 0
    {
        errors.push(at.invalid_as(quantity.to_string(), "must be an integer"));
    }
}

/// The name of a resource of whatever kind.
pub(crate) fn resource_name(at: &At<'_>, name: &str, errors: &mut Errors) -> bool {
    let problems = names::is_qualified_name(name);
    let pages = name.starts_with(PAGES) || name.starts_with("requests.hugepages-");
    let detail = "must be a standard resource type or fully qualified";
    if !problems.is_empty() {
        errors.extend(problems.into_iter().map(|message| at.invalid_as(name, message)));
        false
    } else if !name.contains('/') && !STANDARD.contains(&name) && !pages {
        errors.push(at.invalid_as(name, detail));
        false
    } else {
        true
    }
}

/// The name of a resource that containers have.
pub(crate) fn container_resource(at: &At<'_>, name: &str, errors: &mut Errors) {
    resource_name(at, name, errors);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with(PAGES) {
            errors.push(at.invalid_as(name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(at.invalid_as(name, "doesn't follow extended resource name standard"));
    }
}

fn pod_resource(at: &At<'_>, name: &str, errors: &mut Errors) {
    if resource_name(at, name, errors) && !is_pod_level(name) {
        let known = ["cpu", PAGES, "memory"];
        errors.push(Error::not_supported(&at.path(), name, &known));
    }
}

/// Whether the resource is the system's own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::is_qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether more of it may be promised than there is.
pub(crate) fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !name.starts_with(PAGES)
}

fn is_whole_pages(name: &str, amount: &Quantity) -> bool {
    let size = name.strip_prefix(PAGES).and_then(|size| Quantity::parse(size).ok());
    let Some(size) = size.filter(|size| size.sign() > 0 && size.milli_value() % 1000 == 0) else {
        return false;
    };
    amount.value() % size.value() == 0
}

/// The claims of a container name claims of its pod, and each once.
fn claims_of(list: &At<'_>, known: &BTreeSet<&str>, errors: &mut Errors) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for claim in list.items() {
        let (name, request) = (claim.get("name").str(), claim.get("request"));
        if name.is_empty() {
            errors.push(claim.required(""));
            continue;
        }
        if seen.contains(name) {
            errors.push(claim.duplicate_as(name));
        } else {
            let mut key = name.to_owned();
            if !request.str().is_empty() {
                check::dns_label(&request, errors);
                key = format!("{name}/{}", request.str());
            }
            if seen.contains(&key) {
                errors.push(claim.duplicate_as(&*key));
            } else if request.str().is_empty() {
                let same =
                    |key: &&String| key.split_once('/').is_some_and(|(first, _)| first == name);
                errors.extend(seen.iter().filter(same).map(|_| claim.duplicate_as(name)));
            }
            seen.insert(key);
        }
        if !known.contains(name) {
            let mut error = claim.with(claim.get("name").value()).not_found();
            error.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            let names: Vec<_> = known.iter().copied().collect();
            error.detail += &if names.is_empty() {
                " which is empty".to_owned()
            } else {
                format!(": {}", names.join(", "))
            };
            errors.push(error);
        }
    }
}

/// The resources of the pod as a whole hold those of its containers.
pub(super) fn pod_level(spec: &At<'_>, scene: &Scene<'_>, errors: &mut Errors) {
    let resources = spec.get("resources");
    if !resources.is_set() {
        return;
    }
    if scene.os == Some("windows") {
        return errors.push(resources.forbidden("may not be set for a windows pod"));
    }
    let claims = resources.get("claims");
    if claims.is_set() {
        errors.push(claims.forbidden("claims may not be set for Resources at pod-level"));
    }
    requirements(&resources, pod_resource, &scene.claims, errors);
    let Ok(typed) = pod_spec(spec.value()) else {
        return;
    };
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    let within = |list: &At<'_>, name: &str, sum: &Quantity, what: &str| {
        let whole = list.key(name);
        let amount = check::quantity(&whole);
        let detail =
            format!("must be greater than or equal to aggregate container {what} of {sum}");
        (whole.is_set() && *sum > amount).then(|| whole.invalid_as(amount.to_string(), detail))
    };
    for (name, sum) in container_requests(&typed) {
        errors.extend(within(&requests, &name, &sum, "requests"));
    }
    for (name, sum) in
        container_limits(&typed).into_iter().filter(|(name, _)| name.starts_with(PAGES))
    {
        errors.extend(within(&limits, &name, &sum, "limits"));
    }
    for (index, container) in spec.get("containers").items().enumerate() {
        for (name, limit) in container.get("resources").get("limits").entries() {
            let (amount, whole) = (check::quantity(&limit), limits.key(name));
            let most = check::quantity(&whole);
            if whole.is_set() && amount > most {
                let at = resources.get("containers").index(index).key(name).get("limits");
                let detail = format!("must be less than or equal to pod limits of {most}");
                errors.push(at.invalid_as(amount.to_string(), detail));
            }
        }
    }
}
