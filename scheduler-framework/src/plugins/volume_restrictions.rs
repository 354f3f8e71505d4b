use super::volumes::{find_claim, names};
use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventObject, EventResource, Filter,
    FilterVerdict, Hint, NodeInfo, PodInfo, PreFilter, PreFilterExtensions, PreFilterVerdict,
    SchedulerPlugin, Snapshot,
};
use k8s_openapi::api::core::v1::{PodSpec, Volume};
use std::collections::{BTreeSet, HashMap};

/// Keeps pods off nodes where a disk is in use that only one may use, and claims to one pod at a time where
/// they say so (`ReadWriteOncePod`).
#[derive(Debug, Clone, Copy, Default)]
pub struct VolumeRestrictions;

impl SchedulerPlugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        vec![
            ClusterEvent::new(EventResource::AssignedPod, ActionType::DELETE),
            ClusterEvent::new(EventResource::Node, ActionType::ADD),
            ClusterEvent::new(EventResource::PersistentVolumeClaim, ActionType::ADD),
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

/// The pod's claims that only one pod may use, and how often others use them.
struct Exclusive {
    claims: BTreeSet<String>,
    uses: i64,
}

impl Exclusive {
    fn uses_by(&self, pod: &PodInfo, other: &PodInfo) -> i64 {
        let same = |name: &str| pod.namespace() == other.namespace() && self.claims.contains(name);
        i64::try_from(named(other).filter(|name| same(name)).count()).unwrap_or(i64::MAX)
    }
}

/// The claims a pod names.
fn named(pod: &PodInfo) -> impl Iterator<Item = &str> {
    let claims = pod.spec().volumes.iter().flatten();
    claims.filter_map(|own| Some(own.persistent_volume_claim.as_ref()?.claim_name.as_str()))
}

fn is_disk(volume: &Volume) -> bool {
    volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.rbd.is_some()
        || volume.iscsi.is_some()
}

/// Whether a disk is one that the other pod uses, and not all only read it.
fn conflicts(volume: &Volume, other: &PodSpec) -> bool {
    other.volumes.iter().flatten().any(|there| {
        let writes = |a: Option<bool>, b: Option<bool>| a != Some(true) || b != Some(true);
        let gce = volume.gce_persistent_disk.as_ref().zip(there.gce_persistent_disk.as_ref());
        let aws =
            volume.aws_elastic_block_store.as_ref().zip(there.aws_elastic_block_store.as_ref());
        let iscsi = volume.iscsi.as_ref().zip(there.iscsi.as_ref());
        let rbd = volume.rbd.as_ref().zip(there.rbd.as_ref());
        gce.is_some_and(|(a, b)| a.pd_name == b.pd_name && writes(a.read_only, b.read_only))
            || aws.is_some_and(|(a, b)| a.volume_id == b.volume_id)
            || iscsi.is_some_and(|(a, b)| a.iqn == b.iqn && writes(a.read_only, b.read_only))
            || rbd.is_some_and(|(a, b)| {
                a.monitors.iter().any(|own| b.monitors.contains(own))
                    && a.pool.as_deref().unwrap_or("rbd") == b.pool.as_deref().unwrap_or("rbd")
                    && a.image == b.image
                    && writes(a.read_only, b.read_only)
            })
    })
}

fn disk_conflict(pod: &PodInfo, other: &PodInfo) -> bool {
    let disks = pod.spec().volumes.iter().flatten().filter(|volume| is_disk(volume));
    disks.into_iter().any(|volume| conflicts(volume, other.spec()))
}

/// How many pods use each claim, by `namespace/name`.
fn uses(nodes: &Snapshot) -> std::sync::Arc<HashMap<String, i64>> {
    let part = |node: &NodeInfo| {
        let keys = |pod: &PodInfo| {
            named(pod).map(|name| format!("{}/{name}", pod.namespace())).collect::<Vec<_>>()
        };
        node.pods().iter().flat_map(|pod| keys(pod)).collect::<Vec<_>>()
    };
    let change = |total: &mut HashMap<String, i64>, keys: &Vec<String>, sign: i64| {
        for key in keys {
            let count = total.entry(key.clone()).or_default();
            *count += sign;
            if *count == 0 {
                total.remove(key);
            }
        }
    };
    nodes.tally("claims", part, change)
}

impl PreFilter for VolumeRestrictions {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> PreFilterVerdict {
        let disks = pod.spec().volumes.iter().flatten().any(is_disk);
        let mut claims = BTreeSet::new();
        for name in named(pod) {
            match find_claim(nodes.objects(), pod.namespace(), name) {
                Ok(claim) => {
                    let spec = claim.spec.as_ref();
                    let modes = spec.and_then(|spec| spec.access_modes.as_deref());
                    let exclusive = |mode: &String| mode == "ReadWriteOncePod";
                    if modes.unwrap_or_default().iter().any(exclusive) {
                        claims.insert(name.to_owned());
                    }
                }
                Err(why) => return PreFilterVerdict::Unresolvable(why),
            }
        }
        let mut exclusive = Exclusive { claims, uses: 0 };
        if !exclusive.claims.is_empty() {
            let uses = uses(nodes);
            let used = |name: &&String| uses.contains_key(&format!("{}/{name}", pod.namespace()));
            let count = exclusive.claims.iter().filter(used).count();
            exclusive.uses = i64::try_from(count).unwrap_or(i64::MAX);
        }
        if !disks && exclusive.uses == 0 {
            return PreFilterVerdict::Skip;
        }
        state.insert_until_placed(exclusive);
        PreFilterVerdict::Continue
    }

    fn extensions(&self) -> Option<&dyn PreFilterExtensions> {
        Some(self)
    }
}

impl PreFilterExtensions for VolumeRestrictions {
    fn add_pod(&self, state: &mut CycleState, pod: &PodInfo, added: &PodInfo, _: &NodeInfo) {
        if let Some(exclusive) = state.value_mut::<Exclusive>() {
            exclusive.uses += exclusive.uses_by(pod, added);
        }
    }

    fn remove_pod(&self, state: &mut CycleState, pod: &PodInfo, removed: &PodInfo, _: &NodeInfo) {
        if let Some(exclusive) = state.value_mut::<Exclusive>() {
            exclusive.uses -= exclusive.uses_by(pod, removed);
        }
    }
}

impl Filter for VolumeRestrictions {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        if node.pods().iter().any(|other| disk_conflict(pod, other)) {
            return FilterVerdict::Unschedulable(vec!["node(s) had no available disk".into()]);
        }
        if state.value::<Exclusive>().is_some_and(|exclusive| exclusive.uses > 0) {
            let reason = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode \
                          already in-use by another pod";
            return FilterVerdict::Unschedulable(vec![reason.into()]);
        }
        FilterVerdict::Fits
    }
}

impl EnqueueExtensions for VolumeRestrictions {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let helps = match object {
            EventObject::Pod { old: Some(old), new: None } => {
                let old = PodInfo::new(old.clone());
                let claims: BTreeSet<_> = named(pod).collect();
                old.namespace() == pod.namespace()
                    && (disk_conflict(pod, &old) || named(&old).any(|name| claims.contains(name)))
            }
            EventObject::PersistentVolumeClaim { new: Some(claim), .. } => names(pod, claim),
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}
