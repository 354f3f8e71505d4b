//! What a volume needs next.

use super::{Sync, claim_key};
use crate::Error;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{Api, ResourceExt};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_workload::storage::{
    PROVISIONED_BY, annotation, claim_ref, same_mode, volume_name, volume_phase,
};
use std::sync::Arc;

type Volume = Arc<PersistentVolume>;

fn is_over(volume: &PersistentVolume) -> bool {
    matches!(volume_phase(volume), "Released" | "Failed")
}

impl Sync<'_> {
    pub(super) async fn sync_volume(&self, volume: Volume) -> Result<bool, Error> {
        let volume = self.mark_migrated_volume(volume).await?;
        let uid = claim_ref(&volume).and_then(|own| own.uid.clone());
        let (Some(key), Some(uid)) = (claim_key(&volume), uid.filter(|uid| !uid.is_empty())) else {
            // Free, or set aside for a claim that has not come yet.
            self.set_volume_phase(volume, "Available", "").await?;
            return Ok(true);
        };
        let Some(claim) = self.claim_of(&volume, &key, &uid).await? else {
            return self.release(volume).await;
        };
        match volume_name(&claim) {
            None => {
                if !same_mode(&volume, &claim) {
                    self.tell_of_modes(&volume, &claim);
                }
                // The claim's own turn finishes the binding.
                Ok(true)
            }
            Some(name) if name == volume.name_any() => {
                self.set_volume_phase(volume, "Bound", "").await?;
                Ok(true)
            }
            Some(_) => {
                // The claim has got another volume.
                let spec = volume.spec.as_ref();
                let policy = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
                if annotation(&volume.metadata, PROVISIONED_BY).is_some()
                    && policy == Some("Delete")
                {
                    return self.release(volume).await;
                }
                self.unbind(volume).await?;
                Ok(true)
            }
        }
    }

    /// The very claim a volume is bound to. Nothing may be given up because a cache is late.
    async fn claim_of(
        &self,
        volume: &PersistentVolume,
        key: &ObjectKey,
        uid: &str,
    ) -> Result<Option<Arc<PersistentVolumeClaim>>, Error> {
        let is_it = |claim: &Arc<PersistentVolumeClaim>| claim.metadata.uid.as_deref() == Some(uid);
        let known = self.claim(key);
        if known.as_ref().is_some_and(is_it) || known.is_none() && is_over(volume) {
            return Ok(known);
        }
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.context.client(), &key.namespace);
        Ok(api.get_opt(&key.name).await?.map(Arc::new).filter(is_it))
    }

    /// The claim is gone, or has another volume.
    async fn release(&self, volume: Volume) -> Result<bool, Error> {
        let volume = if is_over(&volume) {
            volume
        } else {
            self.set_volume_phase(volume, "Released", "").await?
        };
        self.reclaim(volume).await
    }

    fn tell_of_modes(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim) {
        let text = format!(
            "Cannot bind PersistentVolume to requested PersistentVolumeClaim {:?} due to incompatible volumeMode.",
            claim.name_any()
        );
        self.tell_volume(volume, EventType::Warning, "VolumeMismatch", &text);
        let text = format!(
            "Cannot bind PersistentVolume {:?} to requested PersistentVolumeClaim due to incompatible volumeMode.",
            volume.name_any()
        );
        self.tell_claim(claim, EventType::Warning, "VolumeMismatch", &text);
    }
}
