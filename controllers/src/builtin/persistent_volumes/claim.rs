//! What a claim needs next.

use super::{Sync, claimed, is_completed, operations::Operation};
use crate::Error;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{Api, ResourceExt};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_workload::{
    is_terminal,
    phase::node_name,
    storage::{
        BOUND_BY_CONTROLLER, Choice, SELECTED_NODE, annotation, best_match, capacity, claim_class,
        claim_ref, has_modes, is_bound_to, requested, same_attributes, same_mode, volume_class,
        volume_name,
    },
};
use std::{collections::BTreeMap, sync::Arc};

type Claim = Arc<PersistentVolumeClaim>;
type Volume = Arc<PersistentVolume>;

/// Why a volume that a claim names cannot be its volume.
fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    if volume.metadata.deletion_timestamp.is_some() {
        return Some(format!("the volume is marked for deletion {:?}", volume.name_any()));
    }
    let reason = if requested(claim).is_some_and(|size| capacity(volume).value() < size.value()) {
        "requested PV is too small"
    } else if volume_class(volume) != claim_class(claim) {
        "storageClassName does not match"
    } else if !same_attributes(volume, claim) {
        "volumeAttributesClassName does not match"
    } else if !same_mode(volume, claim) {
        "incompatible volumeMode"
    } else if !has_modes(volume, claim) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(reason.to_owned())
}

