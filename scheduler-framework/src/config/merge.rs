//! The default plugins with what a profile enables and disables.

use super::types::{PluginRef, PluginSet, Plugins};
use kubeplane_core::features::Features;
use std::collections::BTreeSet;

/// The default plugins, by the original's weights; those of gates that are off are left out.
pub(super) fn default_plugins(features: &Features) -> Plugins {
    let mut all = vec![
        ("SchedulingGates", 0),
        ("PrioritySort", 0),
        ("NodeUnschedulable", 0),
        ("NodeName", 0),
        ("TaintToleration", 3),
        ("NodeAffinity", 2),
        ("NodePorts", 0),
        ("NodeResourcesFit", 1),
        ("VolumeRestrictions", 0),
        ("NodeVolumeLimits", 0),
        ("VolumeBinding", 0),
        ("VolumeZone", 0),
        ("PodTopologySpread", 2),
        ("InterPodAffinity", 2),
        // Before preemption: rather an idle claim is taken back than a pod evicted.
        ("DynamicResources", 2),
        ("DefaultPreemption", 0),
        ("NodeResourcesBalancedAllocation", 1),
        ("ImageLocality", 1),
        ("DefaultBinder", 0),
    ];
    let gated: [(&str, &[(&str, i32)]); 3] = [
        ("NodeDeclaredFeatures", &[("NodeDeclaredFeatures", 0)]),
        ("GangScheduling", &[("GangScheduling", 0)]),
        (
            "TopologyAwareWorkloadScheduling",
            &[("TopologyPlacementGenerator", 0), ("PodGroupPodsCount", 1)],
        ),
    ];
    for (_, plugins) in gated.iter().filter(|(gate, _)| features.is_on(gate)) {
        all.extend_from_slice(plugins);
    }
    let enabled = all.iter().map(|(name, weight)| PluginRef::new(name, *weight)).collect();
    let multi_point = PluginSet { enabled, disabled: Vec::new() };
    Plugins { multi_point, ..Plugins::default() }
}

/// The defaults with what the profile says.
pub(super) fn merged(custom: Option<&Plugins>, features: &Features) -> Plugins {
    let default = default_plugins(features);
    let Some(custom) = custom else { return default };
    let set = |own: &PluginSet| merge(&PluginSet::default(), own);
    Plugins {
        multi_point: merge(&default.multi_point, &custom.multi_point),
        pre_enqueue: set(&custom.pre_enqueue),
        queue_sort: set(&custom.queue_sort),
        pre_filter: set(&custom.pre_filter),
        filter: set(&custom.filter),
        post_filter: set(&custom.post_filter),
        pre_score: set(&custom.pre_score),
        score: set(&custom.score),
        reserve: set(&custom.reserve),
        permit: set(&custom.permit),
        pre_bind: set(&custom.pre_bind),
        bind: set(&custom.bind),
        post_bind: set(&custom.post_bind),
        placement_generate: set(&custom.placement_generate),
        placement_score: set(&custom.placement_score),
    }
}

/// A default that is enabled again keeps its place, with the new weight; others come after.
fn merge(default: &PluginSet, custom: &PluginSet) -> PluginSet {
    let disabled: BTreeSet<_> = custom.disabled.iter().map(|own| own.name.as_str()).collect();
    let mut replaced = BTreeSet::new();
    let mut enabled = Vec::new();
    if !disabled.contains("*") {
        for own in default.enabled.iter().filter(|own| !disabled.contains(own.name.as_str())) {
            let again = custom.enabled.iter().rposition(|other| other.name == own.name);
            enabled.push(again.map_or(own, |index| &custom.enabled[index]).clone());
            replaced.extend(again);
        }
    }
    let more = custom.enabled.iter().enumerate().filter(|(index, _)| !replaced.contains(index));
    enabled.extend(more.map(|(_, own)| own.clone()));
    PluginSet { enabled, disabled: custom.disabled.clone() }
}
