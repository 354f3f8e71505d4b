//! The default plugins that stand so far, under the original's names.

mod affinity;
mod balanced;
mod binder;
mod declared_features;
mod device_classes;
mod dynamic_resources;
mod fit;
#[cfg(test)]
mod fixtures;
mod gang;
mod gates;
mod images;
mod in_tree;
mod name;
mod normalize;
mod numbered;
mod placement;
mod pod_affinity;
mod ports;
mod preemption;
mod sort;
mod spread;
#[cfg(test)]
mod tables;
mod taints;
mod tracking;
mod unschedulable;
mod volume_binding;
mod volume_limits;
mod volume_restrictions;
mod volume_zone;
mod volumes;

pub use affinity::NodeAffinity;
pub use balanced::NodeResourcesBalancedAllocation;
pub use binder::DefaultBinder;
pub use declared_features::NodeDeclaredFeatures;
pub use dynamic_resources::DynamicResources;
pub(crate) use fit::is_extended_resource;
pub use fit::{NodeResourcesFit, ScoringStrategy, ShapePoint};
pub use gang::GangScheduling;
pub use gates::SchedulingGates;
pub use images::ImageLocality;
pub use name::NodeName;
pub use placement::{PodGroupPodsCount, TopologyPlacementGenerator};
pub use pod_affinity::InterPodAffinity;
pub use ports::NodePorts;
pub use preemption::DefaultPreemption;
pub use sort::PrioritySort;
pub use spread::PodTopologySpread;
pub use taints::TaintToleration;
pub use unschedulable::NodeUnschedulable;
pub use volume_binding::VolumeBinding;
pub use volume_limits::NodeVolumeLimits;
pub use volume_restrictions::VolumeRestrictions;
pub use volume_zone::VolumeZone;
