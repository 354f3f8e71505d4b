//! The lists of containers of a pod.

use super::{
    container,
    handlers::{lifecycle, probes},
    spec::Scene,
};
use crate::{check, gates::SIDECAR_RULES, look::At};
use kubeplane_core::field::Errors;
use std::collections::BTreeSet;

/// All containers, init containers first.
pub(crate) fn all<'a>(spec: &At<'a>) -> impl Iterator<Item = At<'a>> + use<'a> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].map(|list| spec.get(list));
    lists.into_iter().flat_map(|list| list.items())
}

/// The containers proper.
pub(super) fn containers(spec: &At<'_>, scene: &Scene<'_>, errors: &mut Errors) {
    let list = spec.get("containers");
    if list.is_empty() {
        return errors.push(list.required(""));
    }
    let mut names = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for container in list.items() {
        container::common(&container, scene, errors);
        let name = container.get("name");
        if !names.insert(name.str()) {
            errors.push(name.duplicate());
        }
        lifecycle(&container.get("lifecycle"), scene, errors);
        probes(&container, scene, errors);
        restart_policy(&container, errors);
    }
    for container in list.items() {
        unique_host_ports(&container, &mut ports, errors);
    }
}

/// The containers that run before, and the sidecars.
pub(super) fn init_containers(spec: &At<'_>, scene: &Scene<'_>, errors: &mut Errors) {
    let mut names: BTreeSet<_> =
        spec.get("containers").items().map(|container| container.get("name").str()).collect();
    for container in spec.get("initContainers").items() {
        container::common(&container, scene, errors);
        let policy = container.get("restartPolicy");
        let rules = container.get("restartPolicyRules");
        if policy.is_set() || !rules.is_empty() {
            restart_policy_of_init(&container, errors);
        }
        let name = container.get("name");
        if names.contains(name.str()) {
            errors.push(name.duplicate());
        } else if !name.str().is_empty() {
            names.insert(name.str());
        }
        unique_host_ports(&container, &mut BTreeSet::new(), errors);
        if policy.str() == "Always" {
            lifecycle(&container.get("lifecycle"), scene, errors);
            probes(&container, scene, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.get(field).is_set() {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.push(container.get(field).forbidden(detail));
            }
        }
        for resize in container.get("resizePolicy").items() {
            let policy = resize.get("restartPolicy");
            if policy.str() == "RestartContainer" {
                let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                errors.push(policy.invalid(detail));
            }
        }
    }
}

/// The containers added to a running pod; they have names of their own and little else.
pub(super) fn ephemeral_containers(spec: &At<'_>, scene: &Scene<'_>, errors: &mut Errors) {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    let names_in = |list| {
        spec.get(list).items().map(|container| container.get("name").str()).collect::<Vec<_>>()
    };
    let others: BTreeSet<_> =
        names_in("containers").into_iter().chain(names_in("initContainers")).collect();
    let mut names = others.clone();
    for container in spec.get("ephemeralContainers").items() {
        container::common(&container, scene, errors);
        container::no_padding(&container, errors);
        let (name, target) = (container.get("name"), container.get("targetContainerName"));
        if !names.insert(name.str()) {
            errors.push(name.duplicate());
        }
        if !target.str().is_empty() && !others.contains(target.str()) {
            errors.push(target.not_found());
        }
        for field in [
            "ports",
            "resources",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ] {
            let value = container.get(field);
            let empty = value.is_empty() && value.str().is_empty();
            if value.is_set() && !(empty && matches!(field, "ports" | "resources" | "resizePolicy"))
            {
                errors.push(value.forbidden(DETAIL));
            }
        }
        for mount in container.get("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.get(field).str().is_empty() {
                    errors.push(mount.get(field).forbidden(DETAIL));
                }
            }
        }
    }
}

fn unique_host_ports(container: &At<'_>, seen: &mut BTreeSet<String>, errors: &mut Errors) {
    for port in container.get("ports").items() {
        let host = port.get("hostPort");
        let number = host.int().unwrap_or_default();
        if number == 0 {
            continue;
        }
        let text = format!("{}/{}/{number}", port.get("protocol").str(), port.get("hostIP").str());
        if !seen.insert(text.clone()) {
            errors.push(host.duplicate_as(text));
        }
    }
}

fn restart_policy_of_init(container: &At<'_>, errors: &mut Errors) {
    let policy = container.get("restartPolicy");
    if policy.is_set() {
        restart_policy(container, errors);
    } else {
        errors.push(policy.required("must specify restartPolicy when restart rules are used"));
    }
    let rules = container.get("restartPolicyRules");
    if policy.str() == "Always" && !rules.is_empty() {
        // For the same gate.
        errors.push(rules.forbidden(SIDECAR_RULES));
    }
}

/// When a single container restarts, whatever the pod's policy is.
fn restart_policy(container: &At<'_>, errors: &mut Errors) {
    let (policy, rules) = (container.get("restartPolicy"), container.get("restartPolicyRules"));
    if !policy.is_set() && rules.is_empty() {
        return;
    }
    if policy.is_set() {
        check::one_of_if_set(&policy, &["Always", "Never", "OnFailure"], errors);
    } else {
        errors.push(policy.required("must specify restartPolicy when restart rules are used"));
    }
    if rules.len() > 20 {
        errors.push(rules.too_many(20));
    }
    for rule in rules.items() {
        let (action, codes) = (rule.get("action"), rule.get("exitCodes"));
        match action.str() {
            "Restart" => {}
            // For the gate `RestartAllContainersOnContainerExits`.
            "RestartAllContainers" => errors.push(action.not_supported(&["Restart"])),
            _ => errors.push(action.not_supported(&["Restart", "RestartAllContainers"])),
        }
        if !codes.is_set() {
            errors.push(codes.required("must be specified"));
            continue;
        }
        let (operator, values) = (codes.get("operator"), codes.get("values"));
        if !matches!(operator.str(), "In" | "NotIn") {
            errors.push(operator.not_supported(&["In", "NotIn"]));
        }
        if values.len() > 255 {
            errors.push(values.too_many(255));
        }
    }
}
