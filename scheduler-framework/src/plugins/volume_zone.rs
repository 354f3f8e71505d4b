use super::volumes::{claim_class, find_claim, names, volume_name};
use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventObject, EventResource, Filter,
    FilterVerdict, Hint, NodeInfo, PodInfo, PreFilter, PreFilterVerdict, SchedulerPlugin, Snapshot,
};
use k8s_openapi::api::core::v1::PersistentVolume;
use std::collections::BTreeSet;

const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
const OLD_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const LABELS: [&str; 4] = [OLD_ZONE, OLD_REGION, ZONE, REGION];

/// Keeps pods in the zones of their volumes.
#[derive(Debug, Clone, Copy, Default)]
pub struct VolumeZone;

impl SchedulerPlugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        let changed = ActionType::ADD.or(ActionType::UPDATE_OTHER);
        vec![
            ClusterEvent::new(EventResource::StorageClass, ActionType::ADD),
            ClusterEvent::new(EventResource::Node, ActionType::ADD.or(ActionType::UPDATE_LABELS)),
            ClusterEvent::new(EventResource::PersistentVolumeClaim, changed),
            ClusterEvent::new(EventResource::PersistentVolume, changed),
        ]
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }

    fn as_enqueue_extensions(&self) -> Option<&dyn EnqueueExtensions> {
        Some(self)
    }

    fn as_pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

/// A label of a volume and the zones it names.
struct Place {
    key: &'static str,
    values: BTreeSet<String>,
}

struct Places(Vec<Place>);

/// The labels by which a volume is bound to zones; several zones are joined by `__`.
fn places(volume: &PersistentVolume) -> Vec<Place> {
    let labels = volume.metadata.labels.as_ref();
    let place = |key: &'static str| {
        let values: BTreeSet<_> =
            labels?.get(key)?.split("__").map(|zone| zone.trim().to_owned()).collect();
        (!values.contains("")).then_some(Place { key, values })
    };
    LABELS.into_iter().filter_map(place).collect()
}

fn of_claim(pod: &PodInfo, name: &str, nodes: &Snapshot) -> Result<Vec<Place>, String> {
    if name.is_empty() {
        return Err("PersistentVolumeClaim had no name".into());
    }
    let objects = nodes.objects();
    let claim = find_claim(objects, pod.namespace(), name)?;
    if let Some(name) = volume_name(&claim) {
        let missing = || format!("persistentvolume {name:?} not found");
        return objects.volumes.find("", name).map(|own| places(&own)).ok_or_else(missing);
    }
    let class = claim_class(&claim);
    if class.is_empty() {
        return Err("PersistentVolumeClaim had no pv name and storageClass name".into());
    }
    let Some(found) = objects.classes.find("", class) else {
        return Err(format!("storageclass.storage.k8s.io {class:?} not found"));
    };
    match found.volume_binding_mode.as_deref() {
        None => Err(format!("VolumeBindingMode not set for StorageClass {class:?}")),
        Some("WaitForFirstConsumer") => Ok(Vec::new()),
        Some(_) => Err("PersistentVolume had no name".into()),
    }
}

impl PreFilter for VolumeZone {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> PreFilterVerdict {
        let mut all = Vec::new();
        for volume in pod.spec().volumes.iter().flatten() {
            let Some(claim) = &volume.persistent_volume_claim else { continue };
            match of_claim(pod, &claim.claim_name, nodes) {
                Ok(mut places) => all.append(&mut places),
                Err(why) => return PreFilterVerdict::Unresolvable(why),
            }
        }
        if all.is_empty() {
            return PreFilterVerdict::Skip;
        }
        state.insert_until_placed(Places(all));
        PreFilterVerdict::Continue
    }
}

impl Filter for VolumeZone {
    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        let Some(Places(places)) = state.value() else { return FilterVerdict::Fits };
        if LABELS.iter().all(|key| node.label(key).is_none()) {
            // A cluster of a single zone need not name it.
            return FilterVerdict::Fits;
        }
        let there = |place: &Place| {
            let newer = match place.key {
                OLD_ZONE => ZONE,
                OLD_REGION => REGION,
                key => key,
            };
            let value = node.label(place.key).or_else(|| node.label(newer));
            value.is_some_and(|value| place.values.contains(value))
        };
        if places.iter().all(there) {
            return FilterVerdict::Fits;
        }
        FilterVerdict::Unresolvable(vec!["node(s) had no available volume zone".into()])
    }
}

impl EnqueueExtensions for VolumeZone {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let helps = match object {
            EventObject::PersistentVolumeClaim { new: Some(claim), .. } => names(pod, claim),
            EventObject::PersistentVolume { old: Some(old), new: Some(new) } => {
                let zones = |own: &PersistentVolume| {
                    let own = places(own).into_iter();
                    own.map(|place| (place.key, place.values)).collect::<Vec<_>>()
                };
                zones(old) != zones(new)
            }
            EventObject::StorageClass { new: Some(class), .. } => {
                class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}
