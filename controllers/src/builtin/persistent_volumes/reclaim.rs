//! What becomes of a volume whose claim is gone.

use super::Sync;
use crate::Error;
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use kube::ResourceExt;
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_workload::{
    is_terminal,
    storage::{MIGRATED_TO, PROVISIONED_BY, annotation, volume_phase},
};
use std::{collections::BTreeSet, sync::Arc};

/// Why nobody deletes the volume, when it is not for somebody outside to do so.
fn undeletable(volume: &PersistentVolume) -> Option<String> {
    let by = annotation(&volume.metadata, PROVISIONED_BY).filter(|by| !by.is_empty());
    if let Some(by) = by {
        let inside = by.starts_with("kubernetes.io/");
        return inside.then(|| format!("no volume plugin matched name: {by}"));
    }
    if volume.spec.as_ref().is_some_and(|spec| spec.csi.is_some()) {
        return None;
    }
    Some(format!(
        "error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched",
        volume.name_any()
    ))
}

impl Sync<'_> {
    /// Whether the volume is as its policy wants it, or in the hands of others.
    pub(super) async fn reclaim(&self, volume: Arc<PersistentVolume>) -> Result<bool, Error> {
        if annotation(&volume.metadata, MIGRATED_TO).is_some_and(|driver| !driver.is_empty()) {
            return Ok(true);
        }
        let spec = volume.spec.as_ref();
        match spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()) {
            Some("Retain") => Ok(true),
            Some("Delete") => {
                let Some(why) = undeletable(&volume) else { return Ok(true) };
                self.fail(volume, "VolumeFailedDelete", &why).await
            }
            Some("Recycle") => self.recycle(volume).await,
            _ => {
                let text = "Volume has unrecognized PersistentVolumeReclaimPolicy";
                self.fail(volume, "VolumeUnknownReclaimPolicy", text).await
            }
        }
    }

    /// No plugin recycles here; a volume in use is left alone until its pods are gone.
    async fn recycle(&self, volume: Arc<PersistentVolume>) -> Result<bool, Error> {
        let key = super::claim_key(&volume).unwrap_or_default();
        let pods = self.users(&key);
        if !pods.is_empty() && self.claim(&key).is_none() {
            let names: Vec<_> = pods.into_iter().collect();
            let text = format!("Volume is used by pods: {}", names.join(","));
            self.tell_volume(&volume, EventType::Normal, "VolumeFailedRecycle", &text);
            return Ok(false);
        }
        let text = "No recycler plugin found for the volume!";
        self.fail(volume, "VolumeFailedRecycle", text).await
    }

    fn users(&self, claim: &ObjectKey) -> BTreeSet<String> {
        let pods = super::claimed::users(&self.context.informers().of::<Pod>(), claim);
        let active = pods.iter().filter(|pod| !is_terminal(pod));
        active.map(|pod| ObjectKey::of(&**pod).to_string()).collect()
    }

    async fn fail(
        &self,
        volume: Arc<PersistentVolume>,
        reason: &str,
        text: &str,
    ) -> Result<bool, Error> {
        if volume_phase(&volume) != "Failed" {
            let volume = self.set_volume_phase(volume, "Failed", text).await?;
            self.tell_volume(&volume, EventType::Warning, reason, text);
        }
        Ok(true)
    }
}
