//! The writes that bind, unbind and tell of it.

use super::Sync;
use crate::Error;
use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kube::{Api, ResourceExt, api::PostParams};
use kubeplane_core::quantity::Quantity;
use kubeplane_workload::storage::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, annotation, bound, claim_phase, storage, volume_name,
    volume_phase,
};
use std::sync::Arc;

/// On volumes whose file system is smaller than they are: how large it is.
const BEFORE_RESIZE: &str = "volume.alpha.kubernetes.io/pre-resize-capacity";

type Claim = Arc<PersistentVolumeClaim>;
type Volume = Arc<PersistentVolume>;

impl Sync<'_> {
    /// Makes both say that they belong together; the volume first. Does nothing where it is so.
    pub(super) async fn bind(&self, volume: Volume, claim: Claim) -> Result<(), Error> {
        let next = bound(&volume, &claim);
        let volume = if next == *volume { volume } else { self.write_volume(next).await? };
        let volume = self.set_volume_phase(volume, "Bound", "").await?;
        let claim = self.name_volume(claim, &volume.name_any()).await?;
        self.set_claim_phase(claim, "Bound", Some(&volume)).await?;
        Ok(())
    }

    async fn name_volume(&self, claim: Claim, volume: &str) -> Result<Claim, Error> {
        let mut next = (*claim).clone();
        if volume_name(&claim) != Some(volume) {
            next.spec.get_or_insert_default().volume_name = Some(volume.to_owned());
            let by = next.annotations_mut().entry(BOUND_BY_CONTROLLER.to_owned());
            by.or_insert_with(|| "yes".to_owned());
        }
        let done = next.annotations_mut().entry(BIND_COMPLETED.to_owned());
        done.or_insert_with(|| "yes".to_owned());
        if next == *claim { Ok(claim) } else { self.write_claim(next).await }
    }

    /// Takes a volume from its claim. One that a user set aside stays so, for a claim that is still to come.
    pub(super) async fn unbind(&self, volume: Volume) -> Result<(), Error> {
        let mut next = (*volume).clone();
        let by_controller = annotation(&volume.metadata, BOUND_BY_CONTROLLER).is_some();
        let spec = next.spec.get_or_insert_default();
        if by_controller {
            spec.claim_ref = None;
            next.annotations_mut().remove(BOUND_BY_CONTROLLER);
        } else if let Some(own) = &mut spec.claim_ref {
            own.uid = None;
        }
        let volume = self.write_volume(next).await?;
        self.set_volume_phase(volume, "Available", "").await?;
        Ok(())
    }

    /// Writes the phase and what a claim has of its volume, unless that stands there.
    pub(super) async fn set_claim_phase(
        &self,
        claim: Claim,
        phase: &str,
        volume: Option<&PersistentVolume>,
    ) -> Result<Claim, Error> {
        let mut next = (*claim).clone();
        let before = claim_phase(&claim);
        let status = next.status.get_or_insert_default();
        match volume {
            None => {
                status.access_modes = None;
                status.capacity = None;
                status.current_volume_attributes_class_name = None;
            }
            Some(volume) => {
                let spec = volume.spec.as_ref();
                status.access_modes = spec.and_then(|spec| spec.access_modes.clone());
                if before != phase {
                    set_capacity(status, volume)?;
                }
                if before == "Pending" && phase == "Bound" {
                    status.current_volume_attributes_class_name =
                        spec.and_then(|spec| spec.volume_attributes_class_name.clone());
                }
            }
        }
        status.phase = Some(phase.to_owned());
        if next == *claim {
            return Ok(claim);
        }
        let namespace = claim.namespace().unwrap_or_default();
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client(), &namespace);
        let written = api.replace_status(&claim.name_any(), &PostParams::default(), &next).await?;
        Ok(self.controller.claims.written(written))
    }

    pub(super) async fn set_volume_phase(
        &self,
        volume: Volume,
        phase: &str,
        message: &str,
    ) -> Result<Volume, Error> {
        if volume_phase(&volume) == phase {
            return Ok(volume);
        }
        let mut next = (*volume).clone();
        let status = next.status.get_or_insert_default();
        status.phase = Some(phase.to_owned());
        status.message = (!message.is_empty()).then(|| message.to_owned());
        let api: Api<PersistentVolume> = Api::all(self.context.client());
        let written = api.replace_status(&volume.name_any(), &PostParams::default(), &next).await?;
        Ok(self.controller.volumes.written(written))
    }
}

/// A claim that becomes bound has as much as its volume, or as the volume's file system.
fn set_capacity(
    status: &mut PersistentVolumeClaimStatus,
    volume: &PersistentVolume,
) -> Result<(), Error> {
    let amounts = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    let Some(whole) = storage(amounts) else {
        let name = volume.name_any();
        return Err(Error::Invalid(format!(
            "PersistentVolume {name:?} is without a storage capacity"
        )));
    };
    if let Some(before) = annotation(&volume.metadata, BEFORE_RESIZE) {
        let size =
            Quantity::parse(before).map_or(whole.to_api(), |_| ApiQuantity(before.to_owned()));
        status.capacity.get_or_insert_default().insert("storage".to_owned(), size);
    } else if storage(status.capacity.as_ref()).is_none_or(|own| own != whole) {
        status.capacity = amounts.cloned();
    }
    Ok(())
}
