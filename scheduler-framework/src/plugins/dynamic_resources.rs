//! DynamicResources: devices for the claims of pods.
//!
//! ```text
//!   PreFilter  claims there, allocated or free? ──> Allocator over ResourceSlices
//!   Filter     node by node: which devices?  ── kept ──> Score, Reserve
//!   Reserve    they are taken, for this scheduler; PreBind writes it into the claims and waits for devices to be ready
//! ```

mod allocator;
mod binding;
mod capacity;
mod claims;
mod constraint;
mod devices;
mod extended;
mod filtering;
mod freeing;
mod gates;
mod hints;
mod of_nodes;
mod pools;
mod request;
mod reserving;
mod selectors;
mod shelf;
mod stock;
mod tracker;

use super::device_classes::{concern, coverage};
use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventResource, Filter, Handle,
    PodInfo, PostFilter, PreBind, PreEnqueue, PreFilter, Reserve, SchedulerPlugin, Score, Sign,
    Snapshot, Track, Tracking, objects::ClusterObjects,
};
use filtering::Cycle;
use gates::Gates;
use kubeplane_core::features::Features;
pub(crate) use of_nodes::assumed;
use parking_lot::Mutex;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
pub(crate) use stock::Stock;
pub(super) use stock::Totals;
use tokio::task::JoinSet;

/// Held by claims that are allocated.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// Gives pods the devices their claims ask for (KEP-4381 and those after it, as of Kubernetes 1.36).
#[derive(Debug)]
pub struct DynamicResources {
    filter_timeout: Duration,
    binding_timeout: Duration,
    /// Until it is started.
    stock: Arc<Stock>,
    gates: Gates,
    /// Whether PodGroups have claims.
    group_claims: bool,
    handle: OnceLock<Handle>,
    /// What is taken back beside the scheduling loop.
    tasks: Mutex<JoinSet<()>>,
}

impl Default for DynamicResources {
    fn default() -> Self {
        Self::with_timeouts(Duration::from_secs(10), Duration::from_secs(600))
    }
}

impl DynamicResources {
    /// Looks for devices of one node so long at most (zero: as long as it takes), and waits so long for devices to
    /// be ready.
    #[must_use]
    pub fn with_timeouts(filter: Duration, binding: Duration) -> Self {
        Self {
            filter_timeout: filter,
            binding_timeout: binding,
            stock: Arc::default(),
            gates: Gates::default(),
            group_claims: false,
            handle: OnceLock::new(),
            tasks: Mutex::default(),
        }
    }

    /// Goes by these gates: those whose names begin with `DRA`. With `DRAWorkloadResourceClaims` there are claims of
    /// PodGroups too, which all pods of a group use together (KEP-5729). Without this they are as by default.
    #[must_use]
    pub fn with_features(self, features: &Features) -> Self {
        let group_claims = features.is_on("DRAWorkloadResourceClaims");
        let stock = Arc::new(Stock::new(features));
        Self { gates: Gates::from(features), group_claims, stock, ..self }
    }

    fn has_claims(pod: &PodInfo) -> bool {
        pod.spec().resource_claims.as_ref().is_some_and(|own| !own.is_empty())
    }

    /// What is known of devices: in a running scheduler the same for all profiles.
    fn stock(&self) -> &Stock {
        match self.handle.get() {
            Some(handle) => &handle.stock,
            None => &self.stock,
        }
    }

    /// Whether devices stand for something the pod asks for.
    fn stands_in(&self, objects: &ClusterObjects, pod: &PodInfo) -> bool {
        self.gates.extended && concern(objects, pod)
    }
}

impl SchedulerPlugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        let changed = ActionType::ADD.or(ActionType::UPDATE_OTHER);
        let nodes =
            ActionType::ADD.or(ActionType::UPDATE_LABELS).or(ActionType::UPDATE_ALLOCATABLE);
        let made = ActionType::UPDATE_GENERATED_CLAIM;
        vec![
            ClusterEvent::new(EventResource::Node, nodes),
            ClusterEvent::new(EventResource::ResourceClaim, changed),
            ClusterEvent::new(EventResource::UnscheduledPod, made),
            ClusterEvent::new(EventResource::DeviceClass, changed),
            ClusterEvent::new(EventResource::ResourceSlice, changed),
        ]
    }

    fn start(&self, handle: &Handle) {
        // Only one scheduler runs it.
        let _ = self.handle.set(handle.clone());
    }

    fn as_track(&self) -> Option<&dyn Track> {
        Some(self)
    }

    fn as_sign(&self) -> Option<&dyn Sign> {
        Some(self)
    }

    fn as_pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
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

    fn as_post_filter(&self) -> Option<&dyn PostFilter> {
        Some(self)
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }

    fn as_reserve(&self) -> Option<&dyn Reserve> {
        Some(self)
    }

    fn as_pre_bind(&self) -> Option<&dyn PreBind> {
        Some(self)
    }
}

impl Track for DynamicResources {
    fn track(&self, pod: &PodInfo, nodes: &Snapshot) -> Tracking {
        if Self::has_claims(pod) || self.stands_in(nodes.objects(), pod) {
            Tracking::Late
        } else {
            Tracking::Indifferent
        }
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }

    fn circumstance(&self, pod: &PodInfo, nodes: &Snapshot) -> u128 {
        if self.gates.extended { coverage(nodes.objects(), pod) } else { 0 }
    }

    fn is_level(&self, state: &CycleState, _: &PodInfo) -> bool {
        state.value::<Cycle>().is_none_or(|own| !own.has_preferences())
    }
}

/// Which claims a pod has is seen for each pod.
impl Sign for DynamicResources {
    fn sign(&self, pod: &PodInfo) -> Option<Vec<u8>> {
        Some(if Self::has_claims(pod) { vec![1] } else { Vec::new() })
    }
}

#[cfg(test)]
mod tests;
