//! NodeResourcesFit: room for what a pod requests.

mod hints;
mod placement;
mod strategy;

use super::{
    Stock,
    device_classes::{class_for, concern, coverage, covered},
    device_scoring::{Classes, DeviceLoads, stood_for},
};
use crate::{
    ActionType, Amounts, ClusterEvent, CycleState, EnqueueExtensions, EventResource, Filter,
    FilterVerdict, Handle, NodeInfo, PlacementScore, PodInfo, PreScore, PreScoreVerdict,
    SchedulerPlugin, Score, objects::ClusterObjects,
};
use k8s_openapi::api::resource::v1::DeviceClass;
use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};
pub use strategy::{ScoringStrategy, ShapePoint};
pub(super) use strategy::{on_line, rounded};

/// Only nodes with room for what a pod requests; prefers those with the most left (LeastAllocated) or what
/// another strategy says.
#[derive(Debug, Clone, Default)]
pub struct NodeResourcesFit {
    strategy: ScoringStrategy,
    /// The resources scored, and their weights; CPU and memory if there are none.
    weights: Vec<(String, i64)>,
    ignored: BTreeSet<String>,
    ignored_groups: BTreeSet<String>,
    /// Whether devices stand for nothing.
    blind: bool,
    /// What is known of devices, once it was started or asked.
    stock: OnceLock<Arc<Stock>>,
    /// Which classes there are, once it was started.
    objects: OnceLock<Arc<ClusterObjects>>,
}

/// What it scores by devices, for one pod.
struct Loads(DeviceLoads);

impl NodeResourcesFit {
    /// Scores other resources, or with other weights (from 1 to 100).
    #[must_use]
    pub fn scoring(weights: impl IntoIterator<Item = (String, i64)>) -> Self {
        Self { weights: weights.into_iter().collect(), ..Self::default() }
    }

