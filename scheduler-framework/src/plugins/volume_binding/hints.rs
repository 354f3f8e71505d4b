use super::{
    super::{in_tree::MIGRATED_PLUGINS, volumes::needs},
    VolumeBinding,
};
use crate::{ClusterEvent, EnqueueExtensions, EventObject, Hint, PodInfo};
use k8s_openapi::api::storage::v1::CSIDriver;
use kubeplane_workload::storage::annotation;

impl EnqueueExtensions for VolumeBinding {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let helps = match object {
            EventObject::PersistentVolumeClaim { new: Some(claim), .. } => needs(pod, claim),
            EventObject::StorageClass { old: Some(old), new: Some(new) } => {
                old.allowed_topologies != new.allowed_topologies
            }
            EventObject::CsiNode { old: Some(old), new: Some(new) } => {
                annotation(&old.metadata, MIGRATED_PLUGINS)
                    != annotation(&new.metadata, MIGRATED_PLUGINS)
            }
            EventObject::CsiDriver { old: Some(old), new: Some(new) } => {
                let counted = old.spec.storage_capacity == Some(true);
                counted && new.spec.storage_capacity != Some(true) && has_inline(pod, new)
            }
            EventObject::CsiStorageCapacity { old: Some(old), new: Some(new) } => {
                use kubeplane_core::quantity::Quantity;
                let limit = |own: &k8s_openapi::api::storage::v1::CSIStorageCapacity| {
                    let limit = own.maximum_volume_size.as_ref().or(own.capacity.as_ref());
                    limit.map(|limit| Quantity::from_api(limit).value())
                };
                limit(new) > limit(old)
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}

/// Whether a pod has a volume of its own from the driver. Of claims the original does not ask which driver serves them: those
/// that wait for room there are tried again after five minutes.
fn has_inline(pod: &PodInfo, driver: &CSIDriver) -> bool {
    let volumes = pod.spec().volumes.iter().flatten();
    let mut drivers = volumes.filter_map(|own| own.csi.as_ref()).map(|own| &own.driver);
    drivers.any(|own| driver.metadata.name.as_ref() == Some(own))
}
