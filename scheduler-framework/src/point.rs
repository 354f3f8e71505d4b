use crate::SchedulerPlugin;
use std::fmt;

/// An extension point at which plugins run, in an order of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Point {
    /// Before a pod enters the active queue.
    PreEnqueue,
    /// Orders the active queue.
    QueueSort,
    /// Before any node is looked at.
    PreFilter,
    /// For each node.
    Filter,
    /// When no node is left.
    PostFilter,
    /// Before the nodes left are scored.
    PreScore,
    /// For each node left.
    Score,
    /// When a node was chosen.
    Reserve,
    /// Before binding begins.
    Permit,
    /// Before the pod is bound.
    PreBind,
    /// Binds the pod.
    Bind,
    /// When it is bound.
    PostBind,
    /// Proposes places for a group of pods.
    PlacementGenerate,
    /// Scores such places.
    PlacementScore,
}

impl Point {
    /// All of them, in the order they are come to.
    pub const ALL: [Self; 14] = [
        Self::PreEnqueue,
        Self::QueueSort,
        Self::PreFilter,
        Self::Filter,
        Self::PostFilter,
        Self::PreScore,
        Self::Score,
        Self::Reserve,
        Self::Permit,
        Self::PreBind,
        Self::Bind,
        Self::PostBind,
        Self::PlacementGenerate,
        Self::PlacementScore,
    ];

    /// Whether a plugin has something to say there.
    #[must_use]
    pub fn is_offered_by(self, plugin: &dyn SchedulerPlugin) -> bool {
        match self {
            Self::PreEnqueue => plugin.as_pre_enqueue().is_some(),
            Self::QueueSort => plugin.as_queue_sort().is_some(),
            Self::PreFilter => plugin.as_pre_filter().is_some(),
            Self::Filter => plugin.as_filter().is_some(),
            Self::PostFilter => plugin.as_post_filter().is_some(),
            Self::PreScore => plugin.as_pre_score().is_some(),
            Self::Score => plugin.as_score().is_some(),
            Self::Reserve => plugin.as_reserve().is_some(),
            Self::Permit => plugin.as_permit().is_some(),
            Self::PreBind => plugin.as_pre_bind().is_some(),
            Self::Bind => plugin.as_bind().is_some(),
            Self::PostBind => plugin.as_post_bind().is_some(),
            Self::PlacementGenerate => plugin.as_placement_generate().is_some(),
            Self::PlacementScore => plugin.as_placement_score().is_some(),
        }
    }

    /// Its name in configuration files: `preFilter`.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::PreEnqueue => "preEnqueue",
            Self::QueueSort => "queueSort",
            Self::PreFilter => "preFilter",
            Self::Filter => "filter",
            Self::PostFilter => "postFilter",
            Self::PreScore => "preScore",
            Self::Score => "score",
            Self::Reserve => "reserve",
            Self::Permit => "permit",
            Self::PreBind => "preBind",
            Self::Bind => "bind",
            Self::PostBind => "postBind",
            Self::PlacementGenerate => "placementGenerate",
            Self::PlacementScore => "placementScore",
        }
    }
}

/// As in messages: `PreFilter`.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
