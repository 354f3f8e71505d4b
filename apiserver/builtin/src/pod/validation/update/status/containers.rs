//! What a pod's status says of its containers: who they run as, and how the devices and images are that they have.

use crate::{
    check,
    look::{At, Look},
};
use kubeplane_core::{field::Errors, names};
use serde_json::Value;
use std::collections::BTreeSet;

const MESSAGE_MAX: usize = 1024;
const IMAGE_MAX: usize = 256;
const HEALTH: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];

/// The lists of statuses, each with the list of the containers that it is about, in the original's order.
pub(super) fn statuses(spec: &At<'_>, status: &At<'_>, errors: &mut Errors) {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    for list in lists {
        users(&status.get(list), spec, errors);
    }
    for (list, containers) in lists.into_iter().zip(["containers", "initContainers"]) {
        let declared = spec.get(containers);
        for one in status.get(list).items() {
            allocated(&one, declared.value(), errors);
        }
    }
    for one in status.get("ephemeralContainerStatuses").items() {
        let allocated = one.get("allocatedResourcesStatus");
        if !allocated.is_empty() {
            errors.push(allocated.forbidden("must not be specified in container status"));
        }
    }
    for list in lists {
        for one in status.get(list).items() {
            one.get("volumeMounts").items().for_each(|mount| image(&mount, errors));
        }
    }
}

fn users(statuses: &At<'_>, spec: &At<'_>, errors: &mut Errors) {
    let os = spec.get("os");
    for status in statuses.items() {
        let linux = status.get("user").get("linux");
        if !linux.is_set() {
            continue;
        }
        match os.get("name").str() {
            "windows" => errors.push(linux.forbidden("cannot be set for a windows pod")),
            "linux" => user(&linux, errors),
            _ if !os.is_set() => user(&linux, errors),
            _ => {}
        }
    }
}

fn user(linux: &At<'_>, errors: &mut Errors) {
    let id = |at: &At<'_>| at.int().unwrap_or_default();
    let (uid, gid) = (linux.get("uid"), linux.get("gid"));
    let problems = names::is_valid_user_id(id(&uid)).into_iter();
    errors.extend(problems.map(|problem| uid.invalid_as(id(&uid), problem)));
    let groups = linux.get("supplementalGroups");
    for group in [gid].into_iter().chain(groups.items()) {
        let problems = names::is_valid_group_id(id(&group)).into_iter();
        errors.extend(problems.map(|problem| group.invalid_as(id(&group), problem)));
    }
}

/// What a container has of what it asks for, and how that is.
fn allocated(status: &At<'_>, declared: &Value, errors: &mut Errors) {
    let name = status.get("name").str();
    let all = declared.as_array().map(Vec::as_slice).unwrap_or_default();
    let container = all.iter().find(|container| container.text("name") == name);
    for resource in status.get("allocatedResourcesStatus").items() {
        if let Some(container) = container {
            asked_for(&resource.get("name"), container.sub("resources"), errors);
        }
        let mut seen = BTreeSet::new();
        for one in resource.get("resources").items() {
            let (health, message, id) =
                (one.get("health"), one.get("message"), one.get("resourceID"));
            if !HEALTH.contains(&health.str()) {
                errors.push(health.not_supported(&HEALTH));
            }
            if message.is_set() && message.str().is_empty() {
                errors.push(message.required("must be non-empty if specified"));
            } else if message.str().len() > MESSAGE_MAX {
                errors.push(message.too_long(MESSAGE_MAX));
            }
            if !seen.insert(id.str()) {
                errors.push(id.duplicate());
            }
        }
    }
}

fn asked_for(at: &At<'_>, resources: &Value, errors: &mut Errors) {
    let name = at.str();
    let claimed = |claim: &Value| match claim.text("request") {
        "" => format!("claim:{}", claim.text("name")) == name,
        request => format!("claim:{}/{request}", claim.text("name")) == name,
    };
    let (known, why) = if name.starts_with("claim:") {
        let why = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or \
                   'claim:<claimName>' if request is empty";
        (resources.list("claims").iter().any(claimed), why)
    } else {
        let why = "must match one of the container's resource requests";
        (resources.sub("requests").get(name).is_some(), why)
    };
    if !known {
        errors.push(at.invalid(why));
    }
}

fn image(mount: &At<'_>, errors: &mut Errors) {
    let volume = mount.get("volumeStatus");
    // The original names the field otherwise than the object does.
    let image = volume.get("imageVolumeStatus").with(volume.get("image").value());
    if !image.is_set() {
        return;
    }
    let reference = image.get("imageRef");
    if reference.str().is_empty() {
        errors.push(reference.required("imageRef must not be empty"));
    } else if reference.str().len() > IMAGE_MAX {
        errors.push(reference.too_long(IMAGE_MAX));
    }
}

/// The claim that stands for the extended resources a pod asks for.
pub(super) fn extended_claim(spec: &At<'_>, status: &At<'_>, errors: &mut Errors) {
    let claim = status.get("extendedResourceClaimStatus");
    if !claim.is_set() {
        return;
    }
    let mappings = claim.get("requestMappings");
    if mappings.is_empty() {
        errors.push(mappings.required("at least one request mapping is required"));
    }
    let mut seen = BTreeSet::new();
    for mapping in mappings.items() {
        let at = ["containerName", "resourceName", "requestName"].map(|field| mapping.get(field));
        let [container, resource, request] = &at;
        // Of two of a name the last one counts.
        let lists = ["initContainers", "containers"].map(|list| spec.value().list(list));
        let mut declared = lists.into_iter().flatten().rev();
        match declared.find(|declared| declared.text("name") == container.str()) {
            None => errors.push(container.invalid(
                "must match the name of an entry in spec.initContainers.name or spec.containers.name",
            )),
            Some(found) if !found.sub("resources").sub("requests").has(resource.str()) => {
                errors.push(resource.invalid(
                    "must match the extended resource name of an entry in spec.initContainers.resources.requests or \
                     spec.containers.resources.requests",
                ));
            }
            Some(_) => {}
        }
        check::dns_label(&claim.get("requestName").with(request.value()), errors);
        if !seen.insert(at.clone().map(|at| at.str().to_owned())) {
            errors.extend(at.iter().map(At::duplicate));
        }
    }
    check::required_dns_subdomain(&claim.get("resourceClaimName"), errors);
}

/// The claims that stand for what nodes have themselves.
pub(super) fn node_claims(spec: &At<'_>, status: &At<'_>, errors: &mut Errors) {
    let referenced = |list: &At<'_>, name: &str| {
        list.items().any(|claim| {
            let claim = claim.get("resourceClaimName");
            claim.is_set() && claim.str() == name
        })
    };
    let lists = [spec.get("resourceClaims"), status.get("resourceClaimStatuses")];
    for one in status.get("nodeAllocatableResourceClaimStatuses").items() {
        let claim = one.get("resourceClaimName");
        if claim.str().is_empty() {
            errors.push(claim.required("must not be empty"));
        }
        if !lists.iter().any(|list| referenced(list, claim.str())) {
            errors.push(claim.invalid("no mapping found in pod reference"));
        }
        for field in ["containers", "resources"] {
            if one.get(field).is_empty() {
                errors.push(one.get(field).required("must not be empty"));
            }
        }
        for (name, amount) in one.get("resources").entries() {
            if !crate::pod::validation::resources::is_native(name) {
                errors.push(amount.invalid_as(name, "must be a node allocatable resource name"));
            }
            let quantity = check::quantity(&amount);
            if quantity.sign() < 0 {
                errors.push(amount.invalid_as(quantity.to_string(), "must be non-negative"));
            }
        }
    }
}
