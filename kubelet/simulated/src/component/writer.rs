//! What nodes write, each as itself.

use crate::pod::Pod;
use http::request::Parts;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{
    Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::{Request, request},
};
use serde_json::Value;

/// Where the leases of nodes are.
const LEASES: &str = "kube-node-lease";

/// Says in a request which node it is of.
pub(super) type Identify = Box<dyn Fn(&str, &mut Parts) + Send + Sync>;

/// Writes for all nodes through one client. What is answered nobody looks at, for which nothing is decoded.
pub(super) struct Writer {
    client: kube::Client,
    identify: Option<Identify>,
}

impl Writer {
    pub(super) fn new(client: kube::Client, identify: Option<Identify>) -> Self {
        Self { client, identify }
    }

    pub(super) async fn create_node(&self, name: &str, node: &Node) -> kube::Result<()> {
        let body = serde_json::to_vec(node).map_err(kube::Error::SerdeError)?;
        self.send(name, requests::<Node>(None).create(&PostParams::default(), body)).await
    }

    pub(super) async fn patch_node_status(&self, name: &str, status: Value) -> kube::Result<()> {
        let patch = Patch::Strategic(status);
        let request = requests::<Node>(None);
        let request = request.patch_subresource("status", name, &PatchParams::default(), &patch);
        self.send(name, request).await
    }

    pub(super) async fn create_lease(&self, node: &str, lease: &Lease) -> kube::Result<()> {
        let body = serde_json::to_vec(lease).map_err(kube::Error::SerdeError)?;
        let request = requests::<Lease>(Some(LEASES)).create(&PostParams::default(), body);
        self.send(node, request).await
    }

    pub(super) async fn patch_lease(&self, node: &str, change: Value) -> kube::Result<()> {
        let patch = Patch::Merge(change);
        let request = requests::<Lease>(Some(LEASES));
        self.send(node, request.patch(node, &PatchParams::default(), &patch)).await
    }

    /// Changes the status of a pod, if it is still the one of this uid.
    pub(super) async fn patch_pod_status(
        &self,
        node: &str,
        pod: &Pod,
        mut change: Value,
    ) -> kube::Result<()> {
        change["metadata"]["uid"] = pod.metadata.uid.clone().into();
        let patch = Patch::Strategic(change);
        let (namespace, name) = place(pod);
        let request = requests::<Pod>(Some(namespace));
        let request = request.patch_subresource("status", name, &PatchParams::default(), &patch);
        self.send(node, request).await
    }

    /// Removes a pod at once, if it is still the one of this uid.
    pub(super) async fn delete_pod(&self, node: &str, pod: &Pod) -> kube::Result<()> {
        let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let (namespace, name) = place(pod);
        self.send(node, requests::<Pod>(Some(namespace)).delete(name, &now)).await
    }

    async fn send(
        &self,
        node: &str,
        request: Result<http::Request<Vec<u8>>, request::Error>,
    ) -> kube::Result<()> {
        let (mut head, body) = request.map_err(kube::Error::BuildRequest)?.into_parts();
        if let Some(identify) = &self.identify {
            identify(node, &mut head);
        }
        self.client.request_text(http::Request::from_parts(head, body)).await.map(drop)
    }
}

/// Requests about the objects of a kind.
fn requests<K: Resource<DynamicType = ()>>(namespace: Option<&str>) -> Request {
    Request::new(K::url_path(&(), namespace))
}

fn place(pod: &Pod) -> (&str, &str) {
    let meta = &pod.metadata;
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}