    /// Scores by another strategy.
    #[must_use]
    pub fn strategy(mut self, strategy: ScoringStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Does not look at these extended resources, nor at those whose names begin with one of `groups` and `/`.
    #[must_use]
    pub fn ignoring(
        mut self,
        resources: impl IntoIterator<Item = String>,
        groups: impl IntoIterator<Item = String>,
    ) -> Self {
        self.ignored.extend(resources);
        self.ignored_groups.extend(groups);
        self
    }

    /// Whether devices of a class may stand for extended resources that a node has none of, as they do without this: what the
    /// gate `DRAExtendedResource` is for (KEP-5004).
    #[must_use]
    pub fn with_devices(self, devices: bool) -> Self {
        Self { blind: !devices, ..self }
    }

    /// The class whose devices stand for a resource.
    fn class_for(&self, objects: &ClusterObjects, resource: &str) -> Option<Arc<DeviceClass>> {
        if self.blind { None } else { class_for(objects, resource) }
    }

    /// Which of the resources it scores a pod wants and devices stand for.
    pub(super) fn by_devices(&self, objects: &ClusterObjects, pod: &PodInfo) -> Classes {
        if self.blind || self.weights.is_empty() {
            return Classes::new();
        }
        stood_for(objects, pod, self.weights.iter().map(|(name, _)| name.as_str()))
    }

    /// What a pod wants that devices stand for.
    pub(super) fn covered(&self, objects: &ClusterObjects, pod: &PodInfo) -> BTreeSet<String> {
        if self.blind { BTreeSet::new() } else { covered(objects, pod) }
    }

    /// A number for that; zero where there is nothing.
    pub(super) fn coverage(&self, objects: &ClusterObjects, pod: &PodInfo) -> u128 {
        if self.blind { 0 } else { coverage(objects, pod) }
    }

    /// What the pod requests but for what devices stand for, where the node has none of it itself; `None` when that is
    /// everything.
    fn without_devices(
        &self,
        objects: &ClusterObjects,
        pod: &PodInfo,
        node: &NodeInfo,
    ) -> Option<Amounts> {
        let wants = pod.requests();
        if self.blind || wants.scalars.is_empty() || !concern(objects, pod) {
            return None;
        }
        let mut wants = wants.clone();
        wants.scalars.retain(|name, _| {
            node.allocatable().amount(name) > 0 || class_for(objects, name).is_none()
        });
        Some(wants)
    }

    fn is_ignored(&self, name: &str) -> bool {
        let group = || name.split('/').next().unwrap_or_default();
        (self.ignored.contains(name) || self.ignored_groups.contains(group()))
            && is_extended_resource(name)
    }

    /// Whether `amounts` more fit beside `pods` pods that use `used`; otherwise why not, and whether others
    /// leaving helps.
    fn check(&self, wants: &Amounts, has: &Amounts, used: &Amounts, pods: usize) -> Lack {
        let mut lack = Lack { reasons: Vec::new(), resolvable: true };
        if i64::try_from(pods).unwrap_or(i64::MAX) >= has.pods {
            lack.reasons.push("Too many pods".to_owned());
        }
        let named = [
            ("cpu", wants.milli_cpu, has.milli_cpu, used.milli_cpu),
            ("memory", wants.memory, has.memory, used.memory),
            (
                "ephemeral-storage",
                wants.ephemeral_storage,
                has.ephemeral_storage,
                used.ephemeral_storage,
            ),
        ];
        let scalars = wants
            .scalars
            .iter()
            .map(|(name, amount)| (name.as_str(), *amount, has.amount(name), used.amount(name)));
        for (name, wanted, has, used) in named.into_iter().chain(scalars) {
            if wanted > 0 && wanted > has - used && !self.is_ignored(name) {
                lack.reasons.push(format!("Insufficient {name}"));
                lack.resolvable &= wanted <= has;
            }
        }
        lack
    }

    /// Whether the pod fits, without saying why not.
    pub(crate) fn has_room(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        self.has_room_but_for(&BTreeSet::new(), pod, node)
    }

    /// The same where devices stand for some resources: those of which the node has none itself are not looked at.
    pub(crate) fn has_room_but_for(
        &self,
        covered: &BTreeSet<String>,
        pod: &PodInfo,
        node: &NodeInfo,
    ) -> bool {
        let (wants, has, used) = (pod.requests(), node.allocatable(), node.requested());
        i64::try_from(node.pods().len()).unwrap_or(i64::MAX) < has.pods
            && (wants.milli_cpu == 0 || wants.milli_cpu <= has.milli_cpu - used.milli_cpu)
            && (wants.memory == 0 || wants.memory <= has.memory - used.memory)
            && (wants.ephemeral_storage == 0
                || wants.ephemeral_storage <= has.ephemeral_storage - used.ephemeral_storage)
            && wants.scalars.iter().all(|(name, wanted)| {
                *wanted == 0
                    || *wanted <= has.amount(name) - used.amount(name)
                    || self.is_ignored(name)
                    || has.amount(name) <= 0 && covered.contains(name)
            })
    }

    /// The score of a node where no devices stand for what is scored; it depends on nothing but the node and what the pod
    /// requests.
    pub(crate) fn rate(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        self.rate_by(None, pod, node)
    }

    fn rate_by(&self, devices: Option<&DeviceLoads>, pod: &PodInfo, node: &NodeInfo) -> i64 {
        if !self.weights.is_empty() {
            let resources = self.weights.iter().map(|(name, weight)| (name.as_str(), *weight));
            return self.strategy.score(resources.map(|(name, weight)| {
                let (used, has) = load(devices, pod, node, name);
                (used, has, weight)
            }));
        }
        let (has, used, more) =
            (node.allocatable(), node.scored_requests(), pod.arriving_requests());
        self.strategy.score(
            [
                (used.milli_cpu + more.milli_cpu, has.milli_cpu, 1),
                (used.memory + more.memory, has.memory, 1),
            ]
            .into_iter(),
        )
    }
}

/// What a resource of a node would be used with the pod, and how much there is.
fn load(devices: Option<&DeviceLoads>, pod: &PodInfo, node: &NodeInfo, name: &str) -> (i64, i64) {
    let has = node.allocatable().amount(name);
    match name {
        "cpu" | "memory" => {
            (node.scored_requests().amount(name) + pod.arriving_requests().amount(name), has)
        }
        "ephemeral-storage" => (node.requested().amount(name) + pod.requests().amount(name), has),
        // Others count for pods that want them only.
        _ => match pod.requests().amount(name) {
            0 => (0, 0),
            wanted => {
                let by_devices = devices.filter(|_| has == 0).and_then(|own| own.on(node, name));
                let (used, has) =
                    by_devices.unwrap_or_else(|| (node.requested().amount(name), has));
                (used + wanted, has)
            }
        },
    }
}

/// Whether a resource is none of Kubernetes' own.
pub(crate) fn is_extended_resource(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

struct Lack {
    reasons: Vec<String>,
    resolvable: bool,
}

impl SchedulerPlugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        let smaller = ActionType::UPDATE_SCALE_DOWN;
        let mut events = vec![
            ClusterEvent::new(EventResource::AssignedPod, ActionType::DELETE.or(smaller)),
            ClusterEvent::new(EventResource::UnscheduledPod, smaller),
            ClusterEvent::new(
                EventResource::Node,
                ActionType::ADD.or(ActionType::UPDATE_ALLOCATABLE),
            ),
        ];
        if !self.blind {
            let changed = ActionType::ADD.or(ActionType::UPDATE_OTHER);
            events.push(ClusterEvent::new(EventResource::DeviceClass, changed));
        }
        events
    }

