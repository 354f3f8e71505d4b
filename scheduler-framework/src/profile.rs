use crate::Point;
use crate::{
    DefaultPreemption, DynamicResources, GangScheduling, ImageLocality, InterPodAffinity,
    NodeAffinity, NodeDeclaredFeatures, NodeName, NodePorts, NodeResourcesBalancedAllocation,
    NodeResourcesFit, NodeUnschedulable, NodeVolumeLimits, PodGroupPodsCount, PodTopologySpread,
    PrioritySort, SchedulerPlugin, SchedulingGates, TaintToleration, TopologyPlacementGenerator,
    VolumeBinding, VolumeRestrictions, VolumeZone,
};
use kubeplane_core::features::Features;
use std::{collections::BTreeMap, sync::Arc};

/// A plugin and how much its score counts.
#[derive(Debug, Clone)]
pub struct WeightedPlugin {
    /// The plugin.
    pub plugin: Arc<dyn SchedulerPlugin>,
    /// The factor of its score, from one.
    pub weight: i64,
}

/// Which plugins serve the pods of one `schedulerName`, in which order and with which weights.
///
/// The order holds at every extension point that has none of its own ([`at`](Self::at)). [`Profile::default`] is the original's set with its weights,
/// as far as the plugins exist here; binding is added by the scheduler's builder if no plugin binds.
#[derive(Debug, Clone)]
pub struct Profile {
    name: String,
    plugins: Vec<WeightedPlugin>,
    orders: BTreeMap<Point, Vec<String>>,
    /// How much scores of placements count, by plugin, where that is said.
    placement_weights: BTreeMap<String, i64>,
    percentage: Option<u8>,
}

impl Default for Profile {
    fn default() -> Self {
        Self::with_features(&Features::default())
    }
}

impl Profile {
    /// The original's set of plugins where these gates are: `GangScheduling` and `TopologyAwareWorkloadScheduling` add
    /// theirs, with `DRAWorkloadResourceClaims` PodGroups have claims, with `WorkloadAwarePreemption` room is made for them
    /// as a whole, without `SchedulerAsyncPreemption` scheduling waits until room is made, others that begin with `DRA` say
    /// what devices can be allocated for, with `VolumeLimitScaling` storage drivers can be required on nodes, with
    /// `StorageCapacityScoring` those with most room for volumes are preferred, and with
    /// `TaintTolerationComparisonOperators` tolerations may compare numbers.
    #[must_use]
    pub fn with_features(features: &Features) -> Self {
        let preemption = DefaultPreemption::default()
            .with_group_preemption(features.is_on("WorkloadAwarePreemption"))
            .with_group_placements(features.is_on("TopologyAwareWorkloadScheduling"))
            .with_async_preemption(features.is_on("SchedulerAsyncPreemption"));
        let scaling = features.is_on("VolumeLimitScaling");
        let comparing = features.is_on("TaintTolerationComparisonOperators");
        let devices = features.is_on("DRAExtendedResource");
        let keys = features.is_on("MatchLabelKeysInPodTopologySpread");
        let spread = PodTopologySpread::default().with_match_label_keys(keys);
        let mut volumes = VolumeBinding::default();
        if features.is_on("StorageCapacityScoring") {
            volumes = volumes.emptiest_first();
        }
        let mut profile = Self::empty("default-scheduler")
            .add(SchedulingGates, 1)
            .add(PrioritySort, 1)
            .add(NodeUnschedulable, 1)
            .add(NodeName, 1)
            .add(TaintToleration::default().with_comparison(comparing), 3)
            .add(NodeAffinity::default(), 2)
            .add(NodePorts, 1)
            .add(NodeResourcesFit::default().with_devices(devices), 1)
            .add(VolumeRestrictions, 1)
            .add(NodeVolumeLimits::default().with_scaling(scaling), 1)
            .add(volumes, 1)
            .add(VolumeZone, 1)
            .add(spread.with_comparison(comparing), 2)
            .add(InterPodAffinity::default(), 2)
            .add(DynamicResources::default().with_features(features), 2)
            .add(preemption, 1)
            .add(NodeResourcesBalancedAllocation::default().with_devices(devices), 1)
            .add(ImageLocality, 1);
        if features.is_on("NodeDeclaredFeatures") {
            profile = profile.add(NodeDeclaredFeatures, 1);
        }
        if features.is_on("GangScheduling") {
            profile = profile.add(GangScheduling::default(), 1);
        }
        if features.is_on("TopologyAwareWorkloadScheduling") {
            profile = profile.add(TopologyPlacementGenerator, 1).add(PodGroupPodsCount, 1);
        }
        profile
    }

