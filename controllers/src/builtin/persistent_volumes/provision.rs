//! Volumes that others are asked to make, and what tells them so.

use super::{Sync, operations::Operation};
use crate::Error;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use kube::{
    Api, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_workload::storage::{
    BETA_STORAGE_PROVISIONER, MIGRATED_TO, PROVISIONED_BY, STORAGE_PROVISIONER, annotation,
    claim_class, is_default, migrated, names_class,
};
use std::{cmp::Reverse, sync::Arc};

/// Held by volumes that a plugin in the tree made and will delete; drivers took them all over.
const IN_TREE: &str = "kubernetes.io/pv-controller";

type Claim = Arc<PersistentVolumeClaim>;

/// Says which driver serves what the provisioner once did; whether that is a change.
fn mark_migrated(meta: &mut ObjectMeta, provisioner: &str) -> bool {
    let annotations = meta.annotations.get_or_insert_default();
    match migrated(provisioner) {
        Some(driver) if annotations.get(MIGRATED_TO).map(String::as_str) == Some(driver) => false,
        Some(driver) => {
            annotations.insert(MIGRATED_TO.to_owned(), driver.to_owned());
            true
        }
        None => annotations.remove(MIGRATED_TO).is_some(),
    }
}

impl Sync<'_> {
    pub(super) async fn mark_migrated_claim(&self, claim: Claim) -> Result<Claim, Error> {
        let meta = &claim.metadata;
        let own = annotation(meta, STORAGE_PROVISIONER);
        let Some(own) = own.or_else(|| annotation(meta, BETA_STORAGE_PROVISIONER)) else {
            return Ok(claim);
        };
        let mut next = (*claim).clone();
        if !mark_migrated(&mut next.metadata, own) {
            return Ok(claim);
        }
        self.write_claim(next).await
    }

    pub(super) async fn mark_migrated_volume(
        &self,
        volume: Arc<PersistentVolume>,
    ) -> Result<Arc<PersistentVolume>, Error> {
        let Some(own) = annotation(&volume.metadata, PROVISIONED_BY) else { return Ok(volume) };
        let mut next = (*volume).clone();
        let mut changed = mark_migrated(&mut next.metadata, own);
        if migrated(own).is_some() {
            let finalizers = next.finalizers_mut();
            let count = finalizers.len();
            finalizers.retain(|finalizer| finalizer != IN_TREE);
            changed |= finalizers.len() != count;
        }
        if !changed {
            return Ok(volume);
        }
        self.write_volume(next).await
    }

    /// Gives a claim that was made before there was a default class the class; whether it did.
    pub(super) async fn assign_default_class(&self, claim: &Claim) -> Result<bool, Error> {
        if names_class(claim) {
            return Ok(false);
        }
        let classes = self.context.informers().of::<StorageClass>().list();
        let defaults = classes.iter().filter(|class| is_default(class));
        let Some(class) = defaults.min_by_key(|class| {
            (Reverse(class.metadata.creation_timestamp.clone()), class.name_any())
        }) else {
            return Ok(false);
        };
        let mut next = (**claim).clone();
        next.spec.get_or_insert_default().storage_class_name = Some(class.name_any());
        let written = self.write_claim(next).await;
        self.controller.figures.gave_class(written.is_ok());
        written?;
        Ok(true)
    }

    /// Asks the provisioner of the claim's class for a volume, if anybody is to be asked.
    pub(super) async fn provision(&self, claim: Claim) -> Result<(), Error> {
        if !self.controller.provisions {
            return Ok(());
        }
        let name = claim_class(&claim);
        let Some(class) = self.class(name) else {
            let text = format!("storageclass.storage.k8s.io {name:?} not found");
            self.tell_claim(&claim, EventType::Warning, "ProvisioningFailed", &text);
            return Ok(());
        };
        let provisioner = class.provisioner.as_str();
        let driver = migrated(provisioner);
        if driver.is_none() && provisioner.starts_with("kubernetes.io/") {
            let text = format!("no volume plugin matched name: {provisioner}");
            self.tell_claim(&claim, EventType::Warning, "ProvisioningFailed", &text);
            return Ok(());
        }
        let provisioner = driver.unwrap_or(provisioner);
        let operation = Operation::Provision(ObjectKey::of(&*claim).to_string());
        self.controller.operations.begin(operation.clone(), provisioner);
        let claim = match self.set_provisioner(claim.clone(), provisioner).await {
            Ok(claim) => claim,
            Err(error) => {
                self.controller.operations.failed(&operation);
                let text = format!("Error saving claim: {}", error.text());
                self.tell_claim(&claim, EventType::Warning, "ProvisioningFailed", &text);
                return Err(error);
            }
        };
        let text = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or \
             manually by the system administrator. If volume creation is delayed, please verify that the \
             provisioner is running and correctly registered."
        );
        self.tell_claim(&claim, EventType::Normal, "ExternalProvisioning", &text);
        Ok(())
    }

    async fn set_provisioner(&self, claim: Claim, provisioner: &str) -> Result<Claim, Error> {
        if annotation(&claim.metadata, STORAGE_PROVISIONER) == Some(provisioner) {
            return Ok(claim);
        }
        let mut next = (*claim).clone();
        for key in [BETA_STORAGE_PROVISIONER, STORAGE_PROVISIONER] {
            next.annotations_mut().insert(key.to_owned(), provisioner.to_owned());
        }
        mark_migrated(&mut next.metadata, provisioner);
        self.write_claim(next).await
    }

    pub(super) async fn write_claim(&self, claim: PersistentVolumeClaim) -> Result<Claim, Error> {
        let namespace = claim.namespace().unwrap_or_default();
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client(), &namespace);
        let written = api.replace(&claim.name_any(), &PostParams::default(), &claim).await?;
        Ok(self.controller.claims.written(written))
    }

    pub(super) async fn write_volume(
        &self,
        volume: PersistentVolume,
    ) -> Result<Arc<PersistentVolume>, Error> {
        let api: Api<PersistentVolume> = Api::all(self.context.client());
        let written = api.replace(&volume.name_any(), &PostParams::default(), &volume).await?;
        Ok(self.controller.volumes.written(written))
    }
}
