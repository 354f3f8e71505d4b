use super::local_path::LOCAL_PATH_PROVISIONER;
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::{
    api::core::v1::{
        PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimCondition,
        PersistentVolumeSpec,
    },
    apimachinery::pkg::{api::resource::Quantity as ApiQuantity, apis::meta::v1::Time},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_core::quantity::Quantity;
use kubeplane_workload::storage::{
    PROVISIONED_BY, annotation, claim_phase, claim_ref, migrated, requested, storage, volume_name,
};
use serde_json::{Value, json};
use std::sync::Arc;

const RESIZER: &str = "volume.kubernetes.io/storage-resizer";
/// Conditions that tell of growing.
const OF_GROWTH: [&str; 4] =
    ["Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError"];

/// Lets volumes grow as their claims do: directories of nodes at once, those of drivers by the driver.
#[derive(Debug)]
pub(super) struct VolumeExpansion;

fn granted(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    storage(claim.status.as_ref().and_then(|status| status.capacity.as_ref()))
}

fn grows(claim: &PersistentVolumeClaim) -> bool {
    claim_phase(claim) == "Bound"
        && requested(claim).is_some_and(|wanted| granted(claim).is_none_or(|has| has < wanted))
}

/// The plugin that once served such a volume, where a driver does now.
fn former_plugin(spec: &PersistentVolumeSpec) -> Option<&'static str> {
    let plugins = [
        ("kubernetes.io/aws-ebs", spec.aws_elastic_block_store.is_some()),
        ("kubernetes.io/gce-pd", spec.gce_persistent_disk.is_some()),
        ("kubernetes.io/cinder", spec.cinder.is_some()),
        ("kubernetes.io/azure-disk", spec.azure_disk.is_some()),
        ("kubernetes.io/azure-file", spec.azure_file.is_some()),
        ("kubernetes.io/vsphere-volume", spec.vsphere_volume.is_some()),
        ("kubernetes.io/portworx-volume", spec.portworx_volume.is_some()),
    ];
    plugins.into_iter().find_map(|(name, is)| is.then_some(name))
}

#[async_trait]
impl Controller for VolumeExpansion {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "persistentvolume-expander-controller"
    }

    fn identity(&self) -> &'static str {
        "expand-controller"
    }

    fn event_source(&self) -> &'static str {
        "volume_expand"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.watch::<PersistentVolumeClaim>(|change| {
            let claim = change.object();
            let more = change.old().is_none_or(|old| requested(claim) > requested(old));
            let wanted = more && !change.is_deleted() && grows(claim);
            wanted.then(|| ObjectKey::of(&**claim)).into_iter().collect()
        });
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let found =
            context.informers().of::<PersistentVolumeClaim>().get(&key.namespace, &key.name);
        let Some(claim) = found.filter(|claim| grows(claim)) else { return Ok(Action::Done) };
        let volumes: Api<PersistentVolume> = Api::all(context.client());
        let name = volume_name(&claim).unwrap_or_default();
        let volume = volumes.get(name).await?;
        let owner = claim_ref(&volume);
        if owner.is_none_or(|owner| owner.uid != claim.metadata.uid) {
            let why = format!("persistent Volume is not bound to PVC being updated : {key}");
            return Err(Error::Invalid(why));
        }
        let plugin = volume.spec.as_ref().and_then(former_plugin);
        if annotation(&volume.metadata, PROVISIONED_BY) == Some(LOCAL_PATH_PROVISIONER) {
            grow(context, claim, &volume).await?;
        } else if let Some(plugin) = plugin {
            let text = format!(
                "CSI migration enabled for {plugin}; waiting for external resizer to expand the pvc"
            );
            context.recorder().event_for(&*claim, EventType::Normal, "ExternalExpanding", text);
            let driver = migrated(plugin).unwrap_or_default();
            let patch = json!({"metadata": {"annotations": {RESIZER: driver}}});
            patch_status(context, &claim, patch).await?;
        } else {
            let text = "waiting for an external controller to expand this PVC";
            context.recorder().event_for(&*claim, EventType::Normal, "ExternalExpanding", text);
        }
        Ok(Action::Done)
    }
}

async fn patch_status(
    context: &Context,
    claim: &PersistentVolumeClaim,
    patch: Value,
) -> Result<PersistentVolumeClaim, Error> {
    let namespace = claim.namespace().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client(), &namespace);
    let patch = Patch::Merge(patch);
    Ok(claims.patch_status(&claim.name_any(), &PatchParams::default(), &patch).await?)
}

/// The conditions without those that tell of growing.
fn other_conditions(claim: &PersistentVolumeClaim) -> Vec<PersistentVolumeClaimCondition> {
    let all = claim.status.iter().flat_map(|status| status.conditions.iter().flatten());
    all.filter(|condition| !OF_GROWTH.contains(&condition.type_.as_str())).cloned().collect()
}

/// A directory has what its disk has: only the books change.
async fn grow(
    context: &Context,
    claim: Arc<PersistentVolumeClaim>,
    volume: &PersistentVolume,
) -> Result<(), Error> {
    let wanted: ApiQuantity = requested(&claim).map(|size| size.to_api()).unwrap_or_default();
    let mut conditions = other_conditions(&claim);
    conditions.push(PersistentVolumeClaimCondition {
        type_: "Resizing".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(Time(context.now())),
        ..PersistentVolumeClaimCondition::default()
    });
    let begun = json!({
        "metadata": {"annotations": {RESIZER: LOCAL_PATH_PROVISIONER}},
        "status": {
            "conditions": conditions,
            "allocatedResources": {"storage": wanted},
            "allocatedResourceStatuses": {"storage": "ControllerResizeInProgress"},
        },
    });
    let claim = patch_status(context, &claim, begun).await?;
    let has = storage(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()));
    if has.is_none_or(|has| has < Quantity::from_api(&wanted)) {
        let volumes: Api<PersistentVolume> = Api::all(context.client());
        let patch = Patch::Merge(json!({"spec": {"capacity": {"storage": wanted}}}));
        volumes.patch(&volume.name_any(), &PatchParams::default(), &patch).await?;
    }
    let done = json!({"status": {
        "capacity": {"storage": wanted},
        "conditions": other_conditions(&claim),
        "allocatedResourceStatuses": null,
    }});
    patch_status(context, &claim, done).await?;
    let text = format!("ExpandVolume succeeded for volume {}", ObjectKey::of(&claim));
    context.recorder().event_for(&claim, EventType::Normal, "VolumeResizeSuccessful", text);
    Ok(())
}
