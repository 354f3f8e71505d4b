use super::{
    super::{in_tree::MIGRATED_PLUGINS, volumes::needs},
    VolumeBinding,
};
use crate::{ClusterEvent, EnqueueExtensions, EventObject, Hint, PodInfo};
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
                old.spec.storage_capacity == Some(true) && new.spec.storage_capacity != Some(true)
            }
            EventObject::CsiStorageCapacity { old: Some(old), new: Some(new) } => {
                use kubeplane_core::quantity::Quantity;
                let limit = |own: &k8s_openapi::api::storage::v1::CSIStorageCapacity| {
                    let limit = own.maximum_volume_size.as_ref().or(own.capacity.as_ref());
                    limit.map(|limit| Quantity::from_api(limit).value())
                };
                limit(new) > limit(old) || old.node_topology != new.node_topology
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}
