//! The scheduler: extension points, queue, snapshot, default plugins and the loop.
//!
//! ```text
//!   informers ──> Cache ──snapshot──┐
//!        └─events─> Queue ──pod──> Framework: PreFilter Filter PostFilter PreScore Score  (one pod at a time)
//!                    ^               └─> Reserve Permit │ PreBind Bind PostBind           (beside it)
//!                    └── unschedulable, with the plugins that said no ──┘
//! ```
//!
//! Where every plugin of a profile can be followed ([`Track`]), pods alike are decided by what is kept for their class
//! instead: heaps of nodes by score, and counters by topology, brought up to date with what changed in the [`Cache`].
//!
//! A plugin is one type that implements [`SchedulerPlugin`] and, for each extension point it serves, one
//! small trait. Verdicts are types of their own, so that a point cannot answer what makes no sense there.
//! After KEP-624 (scheduling framework) and KEP-4247 (queueing hints).
//!
//! # Contract
//! A [`SchedulerPlugin`] is shared by all cycles of a profile, keeps what belongs to one pod in the [`CycleState`], and always gives
//! the same answer to which points it serves:
//!
//! * before a cycle: [`PreEnqueue`] and [`QueueSort`] never wait; [`EnqueueExtensions`] may err towards one try too many;
//! * in it, one pod at a time: [`PreFilter`] (its [`PreFilterExtensions`] keep true what it computed while pods come and go in
//!   thought), [`Filter`], [`PreScore`] and [`Score`] are pure, and `Filter` and `Score` run for many nodes at once;
//!   [`PostFilter`] makes room when no node is left; [`Reserve`] can be undone, also where it was never done;
//! * beside it: [`Permit`] holds back, [`PreBind`] prepares, the first [`Bind`] that takes the pod binds it, [`PostBind`] is told;
//! * for groups of pods: [`PlacementGenerate`] proposes sets of nodes, [`PlacementScore`] chooses among them, and
//!   [`GroupPostFilter`] makes room for a group, asking a [`GroupWhatIf`], which changes nothing but its own view of the nodes;
//! * for pods alike: [`Sign`] says which are, and what a [`Track`], with its [`Places`], or [`Counted`] and [`Counting`], keeps of a
//!   node is exactly what the filters and scores would say.
//!
//! An [`ObjectSource`] shows plugins the other objects, from an informer or a list.
//!
//! # Example
//! ```
//! use kubeplane_scheduler_framework::{CycleState, NodeInfo, PodInfo, SchedulerPlugin, Score};
//!
//! /// Prefers nodes with fewer pods.
//! #[derive(Debug)]
//! struct FewestPods;
//!
//! impl SchedulerPlugin for FewestPods {
//!     fn name(&self) -> &'static str { "FewestPods" }
//!     fn as_score(&self) -> Option<&dyn Score> { Some(self) }
//! }
//!
//! impl Score for FewestPods {
//!     fn score(&self, _: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
//!         100 - i64::try_from(node.pods().len().min(100)).unwrap_or(100)
//!     }
//! }
//! ```
//!
//! Whole programs: [a score of your own][custom_scheduler_plugin] and [an extender][scheduler_extender].
//!
//! [custom_scheduler_plugin]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_scheduler_plugin.rs
//! [scheduler_extender]: https://github.com/kubeplane/kubeplane/blob/main/examples/scheduler_extender.rs

mod cache;
pub mod config;
mod diagnosis;
mod engine;
mod error;
mod event;
mod extender;
mod framework;
mod groups;
mod info;
mod metrics;
mod node_set;
mod objects;
mod plugin;
mod plugins;
mod point;
mod profile;
mod queue;
mod scheduler;
mod snapshot;
mod span;
mod state;
mod tally;
mod trace;

pub use cache::Cache;
pub use diagnosis::{Diagnosis, Nomination, Refusal};
pub use error::Error;
pub use event::{ActionType, ClusterEvent, EventObject, EventResource, Hint};
pub use extender::Extender;
pub use framework::{Failure, Framework, Placement, Trial, WhatIf};
pub use groups::{
    GangPolicy, GroupConstraints, GroupMembers, GroupPolicy, GroupTopology, PodGroupObject,
    PodGroupSpec, PodGroupStatus,
};
pub use info::{AffinityTerm, AffinityTerms, Amounts, NodeInfo, PodInfo};
pub use metrics::PodResources;
pub use node_set::NodeSet;
pub use objects::{ClusterObjects, ObjectSource, Objects};
pub use plugin::{
    Bind, BindVerdict, Counted, Counting, EnqueueExtensions, Filter, FilterVerdict, GroupMisfit,
    GroupPlacement, GroupPostFilter, GroupPostFilterVerdict, GroupWhatIf, Handle, MAX_SCORE,
    Objection, Permit, PermitVerdict, PlacementGenerate, PlacementScore, Places, PodGroup,
    PostBind, PostFilter, PostFilterVerdict, PreBind, PreBindVerdict, PreEnqueue,
    PreEnqueueVerdict, PreFilter, PreFilterExtensions, PreFilterVerdict, PreScore, PreScoreVerdict,
    QueueSort, Rate, Reserve, SchedulerPlugin, Score, Sign, Site, Track, Tracking,
};
pub use plugins::{
    DefaultBinder, DefaultPreemption, DynamicResources, GangScheduling, ImageLocality,
    InterPodAffinity, NodeAffinity, NodeDeclaredFeatures, NodeName, NodePorts,
    NodeResourcesBalancedAllocation, NodeResourcesFit, NodeUnschedulable, NodeVolumeLimits,
    PodGroupPodsCount, PodTopologySpread, PrioritySort, SchedulingGates, ScoringStrategy,
    ShapePoint, TaintToleration, TopologyPlacementGenerator, VolumeBinding, VolumeRestrictions,
    VolumeZone,
};
pub use point::Point;
pub use profile::{Profile, WeightedPlugin};
pub use scheduler::{Scheduler, SchedulerBuilder};
pub use snapshot::Snapshot;
pub use state::CycleState;
pub use trace::{ExtenderOpinion, ExtenderTrace, NodeTrace, PluginRemark, PluginScore, Trace};
