//! VolumeBinding: claims that wait for their first pod get a volume where the pod can run.

mod assumed;
mod binding;
mod hints;
mod matching;
mod scoring;

use super::{
    in_tree,
    volumes::{check_owner, claim_class, claim_names, volume_name},
};
use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventResource, Filter, FilterVerdict,
    Handle, NodeInfo, Objection, PodInfo, PreBind, PreFilter, PreFilterVerdict, PreScore, Reserve,
    SchedulerPlugin, Score, ShapePoint, Snapshot, objects::ClusterObjects,
};
use assumed::Assumed;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kubeplane_workload::storage::{BIND_COMPLETED, SELECTED_NODE};
use matching::Found;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Filters nodes by what a pod's claims have or could have there, and binds the claims that wait for their
/// first consumer.
#[derive(Debug)]
pub struct VolumeBinding {
    timeout: Duration,
    /// From utilization to score, where nodes are scored at all.
    shape: Option<Vec<ShapePoint>>,
    assumed: Assumed,
    handle: OnceLock<Handle>,
}

impl Default for VolumeBinding {
    fn default() -> Self {
        Self::with_timeout(Duration::from_secs(600))
    }
}

impl VolumeBinding {
    /// Waits at most this long for volumes to be bound.
    #[must_use]
    pub fn with_timeout(timeout: Duration) -> Self {
        Self { timeout, shape: None, assumed: Assumed::default(), handle: OnceLock::new() }
    }

    /// Prefers nodes by how much of the storage there, class by class, would be in use: by a broken line from utilization to
    /// score, points in order of utilization. What the gate `StorageCapacityScoring` is for (KEP-4049).
    #[must_use]
    pub fn scoring(mut self, shape: impl IntoIterator<Item = ShapePoint>) -> Self {
        self.shape = Some(shape.into_iter().collect());
        self
    }

    /// As [`scoring`](Self::scoring), the emptiest first.
    pub(crate) fn emptiest_first(self) -> Self {
        let point = |(utilization, score)| ShapePoint { utilization, score };
        self.scoring([(0, 10), (100, 0)].map(point))
    }
}

impl SchedulerPlugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        let changed = ActionType::ADD.or(ActionType::UPDATE_OTHER);
        let nodes = ActionType::ADD.or(ActionType::UPDATE_LABELS);
        vec![
            ClusterEvent::new(EventResource::StorageClass, changed),
            ClusterEvent::new(EventResource::PersistentVolumeClaim, changed),
            ClusterEvent::new(EventResource::PersistentVolume, changed),
            ClusterEvent::new(EventResource::Node, nodes),
            ClusterEvent::new(EventResource::CsiNode, changed),
            ClusterEvent::new(EventResource::CsiDriver, ActionType::UPDATE_OTHER),
            ClusterEvent::new(EventResource::CsiStorageCapacity, changed),
        ]
    }

    fn start(&self, handle: &Handle) {
        // Only one scheduler runs it.
        let _ = self.handle.set(handle.clone());
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

    fn as_pre_score(&self) -> Option<&dyn PreScore> {
        self.shape.is_some().then_some(self as &dyn PreScore)
    }

    fn as_score(&self) -> Option<&dyn Score> {
        self.shape.is_some().then_some(self as &dyn Score)
    }

    fn as_reserve(&self) -> Option<&dyn Reserve> {
        Some(self)
    }

    fn as_pre_bind(&self) -> Option<&dyn PreBind> {
        Some(self)
    }
}

type Claim = Arc<PersistentVolumeClaim>;

/// A pod's claims by what is to be done for them.
#[derive(Debug, Default)]
struct Claims {
    bound: Vec<Claim>,
    /// They wait for the pod.
    delayed: Vec<Claim>,
    /// Somebody else is to bind them first.
    immediate: Vec<Claim>,
}

/// What is known in one cycle.
struct Volumes {
    claims: Claims,
    /// The volumes of the classes that wait for pods.
    candidates: Vec<Arc<PersistentVolume>>,
    /// What Filter found, by node.
    found: Mutex<HashMap<String, Found>>,
}

/// What Reserve assumed.
#[derive(Debug, Default)]
struct Reserved(Found);

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let completed =
        claim.metadata.annotations.as_ref().is_some_and(|own| own.contains_key(BIND_COMPLETED));
    completed && volume_name(claim).is_some()
}

/// Whether the claim's class binds when the first pod comes.
fn is_delayed(objects: &ClusterObjects, claim: &PersistentVolumeClaim) -> Result<bool, String> {
    let name = claim_class(claim);
    let Some(class) = objects.classes.find("", name).filter(|_| !name.is_empty()) else {
        return Ok(false);
    };
    match class.volume_binding_mode.as_deref() {
        None => Err(format!("VolumeBindingMode not set for StorageClass {name:?}")),
        Some(mode) => Ok(mode == "WaitForFirstConsumer"),
    }
}

impl VolumeBinding {
    /// All claims of the pod, `None` when it has none.
    fn claims(
        &self,
        objects: &ClusterObjects,
        pod: &PodInfo,
    ) -> Result<Option<Vec<Claim>>, String> {
        let mut claims = Vec::new();
        for own in claim_names(pod) {
            let name = &own.name;
            let Some(claim) = self.assumed.claim(objects, pod.namespace(), name) else {
                return Err(if own.ephemeral {
                    format!(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
                    )
                } else {
                    format!("persistentvolumeclaim {name:?} not found")
                });
            };
            let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
            if phase == Some("Lost") {
                let volume = volume_name(&claim).unwrap_or_default();
                return Err(format!(
                    "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
                ));
            }
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            if own.ephemeral {
                check_owner(pod, &claim)?;
            }
            claims.push(claim);
        }
        Ok((!claims.is_empty()).then_some(claims))
    }
}