    fn start(&self, handle: &Handle) {
        // Only one scheduler runs it.
        let _ = self.stock.set(handle.stock.clone());
        let _ = self.objects.set(handle.objects.clone());
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }

    fn as_enqueue_extensions(&self) -> Option<&dyn EnqueueExtensions> {
        Some(self)
    }

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn as_pre_score(&self) -> Option<&dyn PreScore> {
        Some(self)
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }

    fn as_placement_score(&self) -> Option<&dyn PlacementScore> {
        Some(self)
    }
}

impl Filter for NodeResourcesFit {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        if self.has_room(pod, node) {
            return FilterVerdict::Fits;
        }
        let (has, used) = (node.allocatable(), node.requested());
        let own = self.without_devices(state.snapshot().objects(), pod, node);
        let wants = own.as_ref().unwrap_or(pod.requests());
        let lack = self.check(wants, has, used, node.pods().len());
        if lack.reasons.is_empty() {
            return FilterVerdict::Fits;
        }
        if lack.resolvable {
            FilterVerdict::Unschedulable(lack.reasons)
        } else {
            FilterVerdict::Unresolvable(lack.reasons)
        }
    }

    /// What it wants beside what every node has, but for what devices may stand for.
    fn needs<'a>(&self, state: &CycleState, pod: &'a PodInfo) -> Vec<&'a str> {
        let wanted = pod.requests().scalars.iter().filter(|(_, wanted)| **wanted > 0);
        let names = wanted.map(|(name, _)| name.as_str()).filter(|name| !self.is_ignored(name));
        let objects = state.snapshot().objects();
        names.filter(|name| self.class_for(objects, name).is_none()).collect()
    }
}

impl PreScore for NodeResourcesFit {
    /// Looks for devices where they stand for something that is scored.
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _: &[Arc<NodeInfo>],
    ) -> PreScoreVerdict {
        let objects = state.snapshot().objects();
        let classes = self.by_devices(objects, pod);
        let loads = DeviceLoads::of(self.stock.get_or_init(Arc::default), objects, classes);
        if let Some(loads) = loads {
            state.insert_until_placed(Loads(loads));
        }
        PreScoreVerdict::Continue
    }
}

impl Score for NodeResourcesFit {
    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        self.rate_by(state.value::<Loads>().map(|own| &own.0), pod, node)
    }
}

#[cfg(test)]
mod tests;
