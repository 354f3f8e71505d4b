//! Changes of objects other than pods and nodes.

use super::cycle::OtherChanges;
use crate::{ActionType, ClusterEvent, EventObject, EventResource, groups::PodGroupObject};
use futures::{StreamExt, stream};
use k8s_openapi::api::{
    core::v1::{
        Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController,
        Service,
    },
    policy::v1::PodDisruptionBudget,
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};
use kubeplane_client::{Change, Informers, Watchable};
use kubeplane_workload::DeviceTaintRule;
use std::sync::Arc;

/// The kinds that are only watched where somebody wants them: they need not be served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Optional {
    pub(super) groups: bool,
    pub(super) device_rules: bool,
}

/// Waits for the first lists of everything that [`ClusterObjects`](crate::ClusterObjects) holds, and of
/// pods and nodes.
pub(super) async fn synced(informers: &Informers, optional: Optional) {
    use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
    async fn one<K: Watchable>(informers: &Informers) {
        informers.of::<K>().synced().await;
    }
    one::<Pod>(informers).await;
    one::<Node>(informers).await;
    one::<Namespace>(informers).await;
    one::<Service>(informers).await;
    one::<ReplicationController>(informers).await;
    one::<ReplicaSet>(informers).await;
    one::<StatefulSet>(informers).await;
    one::<PodDisruptionBudget>(informers).await;
    one::<PersistentVolumeClaim>(informers).await;
    one::<PersistentVolume>(informers).await;
    one::<StorageClass>(informers).await;
    one::<CSINode>(informers).await;
    one::<CSIDriver>(informers).await;
    one::<CSIStorageCapacity>(informers).await;
    one::<VolumeAttachment>(informers).await;
    one::<ResourceClaim>(informers).await;
    one::<ResourceSlice>(informers).await;
    one::<DeviceClass>(informers).await;
    if optional.groups {
        one::<PodGroupObject>(informers).await;
    }
    if optional.device_rules {
        one::<DeviceTaintRule>(informers).await;
    }
}

/// The events of all kinds that plugins may wait for.
pub(super) fn changes(informers: &Informers, optional: Optional) -> OtherChanges {
    let rules = optional.device_rules.then(|| of_rules(informers));
    let groups = optional.groups.then(|| {
        of::<PodGroupObject>(informers, EventResource::PodGroup, |old, new| EventObject::PodGroup {
            old,
            new,
        })
    });
    let others = [
        of::<PersistentVolumeClaim>(informers, EventResource::PersistentVolumeClaim, |old, new| {
            EventObject::PersistentVolumeClaim { old, new }
        }),
        of::<PersistentVolume>(informers, EventResource::PersistentVolume, |old, new| {
            EventObject::PersistentVolume { old, new }
        }),
        of::<StorageClass>(informers, EventResource::StorageClass, |old, new| {
            EventObject::StorageClass { old, new }
        }),
        of::<CSINode>(informers, EventResource::CsiNode, |old, new| EventObject::CsiNode {
            old,
            new,
        }),
        of::<CSIDriver>(informers, EventResource::CsiDriver, |old, new| EventObject::CsiDriver {
            old,
            new,
        }),
        of::<CSIStorageCapacity>(informers, EventResource::CsiStorageCapacity, |old, new| {
            EventObject::CsiStorageCapacity { old, new }
        }),
        of::<VolumeAttachment>(informers, EventResource::VolumeAttachment, |old, new| {
            EventObject::VolumeAttachment { old, new }
        }),
        of::<ResourceClaim>(informers, EventResource::ResourceClaim, |old, new| {
            EventObject::ResourceClaim { old, new }
        }),
        of::<ResourceSlice>(informers, EventResource::ResourceSlice, |old, new| {
            EventObject::ResourceSlice { old, new }
        }),
        of::<DeviceClass>(informers, EventResource::DeviceClass, |old, new| {
            EventObject::DeviceClass { old, new }
        }),
        of::<Namespace>(informers, EventResource::Namespace, |old, new| EventObject::Namespace {
            old,
            new,
        }),
    ];
    stream::select_all(others.into_iter().chain(groups).chain(rules)).boxed()
}

/// Whether a change of a rule changes taints: how far its evictions are changes none.
fn is_of_taints(change: &Change<DeviceTaintRule>) -> bool {
    change.old().is_none_or(|old| old.spec != change.object().spec)
}

/// A rule that comes, goes or changes changes the slices it is about.
fn of_rules(informers: &Informers) -> OtherChanges {
    let slices = informers.of::<ResourceSlice>();
    let changes = informers.of::<DeviceTaintRule>().subscribe().flat_map(move |change| {
        let states = || change.old().into_iter().chain([change.object()]);
        let mut concerned = if is_of_taints(&change) { slices.list() } else { Vec::new() };
        concerned.retain(|slice| states().any(|rule| rule.concerns(slice)));
        let event = ClusterEvent::new(EventResource::ResourceSlice, ActionType::UPDATE_OTHER);
        let events = concerned.into_iter().map(move |slice| {
            (event, EventObject::ResourceSlice { old: Some(slice.clone()), new: Some(slice) })
        });
        stream::iter(events)
    });
    changes.boxed()
}

fn of<K: Watchable>(
    informers: &Informers,
    resource: EventResource,
    object: impl Fn(Option<Arc<K>>, Option<Arc<K>>) -> EventObject + Send + 'static,
) -> OtherChanges {
    let changes = informers.of::<K>().subscribe().map(move |change| {
        let (action, old, new) = match change {
            Change::Added(new) => (ActionType::ADD, None, Some(new)),
            Change::Updated { old, new } => (ActionType::UPDATE_OTHER, Some(old), Some(new)),
            Change::Deleted(old) => (ActionType::DELETE, Some(old), None),
        };
        (ClusterEvent::new(resource, action), object(old, new))
    });
    changes.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_change_slices_by_what_they_say_and_not_by_how_far_they_are() {
        let rule = |key: &str, evicting: bool| -> Arc<DeviceTaintRule> {
            let condition = json!({"type": "EvictionInProgress", "status": evicting.to_string(),
                "reason": "r", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let rule = json!({"apiVersion": "resource.k8s.io/v1beta2", "kind": "DeviceTaintRule",
                "metadata": {"name": "r"}, "status": {"conditions": [condition]},
                "spec": {"deviceSelector": {}, "taint": {"key": key, "effect": "NoSchedule"}}});
            Arc::new(serde_json::from_value(rule).unwrap())
        };
        let updated = |old, new| is_of_taints(&Change::Updated { old, new });
        assert!(is_of_taints(&Change::Added(rule("a", true))));
        assert!(is_of_taints(&Change::Deleted(rule("a", true))));
        assert!(updated(rule("a", true), rule("b", true)));
        assert!(!updated(rule("a", false), rule("a", true)));
    }
}