impl Sync<'_> {
    /// Whether nothing is left to be done until something changes; the same of all that follow.
    pub(super) async fn sync_claim(&self, claim: Claim) -> Result<bool, Error> {
        let claim = self.mark_migrated_claim(claim).await?;
        if is_completed(&claim) {
            self.sync_bound(claim).await?;
            return Ok(true);
        }
        match volume_name(&claim).map(str::to_owned) {
            None => self.find_volume(claim).await,
            Some(name) => self.take_named(claim, &name).await,
        }
    }

    /// The claim takes whatever suits.
    async fn find_volume(&self, claim: Claim) -> Result<bool, Error> {
        let delayed = self.is_delayed(&claim)?;
        if let Some(volume) = self.best(&claim, delayed)? {
            let provision = Operation::Provision(ObjectKey::of(&*claim).to_string());
            let bound = self.bind(volume, claim).await;
            let operations = &self.controller.operations;
            match bound {
                Ok(()) => operations.done(&provision),
                Err(_) => operations.failed(&provision),
            }
            return bound.map(|()| true);
        }
        if self.assign_default_class(&claim).await? {
            return Ok(true);
        }
        if delayed && annotation(&claim.metadata, SELECTED_NODE).is_none() {
            self.tell_whom_it_waits_for(&claim);
        } else if claim_class(&claim).is_empty() {
            let text = "no persistent volumes available for this claim and no storage class is set";
            self.tell_claim(&claim, EventType::Normal, "FailedBinding", text);
        } else {
            self.provision(claim).await?;
            return Ok(false);
        }
        self.set_claim_phase(claim, "Pending", None).await?;
        Ok(false)
    }

    /// Whether the claim's class binds when its first pod comes.
    fn is_delayed(&self, claim: &PersistentVolumeClaim) -> Result<bool, Error> {
        let name = claim_class(claim);
        let Some(class) = self.class(name).filter(|_| !name.is_empty()) else { return Ok(false) };
        match class.volume_binding_mode.as_deref() {
            Some(mode) => Ok(mode == "WaitForFirstConsumer"),
            None => {
                Err(Error::Invalid(format!("VolumeBindingMode not set for StorageClass {name:?}")))
            }
        }
    }

    /// Volumes that can be used in the fewest ways come first, then the smallest.
    fn best(&self, claim: &PersistentVolumeClaim, delayed: bool) -> Result<Option<Volume>, Error> {
        let mut by_modes: BTreeMap<(usize, Vec<String>), Vec<Volume>> = BTreeMap::new();
        for volume in self.candidates(claim) {
            if has_modes(&volume, claim) {
                let modes = volume.spec.as_ref().and_then(|spec| spec.access_modes.clone());
                let mut modes = modes.unwrap_or_default();
                modes.sort_unstable();
                modes.dedup();
                by_modes.entry((modes.len(), modes)).or_default().push(volume);
            }
        }
        let choice = if delayed { Choice::SetAside } else { Choice::Any };
        for volumes in by_modes.values() {
            let found = best_match(claim, volumes, choice).map_err(|error| {
                let key = ObjectKey::of(claim).to_string();
                Error::Invalid(format!("error finding PV for claim {key:?}: {error}"))
            })?;
            if let Some(volume) = found {
                return Ok(Some(volume.clone()));
            }
        }
        Ok(None)
    }

    fn tell_whom_it_waits_for(&self, claim: &PersistentVolumeClaim) {
        let pods = claimed::users(&self.context.informers().of::<Pod>(), &ObjectKey::of(claim));
        let waiting = pods.iter().filter(|pod| !is_terminal(pod) && node_name(pod).is_none());
        let names: Vec<_> = waiting.map(|pod| pod.name_any()).collect();
        let (reason, text) = match names.as_slice() {
            [] => (
                "WaitForFirstConsumer",
                "waiting for first consumer to be created before binding".to_owned(),
            ),
            [one] => ("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
            more => (
                "WaitForPodScheduled",
                format!("waiting for pods {} to be scheduled", more.join(",")),
            ),
        };
        self.tell_claim(claim, EventType::Normal, reason, &text);
    }

    /// The claim wants one volume and no other.
    async fn take_named(&self, claim: Claim, name: &str) -> Result<bool, Error> {
        let Some(volume) = self.volume(name) else {
            self.set_claim_phase(claim, "Pending", None).await?;
            return Ok(false);
        };
        if claim_ref(&volume).is_none() {
            if let Some(why) = mismatch(&volume, &claim) {
                let text = format!("Cannot bind to requested volume {name:?}: {why}");
                self.tell_claim(&claim, EventType::Warning, "VolumeMismatch", &text);
                self.set_claim_phase(claim, "Pending", None).await?;
                return Ok(false);
            }
            self.bind(volume, claim).await?;
            return Ok(true);
        }
        if is_bound_to(&volume, &claim) {
            self.bind(volume, claim).await?;
            return Ok(true);
        }
        let text = format!("volume {name:?} already bound to a different claim.");
        self.tell_claim(&claim, EventType::Warning, "FailedBinding", &text);
        if annotation(&claim.metadata, BOUND_BY_CONTROLLER).is_none() {
            self.set_claim_phase(claim, "Pending", None).await?;
            return Ok(false);
        }
        let own = ObjectKey::of(&*claim).to_string();
        let other = super::claim_key(&volume).unwrap_or_default().to_string();
        Err(Error::Invalid(format!(
            "invalid binding of claim {own:?} to volume {name:?}: volume already claimed by {other:?}"
        )))
    }

    /// The claim was bound once; see whether it still is.
    async fn sync_bound(&self, claim: Claim) -> Result<(), Error> {
        let Some(name) = volume_name(&claim) else {
            let text =
                "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
            return self.lose(claim, "ClaimLost", text).await;
        };
        let Some(volume) = self.present(name).await? else {
            let text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
            return self.lose(claim, "ClaimLost", text).await;
        };
        if claim_ref(&volume).is_none_or(|own| own.uid == claim.metadata.uid) {
            return self.bind(volume, claim).await;
        }
        let text = "Two claims are bound to the same volume, this one is bound incorrectly";
        self.lose(claim, "ClaimMisbound", text).await
    }

    /// The volume of this name. No claim may be given up because the cache of volumes is older than that of claims.
    async fn present(&self, name: &str) -> Result<Option<Volume>, Error> {
        if let Some(known) = self.volume(name) {
            return Ok(Some(known));
        }
        let api: Api<PersistentVolume> = Api::all(self.context.client());
        Ok(api.get_opt(name).await?.map(Arc::new))
    }

    async fn lose(&self, claim: Claim, reason: &str, text: &str) -> Result<(), Error> {
        if kubeplane_workload::storage::claim_phase(&claim) == "Lost" {
            return Ok(());
        }
        let claim = self.set_claim_phase(claim, "Lost", None).await?;
        self.tell_claim(&claim, EventType::Warning, reason, text);
        Ok(())
    }
}