    /// No plugins, for pods of this `schedulerName`.
    #[must_use]
    pub fn empty(scheduler_name: &str) -> Self {
        Self {
            name: scheduler_name.to_owned(),
            plugins: Vec::new(),
            orders: BTreeMap::new(),
            placement_weights: BTreeMap::new(),
            percentage: None,
        }
    }

    /// The same plugins for pods of another `schedulerName`.
    #[must_use]
    pub fn named(mut self, scheduler_name: &str) -> Self {
        scheduler_name.clone_into(&mut self.name);
        self
    }

    /// Adds a plugin at the end; its score counts `weight` times (at least once).
    #[must_use]
    pub fn add(self, plugin: impl SchedulerPlugin, weight: i64) -> Self {
        self.add_shared(Arc::new(plugin), weight)
    }

    /// Adds a plugin as [`add`](Self::add) does.
    #[must_use]
    pub fn add_shared(mut self, plugin: Arc<dyn SchedulerPlugin>, weight: i64) -> Self {
        self.plugins.push(WeightedPlugin { plugin, weight: weight.max(1) });
        self
    }

    /// Takes out the plugin of a name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.plugins.retain(|own| own.plugin.name() != name);
        self
    }

    /// Runs exactly these plugins at an extension point, in this order, whatever others offer there.
    #[must_use]
    pub fn at(mut self, point: Point, names: impl IntoIterator<Item = String>) -> Self {
        self.orders.insert(point, names.into_iter().collect());
        self
    }

    /// The scores that a plugin gives placements of groups count `weight` times (at least once); without this as often as its
    /// scores of nodes.
    #[must_use]
    pub fn weigh_placements(mut self, name: &str, weight: i64) -> Self {
        self.placement_weights.insert(name.to_owned(), weight.max(1));
        self
    }

    /// How much a plugin's scores of placements count.
    pub(crate) fn placement_weight(&self, own: &WeightedPlugin) -> i64 {
        self.placement_weights.get(own.plugin.name()).copied().unwrap_or(own.weight)
    }

    /// Stops looking for nodes once this share of them (0 to 100) was found to fit; zero chooses by the size
    /// of the cluster, as without this.
    #[must_use]
    pub fn percentage_of_nodes(mut self, percentage: u8) -> Self {
        self.percentage = Some(percentage.min(100));
        self
    }

    /// The share of nodes that is enough, if it was set.
    #[must_use]
    pub fn percentage(&self) -> Option<u8> {
        self.percentage
    }

    /// Which plugins run at an extension point, in order, as indices of [`plugins`](Self::plugins).
    #[must_use]
    pub(crate) fn order(&self, point: Point) -> Vec<usize> {
        let all = || self.plugins.iter().enumerate();
        let offering = all().filter(|(_, own)| point.is_offered_by(&*own.plugin));
        match self.orders.get(&point) {
            None => offering.map(|(index, _)| index).collect(),
            Some(names) => {
                let find = |name: &String| all().position(|(_, own)| own.plugin.name() == name);
                let named = names.iter().filter_map(find);
                named.filter(|index| point.is_offered_by(&*self.plugins[*index].plugin)).collect()
            }
        }
    }

    /// The `schedulerName` of the pods it serves.
    #[must_use]
    pub fn scheduler_name(&self) -> &str {
        &self.name
    }

    /// The plugins in order.
    #[must_use]
    pub fn plugins(&self) -> &[WeightedPlugin] {
        &self.plugins
    }
}
