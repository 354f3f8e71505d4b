//! What the volume plugins share: claims of pods, and volumes they may use.

use crate::{PodInfo, objects::ClusterObjects};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Volume},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kubeplane_client::is_controlled_by;
use kubeplane_workload::storage;
use std::sync::Arc;

pub(super) use kubeplane_workload::storage::{ClaimName, claim_class, volume_name};

/// The claim behind a volume, if there is one.
pub(super) fn claim_name(pod: &PodInfo, volume: &Volume) -> Option<ClaimName> {
    storage::claim_name(pod.name(), volume)
}

/// The claims behind all volumes of a pod.
pub(super) fn claim_names(pod: &PodInfo) -> impl Iterator<Item = ClaimName> {
    pod.spec().volumes.iter().flatten().filter_map(|volume| claim_name(pod, volume))
}

/// Whether a pod needs a claim.
pub(super) fn needs(pod: &PodInfo, claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.namespace.as_deref() == Some(pod.namespace())
        && claim_names(pod).any(|own| claim.metadata.name.as_deref() == Some(&own.name))
}

/// Whether a pod names a claim, as it does none that is made for it alone.
pub(super) fn names(pod: &PodInfo, claim: &PersistentVolumeClaim) -> bool {
    let mut named = claim_names(pod).filter(|own| !own.ephemeral);
    claim.metadata.namespace.as_deref() == Some(pod.namespace())
        && named.any(|own| claim.metadata.name.as_deref() == Some(&own.name))
}

/// One that a pod has made for itself must be its own.
pub(super) fn check_owner(pod: &PodInfo, claim: &PersistentVolumeClaim) -> Result<(), String> {
    if is_controlled_by(claim, pod.uid()) {
        return Ok(());
    }
    let own = key(&claim.metadata);
    Err(format!("PVC {own} was not created for pod {} (pod is not owner)", pod.key()))
}

pub(super) fn find_claim(
    objects: &ClusterObjects,
    namespace: &str,
    name: &str,
) -> Result<Arc<PersistentVolumeClaim>, String> {
    let missing = || format!("persistentvolumeclaim {name:?} not found");
    objects.claims.find(namespace, name).ok_or_else(missing)
}

/// `namespace/name`.
pub(super) fn key(meta: &ObjectMeta) -> String {
    let text = |own: &Option<String>| own.clone().unwrap_or_default();
    format!("{}/{}", text(&meta.namespace), text(&meta.name))
}
