//! NodeVolumeLimits: so many volumes of a driver on a node, and no more.

mod counting;

use super::{
    in_tree,
    volumes::{claim_names, needs},
};
use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventObject, EventResource, Filter,
    FilterVerdict, Hint, NodeInfo, PodInfo, PreFilter, PreFilterVerdict, SchedulerPlugin, Snapshot,
    objects::ClusterObjects,
};
use counting::{Attached, Counted, Uncounted, Volumes};
use k8s_openapi::api::{core::v1::PodSpec, storage::v1::CSINode};
use std::collections::HashMap;

/// Keeps nodes within the number of volumes that their storage drivers can attach.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeVolumeLimits {
    scaling: bool,
}

impl NodeVolumeLimits {
    /// Refuses nodes without a driver whose CSIDriver says `preventPodSchedulingIfMissing`, too: what the gate
    /// `VolumeLimitScaling` is for (KEP-5030).
    #[must_use]
    pub fn with_scaling(self, scaling: bool) -> Self {
        Self { scaling }
    }
}

impl SchedulerPlugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        let changed = ActionType::ADD.or(ActionType::UPDATE_OTHER);
        vec![
            ClusterEvent::new(EventResource::CsiNode, changed),
            ClusterEvent::new(EventResource::AssignedPod, ActionType::DELETE),
            ClusterEvent::new(EventResource::PersistentVolumeClaim, ActionType::ADD),
            ClusterEvent::new(EventResource::VolumeAttachment, ActionType::DELETE),
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

fn limits(node: &CSINode) -> HashMap<&str, i64> {
    let drivers = node.spec.drivers.iter();
    let limit = |driver: &k8s_openapi::api::storage::v1::CSINodeDriver| {
        driver.allocatable.as_ref().and_then(|own| own.count).map(i64::from)
    };
    drivers.filter_map(|driver| Some((driver.name.as_str(), limit(driver)?))).collect()
}

/// Whether a driver is to be on the nodes of its pods, and is not on this one.
fn is_missing(objects: &ClusterObjects, driver: &str, node: Option<&CSINode>) -> bool {
    let own = objects.csi_drivers.find("", driver);
    let prevents = own.and_then(|own| own.spec.prevent_pod_scheduling_if_missing);
    let is_there = || {
        let all = node.into_iter().flat_map(|node| &node.spec.drivers);
        all.map(|own| own.name.as_str()).any(|own| own == driver)
    };
    prevents == Some(true) && !is_there()
}

/// What PreFilter found.
struct Wanted {
    counted: Result<Counted, Uncounted>,
    attached: Attached,
}

/// Whether a pod has volumes that a driver may serve.
fn concerns(spec: &PodSpec) -> bool {
    spec.volumes.iter().flatten().any(|own| {
        own.persistent_volume_claim.is_some()
            || own.ephemeral.is_some()
            || in_tree::inline_driver(own).is_some()
    })
}

impl PreFilter for NodeVolumeLimits {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> PreFilterVerdict {
        if !concerns(pod.spec()) {
            return PreFilterVerdict::Skip;
        }
        let counted = counting::wanted(nodes.objects(), pod);
        if counted.as_ref().is_ok_and(Counted::is_empty) {
            return PreFilterVerdict::Skip;
        }
        let attached = counting::attached(nodes.objects());
        state.insert_until_placed(Wanted { counted, attached });
        PreFilterVerdict::Continue
    }
}

impl NodeVolumeLimits {
    /// Whether volumes of the pod count on no node: those that were in the tree do so only where there is a list of drivers.
    pub(super) fn suits_all_nodes(state: &CycleState) -> bool {
        let Some(wanted) = state.value::<Wanted>() else { return false };
        let in_tree = |own: &Counted| own.volumes.values().all(|in_tree| *in_tree);
        let objects = state.snapshot().objects();
        wanted.counted.as_ref().is_ok_and(in_tree) && objects.csi_nodes.all().is_empty()
    }

    /// A driver that is to be on the node and is not.
    fn missing<'a>(
        &self,
        objects: &ClusterObjects,
        volumes: &'a Volumes,
        node: Option<&CSINode>,
    ) -> Option<&'a str> {
        // Volumes that were in the tree are their driver's only where there is a list of drivers.
        let mut known = volumes.iter().filter(|(_, in_tree)| node.is_some() || !**in_tree);
        let missing = known.find(|(own, _)| self.scaling && is_missing(objects, &own.driver, node));
        missing.map(|(own, _)| own.driver.as_str())
    }
}