fn sorted(objects: &ClusterObjects, all: Vec<Claim>) -> Result<Claims, String> {
    let mut claims = Claims::default();
    for claim in all {
        if is_bound(&claim) {
            claims.bound.push(claim);
        } else if is_delayed(objects, &claim)? && volume_name(&claim).is_none() {
            claims.delayed.push(claim);
        } else {
            claims.immediate.push(claim);
        }
    }
    Ok(claims)
}

impl PreFilter for VolumeBinding {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> PreFilterVerdict {
        let objects = nodes.objects();
        let all = match self.claims(objects, pod) {
            Ok(Some(claims)) => claims,
            Ok(None) => return PreFilterVerdict::Skip,
            Err(why) => return PreFilterVerdict::Unresolvable(why),
        };
        let claims = match sorted(objects, all) {
            Ok(claims) => claims,
            Err(why) => return PreFilterVerdict::Error(why),
        };
        if !claims.immediate.is_empty() {
            let reason = "pod has unbound immediate PersistentVolumeClaims";
            return PreFilterVerdict::Unresolvable(reason.into());
        }
        let candidates =
            if claims.delayed.is_empty() { Vec::new() } else { self.assumed.volumes(objects) };
        state.insert(Volumes { claims, candidates, found: Mutex::default() });
        PreFilterVerdict::Continue
    }
}

impl Filter for VolumeBinding {
    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        let Some(volumes) = state.value::<Volumes>() else {
            return FilterVerdict::Error("PreFilter did not run".into());
        };
        let objects = state.snapshot().objects();
        let bound = match self.bound_fit(objects, &volumes.claims.bound, node) {
            Ok(bound) => bound,
            Err(why) => return self.failed(why),
        };
        let mut reasons: Vec<String> = Vec::new();
        match bound {
            Some(true) => {}
            Some(false) => {
                reasons.push("node(s) didn't match PersistentVolume's node affinity".into())
            }
            None => {}
        }
        match matching::find(objects, &volumes.claims.delayed, &volumes.candidates, node) {
            // Where all claims are bound there is nothing to assume, on any of thousands of nodes.
            Ok(matching::Outcome::Found(found)) if found.is_empty() => {}
            Ok(matching::Outcome::Found(found)) if reasons.is_empty() && bound.is_some() => {
                volumes.found.lock().insert(node.name().to_owned(), found);
            }
            Ok(matching::Outcome::Found(_)) => {}
            Ok(matching::Outcome::NoMatch) => {
                reasons.push("node(s) didn't find available persistent volumes to bind".into());
            }
            Ok(matching::Outcome::NoRoom) => {
                reasons.push("node(s) did not have enough free storage".into());
            }
            Err(why) => return self.failed(why),
        }
        if bound.is_none() {
            reasons.push(
                "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)".into(),
            );
        }
        if reasons.is_empty() { FilterVerdict::Fits } else { FilterVerdict::Unresolvable(reasons) }
    }
}

impl VolumeBinding {
    fn failed(&self, why: String) -> FilterVerdict {
        if let Some(handle) = self.handle.get() {
            handle.metrics.volumes_failed("predicate");
        }
        FilterVerdict::Error(why)
    }

    /// Whether all claims of the pod are bound by now.
    fn are_bound(&self, objects: &ClusterObjects, pod: &PodInfo) -> bool {
        let claim = |name: &str| self.assumed.claim(objects, pod.namespace(), name);
        claim_names(pod).all(|own| claim(&own.name).is_some_and(|own| is_bound(&own)))
    }

    /// Whether the volumes of bound claims can be used on the node; `None` when one is not there.
    fn bound_fit(
        &self,
        objects: &ClusterObjects,
        claims: &[Claim],
        node: &NodeInfo,
    ) -> Result<Option<bool>, String> {
        for claim in claims {
            let name = volume_name(claim).unwrap_or_default();
            let Some(volume) = self.assumed.volume(objects, name) else { return Ok(None) };
            if !in_tree::fits_node(objects, &volume, node.node())? {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }
}

impl VolumeBinding {
    /// Whether all claims of the pod have volumes that can be used on every node.
    pub(super) fn suits_all_nodes(&self, state: &CycleState) -> bool {
        let Some(Volumes { claims, .. }) = state.value() else { return false };
        let objects = state.snapshot().objects();
        let everywhere = |claim: &Claim| {
            let volume = self.assumed.volume(objects, volume_name(claim).unwrap_or_default());
            volume.is_some_and(|own| in_tree::fits_every_node(objects, &own))
        };
        claims.delayed.is_empty() && claims.bound.iter().all(everywhere)
    }
}

impl Reserve for VolumeBinding {
    fn reserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str) -> Result<(), Objection> {
        let Some(volumes) = state.value::<Volumes>() else { return Ok(()) };
        let found = volumes.found.lock().remove(node).unwrap_or_default();
        let handle = self.handle.get();
        let objects = handle.map(|own| &*own.objects);
        if found.is_empty() || objects.is_some_and(|own| self.are_bound(own, pod)) {
            return Ok(());
        }
        let assumed = self.assumed.assume(objects, found, node).inspect_err(|_| {
            if let Some(handle) = handle {
                handle.metrics.volumes_failed("assume");
            }
        })?;
        state.insert(Reserved(assumed));
        Ok(())
    }

    fn unreserve(&self, state: &mut CycleState, _: &PodInfo, _: &str) {
        if let Some(Reserved(found)) = state.value::<Reserved>() {
            self.assumed.revert(found);
        }
    }
}

#[cfg(test)]
mod tests;
