//! What is allowed in a pod or its template, but hardly meant.

use super::validation::containers;
use crate::{
    addresses::warn_of_ip,
    check,
    look::{At, Look},
};
use kubeplane_core::{Object, admission::Warnings, names::is_valid_label_value};
use std::collections::BTreeSet;

mod paths;

const NULL_SELECTOR: &str = "a null labelSelector results in matching no pod";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Warns about a new pod.
pub(crate) fn pod(warnings: &Warnings, pod: &Object) {
    let (metadata, spec) = (At::top(pod.map(), "metadata"), At::top(pod.map(), "spec"));
    metadata_and_spec(warnings, &metadata, &spec);
}

/// Warns about a pod template.
pub(crate) fn template(warnings: &Warnings, template: &At<'_>) {
    metadata_and_spec(warnings, &template.get("metadata"), &template.get("spec"));
}

fn metadata_and_spec(warnings: &Warnings, metadata: &At<'_>, spec: &At<'_>) {
    labels(warnings, spec);
    annotations(warnings, &metadata.get("annotations"), spec);
    for volume in spec.get("volumes").items() {
        old_volume(warnings, &volume);
        paths::overlapping(warnings, &volume);
    }
    repeated(warnings, &spec.get("hostAliases"), "ip");
    repeated(warnings, &spec.get("imagePullSecrets"), "name");
    for secret in spec.get("imagePullSecrets").items() {
        if secret.get("name").str().is_empty() {
            warnings.add(format!("{}: invalid empty name \"\"", secret.get("name").path()));
        }
    }
    fractions(warnings, &spec.get("overhead"));
    for container in containers::all(spec) {
        for list in ["limits", "requests"] {
            fractions(warnings, &container.get("resources").get(list));
        }
        hidden_variables(warnings, &container.get("env"));
    }
    ports(warnings, spec);
    let grace = spec.get("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds < 0) {
        let text = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.add(format!("{}: {text}", grace.path()));
    }
    selectors(warnings, &spec.get("affinity"));
    let aliases = spec.get("hostAliases").items().map(|alias| alias.get("ip"));
    for ip in spec.get("dnsConfig").get("nameservers").items().chain(aliases) {
        warn_of_ip(warnings, &ip);
    }
}

/// Warns of the addresses in the status of a pod.
pub(super) fn status(warnings: &Warnings, pod: &Object) {
    let status = At::top(pod.map(), "status");
    for at in ["podIPs", "hostIPs"].iter().flat_map(|list| status.get(list).items()) {
        warn_of_ip(warnings, &at.get("ip"));
    }
}

/// Why a label of nodes should no longer be used.
pub(crate) fn deprecated_label(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        }
        "beta.kubernetes.io/instance-type" => {
            "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"
        }
        "app.kubernetes.io/created-by" => "deprecated since v1.9",
        "scheduler.alpha.kubernetes.io/preferAvoidPods" => {
            "deprecated since v1.22; use Taints and Tolerations instead"
        }
        "node-role.kubernetes.io/master" => "use \"node-role.kubernetes.io/control-plane\" instead",
        _ => return None,
    })
}

fn labels(warnings: &Warnings, spec: &At<'_>) {
    for (key, value) in spec.get("nodeSelector").entries() {
        if let Some(text) = deprecated_label(key) {
            warnings.add(format!("{}: {text}", value.path()));
        }
    }
    let affinity = spec.get("affinity").get("nodeAffinity");
    let required =
        affinity.get("requiredDuringSchedulingIgnoredDuringExecution").get("nodeSelectorTerms");
    let preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution");
    // Of what is preferred values are let in that no label can have.
    let terms = required.items().map(|term| (term, false));
    let preferences = preferred.items().map(|term| (term.get("preference"), true));
    for (term, is_preference) in terms.chain(preferences) {
        for expression in term.get("matchExpressions").items() {
            let key = expression.get("key");
            if let Some(text) = deprecated_label(key.str()) {
                warnings.add(format!("{}: {} is {text}", key.path(), key.str()));
            }
            for value in expression.get("values").items().filter(|_| is_preference) {
                for message in is_valid_label_value(value.str()) {
                    let (path, value) = (value.path(), value.str());
                    warnings.add(format!("{path}: {value} is invalid, {message}"));
                }
            }
        }
    }
    for constraint in spec.get("topologySpreadConstraints").items() {
        let (key, selector) = (constraint.get("topologyKey"), constraint.get("labelSelector"));
        if let Some(text) = deprecated_label(key.str()) {
            warnings.add(format!("{}: {} is {text}", key.path(), key.str()));
        }
        if !selector.is_set() {
            warnings.add(format!("{}: {NULL_SELECTOR}", selector.path()));
        }
    }
}

