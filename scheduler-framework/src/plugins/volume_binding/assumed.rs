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

    /// Takes it that volumes are bound and claims provisioned for the node; gives both as they will be. `objects` tell how
    /// they are now.
    ///
    /// # Errors
    /// When one has changed since it was found; nothing is taken then.
    pub(super) fn assume(
        &self,
        objects: Option<&ClusterObjects>,
        found: Found,
        node: &str,
    ) -> Result<Found, String> {
        let mut assumed = Found::default();
        let taken = self.take(objects, found, node, &mut assumed);
        if taken.is_err() {
            self.revert(&assumed);
        }
        taken.map(|()| assumed)
    }

    fn take(
        &self,
        objects: Option<&ClusterObjects>,
        found: Found,
        node: &str,
        assumed: &mut Found,
    ) -> Result<(), String> {
        for (volume, claim) in found.bindings {
            let binding = Arc::new(bound(&volume, &claim));
            if binding != volume {
                let name = volume.metadata.name.clone().unwrap_or_default();
                if let Some(objects) = objects {
                    let now = self.volume(objects, &name);
                    let now = now.as_ref().map(|own| &own.metadata);
                    in_sync("persistentvolumes", &name, now, &volume.metadata)?;
                }
                self.volumes.lock().insert(name, binding.clone());
            }
            assumed.bindings.push((binding, claim));
        }
        for claim in found.provisions {
            let meta = &claim.metadata;
            if let Some(objects) = objects {
                let namespace = meta.namespace.as_deref().unwrap_or_default();
                let now = self.claim(objects, namespace, meta.name.as_deref().unwrap_or_default());
                let now = now.as_ref().map(|own| &own.metadata);
                in_sync("persistentvolumeclaims", &key(meta), now, meta)?;
            }
            let mut claim = PersistentVolumeClaim::clone(&claim);
            let annotations = claim.metadata.annotations.get_or_insert_default();
            annotations.insert(SELECTED_NODE.into(), node.into());
            let claim = Arc::new(claim);
            self.claims.lock().insert(key(&claim.metadata), claim.clone());
            assumed.provisions.push(claim);
        }
        Ok(())
    }

    /// What the API server made of an assumption: it holds until informers show it.
    pub(super) fn confirm_volume(&self, volume: Arc<PersistentVolume>) {
        let name = volume.metadata.name.clone().unwrap_or_default();
        self.volumes.lock().insert(name, volume);
    }

    pub(super) fn confirm_claim(&self, claim: Claim) {
        self.claims.lock().insert(key(&claim.metadata), claim);
    }

    /// Gives assumptions up, but for what the API server has made of them.
    pub(super) fn revert(&self, found: &Found) {
        let mut volumes = self.volumes.lock();
        for (volume, _) in &found.bindings {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            give_up(&mut volumes, name, &volume.metadata, |own| &own.metadata);
        }
        let mut claims = self.claims.lock();
        for claim in &found.provisions {
            give_up(&mut claims, &key(&claim.metadata), &claim.metadata, |own| &own.metadata);
        }
    }
}

/// Gives an assumption up that is still of this version.
fn give_up<K>(
    assumed: &mut HashMap<String, Arc<K>>,
    key: &str,
    own: &ObjectMeta,
    meta: impl Fn(&K) -> &ObjectMeta,
) {
    let held = assumed.get(key).map(|held| &meta(held).resource_version);
    if held == Some(&own.resource_version) {
        assumed.remove(key);
    }
}

/// Whether an object is as it was found.
fn in_sync(
    kind: &str,
    key: &str,
    now: Option<&ObjectMeta>,
    found: &ObjectMeta,
) -> Result<(), String> {
    let version = |meta: &ObjectMeta| meta.resource_version.clone().unwrap_or_default();
    let Some(now) = now else { return Err(format!("{kind} {key:?} not found")) };
    let (stored, own) = (version(now), version(found));
    if stored == own {
        return Ok(());
    }
    Err(format!("{key:?} is out of sync (stored: {stored}, assume: {own})"))
}
