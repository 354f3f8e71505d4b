//! Which volumes a node needs, and under which names they are known.

use k8s_openapi::api::{
    core::v1::{CSIPersistentVolumeSource, Node, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::CSIDriver,
};
use kube::ResourceExt;
use kubeplane_client::{Informers, is_controlled_by};
use kubeplane_workload::storage::{claim_names, claim_phase, claim_ref, volume_name};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};

use super::nodes;
use crate::builtin::claimed::is_over;

const MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";

/// A volume that pods need on a node.
pub(super) struct Needed {
    pub(super) volume: Arc<PersistentVolume>,
    pub(super) pods: Vec<Arc<Pod>>,
}

pub(super) fn source(volume: &PersistentVolume) -> Option<&CSIPersistentVolumeSource> {
    volume.spec.as_ref()?.csi.as_ref()
}

/// The name of a volume in the status of nodes.
pub(super) fn unique_name(source: &CSIPersistentVolumeSource) -> String {
    format!("kubernetes.io/csi/{}^{}", source.driver, source.volume_handle)
}

/// The name of the attachment of a volume to a node.
pub(super) fn attachment_name(source: &CSIPersistentVolumeSource, node: &str) -> String {
    let text = format!("{}{}{node}", source.volume_handle, source.driver);
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold("csi-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// Whether several nodes may have a volume at once.
pub(super) fn is_shared(volume: &PersistentVolume) -> bool {
    let modes = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref());
    let modes = modes.unwrap_or_default();
    let many = |mode: &String| matches!(mode.as_str(), "ReadWriteMany" | "ReadOnlyMany");
    modes.is_empty() || modes.iter().any(many)
}

/// Whether the driver has its volumes attached; one that does not say so does.
fn attaches(informers: &Informers, driver: &str) -> bool {
    let found = informers.of::<CSIDriver>().get("", driver);
    found.is_none_or(|driver| driver.spec.attach_required != Some(false))
}

/// The bound volume behind a claim of a pod.
fn behind(
    informers: &Informers,
    pod: &Pod,
    claim: &str,
    ephemeral: bool,
) -> Option<Arc<PersistentVolume>> {
    let namespace = pod.namespace().unwrap_or_default();
    let claim = informers.of::<PersistentVolumeClaim>().get(&namespace, claim)?;
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    if claim_phase(&claim) != "Bound" || ephemeral && !is_controlled_by(&*claim, uid) {
        return None;
    }
    let volume = informers.of::<PersistentVolume>().get("", volume_name(&claim)?)?;
    let owner = claim_ref(&volume)?.uid.clone();
    (owner == claim.metadata.uid).then_some(volume)
}

/// The bound volumes behind the claims of a pod.
pub(super) fn of_pod(
    informers: &Informers,
    pod: &Pod,
) -> impl Iterator<Item = Arc<PersistentVolume>> {
    claim_names(pod).filter_map(move |claim| behind(informers, pod, &claim.name, claim.ephemeral))
}

/// What the pods of a node need, by unique name; nothing when the node's kubelet attaches by itself.
pub(super) fn needed(informers: &Informers, node: &Node) -> BTreeMap<String, Needed> {
    let mut needed = BTreeMap::new();
    if !node.annotations().contains_key(MANAGED) {
        return needed;
    }
    for pod in nodes::pods_on(&informers.of::<Pod>(), &node.name_any()) {
        if is_over(&pod) {
            continue;
        }
        for volume in of_pod(informers, &pod) {
            let Some(source) = source(&volume).filter(|own| attaches(informers, &own.driver))
            else {
                continue;
            };
            let name = unique_name(source);
            let entry = needed.entry(name).or_insert_with(|| Needed { volume, pods: Vec::new() });
            entry.pods.push(pod.clone());
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_originals() {
        let source = CSIPersistentVolumeSource {
            driver: "driver".into(),
            volume_handle: "volume".into(),
            ..CSIPersistentVolumeSource::default()
        };
        assert_eq!(unique_name(&source), "kubernetes.io/csi/driver^volume");
        let digest = "d94279ecba6bb1a4dae95e5f896a0d7b6b60fb3af97abf98fb0c1bb2a80030a5";
        assert_eq!(attachment_name(&source, "node"), format!("csi-{digest}"));
    }
}
