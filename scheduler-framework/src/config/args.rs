//! Arguments of the default plugins.

use super::{ConfigError, GROUP, VERSION, strict, types::SchedulerProfile};
use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The arguments of a plugin, by plugin.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "named by their plugins")]
pub enum PluginArgs {
    DefaultPreemption(DefaultPreemptionArgs),
    InterPodAffinity(InterPodAffinityArgs),
    NodeAffinity(NodeAffinityArgs),
    NodeResourcesBalancedAllocation(NodeResourcesBalancedAllocationArgs),
    NodeResourcesFit(NodeResourcesFitArgs),
    PodTopologySpread(PodTopologySpreadArgs),
    VolumeBinding(VolumeBindingArgs),
    DynamicResources(DynamicResourcesArgs),
}

/// Of DefaultPreemption.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DefaultPreemptionArgs {
    /// At least this share of the nodes is looked at for victims, in percent.
    pub min_candidate_nodes_percentage: i32,
    /// And at least this many.
    pub min_candidate_nodes_absolute: i32,
}

impl Default for DefaultPreemptionArgs {
    fn default() -> Self {
        Self { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

/// Of InterPodAffinity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InterPodAffinityArgs {
    /// What another pod's required affinity counts.
    pub hard_pod_affinity_weight: i32,
    /// Whether what others prefer is left out for pods that prefer nothing.
    pub ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodAffinityArgs {
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

/// Of NodeAffinity.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeAffinityArgs {
    /// What holds for all pods besides their own.
    pub added_affinity: Option<NodeAffinity>,
}

/// A resource and its weight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceSpec {
    /// Its name.
    pub name: String,
    /// How much it counts, from 1 to 100.
    pub weight: i64,
}

/// Of NodeResourcesBalancedAllocation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeResourcesBalancedAllocationArgs {
    /// What is balanced.
    pub resources: Vec<ResourceSpec>,
}

/// Of NodeResourcesFit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeResourcesFitArgs {
    /// Extended resources not looked at.
    pub ignored_resources: Vec<String>,
    /// The same by what comes before the slash.
    pub ignored_resource_groups: Vec<String>,
    /// How nodes are scored.
    pub scoring_strategy: Option<StrategyArgs>,
}

/// How NodeResourcesFit scores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StrategyArgs {
    /// `LeastAllocated`, `MostAllocated` or `RequestedToCapacityRatio`.
    #[serde(rename = "type")]
    pub type_: String,
    /// What is scored.
    pub resources: Vec<ResourceSpec>,
    /// The line of the third type.
    pub requested_to_capacity_ratio: Option<RatioArgs>,
}

/// A broken line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RatioArgs {
    /// Its points.
    pub shape: Vec<UtilizationShapePoint>,
}

/// A point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UtilizationShapePoint {
    /// Percent in use.
    pub utilization: i32,
    /// From 0 to 10.
    pub score: i32,
}

/// Of PodTopologySpread.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodTopologySpreadArgs {
    /// For pods without constraints of their own.
    pub default_constraints: Vec<TopologySpreadConstraint>,
    /// `System` or `List`.
    pub defaulting_type: String,
}

impl Default for PodTopologySpreadArgs {
    fn default() -> Self {
        Self { default_constraints: Vec::new(), defaulting_type: "System".into() }
    }
}

/// Of VolumeBinding.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeBindingArgs {
    /// How long binding may take.
    pub bind_timeout_seconds: i64,
    /// By how much of the storage would be in use nodes score what; only with the gate `StorageCapacityScoring`.
    pub shape: Option<Vec<UtilizationShapePoint>>,
}

impl Default for VolumeBindingArgs {
    fn default() -> Self {
        Self { bind_timeout_seconds: 600, shape: None }
    }
}

/// Of DynamicResources. What depends on a gate may not be given where the gate is off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DynamicResourcesArgs {
    /// How long one node may be looked at; `None` for ten seconds, zero for as long as it takes.
    #[serde(deserialize_with = "super::defaults::maybe_duration")]
    pub filter_timeout: Option<Duration>,
    /// How long binding may take; `None` for ten minutes.
    #[serde(deserialize_with = "super::defaults::maybe_duration")]
    pub binding_timeout: Option<Duration>,
}

