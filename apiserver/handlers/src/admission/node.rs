use super::{is_core, items, refuse};
use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Does, Operation, Request},
    auth::UserInfo,
    status::{ApiError, ApiResult},
};
use serde_json::Value;

const MIRROR: &str = "kubernetes.io/config.mirror";
/// Labels under these domains are for operators, so that a node cannot draw work to itself.
const RESERVED: &str = "node-restriction.kubernetes.io";
/// Labels of the Kubernetes domains a node may set on itself.
const OWN_LABELS: [&str; 12] = [
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
    "node.kubernetes.io/windows-build",
];

/// Keeps a kubelet to its own Node, its own Lease and the pods bound to it.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeRestriction;

fn node_of(user: &UserInfo) -> Option<&str> {
    user.is_in("system:nodes").then(|| user.name.strip_prefix("system:node:")).flatten()
}

#[async_trait]
impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, _: Operation, definition: &Definition, _: &str) -> bool {
        is_core(definition, "pods")
            || is_core(definition, "nodes")
            || is_core(definition, "serviceaccounts")
            || (definition.kind.group == "coordination.k8s.io" && definition.plural == "leases")
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(node) = node_of(request.user) else { return Ok(()) };
        match (&*request.definition.plural, request.subresource) {
            ("pods", subresource) => pods(request, node, subresource).await,
            ("nodes", _) => nodes(request, node),
            ("leases", _) => leases(request, node),
            ("serviceaccounts", "token") => tokens(request, node).await,
            _ => Ok(()),
        }
    }
}

async fn pods(request: &Request<'_>, node: &str, subresource: &str) -> ApiResult<()> {
    let not_own = |pod: &Object| pod.text(&["spec", "nodeName"]) != node;
    match (subresource, request.operation) {
        ("", Operation::Create) => mirror_pod(request, node).await,
        ("", Operation::Delete) if request.old.is_some_and(not_own) => {
            let why =
                format!("node {node:?} can only delete pods with spec.nodeName set to itself");
            Err(refuse(request, why))
        }
        ("", Operation::Delete) => Ok(()),
        ("status", Operation::Update) if request.old.is_some_and(not_own) => {
            let why = format!(
                "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
            );
            Err(refuse(request, why))
        }
        ("status", Operation::Update) => {
            let labels = |object: Option<&Object>| {
                object.and_then(|object| object.at(&["metadata", "labels"]).cloned())
            };
            match labels(request.object.as_deref()) == labels(request.old) {
                true => Ok(()),
                false => {
                    let why = format!("node {node:?} cannot update labels through pod status");
                    Err(refuse(request, why))
                }
            }
        }
        ("eviction", Operation::Create) => {
            let pods = GroupResource::new("", "pods");
            let pod = request.reader.get(&pods, request.namespace, request.name).await?;
            match pod.is_some_and(|pod| not_own(&pod)) {
                false => Ok(()),
                true => {
                    let why =
                        format!("node {node} can only evict pods with spec.nodeName set to itself");
                    Err(refuse(request, why))
                }
            }
        }
        _ => Err(refuse(request, format!("unexpected operation of node {node:?}"))),
    }
}

/// The only pods a node makes: those that show what it runs from its own files. They may refer to
/// nothing, or a node could make itself a pod that refers to any Secret and then read that.
async fn mirror_pod(request: &Request<'_>, node: &str) -> ApiResult<()> {
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
    let nodes = GroupResource::new("", "nodes");
    let own = request.reader.get(&nodes, "", node).await?;
    let own = own.ok_or_else(|| ApiError::not_found(&nodes, node))?;
    let owners = pod.owner_references();
    let owned = matches!(owners.as_slice(), [owner] if owner.api_version == "v1"
        && owner.kind == "Node"
        && owner.name == node
        && owner.uid == own.uid()
        && owner.controller == Some(true)
        && owner.block_owner_deletion != Some(true));
    if !owned {
        let why =
            format!("node {node:?} can only create pods with an owner reference set to itself");
        return Err(refuse(request, why));
    }
    match refers_to(pod) {
        Some(what) => {
            Err(refuse(request, format!("node {node:?} can not create pods that reference {what}")))
        }
        None => Ok(()),
    }
}

