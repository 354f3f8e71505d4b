//! Which pods use which claims.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kubeplane_client::{Informer, ObjectKey};
use kubeplane_workload::storage::claim_names;
use std::sync::Arc;

/// The index of pods by the claims they name, as `namespace/name`.
const BY_CLAIM: &str = "claim";

/// The claims of a pod, also those that are made for it.
pub(super) fn keys(pod: &Pod) -> Vec<ObjectKey> {
    let namespace = pod.namespace().unwrap_or_default();
    claim_names(pod).map(|claim| ObjectKey::new(namespace.clone(), claim.name)).collect()
}

/// Makes [`users`] work.
pub(super) fn index(pods: &Informer<Pod>) {
    pods.add_index(BY_CLAIM, |pod| keys(pod).iter().map(ToString::to_string).collect());
}

/// The pods that name a claim.
pub(super) fn users(pods: &Informer<Pod>, claim: &ObjectKey) -> Vec<Arc<Pod>> {
    pods.by_index(BY_CLAIM, &claim.to_string())
}
