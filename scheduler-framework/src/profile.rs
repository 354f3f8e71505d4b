use crate::{
    DefaultPreemption, ImageLocality, InterPodAffinity, NodeAffinity, NodeName, NodePorts,
    NodeResourcesBalancedAllocation, NodeResourcesFit, NodeUnschedulable, NodeVolumeLimits,
    PodTopologySpread, PrioritySort, SchedulerPlugin, SchedulingGates, TaintToleration,
    VolumeBinding, VolumeRestrictions, VolumeZone,
};
use std::sync::Arc;

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
/// The order holds at every extension point. [`Profile::default`] is the original's set with its weights,
/// as far as the plugins exist here; binding is added by the scheduler's builder if no plugin binds.
#[derive(Debug, Clone)]
pub struct Profile {
    name: String,
    plugins: Vec<WeightedPlugin>,
}

impl Default for Profile {
    fn default() -> Self {
        Self::empty("default-scheduler")
            .add(SchedulingGates, 1)
            .add(PrioritySort, 1)
            .add(NodeUnschedulable, 1)
            .add(NodeName, 1)
            .add(TaintToleration, 3)
            .add(NodeAffinity, 2)
            .add(NodePorts, 1)
            .add(NodeResourcesFit::default(), 1)
            .add(VolumeRestrictions, 1)
            .add(NodeVolumeLimits, 1)
            .add(VolumeBinding::default(), 1)
            .add(VolumeZone, 1)
            .add(PodTopologySpread::default(), 2)
            .add(InterPodAffinity::default(), 2)
            .add(DefaultPreemption::default(), 1)
            .add(NodeResourcesBalancedAllocation::default(), 1)
            .add(ImageLocality, 1)
    }
}

impl Profile {
    /// No plugins, for pods of this `schedulerName`.
    #[must_use]
    pub fn empty(scheduler_name: &str) -> Self {
        Self { name: scheduler_name.to_owned(), plugins: Vec::new() }
    }

    /// The same plugins for pods of another `schedulerName`.
    #[must_use]
    pub fn named(mut self, scheduler_name: &str) -> Self {
        scheduler_name.clone_into(&mut self.name);
        self
    }

    /// Adds a plugin at the end; its score counts `weight` times (at least once).
    #[must_use]
    pub fn add(mut self, plugin: impl SchedulerPlugin, weight: i64) -> Self {
        self.plugins.push(WeightedPlugin { plugin: Arc::new(plugin), weight: weight.max(1) });
        self
    }

    /// Takes out the plugin of a name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.plugins.retain(|own| own.plugin.name() != name);
        self
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
