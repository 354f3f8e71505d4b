use super::{is_core, refuse};
use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Operation, Request},
    auth::UserInfo,
    status::{ApiError, ApiResult},
};
use serde_json::Value;

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
        ("", Operation::Create) => {
            let pod = request.object.as_deref();
            if pod.is_some_and(|pod| pod.annotation("kubernetes.io/config.mirror").is_none()) {
                return Err(refuse(request, format!("node {node:?} can only create mirror pods")));
            }
            match pod.is_some_and(not_own) {
                true => Err(refuse(
                    request,
                    format!("node {node:?} can only create pods with spec.nodeName set to itself"),
                )),
                false => Ok(()),
            }
        }
        ("", Operation::Delete) if request.old.is_some_and(not_own) => Err(refuse(
            request,
            format!("node {node:?} can only delete pods with spec.nodeName set to itself"),
        )),
        ("", Operation::Delete) => Ok(()),
        ("status", Operation::Update) => match request.old.is_some_and(not_own) {
            true => Err(refuse(
                request,
                format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                ),
            )),
            false => Ok(()),
        },
        ("eviction", Operation::Create) => Ok(()),
        _ => Err(refuse(request, "unexpected operation of a node")),
    }
}

fn nodes(request: &Request<'_>, node: &str) -> ApiResult<()> {
    let named = request.object.as_deref().map_or(request.name, Object::name);
    if named != node {
        return Err(refuse(
            request,
            format!("node {node:?} is not allowed to modify node {named:?}"),
        ));
    }
    let Some(object) = request.object.as_deref() else {
        return Err(refuse(request, format!("node {node:?} is not allowed to delete itself")));
    };
    let before = |key: &str| request.old.and_then(|old| old.label(key));
    let changed =
        object.labels().filter(|(key, value)| before(key) != Some(*value)).map(|(key, _)| key);
    let refused: Vec<_> = changed.filter(|key| !may_label(key)).collect();
    if !refused.is_empty() {
        let why = format!("is not allowed to modify labels: {}", refused.join(", "));
        return Err(refuse(request, why));
    }
    let taints = |object: &Object| object.at(&["spec", "taints"]).cloned().unwrap_or(Value::Null);
    match request.old {
        Some(old) if request.subresource.is_empty() && taints(old) != taints(object) => {
            Err(refuse(request, format!("node {node:?} is not allowed to modify taints")))
        }
        _ => Ok(()),
    }
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
