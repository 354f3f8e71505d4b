//! What belongs to a node by its name: Node, Lease, CSINode, ResourceSlices, and the status of claims it mounts.

use super::{named, same, word};
use crate::admission::refuse;
use kubeplane_core::{
    Object,
    admission::{Operation, Request},
    status::ApiResult,
};
use serde_json::Value;
use std::collections::BTreeSet;

const LEASES: &str = "kube-node-lease";
/// Labels under these domains are for operators, so that a node cannot draw work to itself.
const RESERVED: &str = "node-restriction.kubernetes.io";
/// Labels of the Kubernetes domains a node may set on itself.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// What a node reports of a claim that it resizes.
const CLAIM_STATUS: [&str; 4] =
    ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"];

pub(super) fn node(request: &Request<'_>, node: &str) -> ApiResult<()> {
    let name = named(request);
    if name != node {
        let why = format!("node {node:?} is not allowed to modify node {name:?}");
        return Err(refuse(request, why));
    }
    let Some(object) = request.object.as_deref() else { return Ok(()) };
    let source = |object: &Object| object.at(&["spec", "configSource"]).cloned();
    let why = match request.old {
        None if source(object).is_some_and(|source| !source.is_null()) => {
            format!("node {node:?} is not allowed to create pods with a non-nil configSource")
        }
        None => match refused_labels(object, None) {
            None => return Ok(()),
            Some(labels) => {
                format!("node {node:?} is not allowed to set the following labels: {labels}")
            }
        },
        Some(old) => match changed(object, old) {
            Some(what) => format!("node {node:?} is not allowed to {what}"),
            None => match refused_labels(object, Some(old)) {
                None => return Ok(()),
                Some(labels) => format!("is not allowed to modify labels: {labels}"),
            },
        },
    };
    Err(refuse(request, why))
}

/// What a node changed of itself that it must not, beside labels.
fn changed(object: &Object, old: &Object) -> Option<&'static str> {
    let differ = |path: &[&str]| !same(object.at(path), old.at(path));
    let source = object.at(&["spec", "configSource"]).is_some_and(|source| !source.is_null());
    if source && differ(&["spec", "configSource"]) {
        Some("update configSource to a new non-nil configSource")
    } else if differ(&["spec", "taints"]) {
        Some("modify taints")
    } else if differ(&["metadata", "ownerReferences"]) {
        Some("modify ownerReferences")
    } else {
        None
    }
}

/// The labels that were added, changed or removed and are not the node's to choose.
fn refused_labels(object: &Object, old: Option<&Object>) -> Option<String> {
    let before = |key: &str| old.and_then(|old| old.label(key));
    let set = object.labels().filter(|(key, value)| before(key) != Some(*value));
    let gone =
        old.into_iter().flat_map(Object::labels).filter(|(key, _)| object.label(key).is_none());
    let refused: BTreeSet<&str> =
        set.chain(gone).map(|(key, _)| key).filter(|key| !may_label(key)).collect();
    (!refused.is_empty()).then(|| refused.into_iter().collect::<Vec<_>>().join(", "))
}

fn may_label(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return true };
    let under = |parent: &str| {
        domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
    };
    if under(RESERVED) {
        return false;
    }
    let theirs = under("kubernetes.io") || under("k8s.io");
    !theirs
        || OWN_LABELS.contains(&key)
        || under("kubelet.kubernetes.io")
        || under("node.kubernetes.io")
}

pub(super) fn lease(request: &Request<'_>, node: &str) -> ApiResult<()> {
    if request.namespace != LEASES {
        let why = format!("can only access leases in the {LEASES:?} system namespace");
        return Err(refuse(request, why));
    }
    called_as(request, node, "node lease")
}

pub(super) fn csi_node(request: &Request<'_>, node: &str) -> ApiResult<()> {
    called_as(request, node, "CSINode")
}

fn called_as(request: &Request<'_>, node: &str, what: &str) -> ApiResult<()> {
    match named(request) == node {
        true => Ok(()),
        false => Err(refuse(
            request,
            format!("can only access {what} with the same name as the requesting node"),
        )),
    }
}

/// The authorizer sees neither what is created nor each of many that are deleted.
pub(super) fn slice(request: &Request<'_>, node: &str) -> ApiResult<()> {
    let (slice, what) = match request.operation {
        Operation::Create => (request.object.as_deref(), "create"),
        Operation::Delete => (request.old, "delete"),
        _ => return Ok(()),
    };
    match slice.is_some_and(|slice| slice.text(&["spec", "nodeName"]) != node) {
        false => Ok(()),
        true => Err(refuse(
            request,
            format!("can only {what} ResourceSlice with the same NodeName as the requesting node"),
        )),
    }
}

pub(super) fn claim_status(request: &Request<'_>, node: &str) -> ApiResult<()> {
    if request.operation != Operation::Update {
        let why = format!("unexpected operation {:?}", word(request.operation));
        return Err(refuse(request, why));
    }
    let (Some(new), Some(old)) = (request.object.as_deref(), request.old) else { return Ok(()) };
    let rest = |claim: &Object| {
        let mut claim = claim.clone();
        for field in ["apiVersion", "kind"] {
            claim.remove(&[field]);
        }
        for field in ["resourceVersion", "managedFields"] {
            claim.remove(&["metadata", field]);
        }
        for field in CLAIM_STATUS {
            claim.remove(&["status", field]);
        }
        claim
    };
    let (new, old) = (rest(new), rest(old));
    let parts = new.map().keys().chain(old.map().keys()).collect::<BTreeSet<_>>();
    let part = |claim: &'_ Object, name: &str| claim.map().get(name).cloned();
    let differs = |name: &str| {
        let (new, old): (Option<Value>, Option<Value>) = (part(&new, name), part(&old, name));
        !same(new.as_ref(), old.as_ref())
    };
    let odd: Vec<&str> =
        parts.into_iter().map(String::as_str).filter(|name| differs(name)).collect();
    if odd.is_empty() {
        return Ok(());
    }
    let why = format!(
        "node {node:?} is not allowed to update fields other than status.quantity and status.conditions: {}",
        odd.join(", ")
    );
    Err(refuse(request, why))
}
