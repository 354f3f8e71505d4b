use super::volumes::{
    check_owner, claim_class, claim_name, claim_names, find_claim, needs, volume_name,
};
use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventObject, EventResource, Filter,
    FilterVerdict, Hint, NodeInfo, PodInfo, PreFilter, PreFilterVerdict, SchedulerPlugin, Snapshot,
    objects::ClusterObjects,
};
use k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::CSINode};
use std::collections::{BTreeMap, HashMap};

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

/// The driver of a claim's volume, and what names the volume; one that is yet to be made is named by its claim.
fn volume_of(objects: &ClusterObjects, claim: &PersistentVolumeClaim) -> Option<(String, String)> {
    if let Some(volume) = volume_name(claim).and_then(|name| objects.volumes.find("", name)) {
        let source = volume.spec.as_ref()?.csi.as_ref()?;
        return Some((source.driver.clone(), source.volume_handle.clone()));
    }
    let class = objects.classes.find("", claim_class(claim))?;
    Some((class.provisioner.clone(), format!("\0{}", super::volumes::key(&claim.metadata))))
}

/// The driver of each volume of a pod.
type Volumes = BTreeMap<(String, String), String>;

/// Adds the volumes of a pod; a claim that is missing is an error for the pod that is to be placed only.
fn collect(
    objects: &ClusterObjects,
    pod: &PodInfo,
    strict: bool,
    volumes: &mut Volumes,
) -> Result<(), String> {
    for volume in pod.spec().volumes.iter().flatten() {
        let Some(name) = claim_name(pod, volume) else { continue };
        let claim = match find_claim(objects, pod.namespace(), &name.name) {
            Ok(claim) => claim,
            Err(why) if strict => {
                return Err(format!("looking up PVC {}/{}: {why}", pod.namespace(), name.name));
            }
            Err(_) => continue,
        };
        if name.ephemeral
            && let Err(why) = check_owner(pod, &claim)
        {
            if strict {
                return Err(why);
            }
            continue;
        }
        if let Some(own) = volume_of(objects, &claim) {
            let driver = own.0.clone();
            volumes.insert(own, driver);
        }
    }
    Ok(())
}

fn limits(node: &CSINode) -> HashMap<&str, i64> {
    let drivers = node.spec.drivers.iter();
    let limit = |driver: &k8s_openapi::api::storage::v1::CSINodeDriver| {
        driver.allocatable.as_ref().and_then(|own| own.count).map(i64::from)
    };
    drivers.filter_map(|driver| Some((driver.name.as_str(), limit(driver)?))).collect()
}

/// The volumes attached to each node, whether a pod known here uses them or not.
fn attached(objects: &ClusterObjects) -> HashMap<String, Volumes> {
    let mut nodes: HashMap<String, Volumes> = HashMap::new();
    for own in objects.attachments.all() {
        let spec = &own.spec;
        let name = spec.source.persistent_volume_name.as_deref();
        let volume = name.and_then(|name| objects.volumes.find("", name));
        let source = volume.as_ref().and_then(|own| own.spec.as_ref()?.csi.as_ref());
        if let Some(source) = source
            && !spec.attacher.is_empty()
        {
            let key = (spec.attacher.clone(), source.volume_handle.clone());
            nodes.entry(spec.node_name.clone()).or_default().insert(key, spec.attacher.clone());
        }
    }
    nodes
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
    volumes: Volumes,
    attached: HashMap<String, Volumes>,
}

impl PreFilter for NodeVolumeLimits {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> PreFilterVerdict {
        if claim_names(pod).next().is_none() {
            return PreFilterVerdict::Skip;
        }
        let mut volumes = Volumes::new();
        if let Err(why) = collect(nodes.objects(), pod, true, &mut volumes) {
            return PreFilterVerdict::Unresolvable(why);
        }
        if volumes.is_empty() {
            return PreFilterVerdict::Skip;
        }
        let attached = attached(nodes.objects());
        state.insert_until_placed(Wanted { volumes, attached });
        PreFilterVerdict::Continue
    }
}

impl Filter for NodeVolumeLimits {
    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        let (Some(wanted), objects) = (state.value::<Wanted>(), state.snapshot().objects()) else {
            return FilterVerdict::Fits;
        };
        let csi_node = objects.csi_nodes.find("", node.name());
        let missing = wanted
            .volumes
            .values()
            .find(|driver| self.scaling && is_missing(objects, driver, csi_node.as_deref()));
        if let Some(driver) = missing {
            let why = format!("{driver} CSI driver is not installed on the node");
            return FilterVerdict::Unschedulable(vec![why]);
        }
        let Some(csi_node) = csi_node else { return FilterVerdict::Fits };
        let limits = limits(&csi_node);
        if limits.is_empty() {
            return FilterVerdict::Fits;
        }
        let mut there = Volumes::new();
        for pod in node.pods() {
            // Not strict: nothing is refused.
            let _ = collect(objects, pod, false, &mut there);
        }
        let new: Vec<_> =
            wanted.volumes.iter().filter(|(key, _)| !there.contains_key(*key)).collect();
        let attached = wanted.attached.get(node.name()).into_iter().flatten();
        there.extend(attached.map(|(key, driver)| (key.clone(), driver.clone())));
        let count = |driver: &str| {
            let used = there.values().filter(|own| *own == driver).count();
            let more = new.iter().filter(|(_, own)| *own == driver).count();
            (used + more, more)
        };
        let exceeded = limits.iter().any(|(driver, limit)| {
            let (all, more) = count(driver);
            more > 0 && i64::try_from(all).unwrap_or(i64::MAX) > *limit
        });
        if exceeded {
            return FilterVerdict::Unschedulable(vec!["node(s) exceed max volume count".into()]);
        }
        FilterVerdict::Fits
    }
}

impl EnqueueExtensions for NodeVolumeLimits {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let helps = match object {
            EventObject::Pod { old: Some(old), .. } => {
                claim_names(&PodInfo::new(old.clone())).next().is_some()
            }
            EventObject::PersistentVolumeClaim { new: Some(claim), .. } => needs(pod, claim),
            EventObject::VolumeAttachment { .. } => claim_names(pod).any(|name| !name.ephemeral),
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
