use super::{super::volumes::key, Claim, SELECTED_NODE, matching::Found};
use crate::objects::ClusterObjects;
use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kubeplane_workload::storage::bound;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// What the scheduler has decided for claims and volumes and informers do not show yet.
#[derive(Debug, Default)]
pub(super) struct Assumed {
    claims: Mutex<HashMap<String, Claim>>,
    volumes: Mutex<HashMap<String, Arc<PersistentVolume>>>,
}

fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|own| own.parse().ok()).unwrap_or_default()
}

/// The newer of what is known and what was assumed; an assumption that is overtaken is given up.
fn newer<K>(
    assumed: &mut HashMap<String, Arc<K>>,
    key: &str,
    known: Arc<K>,
    meta: impl Fn(&K) -> &ObjectMeta,
) -> Arc<K> {
    match assumed.get(key) {
        Some(own) if version(meta(own)) >= version(meta(&known)) => own.clone(),
        Some(_) => {
            assumed.remove(key);
            known
        }
        None => known,
    }
}

impl Assumed {
    pub(super) fn claim(
        &self,
        objects: &ClusterObjects,
        namespace: &str,
        name: &str,
    ) -> Option<Claim> {
        let known = objects.claims.find(namespace, name)?;
        let own = key(&known.metadata);
        Some(newer(&mut self.claims.lock(), &own, known, |claim| &claim.metadata))
    }

    pub(super) fn volume(
        &self,
        objects: &ClusterObjects,
        name: &str,
    ) -> Option<Arc<PersistentVolume>> {
        let known = objects.volumes.find("", name)?;
        Some(newer(&mut self.volumes.lock(), name, known, |volume| &volume.metadata))
    }

    /// All volumes.
    pub(super) fn volumes(&self, objects: &ClusterObjects) -> Vec<Arc<PersistentVolume>> {
        let mut assumed = self.volumes.lock();
        let own = |known: Arc<PersistentVolume>| {
            let name = known.metadata.name.clone().unwrap_or_default();
            newer(&mut assumed, &name, known, |volume| &volume.metadata)
        };
        objects.volumes.all().into_iter().map(own).collect()
    }

    /// Takes it that volumes are bound and claims provisioned for the node; gives both as they will be.
    pub(super) fn assume(&self, found: Found, node: &str) -> Found {
        let mut assumed = Found::default();
        for (volume, claim) in found.bindings {
            let volume = Arc::new(bound(&volume, &claim));
            let name = volume.metadata.name.clone().unwrap_or_default();
            self.volumes.lock().insert(name, volume.clone());
            assumed.bindings.push((volume, claim));
        }
        for claim in found.provisions {
            let mut claim = PersistentVolumeClaim::clone(&claim);
            let annotations = claim.metadata.annotations.get_or_insert_default();
            annotations.insert(SELECTED_NODE.into(), node.into());
            let claim = Arc::new(claim);
            self.claims.lock().insert(key(&claim.metadata), claim.clone());
            assumed.provisions.push(claim);
        }
        assumed
    }

    /// What the API server made of an assumption: it holds until informers show it.
    pub(super) fn confirm_volume(&self, volume: PersistentVolume) {
        let name = volume.metadata.name.clone().unwrap_or_default();
        self.volumes.lock().insert(name, Arc::new(volume));
    }

    pub(super) fn confirm_claim(&self, claim: PersistentVolumeClaim) {
        self.claims.lock().insert(key(&claim.metadata), Arc::new(claim));
    }

    /// Gives assumptions up.
    pub(super) fn revert(&self, found: &Found) {
        let mut volumes = self.volumes.lock();
        for (volume, _) in &found.bindings {
            volumes.remove(volume.metadata.name.as_deref().unwrap_or_default());
        }
        let mut claims = self.claims.lock();
        for claim in &found.provisions {
            claims.remove(&key(&claim.metadata));
        }
    }
}