fn annotations(warnings: &Warnings, annotations: &At<'_>, spec: &At<'_>) {
    let sysctls = "non-functional in v1.11+; use the \"sysctls\" field instead";
    for (key, text) in [
        (
            "scheduler.alpha.kubernetes.io/critical-pod",
            "non-functional in v1.16+; use the \"priorityClassName\" field instead",
        ),
        ("security.alpha.kubernetes.io/sysctls", sysctls),
        ("security.alpha.kubernetes.io/unsafe-sysctls", sysctls),
    ] {
        if annotations.value().has(key) {
            warnings.add(format!("{}: {text}", annotations.key(key).path()));
        }
    }
    let seccomp = |owner: &At<'_>, key: &str| {
        let field = owner.get("securityContext").get("seccompProfile");
        if annotations.value().has(key) && !field.is_set() {
            let text = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
            warnings.add(format!("{}: {text}", annotations.key(key).path()));
        }
    };
    seccomp(spec, SECCOMP_POD);
    for container in containers::all(spec) {
        seccomp(&container, &format!("{SECCOMP_CONTAINER}{}", container.get("name").str()));
    }
}

fn old_volume(warnings: &Warnings, volume: &At<'_>) {
    for (kind, printed, text) in [
        (
            "photonPersistentDisk",
            "photonPersistentDisk",
            "deprecated in v1.11, non-functional in v1.16+",
        ),
        ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
        ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
        ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ] {
        if volume.value().has(kind) {
            warnings.add(format!("{}: {text}", volume.get(printed).path()));
        }
    }
}

fn repeated(warnings: &Warnings, list: &At<'_>, field: &'static str) {
    let mut seen = BTreeSet::new();
    for item in list.items() {
        let at = item.get(field);
        if !seen.insert(at.str()) {
            warnings.add(format!("{}: duplicate {field} {:?}", at.path(), at.str()));
        }
    }
}

fn fractions(warnings: &Warnings, list: &At<'_>) {
    for name in ["memory", "ephemeral-storage"].into_iter().filter(|name| list.value().has(name)) {
        let at = list.key(name);
        let amount = check::quantity(&at);
        if amount.milli_value() % 1000 != 0 {
            let text = format!("fractional byte value \"{amount}\" is invalid, must be an integer");
            warnings.add(format!("{}: {text}", at.path()));
        }
    }
}

/// A variable set twice keeps its last value, unless that builds on the one before.
fn hidden_variables(warnings: &Warnings, list: &At<'_>) {
    let mut seen = BTreeSet::new();
    for variable in list.items() {
        let (name, value) = (variable.get("name").str(), variable.get("value").str());
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        let builds = value.contains(&reference) && value != reference;
        if variable.get("valueFrom").is_set() || !builds {
            let text = format!(
                "hides previous definition of {name:?}, which may be dropped when using apply"
            );
            warnings.add(format!("{}: {text}", variable.path()));
        }
    }
}

fn ports(warnings: &Warnings, spec: &At<'_>) {
    let all: Vec<_> =
        containers::all(spec).flat_map(|container| container.get("ports").items()).collect();
    for port in &all {
        let (address, value) = (port.get("hostIP").str(), port.value());
        if !address.is_empty() && value.int("hostPort") == 0 {
            warnings.add(format!(
                "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{address}}}",
                port.path(),
                value.text("name"),
                value.int("containerPort"),
                value.text("protocol"),
            ));
        }
    }
    for (index, port) in all.iter().enumerate() {
        for other in &all[..index] {
            if let Some(what) = overlap(port, other) {
                warnings.add(format!(
                    "{}: {what} port definition with {}",
                    port.path(),
                    other.path()
                ));
            }
        }
    }
    for (index, port) in all.iter().enumerate() {
        let name = port.get("name").str();
        let first =
            all[..index].iter().find(|other| !name.is_empty() && other.get("name").str() == name);
        if let Some(first) = first {
            let first = first.path();
            warnings.add(format!(
                "{}: duplicate port name {name:?} with {first}, services and probes that select ports by name will use \
                 {first}",
                port.path()
            ));
        }
    }
}

fn overlap(a: &At<'_>, b: &At<'_>) -> Option<&'static str> {
    let (a, b) = (a.value(), b.value());
    if a.int("containerPort") != b.int("containerPort") || a.text("protocol") != b.text("protocol")
    {
        return None;
    }
    let (host_a, host_b) = (a.int("hostPort"), b.int("hostPort"));
    let (ip_a, ip_b) = (a.text("hostIP"), b.text("hostIP"));
    if ip_a == ip_b && host_a == host_b {
        Some("duplicate")
    } else if host_a == 0 || host_b == 0 {
        Some("overlapping")
    } else if host_a == host_b && ip_a.is_empty() != ip_b.is_empty() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}

fn selectors(warnings: &Warnings, affinity: &At<'_>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.get(kind);
        let preferred = pods.get("preferredDuringSchedulingIgnoredDuringExecution").items();
        let terms = pods
            .get("requiredDuringSchedulingIgnoredDuringExecution")
            .items()
            .chain(preferred.map(|term| term.get("podAffinityTerm")));
        for selector in
            terms.map(|term| term.get("labelSelector")).filter(|selector| !selector.is_set())
        {
            warnings.add(format!("{}: {NULL_SELECTOR}", selector.path()));
        }
    }
}
