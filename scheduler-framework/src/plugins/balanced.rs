use super::{
    Stock,
    device_classes::{coverage, may_stand_for},
    device_scoring::{Classes, DeviceLoads, stood_for},
};
use crate::{
    ClusterEvent, CycleState, Handle, MAX_SCORE, NodeInfo, PodInfo, PreScore, PreScoreVerdict,
    SchedulerPlugin, Score, objects::ClusterObjects,
};
use std::sync::{Arc, OnceLock};

/// Prefers nodes whose resources would be used evenly.
#[derive(Debug, Clone)]
pub struct NodeResourcesBalancedAllocation {
    resources: Vec<String>,
    /// Whether devices stand for nothing.
    blind: bool,
    /// What is known of devices, once it was started or asked.
    stock: OnceLock<Arc<Stock>>,
}

/// What it scores by devices, for one pod.
struct Loads(DeviceLoads);

impl Default for NodeResourcesBalancedAllocation {
    fn default() -> Self {
        Self::of(["cpu".to_owned(), "memory".to_owned()])
    }
}

impl NodeResourcesBalancedAllocation {
    /// Balances these resources.
    #[must_use]
    pub fn of(resources: impl IntoIterator<Item = String>) -> Self {
        let resources = resources.into_iter().collect();
        Self { resources, blind: false, stock: OnceLock::new() }
    }

    /// Whether devices of a class may stand for extended resources that a node has none of, as they do without this: what the
    /// gate `DRAExtendedResource` is for (KEP-5004).
    #[must_use]
    pub fn with_devices(self, devices: bool) -> Self {
        Self { blind: !devices, ..self }
    }

    /// Which of the resources it balances a pod wants and devices stand for.
    pub(super) fn by_devices(&self, objects: &ClusterObjects, pod: &PodInfo) -> Classes {
        if self.blind {
            return Classes::new();
        }
        stood_for(objects, pod, self.resources.iter().map(String::as_str))
    }

    /// A number for what devices stand for; zero where none do, or nothing they could stand for is balanced.
    pub(super) fn coverage(&self, objects: &ClusterObjects, pod: &PodInfo) -> u128 {
        let may = self.resources.iter().any(|name| may_stand_for(name));
        if may && !self.blind { coverage(objects, pod) } else { 0 }
    }

    /// The score of a node where no devices stand for what is balanced; it depends on nothing but the node and what the pod
    /// requests.
    pub(crate) fn rate(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        self.rate_by(None, pod, node)
    }

    fn rate_by(&self, devices: Option<&DeviceLoads>, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let balance = |times: i64| self.balance(devices, node, pod, times);
        let (with, without) = (balance(1), balance(0));
        MAX_SCORE / 2 + (MAX_SCORE / 2 + with - without) / 2
    }

    /// Whether there is nothing to balance for a pod.
    pub(crate) fn is_indifferent(&self, pod: &PodInfo) -> bool {
        self.resources.iter().all(|name| pod.requests().amount(name) == 0)
    }
}

impl SchedulerPlugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        Vec::new()
    }

    fn start(&self, handle: &Handle) {
        // Only one scheduler runs it.
        let _ = self.stock.set(handle.stock.clone());
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }

    fn as_pre_score(&self) -> Option<&dyn PreScore> {
        Some(self)
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl PreScore for NodeResourcesBalancedAllocation {
    /// A pod that requests nothing of these resources balances nothing.
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _: &[Arc<NodeInfo>],
    ) -> PreScoreVerdict {
        if self.is_indifferent(pod) {
            return PreScoreVerdict::Skip;
        }
        let objects = state.snapshot().objects();
        let classes = self.by_devices(objects, pod);
        let loads = DeviceLoads::of(self.stock.get_or_init(Arc::default), objects, classes);
        if let Some(loads) = loads {
            state.insert_until_placed(Loads(loads));
        }
        PreScoreVerdict::Continue
    }
}

impl Score for NodeResourcesBalancedAllocation {
    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        self.rate_by(state.value::<Loads>().map(|own| &own.0), pod, node)
    }
}

impl NodeResourcesBalancedAllocation {
    /// One minus the spread of the fractions used with `times` the pod, in hundredths.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a score is a rounded fraction"
    )]
    fn balance(
        &self,
        devices: Option<&DeviceLoads>,
        node: &NodeInfo,
        pod: &PodInfo,
        times: i64,
    ) -> i64 {
        let fraction = |name: &String| {
            let wanted = pod.requests().amount(name);
            // Others than these count for pods that want them only.
            if wanted == 0 && !matches!(&**name, "cpu" | "memory" | "ephemeral-storage") {
                return None;
            }
            let capacity = node.allocatable().amount(name);
            let by_devices = devices.filter(|_| capacity == 0).and_then(|own| own.on(node, name));
            let (used, capacity) =
                by_devices.unwrap_or_else(|| (node.requested().amount(name), capacity));
            let used = used + times * wanted;
            (capacity > 0).then(|| (used as f64 / capacity as f64).min(1.0))
        };
        let two = |a: f64, b: f64| ((a - b) / 2.0).abs();
        if let [a, b] = &*self.resources {
            // The common case, without a list.
            let spread = fraction(a).zip(fraction(b)).map_or(0.0, |(a, b)| two(a, b));
            return ((1.0 - spread) * MAX_SCORE as f64) as i64;
        }
        let fractions: Vec<_> = self.resources.iter().filter_map(fraction).collect();
        let spread = match *fractions.as_slice() {
            [] | [_] => 0.0,
            [a, b] => two(a, b),
            ref many => {
                let mean = many.iter().sum::<f64>() / many.len() as f64;
                (many.iter().map(|own| (own - mean).powi(2)).sum::<f64>() / many.len() as f64)
                    .sqrt()
            }
        };
        ((1.0 - spread) * MAX_SCORE as f64) as i64
    }
}
