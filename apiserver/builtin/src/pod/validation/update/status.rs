//! What a pod may say of itself.

use crate::{
    check,
    look::{At, Look},
    pod::validation::{annotations, ratchet::forgive_pod},
};
use kubeplane_core::{Object, field::Errors, names::address};
use serde_json::Value;
use std::net::IpAddr;

mod containers;

/// A write to `status`.
pub(crate) fn status(pod: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    annotations::updates(pod, old, &mut errors);
    let (spec, status) = (At::top(pod.map(), "spec"), At::top(pod.map(), "status"));
    annotations::pod_annotations(
        &At::top(pod.map(), "metadata").get("annotations"),
        &spec,
        &mut errors,
    );
    forgive_pod(&mut errors, old);
    let before = At::top(old.map(), "status");
    conditions(&status.get("conditions"), &mut errors);
    nominated(&spec, &status, &before, &mut errors);
    not_negative(&status.get("observedGeneration"), &mut errors);
    if status.get("qosClass").str() != before.get("qosClass").str() {
        errors.push(status.get("qosClass").invalid(check::IMMUTABLE));
    }
    for (list, containers) in [
        ("containerStatuses", Some("containers")),
        ("initContainerStatuses", Some("initContainers")),
        ("ephemeralContainerStatuses", None),
    ] {
        transitions(&status.get(list), &before.get(list), &spec, containers, &mut errors);
    }
    claims(&status.get("resourceClaimStatuses"), &spec, &mut errors);
    containers::extended_claim(&spec, &status, &mut errors);
    containers::node_claims(&spec, &status, &mut errors);
    addresses(&status.get("podIPs"), &before.get("podIPs"), &mut errors);
    let hosts = status.get("hostIPs");
    if let Some(first) = hosts.items().next().map(|host| host.get("ip"))
        && first.str() != status.get("hostIP").str()
    {
        errors.push(first.invalid("must be equal to `hostIP`"));
    }
    addresses(&hosts, &before.get("hostIPs"), &mut errors);
    containers::statuses(&spec, &status, &mut errors);
    errors
}

fn not_negative(at: &At<'_>, errors: &mut Errors) {
    if let Some(number) = at.int().filter(|number| *number < 0) {
        errors.push(at.invalid_as(number, "must be a non-negative integer"));
    }
}

fn conditions(conditions: &At<'_>, errors: &mut Errors) {
    for condition in conditions.items() {
        not_negative(&condition.get("observedGeneration"), errors);
        let kind = condition.get("type");
        if !matches!(kind.str(), "PodScheduled" | "Ready" | "Initialized") {
            check::qualified_name(&condition.get("Type").with(kind.value()), errors);
        }
    }
}

fn nominated(spec: &At<'_>, status: &At<'_>, before: &At<'_>, errors: &mut Errors) {
    let name = status.get("nominatedNodeName");
    if name.str().is_empty() || name.str() == before.get("nominatedNodeName").str() {
        return;
    }
    check::dns_subdomain(&name, errors);
    if !spec.get("nodeName").str().is_empty() {
        errors.push(name.forbidden("may not be set on pods that are already bound to a node"));
    }
}

/// A container that ended for good does not come back.
fn transitions(
    statuses: &At<'_>,
    before: &At<'_>,
    spec: &At<'_>,
    containers: Option<&'static str>,
    errors: &mut Errors,
) {
    let all_restart = || {
        ["containers", "initContainers"].iter().any(|list| {
            let rules = spec
                .get(list)
                .items()
                .flat_map(|container| container.get("restartPolicyRules").items());
            rules.into_iter().any(|rule| rule.get("action").str() == "RestartAllContainers")
        })
    };
    if containers.is_some() && all_restart() {
        return;
    }
    for old in before.items() {
        let terminated = old.get("state").get("terminated");
        if !terminated.is_set() {
            continue;
        }
        let name = old.get("name").str();
        let came_back = statuses.items().any(|new| {
            new.get("name").str() == name && !new.get("state").get("terminated").is_set()
        });
        let code = terminated.get("exitCode").int().unwrap_or_default();
        let declared = containers
            .and_then(|list| spec.get(list).items().find(|c| c.get("name").str() == name));
        let restarts =
            declared.is_some_and(|container| restarts(container.value(), spec.value(), code));
        if came_back && !restarts {
            let at = statuses.with(statuses.value());
            let index = before
                .items()
                .position(|status| status.get("name").str() == name)
                .unwrap_or_default();
            errors.push(
                at.index(index)
                    .get("state")
                    .forbidden("may not be transitioned to non-terminated state"),
            );
        }
    }
}

/// Whether a container that ended with this code is started again.
fn restarts(container: &Value, spec: &Value, code: i64) -> bool {
    for rule in container.list("restartPolicyRules") {
        let codes = rule.sub("exitCodes");
        let listed = codes.list("values").iter().any(|value| value.as_i64() == Some(code));
        let matches = match codes.text("operator") {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if matches && rule.text("action") == "Restart" {
            return true;
        }
    }
    let policy = match container.text("restartPolicy") {
        "" => spec.text("restartPolicy"),
        own => own,
    };
    match policy {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

fn claims(statuses: &At<'_>, spec: &At<'_>, errors: &mut Errors) {
    let known = check::texts(&spec.get("resourceClaims"), "name");
    let mut seen = Vec::new();
    for status in statuses.items() {
        let name = status.get("name");
        if !known.contains(name.str()) {
            errors.push(name.invalid("must match the name of an entry in `spec.resourceClaims`"));
        }
        if seen.contains(&name.str()) {
            errors.push(name.duplicate());
        }
        seen.push(name.str());
        check::optional_dns_subdomain(&status.get("resourceClaimName"), errors);
    }
}

/// At most one address of each family.
fn addresses(list: &At<'_>, before: &At<'_>, errors: &mut Errors) {
    let known: Vec<_> = before.items().map(|item| item.get("ip").str()).collect();
    for item in list.items() {
        check::legacy_ip(&item.with(item.get("ip").value()), &known, errors);
    }
    let parsed: Vec<_> =
        list.items().filter_map(|item| address::parse_ip_sloppy(item.get("ip").str())).collect();
    let both = parsed.iter().any(IpAddr::is_ipv4) && parsed.iter().any(IpAddr::is_ipv6);
    if list.len() > 1 && (!both || list.len() > 2) {
        errors.push(list.invalid("may specify no more than one IP for each IP family"));
    }
}
