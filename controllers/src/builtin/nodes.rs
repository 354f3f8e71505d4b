//! What the controllers that look after nodes share.

mod eviction;
mod figures;
mod health;
mod ipam;
mod lifecycle;
mod ranges;
mod zones;

pub(super) use eviction::TaintEviction;
pub(super) use ipam::NodeIpam;
pub(super) use lifecycle::NodeLifecycle;

use crate::{Context, Error, error::unless_gone};
use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, ObjectReference, Pod, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_client::Informer;
use kubeplane_workload::phase::node_name;
use serde_json::json;
use std::sync::Arc;

const BY_NODE: &str = "node-name";
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Makes [`pods_on`] work.
pub(super) fn index(pods: &Informer<Pod>) {
    pods.add_index(BY_NODE, |pod| node_name(pod).map(str::to_owned).into_iter().collect());
}

/// The pods bound to a node.
pub(super) fn pods_on(pods: &Informer<Pod>, node: &str) -> Vec<Arc<Pod>> {
    pods.by_index(BY_NODE, node)
}

/// The names of nodes to which pods are bound, as far as they are `wanted`.
pub(super) fn nodes_with(pods: &Informer<Pod>, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    pods.index_keys(BY_NODE, wanted)
}

/// A node's condition of a type.
pub(super) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Whether a node says that it is ready.
pub(super) fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status == "True")
}

/// A node's taints.
pub(super) fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// How events name a node; kubelets use the same.
fn reference(node: &Node) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: node.metadata.name.clone(),
        uid: node.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// Adds and removes taints by key and effect.
async fn swap_taints(
    context: &Context,
    node: &Node,
    add: &[(&str, &str)],
    remove: &[(&str, &str)],
) -> Result<(), Error> {
    let is =
        |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let present = taints(node);
    let mut next: Vec<Taint> = present
        .iter()
        .filter(|taint| !remove.iter().any(|gone| is(taint, *gone)))
        .cloned()
        .collect();
    for new in add {
        if !next.iter().any(|taint| is(taint, *new)) {
            next.push(Taint {
                key: new.0.to_owned(),
                effect: new.1.to_owned(),
                value: None,
                time_added: Some(Time(context.now())),
            });
        }
    }
    if next == present {
        return Ok(());
    }
    let patch = json!({
        "metadata": {"resourceVersion": node.metadata.resource_version, "uid": node.metadata.uid},
        "spec": {"taints": next},
    });
    let api: Api<Node> = Api::all(context.client());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    unless_gone(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await)
}
