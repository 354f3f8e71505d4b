use super::args::{PluginArgs, StrategyArgs, UtilizationShapePoint, VolumeBindingArgs};
use crate::{
    DefaultBinder, DefaultPreemption, DynamicResources, GangScheduling, ImageLocality,
    InterPodAffinity, NodeAffinity, NodeDeclaredFeatures, NodeName, NodePorts,
    NodeResourcesBalancedAllocation, NodeResourcesFit, NodeUnschedulable, NodeVolumeLimits,
    PodGroupPodsCount, PodTopologySpread, PrioritySort, SchedulerPlugin, SchedulingGates,
    ScoringStrategy, ShapePoint, TaintToleration, TopologyPlacementGenerator, VolumeBinding,
    VolumeRestrictions, VolumeZone,
};
use kubeplane_core::features::Features;
use serde_json::Value;
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

type Made = Result<Arc<dyn SchedulerPlugin>, String>;
type Factory = Box<dyn Fn(&Value) -> Made + Send + Sync>;

/// The plugins that a configuration can name: the default ones, and those of the user.
#[derive(Default)]
pub struct Registry {
    /// None: there is no DefaultBinder.
    client: Option<kube::Client>,
    features: Features,
    own: BTreeMap<&'static str, Factory>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("own", &self.own.keys()).finish_non_exhaustive()
    }
}

impl Registry {
    /// The default plugins, which bind through this client.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client: Some(client), ..Self::default() }
    }

    /// With these gates, which have a say in what a profile has where a file says nothing else.
    #[must_use]
    pub fn with_features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    pub(super) fn features(&self) -> &Features {
        &self.features
    }

    /// One more plugin, made from its `args` in the file (null if there are none).
    #[must_use]
    pub fn with<P: SchedulerPlugin>(
        mut self,
        name: &'static str,
        make: impl Fn(&Value) -> Result<P, String> + Send + Sync + 'static,
    ) -> Self {
        let make = move |args: &Value| Ok(Arc::new(make(args)?) as Arc<dyn SchedulerPlugin>);
        self.own.insert(name, Box::new(make));
        self
    }

    /// Makes a plugin; `None` when there is none of that name.
    pub(super) fn make(
        &self,
        name: &str,
        raw: &Value,
        args: Option<&PluginArgs>,
        managed: &[String],
    ) -> Option<Made> {
        if let Some(make) = self.own.get(name) {
            return Some(make(raw));
        }
        if let Some(default) = PluginArgs::default_of(name) {
            return from_args(args.unwrap_or(&default), managed, &self.features).map(Ok);
        }
        self.plain(name).map(Ok)
    }

    /// Those without arguments.
    fn plain(&self, name: &str) -> Option<Arc<dyn SchedulerPlugin>> {
        Some(match name {
            "SchedulingGates" => Arc::new(SchedulingGates),
            "PrioritySort" => Arc::new(PrioritySort),
            "NodeUnschedulable" => Arc::new(NodeUnschedulable),
            "NodeName" => Arc::new(NodeName),
            "TaintToleration" => {
                let comparing = self.features.is_on("TaintTolerationComparisonOperators");
                Arc::new(TaintToleration::default().with_comparison(comparing))
            }
            "NodePorts" => Arc::new(NodePorts),
            "VolumeRestrictions" => Arc::new(VolumeRestrictions),
            "NodeVolumeLimits" => {
                let scaling = self.features.is_on("VolumeLimitScaling");
                Arc::new(NodeVolumeLimits::default().with_scaling(scaling))
            }
            "VolumeZone" => Arc::new(VolumeZone),
            "ImageLocality" => Arc::new(ImageLocality),
            "NodeDeclaredFeatures" => Arc::new(NodeDeclaredFeatures),
            "GangScheduling" => Arc::new(GangScheduling::default()),
            "TopologyPlacementGenerator" => Arc::new(TopologyPlacementGenerator),
            "PodGroupPodsCount" => Arc::new(PodGroupPodsCount),
            "DefaultBinder" => Arc::new(DefaultBinder::new(self.client.clone()?)),
            _ => return None,
        })
    }
}