impl Filter for NodeVolumeLimits {
    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        let (Some(wanted), objects) = (state.value::<Wanted>(), state.snapshot().objects()) else {
            return FilterVerdict::Fits;
        };
        let csi_node = objects.csi_nodes.find("", node.name());
        let counted = match &wanted.counted {
            Ok(counted) => counted,
            Err(Uncounted::NoClaim(why)) => return FilterVerdict::Unresolvable(vec![why.clone()]),
            Err(Uncounted::Failed(why)) => return FilterVerdict::Error(why.clone()),
        };
        if let (Some(why), Some(_)) = (&counted.meaningless, &csi_node) {
            return FilterVerdict::Error(why.clone());
        }
        if let Some(driver) = self.missing(objects, &counted.volumes, csi_node.as_deref()) {
            let why = format!("{driver} CSI driver is not installed on the node");
            return FilterVerdict::Unschedulable(vec![why]);
        }
        let Some(csi_node) = csi_node else { return FilterVerdict::Fits };
        match exceeds(objects, &counted.volumes, &wanted.attached, node, &limits(&csi_node)) {
            Ok(false) => FilterVerdict::Fits,
            Ok(true) => {
                FilterVerdict::Unschedulable(vec!["node(s) exceed max volume count".into()])
            }
            Err(why) => FilterVerdict::Error(why),
        }
    }
}

/// Whether a driver would have more volumes on the node than it can attach there.
fn exceeds(
    objects: &ClusterObjects,
    volumes: &Volumes,
    attached: &Attached,
    node: &NodeInfo,
    limits: &HashMap<&str, i64>,
) -> Result<bool, String> {
    if limits.is_empty() {
        return Ok(false);
    }
    let mut there = counting::on_node(objects, node)?;
    let new: Vec<_> = volumes.keys().filter(|own| !there.contains_key(*own)).collect();
    for own in attached.get(node.name()).into_iter().flatten() {
        there.entry(own.clone()).or_insert(false);
    }
    Ok(limits.iter().any(|(driver, limit)| {
        let used = there.keys().filter(|own| own.driver == *driver).count();
        let more = new.iter().filter(|own| own.driver == *driver).count();
        more > 0 && i64::try_from(used + more).unwrap_or(i64::MAX) > *limit
    }))
}

/// Whether a pod has an inline volume that the driver serves, or that has no meaning to its own.
fn has_inline(pod: &PodInfo, driver: &str) -> bool {
    pod.spec()
        .volumes
        .iter()
        .flatten()
        .any(|own| in_tree::inline_driver(own) == Some(driver) || in_tree::inline(own).is_err())
}

impl EnqueueExtensions for NodeVolumeLimits {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let helps = match object {
            EventObject::Pod { old: Some(old), .. } => old.spec.as_ref().is_some_and(concerns),
            EventObject::PersistentVolumeClaim { new: Some(claim), .. } => needs(pod, claim),
            EventObject::VolumeAttachment { old: Some(gone), .. } => {
                claim_names(pod).any(|name| !name.ephemeral) || has_inline(pod, &gone.spec.attacher)
            }
            EventObject::CsiNode { old: Some(old), new: Some(new) } => {
                let before = limits(old);
                limits(new)
                    .iter()
                    .any(|(driver, limit)| *limit > before.get(driver).copied().unwrap_or_default())
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}
