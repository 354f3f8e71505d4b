//! The extension points: one trait each, with a verdict of its own.

mod binding;
mod filtering;
mod group;
mod handle;
mod queueing;
mod scoring;
mod tracking;

pub use binding::{
    Bind, BindVerdict, Objection, Permit, PermitVerdict, PostBind, PreBind, PreBindVerdict, Reserve,
};
pub use filtering::{
    Filter, FilterVerdict, PostFilter, PostFilterVerdict, PreFilter, PreFilterExtensions,
    PreFilterVerdict,
};
pub use group::{
    GroupMisfit, GroupPlacement, GroupPostFilter, GroupPostFilterVerdict, GroupWhatIf,
    PlacementGenerate, PlacementScore, PodGroup, Sign,
};
pub use handle::Handle;
pub(crate) use handle::Wake;
pub use queueing::{EnqueueExtensions, PreEnqueue, PreEnqueueVerdict, QueueSort};
pub use scoring::{MAX_SCORE, PreScore, PreScoreVerdict, Score};
pub use tracking::{Counted, Counting, Places, Rate, Site, Track, Tracking};

use crate::ClusterEvent;
use std::fmt::Debug;

/// A scheduler plugin: says by which name it is known and which extension points it serves.
///
/// # Contract
/// A plugin is shared by all cycles of a profile and keeps what belongs to one pod in the
/// [`CycleState`](crate::CycleState). Every `as_` method always gives the same answer.
pub trait SchedulerPlugin: Debug + Send + Sync + 'static {
    /// The name, as in configuration files.
    fn name(&self) -> &'static str;

    /// The events that may make a pod schedulable which this plugin refused. Plugins with hints
    /// implement [`EnqueueExtensions`] too.
    fn requeue_on(&self) -> Vec<ClusterEvent> {
        ClusterEvent::any()
    }

    /// Called once before the first cycle of a running scheduler, with what it works with. Plugins used
    /// outside one are not told.
    fn start(&self, _handle: &Handle) {}

    /// Keeps pods out of the active queue.
    fn as_pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
        None
    }

    /// Orders the active queue.
    fn as_queue_sort(&self) -> Option<&dyn QueueSort> {
        None
    }

    /// Says which events are worth a new try.
    fn as_enqueue_extensions(&self) -> Option<&dyn EnqueueExtensions> {
        None
    }

    /// Looks at the pod before any node.
    fn as_pre_filter(&self) -> Option<&dyn PreFilter> {
        None
    }

    /// Refuses nodes.
    fn as_filter(&self) -> Option<&dyn Filter> {
        None
    }

    /// Makes room when no node is left.
    fn as_post_filter(&self) -> Option<&dyn PostFilter> {
        None
    }

    /// Looks at the nodes left before they are scored.
    fn as_pre_score(&self) -> Option<&dyn PreScore> {
        None
    }

    /// Scores nodes.
    fn as_score(&self) -> Option<&dyn Score> {
        None
    }

    /// Keeps account of what a placement takes.
    fn as_reserve(&self) -> Option<&dyn Reserve> {
        None
    }

    /// Holds a placed pod back.
    fn as_permit(&self) -> Option<&dyn Permit> {
        None
    }

    /// Prepares the node.
    fn as_pre_bind(&self) -> Option<&dyn PreBind> {
        None
    }

    /// Binds.
    fn as_bind(&self) -> Option<&dyn Bind> {
        None
    }

    /// Is told of bound pods.
    fn as_post_bind(&self) -> Option<&dyn PostBind> {
        None
    }

    /// Says which pods are alike, so that one's result may serve another.
    fn as_sign(&self) -> Option<&dyn Sign> {
        None
    }

    /// Follows what changes, so that one decision costs less than looking at every node.
    fn as_track(&self) -> Option<&dyn Track> {
        None
    }

    /// Makes room for a group of pods.
    fn as_group_post_filter(&self) -> Option<&dyn GroupPostFilter> {
        None
    }

    /// Proposes where a group of pods could go.
    fn as_placement_generate(&self) -> Option<&dyn PlacementGenerate> {
        None
    }

    /// Scores such proposals.
    fn as_placement_score(&self) -> Option<&dyn PlacementScore> {
        None
    }
}
