//! What holds for every container.

use super::{env, mounts, resources, security, spec::Scene};
use crate::{check, look::At};
use kubeplane_core::{field::Errors, names};
use std::collections::BTreeSet;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub(super) fn common(container: &At<'_>, scene: &Scene<'_>, errors: &mut Errors) {
    check::required_dns_label(&container.get("name"), errors);
    check::required(&container.get("image"), errors);
    let policies = ["File", "FallbackToLogsOnError"];
    check::one_of(&container.get("terminationMessagePolicy"), &policies, errors);
    ports(&container.get("ports"), errors);
    env::variables(&container.get("env"), errors);
    env::sources(&container.get("envFrom"), errors);
    mounts::mounts(container, scene, errors);
    mounts::devices(container, scene, errors);
    pull_policy(&container.get("imagePullPolicy"), errors);
    resources::container(&container.get("resources"), &scene.claims, errors);
    resize_policy(&container.get("resizePolicy"), scene.restart_policy, errors);
    security::container(&container.get("securityContext"), scene.host_users, errors);
}

pub(super) fn pull_policy(policy: &At<'_>, errors: &mut Errors) {
    check::one_of(policy, &["Always", "IfNotPresent", "Never"], errors);
}

/// Spaces around an image are an error in a pod, though not in a template.
pub(super) fn no_padding(container: &At<'_>, errors: &mut Errors) {
    let image = container.get("image");
    if image.str().trim().len() != image.str().len() {
        errors.push(image.invalid("must not have leading or trailing whitespace"));
    }
}

fn ports(ports: &At<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for port in ports.items() {
        let (name, inside, outside) =
            (port.get("name"), port.get("containerPort"), port.get("hostPort"));
        if !name.str().is_empty() {
            let problems = names::is_valid_port_name(name.str());
            if !problems.is_empty() {
                check::messages(&name, problems, errors);
            } else if !seen.insert(name.str()) {
                errors.push(name.duplicate());
            }
        }
        if inside.int().unwrap_or_default() == 0 {
            errors.push(inside.required(""));
        } else {
            check::port_number(&inside, errors);
        }
        if outside.int().unwrap_or_default() != 0 {
            check::port_number(&outside, errors);
        }
        check::one_of(&port.get("protocol"), PROTOCOLS, errors);
    }
}

fn resize_policy(policies: &At<'_>, pod_restarts: &str, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for item in policies.items() {
        let (resource, restart) = (item.get("resourceName").str(), item.get("restartPolicy").str());
        if !seen.insert(resource) {
            errors.push(item.duplicate_as(resource));
        }
        let (about_resource, about_restart) = (item.get("resourceName"), item.get("restartPolicy"));
        check::one_of(&policies.with(about_resource.value()), &["cpu", "memory"], errors);
        let restart_at = policies.with(about_restart.value());
        check::one_of(&restart_at, &["NotRequired", "RestartContainer"], errors);
        if pod_restarts == "Never" && restart != "NotRequired" {
            errors.push(
                restart_at.invalid("must be 'NotRequired' when pod `restartPolicy` is 'Never'"),
            );
        }
    }
}
