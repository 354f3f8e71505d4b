use super::{Scope, number};
use crate::{
    qos::{QosClass, qos_class},
    resources::{Resources, limits, requests},
    typed::pod_spec,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodSpec;
use kubeplane_core::{Object, quantity::Quantity};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 10] = [
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
];
/// Every container of a pod must say these where a quota limits them.
const REQUIRED: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const DEVICES: &str = "deviceclass.resource.kubernetes.io/";

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether containers may ask for more of a resource than those every node has.
fn is_extended(name: &str) -> bool {
    name.starts_with(DEVICES) || (!is_native(name) && !name.starts_with("requests."))
}

pub(super) fn counts(name: &str) -> bool {
    let request = name.strip_prefix("requests.");
    NAMES.contains(&name)
        || name.starts_with("hugepages-")
        || request.is_some_and(|rest| {
            rest.starts_with("hugepages-") || rest.starts_with(DEVICES) || !is_native(name)
        })
}

fn spec(pod: &Object) -> PodSpec {
    pod.at(&["spec"]).and_then(|spec| pod_spec(spec).ok()).unwrap_or_default()
}

pub(super) fn is_terminating(pod: &Object) -> bool {
    let deadline = pod.at(&["spec", "activeDeadlineSeconds"]).and_then(Value::as_i64);
    deadline.is_some_and(|deadline| deadline >= 0)
}

pub(super) fn is_in(scope: &Scope<'_>, pod: &Object) -> bool {
    let best_effort = || qos_class(&spec(pod)) == QosClass::BestEffort;
    match scope.name {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => scope
            .picks(Some(pod.text(&["spec", "priorityClassName"])).filter(|name| !name.is_empty())),
        "CrossNamespacePodAffinity" => reaches_other_namespaces(pod),
        _ => false,
    }
}

fn reaches_other_namespaces(pod: &Object) -> bool {
    let term = |term: &Value| {
        let named = term["namespaces"].as_array().is_some_and(|names| !names.is_empty());
        named || !term["namespaceSelector"].is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let Some(affinity) = pod.at(&["spec", "affinity", kind]) else { return false };
        let terms = |list: &str| affinity[list].as_array().cloned().unwrap_or_default();
        terms("requiredDuringSchedulingIgnoredDuringExecution").iter().any(term)
            || terms("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|weighted| term(&weighted["podAffinityTerm"]))
    })
}

/// Whether a pod still takes anything but its place in the store.
fn is_charged(pod: &Object, now: Timestamp) -> bool {
    if matches!(pod.text(&["status", "phase"]), "Failed" | "Succeeded") {
        return false;
    }
    match (pod.deletion_timestamp(), pod.deletion_grace_period()) {
        (Some(at), Some(grace)) => {
            at.checked_add(SignedDuration::from_secs(grace)).is_ok_and(|gone| now <= gone)
        }
        _ => true,
    }
}

pub(super) fn usage(pod: &Object, now: Timestamp) -> Resources {
    if !is_charged(pod, now) {
        return Resources::new();
    }
    let spec = spec(pod);
    named(&requests(&spec), &limits(&spec))
}

/// Amounts under the names quotas have for them.
fn named(requests: &Resources, limits: &Resources) -> Resources {
    let mut usage = Resources::from([("pods".to_owned(), number(1))]);
    let mut put = |prefix: &str, name: &str, amount: &Quantity| {
        usage.insert(format!("{prefix}{name}"), amount.clone());
    };
    for (name, amount) in requests {
        let common = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
            || name.starts_with("hugepages-");
        if common {
            put("", name, amount);
        }
        if common || is_extended(name) {
            put("requests.", name, amount);
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            put("limits.", name, amount);
        }
    }
    usage
}

pub(super) fn check(limited: &[&str], pod: &Object) -> Result<(), String> {
    let spec = spec(pod);
    if spec.resources.as_ref().is_some_and(|own| own.requests.is_some() || own.limits.is_some()) {
        return Ok(());
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let own = container.resources.as_ref();
        let amounts = |list: Option<&BTreeMap<String, _>>| -> Resources {
            let list = list.into_iter().flatten();
            list.map(|(name, amount)| (name.clone(), Quantity::from_api(amount))).collect()
        };
        let said = named(
            &amounts(own.and_then(|own| own.requests.as_ref())),
            &amounts(own.and_then(|own| own.limits.as_ref())),
        );
        let needed = limited.iter().filter(|name| REQUIRED.contains(name));
        for name in needed.filter(|name| !said.contains_key(**name)) {
            missing.entry(name).or_default().insert(&container.name);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let parts = missing.iter().map(|(name, containers)| {
        let containers: Vec<_> = containers.iter().copied().collect();
        format!("{name} for: {}", containers.join(","))
    });
    Err(format!("must specify {}", parts.collect::<Vec<_>>().join("; ")))
}