fn from_args(
    args: &PluginArgs,
    managed: &[String],
    features: &Features,
) -> Option<Arc<dyn SchedulerPlugin>> {
    let count = |number: i32| usize::try_from(number).unwrap_or_default();
    Some(match args {
        PluginArgs::DefaultPreemption(own) => Arc::new(
            DefaultPreemption::new(
                count(own.min_candidate_nodes_percentage),
                count(own.min_candidate_nodes_absolute),
            )
            .with_group_preemption(features.is_on("WorkloadAwarePreemption"))
            .with_group_placements(features.is_on("TopologyAwareWorkloadScheduling"))
            .with_async_preemption(features.is_on("SchedulerAsyncPreemption")),
        ),
        PluginArgs::InterPodAffinity(own) => Arc::new(InterPodAffinity::new(
            i64::from(own.hard_pod_affinity_weight),
            own.ignore_preferred_terms_of_existing_pods,
        )),
        PluginArgs::NodeAffinity(own) => {
            Arc::new(NodeAffinity::with_added(own.added_affinity.clone().unwrap_or_default()))
        }
        PluginArgs::NodeResourcesBalancedAllocation(own) => {
            let names = own.resources.iter().map(|own| own.name.clone());
            let devices = features.is_on("DRAExtendedResource");
            Arc::new(NodeResourcesBalancedAllocation::of(names).with_devices(devices))
        }
        PluginArgs::NodeResourcesFit(own) => {
            let strategy = own.scoring_strategy.as_ref()?;
            let weights = strategy.resources.iter().map(|own| (own.name.clone(), own.weight));
            let ignored = own.ignored_resources.iter().chain(managed).cloned();
            Arc::new(
                NodeResourcesFit::scoring(weights)
                    .strategy(strategy_of(strategy))
                    .ignoring(ignored, own.ignored_resource_groups.iter().cloned())
                    .with_devices(features.is_on("DRAExtendedResource")),
            )
        }
        PluginArgs::PodTopologySpread(own) => {
            let plugin = match own.defaulting_type.as_str() {
                "System" => PodTopologySpread::default(),
                _ => PodTopologySpread::with_defaults(own.default_constraints.clone()),
            };
            let comparing = features.is_on("TaintTolerationComparisonOperators");
            let keys = features.is_on("MatchLabelKeysInPodTopologySpread");
            Arc::new(plugin.with_comparison(comparing).with_match_label_keys(keys))
        }
        PluginArgs::VolumeBinding(own) => Arc::new(volume_binding(own, features)),
        PluginArgs::DynamicResources(own) => Arc::new(
            DynamicResources::with_timeouts(
                own.filter_timeout.unwrap_or(Duration::from_secs(10)),
                own.binding_timeout.unwrap_or(Duration::from_secs(600)),
            )
            .with_features(features),
        ),
    })
}

fn volume_binding(args: &VolumeBindingArgs, features: &Features) -> VolumeBinding {
    let timeout = Duration::from_secs(args.bind_timeout_seconds.unsigned_abs());
    let own = VolumeBinding::with_timeout(timeout);
    match args.shape.as_deref().unwrap_or_default() {
        _ if !features.is_on("StorageCapacityScoring") => own,
        [] => own.emptiest_first(),
        shape => own.scoring(shape.iter().map(point)),
    }
}

fn point(own: &UtilizationShapePoint) -> ShapePoint {
    ShapePoint { utilization: i64::from(own.utilization), score: i64::from(own.score) }
}

fn strategy_of(args: &StrategyArgs) -> ScoringStrategy {
    let points = args.requested_to_capacity_ratio.iter().flat_map(|own| &own.shape);
    match args.type_.as_str() {
        "MostAllocated" => ScoringStrategy::MostAllocated,
        "RequestedToCapacityRatio" => {
            ScoringStrategy::RequestedToCapacityRatio(points.map(point).collect())
        }
        _ => ScoringStrategy::LeastAllocated,
    }
}
