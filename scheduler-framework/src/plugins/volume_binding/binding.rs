use super::{
    super::{
        in_tree,
        volumes::{key, volume_name},
    },
    Reserved, SELECTED_NODE, VolumeBinding, is_bound,
    matching::Found,
};
use crate::{CycleState, Handle, Objection, PodInfo, PreBind, PreBindVerdict};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, PostParams};
use kubeplane_workload::storage::{claim_ref, is_bound_to};
use std::time::Duration;

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
        self.write(handle, pod, found).await?;
        let api: Api<Node> = Api::all(handle.client.clone());
        let failed =
            |error: kube::Error| format!("binding volumes: failed to get node {node:?}: {error}");
        let node = api.get(node).await.map_err(failed)?;
        let bound = async {
            while !check(handle, pod, found, &node)? {
                handle.clock.sleep(POLL).await;
            }
            Ok::<(), String>(())
        };
        match kubeplane_clock::timeout(&*handle.clock, self.timeout, bound).await {
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => Err(format!("binding volumes: {why}")),
            None => Err("binding volumes: context deadline exceeded".to_owned()),
        }
    }

    /// Tells the API server; the controller of volumes and provisioners do the rest.
    async fn write(&self, handle: &Handle, pod: &PodInfo, found: &Found) -> Result<(), String> {
        let volumes: Api<PersistentVolume> = Api::all(handle.client.clone());
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(handle.client.clone(), pod.namespace());
        let parameters = PostParams::default();
        for (volume, _) in &found.bindings {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            let written = volumes.replace(name, &parameters, volume).await;
            self.assumed.confirm_volume(written.map_err(|error| error.to_string())?);
        }
        for claim in &found.provisions {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let written = claims.replace(name, &parameters, claim).await;
            self.assumed.confirm_claim(written.map_err(|error| error.to_string())?);
        }
        Ok(())
    }
}

fn version(own: Option<&String>) -> u64 {
    own.and_then(|own| own.parse().ok()).unwrap_or_default()
}

/// Whether all is bound, or why that will not come to be.
fn check(handle: &Handle, pod: &PodInfo, found: &Found, node: &Node) -> Result<bool, String> {
    let objects = &handle.objects;
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let claim_of = |claim: &PersistentVolumeClaim| {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let missing =
            || format!("could not find v1.PersistentVolumeClaim {:?}", key(&claim.metadata));
        objects.claims.find(pod.namespace(), name).ok_or_else(missing)
    };
    for (volume, claim) in &found.bindings {
        let volume_name = volume.metadata.name.as_deref().unwrap_or_default();
        let Some(now) = objects.volumes.find("", volume_name) else {
            return Err(format!(
                "failed to check binding: could not find v1.PersistentVolume {volume_name:?}"
            ));
        };
        let claim = claim_of(claim).map_err(|why| format!("failed to check binding: {why}"))?;
        let written = version(volume.metadata.resource_version.as_ref());
        if version(now.metadata.resource_version.as_ref()) <= written && !is_bound_to(&now, &claim)
        {
            return Ok(false);
        }
        let fits = in_tree::fits_node(objects, &now, node)
            .map_err(|why| format!("failed to translate pv to csi: {why}"))?;
        if !fits {
            return Err(format!(
                "pv {volume_name:?} node affinity doesn't match node {name:?}: no matching NodeSelectorTerms"
            ));
        }
        if claim_ref(&now).is_none_or(|own| own.uid.as_ref().is_none_or(String::is_empty)) {
            return Err(format!("ClaimRef got reset for pv {volume_name:?}"));
        }
        if !is_bound(&claim) {
            return Ok(false);
        }
    }
    for own in &found.provisions {
        let claim =
            claim_of(own).map_err(|why| format!("failed to check provisioning pvc: {why}"))?;
        let written = version(own.metadata.resource_version.as_ref());
        if version(claim.metadata.resource_version.as_ref()) <= written {
            return Ok(false);
        }
        let claim_name = claim.metadata.name.as_deref().unwrap_or_default();
        let Some(annotations) = &claim.metadata.annotations else {
            return Err(format!("selectedNode annotation reset for PVC {claim_name:?}"));
        };
        if annotations.get(SELECTED_NODE).map(String::as_str) != Some(name) {
            return Err(format!("provisioning failed for PVC {claim_name:?}"));
        }
        if let Some(volume) = volume_name(&claim) {
            let Some(volume) = objects.volumes.find("", volume) else { return Ok(false) };
            if !in_tree::fits_node(objects, &volume, node)? {
                let volume = volume.metadata.name.as_deref().unwrap_or_default();
                return Err(format!(
                    "pv {volume:?} node affinity doesn't match node {name:?}: no matching NodeSelectorTerms"
                ));
            }
        }
        if !is_bound(&claim) {
            return Ok(false);
        }
    }
    Ok(true)
}
