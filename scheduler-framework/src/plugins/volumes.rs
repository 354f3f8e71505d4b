//! What the volume plugins share: claims of pods, and volumes they may use.

use crate::{PodInfo, objects::ClusterObjects};
use k8s_openapi::{
    api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Volume},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kubeplane_client::is_controlled_by;
use kubeplane_core::quantity::Quantity;
use kubeplane_workload::node_selector_matches;
use std::{collections::BTreeMap, sync::Arc};

const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// A claim that a pod needs.
#[derive(Debug, Clone)]
pub(super) struct ClaimName {
    pub(super) name: String,
    /// Whether the pod has it made for itself.
    pub(super) ephemeral: bool,
}

/// The claim behind a volume, if there is one.
pub(super) fn claim_name(pod: &PodInfo, volume: &Volume) -> Option<ClaimName> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(ClaimName { name: claim.claim_name.clone(), ephemeral: false });
    }
    volume.ephemeral.as_ref()?;
    Some(ClaimName { name: format!("{}-{}", pod.name(), volume.name), ephemeral: true })
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

/// The class a claim asks for; empty for none.
pub(super) fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    let old = claim.metadata.annotations.as_ref().and_then(|own| own.get(CLASS));
    let spec = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    old.or(spec).map(String::as_str).unwrap_or_default()
}

/// The class a volume belongs to; empty for none.
pub(super) fn volume_class(volume: &PersistentVolume) -> &str {
    let old = volume.metadata.annotations.as_ref().and_then(|own| own.get(CLASS));
    let spec = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    old.or(spec).map(String::as_str).unwrap_or_default()
}

/// The name of the volume a claim has, or is to have.
pub(super) fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// Whether a volume can be used on a node.
pub(super) fn fits_node(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|required| node_selector_matches(required, node))
}

type ApiQuantities = BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>;

/// The amount of storage in a list.
pub(super) fn storage(amounts: Option<&ApiQuantities>) -> Option<Quantity> {
    amounts?.get("storage").map(Quantity::from_api)
}

/// The storage a claim asks for.
pub(super) fn requested(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    storage(resources.requests.as_ref())
}
