use super::{
    super::{
        answers::said,
        in_tree,
        volumes::{key, volume_name},
    },
    Reserved, SELECTED_NODE, VolumeBinding, is_bound,
    matching::Found,
};
use crate::{
    CycleState, Handle, Objection, PodInfo, PreBind, PreBindVerdict, objects::ClusterObjects,
};
use async_trait::async_trait;
use k8s_openapi::{
    api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::api::{Api, PostParams};
use kubeplane_workload::storage::claim_ref;
use std::{sync::Arc, time::Duration};

/// How often it is looked whether volumes are bound.
const POLL: Duration = Duration::from_millis(200);

#[async_trait]
impl PreBind for VolumeBinding {
    fn preflight(&self, state: &CycleState, _: &PodInfo, _: &str) -> PreBindVerdict {
        match state.value::<Reserved>() {
            Some(_) => PreBindVerdict::Needed,
            None => PreBindVerdict::Skip,
        }
    }

    fn allows_parallel(&self, _: &CycleState, _: &PodInfo, _: &str) -> bool {
        true
    }

    async fn pre_bind(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<(), Objection> {
        let (Some(Reserved(found)), Some(handle)) = (state.value(), self.handle.get()) else {
            return Err("volumes are bound by a running scheduler only".to_owned().into());
        };
        let bound = self.bind(handle, pod, found, node).await;
        if bound.is_err() {
            handle.metrics.volumes_failed("bind");
        }
        bound.map_err(Objection::from)
    }
}

impl VolumeBinding {
    async fn bind(
        &self,
        handle: &Handle,
        pod: &PodInfo,
        found: &Found,
        node: &str,
    ) -> Result<(), String> {
        let found = self.write(handle, pod, found).await?;
        let bound = all_bound(handle, pod, &found, node);
        match kubeplane_clock::timeout(&*handle.clock, self.timeout, bound).await {
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => Err(format!("binding volumes: {why}")),
            None => Err("binding volumes: context deadline exceeded".to_owned()),
        }
    }

    /// Tells the API server; the controller of volumes and provisioners do the rest. Gives what it made of it.
    async fn write(&self, handle: &Handle, pod: &PodInfo, found: &Found) -> Result<Found, String> {
        let volumes: Api<PersistentVolume> = Api::all(handle.client.clone());
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(handle.client.clone(), pod.namespace());
        let parameters = PostParams::default();
        let mut told = Found::default();
        for (volume, claim) in &found.bindings {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            let written = volumes.replace(name, &parameters, volume).await;
            let written = Arc::new(written.map_err(|error| said(&error))?);
            self.assumed.confirm_volume(written.clone());
            told.bindings.push((written, claim.clone()));
        }
        for claim in &found.provisions {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let written = claims.replace(name, &parameters, claim).await;
            let written = Arc::new(written.map_err(|error| said(&error))?);
            self.assumed.confirm_claim(written.clone());
            told.provisions.push(written);
        }
        Ok(told)
    }
}

/// Waits until all is bound, or says why that will not come to be.
async fn all_bound(
    handle: &Handle,
    pod: &PodInfo,
    found: &Found,
    name: &str,
) -> Result<(), String> {
    let mut node = node_now(handle, name).await?;
    loop {
        let mut bound = check(&handle.objects, pod.namespace(), found, &node);
        if bound.is_err() {
            // The node may have other labels by now.
            node = node_now(handle, name).await?;
            bound = check(&handle.objects, pod.namespace(), found, &node);
        }
        if bound? {
            return Ok(());
        }
        handle.clock.sleep(POLL).await;
    }
}

async fn node_now(handle: &Handle, name: &str) -> Result<Node, String> {
    let api: Api<Node> = Api::all(handle.client.clone());
    let failed = |why: String| format!("failed to get node {name:?}: {why}");
    match api.get_opt(name).await {
        Ok(Some(node)) => Ok(node),
        Ok(None) => Err(failed(format!("node {name:?} not found"))),
        Err(error) => Err(failed(said(&error))),
    }
}

/// Whether all is bound that was written so, or why that will not come to be.
pub(super) fn check(
    objects: &ClusterObjects,
    namespace: &str,
    found: &Found,
    node: &Node,
) -> Result<bool, String> {
    let claim_of = |claim: &PersistentVolumeClaim| {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let missing = || format!("persistentvolumeclaims {:?} not found", key(&claim.metadata));
        objects.claims.find(namespace, name).ok_or_else(missing)
    };
    for (volume, claim) in &found.bindings {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let missing = || format!("persistentvolumes {name:?} not found");
        let failed = |why: String| format!("failed to check binding: {why}");
        let now = objects.volumes.find("", name).ok_or_else(missing).map_err(failed)?;
        let claim = claim_of(claim).map_err(failed)?;
        if is_older(&now.metadata, &volume.metadata) {
            return Ok(false);
        }
        reaches(objects, &now, node, "failed to translate pv to csi: ")?;
        if claim_ref(&now).is_none_or(|own| own.uid.as_ref().is_none_or(String::is_empty)) {
            return Err(format!("ClaimRef got reset for pv {name:?}"));
        }
        if !is_bound(&claim) {
            return Ok(false);
        }
    }
    for own in &found.provisions {
        let claim =
            claim_of(own).map_err(|why| format!("failed to check provisioning pvc: {why}"))?;
        if is_older(&claim.metadata, &own.metadata) || !is_provided(objects, &claim, node)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the API server has a newer state.
fn is_older(now: &ObjectMeta, written: &ObjectMeta) -> bool {
    let version = |meta: &ObjectMeta| {
        let own = meta.resource_version.as_deref();
        own.and_then(|own| own.parse::<u64>().ok()).unwrap_or_default()
    };
    version(now) < version(written)
}

/// Says why a volume cannot be used on the node.
fn reaches(
    objects: &ClusterObjects,
    volume: &PersistentVolume,
    node: &Node,
    doing: &str,
) -> Result<(), String> {
    let fits = in_tree::fits_node(objects, volume, node).map_err(|why| format!("{doing}{why}"))?;
    if fits {
        return Ok(());
    }
    let name = |meta: &ObjectMeta| meta.name.clone().unwrap_or_default();
    let (volume, node) = (name(&volume.metadata), name(&node.metadata));
    Err(format!(
        "pv {volume:?} node affinity doesn't match node {node:?}: no matching NodeSelectorTerms"
    ))
}

/// Whether a claim for which the node was chosen has a volume that can be used there.
fn is_provided(
    objects: &ClusterObjects,
    claim: &PersistentVolumeClaim,
    node: &Node,
) -> Result<bool, String> {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let Some(annotations) = &claim.metadata.annotations else {
        return Err(format!("selectedNode annotation reset for PVC {name:?}"));
    };
    if annotations.get(SELECTED_NODE) != node.metadata.name.as_ref() {
        return Err(format!("provisioning failed for PVC {name:?}"));
    }
    if let Some(volume) = volume_name(claim) {
        // It may not have been seen yet.
        let Some(volume) = objects.volumes.find("", volume) else { return Ok(false) };
        reaches(objects, &volume, node, "")?;
    }
    Ok(is_bound(claim))
}