/// What kind of API object a pod refers to, if any.
fn refers_to(pod: &Object) -> Option<&'static str> {
    if !pod.text(&["spec", "serviceAccountName"]).is_empty() {
        return Some("serviceaccounts");
    }
    if !items(pod, &["spec", "imagePullSecrets"]).is_empty() {
        return Some("secrets");
    }
    if !items(pod, &["spec", "resourceClaims"]).is_empty() {
        return Some("resourceclaims");
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(pod, &["spec", list]) {
            let text = container.to_string();
            for (reference, what) in [
                ("\"secretRef\"", "secrets"),
                ("\"secretKeyRef\"", "secrets"),
                ("\"configMapRef\"", "configmaps"),
                ("\"configMapKeyRef\"", "configmaps"),
            ] {
                if text.contains(reference) {
                    return Some(what);
                }
            }
        }
    }
    let volumes = items(pod, &["spec", "volumes"]).iter().filter_map(Value::as_object);
    let local = ["name", "hostPath", "emptyDir", "downwardAPI"];
    let foreign = volumes.flatten().any(|(source, _)| !local.contains(&source.as_str()));
    foreign.then_some("volumes that are not local")
}

fn nodes(request: &Request<'_>, node: &str) -> ApiResult<()> {
    let named = request.object.as_deref().map_or(request.name, Object::name);
    if named != node {
        let why = format!("node {node:?} is not allowed to modify node {named:?}");
        return Err(refuse(request, why));
    }
    let Some(object) = request.object.as_deref() else {
        return Err(refuse(request, format!("node {node:?} is not allowed to delete itself")));
    };
    let changed = changed_labels(object, request.old);
    let refused: Vec<_> = changed.into_iter().filter(|key| !may_label(key)).collect();
    if !refused.is_empty() {
        let why = format!("is not allowed to modify labels: {}", refused.join(", "));
        return Err(refuse(request, why));
    }
    let Some(old) = request.old else { return Ok(()) };
    let part = |object: &Object, path: &[&str]| object.at(path).cloned();
    for (path, what) in
        [(["spec", "taints"], "taints"), (["metadata", "ownerReferences"], "ownerReferences")]
    {
        if part(old, &path) != part(object, &path) {
            let why = format!("node {node:?} is not allowed to modify {what}");
            return Err(refuse(request, why));
        }
    }
    Ok(())
}

/// The labels that were added, changed or removed.
fn changed_labels(object: &Object, old: Option<&Object>) -> Vec<String> {
    let before = |key: &str| old.and_then(|old| old.label(key));
    let set = object.labels().filter(|(key, value)| before(key) != Some(*value));
    let gone =
        old.into_iter().flat_map(Object::labels).filter(|(key, _)| object.label(key).is_none());
    set.chain(gone).map(|(key, _)| key.to_owned()).collect()
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

fn leases(request: &Request<'_>, node: &str) -> ApiResult<()> {
    let namespace = request.namespace;
    if namespace != "kube-node-lease" {
        return Err(refuse(
            request,
            format!(
                "can only access leases in the \"kube-node-lease\" system namespace, not {namespace:?}"
            ),
        ));
    }
    let named = request.object.as_deref().map_or(request.name, Object::name);
    match named == node {
        true => Ok(()),
        false => Err(refuse(
            request,
            "can only access node lease with the same name as the requesting node",
        )),
    }
}

/// A node asks for tokens only on behalf of pods that run on it.
async fn tokens(request: &Request<'_>, node: &str) -> ApiResult<()> {
    let review = request.object.as_deref();
    let reference = |key: &str| {
        review.map(|review| review.text(&["spec", "boundObjectRef", key])).unwrap_or_default()
    };
    if reference("kind") != "Pod" || reference("apiVersion") != "v1" {
        return Err(refuse(request, "node requested token not bound to a pod"));
    }
    if reference("uid").is_empty() {
        return Err(refuse(request, "node requested token with a pod binding without a uid"));
    }
    let pods = GroupResource::new("", "pods");
    let name = reference("name");
    let pod = request.reader.get(&pods, request.namespace, name).await?;
    let pod = pod.ok_or_else(|| ApiError::not_found(&pods, name))?;
    if pod.uid() != reference("uid") {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            reference("uid"),
            pod.uid()
        );
        return Err(refuse(request, why));
    }
    match pod.text(&["spec", "nodeName"]) == node {
        true => Ok(()),
        false => Err(refuse(
            request,
            "node requested token bound to a pod scheduled on a different node",
        )),
    }
}
