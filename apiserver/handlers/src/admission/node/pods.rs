//! Pods: a node makes those that show what it runs from its own files, and ends and reports those bound to it.

use super::{named, references::refers_to, same, word};
use crate::admission::refuse;
use kubeplane_core::{
    GroupResource, Object,
    admission::{Operation, Request},
    status::{ApiError, ApiResult},
};
use std::{collections::BTreeMap, sync::Arc};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod of the request's namespace.
///
/// # Errors
/// 404 when it is not there.
pub(super) async fn pod(request: &Request<'_>, name: &str) -> ApiResult<Arc<Object>> {
    let pods = GroupResource::new("", "pods");
    let found = request.reader.get(&pods, request.namespace, name).await?;
    found.ok_or_else(|| ApiError::not_found(&GroupResource::new("", "pod"), name))
}

/// The node itself, as it is stored.
///
/// # Errors
/// 404 when it is not there.
async fn node_object(request: &Request<'_>, node: &str) -> ApiResult<Arc<Object>> {
    let found = request.reader.get(&GroupResource::new("", "nodes"), "", node).await?;
    found.ok_or_else(|| ApiError::not_found(&GroupResource::new("", "node"), node))
}

pub(super) async fn check(request: &Request<'_>, node: &str, subresource: &str) -> ApiResult<()> {
    let not_own = |pod: &Object| pod.text(&["spec", "nodeName"]) != node;
    let operation = word(request.operation);
    let why = match (subresource, request.operation) {
        ("", Operation::Create) => return mirror(request, node).await,
        ("", Operation::Delete) if request.old.is_some_and(not_own) => {
            format!("node {node:?} can only delete pods with spec.nodeName set to itself")
        }
        ("", Operation::Delete) => return Ok(()),
        ("", _) => format!(
            "unexpected operation {operation:?}, node {node:?} can only create and delete mirror pods"
        ),
        ("status", Operation::Update) => match status(request, node) {
            None => return Ok(()),
            Some(why) => why,
        },
        ("status", _) => format!("unexpected operation {operation:?}"),
        ("eviction", Operation::Create) => {
            let name = if request.name.is_empty() { named(request) } else { request.name };
            if name.is_empty() {
                return Err(refuse(request, "could not determine pod from request data"));
            }
            let found = pod(request, name).await?;
            match not_own(&found) {
                false => return Ok(()),
                true => format!("node {node} can only evict pods with spec.nodeName set to itself"),
            }
        }
        ("eviction", _) => format!("unexpected operation {operation}"),
        (other, _) => {
            format!(
                "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
            )
        }
    };
    Err(refuse(request, why))
}

/// What a node may not report of a pod.
fn status(request: &Request<'_>, node: &str) -> Option<String> {
    let (new, old) = (request.object.as_deref()?, request.old?);
    if old.text(&["spec", "nodeName"]) != node {
        return Some(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    let labels = |pod: &Object| -> BTreeMap<String, String> {
        pod.labels().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    if labels(new) != labels(old) {
        return Some(format!("node {node:?} cannot update labels through pod status"));
    }
    // Who writes these decides which devices a pod gets.
    let differ = |field: &str| !same(new.at(&["status", field]), old.at(&["status", field]));
    if differ("resourceClaimStatuses") {
        return Some(format!("node {node:?} cannot update resource claim statues"));
    }
    differ("extendedResourceClaimStatus")
        .then(|| format!("node {node:?} cannot update extended resource claim status"))
}

/// The only pods a node makes. They may refer to nothing, or a node could make itself a pod that refers to any Secret and
/// then read that.
async fn mirror(request: &Request<'_>, node: &str) -> ApiResult<()> {
    let Some(pod) = request.object.as_deref() else { return Ok(()) };
    if pod.annotation(MIRROR).is_none() {
        let why = format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        );
        return Err(refuse(request, why));
    }
    if pod.text(&["spec", "nodeName"]) != node {
        let why = format!("node {node:?} can only create pods with spec.nodeName set to itself");
        return Err(refuse(request, why));
    }
    owned(request, pod, node).await?;
    match refers_to(pod) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => {
            Err(refuse(request, format!("node {node:?} can not create pods that reference {what}")))
        }
        Err(why) => {
            let why = format!("error checking mirror pod for API references: {why}");
            Err(refuse(request, why))
        }
    }
}

/// A mirror pod belongs to its node, which must be the one that is stored.
async fn owned(request: &Request<'_>, pod: &Object, node: &str) -> ApiResult<()> {
    let owners = pod.owner_references();
    let [owner] = owners.as_slice() else {
        let single = if owners.is_empty() { "an owner" } else { "a single owner" };
        let why =
            format!("node {node:?} can only create pods with {single} reference set to itself");
        return Err(refuse(request, why));
    };
    let only = |what: &str| format!("node {node:?} can only create pods with {what} set to itself");
    let is_own = owner.api_version == "v1" && owner.kind == "Node" && owner.name == node;
    let why = match () {
        () if !is_own => only("an owner reference"),
        () if owner.controller != Some(true) => only("a controller owner reference"),
        () if owner.block_owner_deletion == Some(true) => {
            format!("node {node:?} must not set blockOwnerDeletion on an owner reference")
        }
        () => {
            let own = node_object(request, node).await?;
            if owner.uid == own.uid() {
                return Ok(());
            }
            format!("node {node} UID mismatch: expected {} got {}", owner.uid, own.uid())
        }
    };
    Err(refuse(request, why))
}
