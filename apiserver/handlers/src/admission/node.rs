//! What a node may not do, although its rights would let it.

mod certificates;
mod own;
mod pods;
mod references;
mod tokens;

use super::refuse;
use async_trait::async_trait;
use kubeplane_core::{
    Definition,
    admission::{Admission, Does, Operation, Request},
    auth::UserInfo,
    features::Features,
    status::ApiResult,
};
use serde_json::Value;

/// What nodes are held to.
const CONCERNED: [(&str, &str); 8] = [
    ("", "pods"),
    ("", "nodes"),
    ("", "persistentvolumeclaims"),
    ("", "serviceaccounts"),
    ("certificates.k8s.io", "certificatesigningrequests"),
    ("coordination.k8s.io", "leases"),
    ("resource.k8s.io", "resourceslices"),
    ("storage.k8s.io", "csinodes"),
];

/// Keeps a kubelet to what is its own: its Node, its Lease, its CSINode and its ResourceSlices, the pods bound to it with
/// their tokens, and certificates of its own name.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeRestriction {
    any_certificate: bool,
    any_audience: bool,
}

impl NodeRestriction {
    /// With the gate `AllowInsecureKubeletCertificateSigningRequests` nodes ask for certificates of any name, and without
    /// `ServiceAccountNodeAudienceRestriction` for tokens that are for anybody; the default is as both are by default.
    #[must_use]
    pub fn new(features: &Features) -> Self {
        Self {
            any_certificate: features.is_on("AllowInsecureKubeletCertificateSigningRequests"),
            any_audience: !features.is_on("ServiceAccountNodeAudienceRestriction"),
        }
    }
}

fn node_of(user: &UserInfo) -> Option<&str> {
    user.is_in("system:nodes").then(|| user.name.strip_prefix("system:node:")).flatten()
}

#[async_trait]
impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    /// It changes nothing, but looks at what was sent before anything else is made of it.
    fn does(&self) -> Does {
        Does::Mutates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, _: &str) -> bool {
        let own = (definition.kind.group.as_ref(), definition.plural.as_ref());
        operation != Operation::Connect && CONCERNED.contains(&own)
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        check(*self, request).await
    }
}

async fn check(held: NodeRestriction, request: &Request<'_>) -> ApiResult<()> {
    let Some(node) = node_of(request.user) else { return Ok(()) };
    if node.is_empty() {
        let why = format!("could not determine node from user {:?}", request.user.name);
        return Err(refuse(request, why));
    }
    match (&*request.definition.plural, request.subresource) {
        ("pods", subresource) => pods::check(request, node, subresource).await,
        ("nodes", _) => own::node(request, node),
        ("persistentvolumeclaims", "status") => own::claim_status(request, node),
        ("persistentvolumeclaims", _) => Err(refuse(request, "may only update PVC status")),
        ("serviceaccounts", "token") => tokens::check(request, node, held.any_audience).await,
        ("leases", _) => own::lease(request, node),
        ("csinodes", _) => own::csi_node(request, node),
        ("resourceslices", _) => own::slice(request, node),
        ("certificatesigningrequests", _) if held.any_certificate => Ok(()),
        ("certificatesigningrequests", _) => certificates::check(request, node),
        _ => Ok(()),
    }
}

/// An operation as messages say it.
fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

/// The name that a write is about, which a new object says itself.
fn named<'a>(request: &'a Request<'_>) -> &'a str {
    match (request.operation, request.object.as_deref()) {
        (Operation::Create, Some(object)) => object.name(),
        _ => request.name,
    }
}

/// Whether two parts of an object are the same; empty ones are as good as missing ones.
fn same(one: Option<&Value>, other: Option<&Value>) -> bool {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    one.filter(|value| !empty(value)) == other.filter(|value| !empty(value))
}