fn default_resources() -> Vec<ResourceSpec> {
    ["cpu", "memory"].map(|name| ResourceSpec { name: name.into(), weight: 1 }).into()
}

fn default_weights(resources: &mut Vec<ResourceSpec>) {
    if resources.is_empty() {
        *resources = default_resources();
    }
    for resource in resources.iter_mut().filter(|own| own.weight == 0) {
        resource.weight = 1;
    }
}

impl PluginArgs {
    /// The default arguments of a plugin; `None` for one that has none.
    #[must_use]
    pub fn default_of(plugin: &str) -> Option<Self> {
        Self::read(plugin, &json!({})).and_then(Result::ok)
    }

    fn read(plugin: &str, value: &Value) -> Option<Result<Self, serde_json::Error>> {
        fn of<T: for<'de> Deserialize<'de>>(
            value: &Value,
            wrap: impl Fn(T) -> PluginArgs,
        ) -> Result<PluginArgs, serde_json::Error> {
            serde_json::from_value(value.clone()).map(wrap)
        }
        Some(match plugin {
            "DefaultPreemption" => of(value, Self::DefaultPreemption),
            "InterPodAffinity" => of(value, Self::InterPodAffinity),
            "NodeAffinity" => of(value, Self::NodeAffinity),
            "NodeResourcesBalancedAllocation" => {
                of(value, |mut own: NodeResourcesBalancedAllocationArgs| {
                    default_weights(&mut own.resources);
                    Self::NodeResourcesBalancedAllocation(own)
                })
            }
            "NodeResourcesFit" => of(value, |mut own: NodeResourcesFitArgs| {
                let strategy = own.scoring_strategy.get_or_insert_with(|| StrategyArgs {
                    type_: "LeastAllocated".into(),
                    ..StrategyArgs::default()
                });
                default_weights(&mut strategy.resources);
                Self::NodeResourcesFit(own)
            }),
            "PodTopologySpread" => of(value, |mut own: PodTopologySpreadArgs| {
                if own.defaulting_type.is_empty() {
                    own.defaulting_type = "System".into();
                }
                Self::PodTopologySpread(own)
            }),
            "VolumeBinding" => of(value, Self::VolumeBinding),
            "DynamicResources" => of(value, Self::DynamicResources),
            _ => return None,
        })
    }
}

/// Reads the arguments of the profile's plugins; unknown fields go to `problems`.
pub(super) fn decode(
    profile: &mut SchedulerProfile,
    index: usize,
    problems: &mut Vec<String>,
) -> Result<(), ConfigError> {
    for (own, config) in profile.plugin_config.iter_mut().enumerate() {
        let at = format!(".profiles[{index}].pluginConfig[{own}]");
        let name = &config.name;
        let Some(form) = strict::args_of(name) else { continue };
        if config.args.is_null() {
            config.args = json!({});
        }
        check_kind(&config.args, name)
            .map_err(|why| ConfigError::Type(format!("decoding {at}: {why}")))?;
        let unknown = strict::unknown(&config.args, &form);
        if !unknown.is_empty() {
            problems.push(format!(
                "decoding {at}: strict decoding error: decoding args for plugin {name}: strict decoding error: {}",
                unknown.join(", ")
            ));
        }
        // A field that is null is one that is not given.
        let mut args = config.args.clone();
        if let Some(fields) = args.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        config.decoded = PluginArgs::read(name, &args).transpose().map_err(|error| {
            ConfigError::Type(format!("decoding {at}: decoding args for plugin {name}: {error}"))
        })?;
    }
    Ok(())
}

fn check_kind(args: &Value, plugin: &str) -> Result<(), String> {
    let wanted = format!("{plugin}Args");
    let (version, kind) = (args["apiVersion"].as_str(), args["kind"].as_str());
    match kind {
        Some(kind) if kind != wanted => Err(format!(
            "args for plugin {plugin} were not of type {wanted}.{GROUP}, got {kind}.{GROUP}"
        )),
        _ if version.is_some_and(|version| version != VERSION) => {
            let version = version.unwrap_or_default();
            Err(format!(
                "decoding args for plugin {plugin}: no kind {wanted:?} is registered for version {version:?}"
            ))
        }
        _ => Ok(()),
    }
}
