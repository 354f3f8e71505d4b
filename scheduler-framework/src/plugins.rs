//! The default plugins that stand so far, under the original's names.

mod affinity;
mod balanced;
mod binder;
mod fit;
mod gates;
mod name;
mod normalize;
mod ports;
mod sort;
mod taints;
mod unschedulable;

pub use affinity::NodeAffinity;
pub use balanced::NodeResourcesBalancedAllocation;
pub use binder::DefaultBinder;
pub use fit::NodeResourcesFit;
pub use gates::SchedulingGates;
pub use name::NodeName;
pub use ports::NodePorts;
pub use sort::PrioritySort;
pub use taints::TaintToleration;
pub use unschedulable::NodeUnschedulable;
