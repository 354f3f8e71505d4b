use crate::{CycleState, NodeInfo, PodInfo, Snapshot};
use std::fmt;

/// Says of a node whether pods of a class fit there (`None`: they do not), and with which score.
pub type Rate = Box<dyn Fn(&NodeInfo) -> Option<i64> + Send + Sync>;

/// How decisions for pods alike are kept true while pods and nodes come and go.
#[non_exhaustive]
pub enum Tracking {
    /// The plugin has no say for such pods, whatever happens in the cluster.
    Indifferent,
    /// Verdict and score depend on the node alone, and the score needs no bringing into range.
    Alone(Rate),
    /// Verdict and raw score depend on the node alone; `normalize` brings the scores into range.
    Ranked(Rate),
    /// They depend also on what else there is, by the place a node has.
    Placed(Box<dyn Places>),
    /// Every node fits, and the score depends on the place it has and on how many pods count there; only of
    /// [`Track::track_kind`], and of one plugin of a profile.
    Counted(Box<dyn Counted>),
    /// The verdict depends on more than can be followed, but no node scores more than another: `PreFilter` is asked for
    /// each pod, and `Filter` for the best of the nodes that others leave, one after the other, until one fits.
    Late,
    /// They cannot be followed: such pods are decided by asking every filter and score for every node.
    Opaque,
}

impl fmt::Debug for Tracking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Indifferent => "Indifferent",
            Self::Alone(_) => "Alone",
            Self::Ranked(_) => "Ranked",
            Self::Placed(_) => "Placed",
            Self::Counted(_) => "Counted",
            Self::Late => "Late",
            Self::Opaque => "Opaque",
        })
    }
}

/// Lets the scheduler keep what a plugin decides for pods alike from one pod to the next, so that a decision
/// costs as much as what changed since the last, not as much as there are nodes.
///
/// # Contract
/// What is followed answers for a node exactly as the plugin's `PreFilter`, `Filter`, `PreScore` and `Score`
/// would. Of the pod it depends on no more than its namespace, labels and controller, on what its containers
/// ask for (resources, ports, images), on node selector, affinity, tolerations, spread constraints, overhead,
/// volumes, how many claims for volumes and devices it has but not which (of those for devices also whether they are
/// named), and on what [`Sign`](crate::Sign) adds. `Score::normalize` depends on no more than which raw scores there are: not on how often, or in which
/// order.
///
/// Every plugin of a profile that filters or scores must have it; else all its pods get a full pass.
pub trait Track: Send + Sync {
    /// How pods like this one are followed.
    fn track(&self, pod: &PodInfo, nodes: &Snapshot) -> Tracking;

    /// How all pods are followed that differ from this one in nothing but namespace, labels and controller, in one go:
    /// what is kept of the nodes is then kept once, however many controllers make such pods. `None` when these matter to
    /// the plugin in other ways than [`Counted`] can tell: then each class of pods is followed for itself.
    fn track_kind(&self, _pod: &PodInfo, _nodes: &Snapshot) -> Option<Tracking> {
        None
    }

    /// Whether [`track`](Self::track) says of pods like this one that the verdict depends on single nodes alone, if on
    /// anything. Asked for every pod that is looked at node by node: to be said without what `track` makes.
    fn is_by_node(&self, pod: &PodInfo, nodes: &Snapshot) -> bool {
        matches!(
            self.track(pod, nodes),
            Tracking::Indifferent | Tracking::Alone(_) | Tracking::Ranked(_)
        )
    }

    /// Whether, after `PreFilter`, `Filter` lets the pod be on every node, whatever else there is or comes and goes on it: then
    /// what is known of nodes for pods alike holds for it as far as this plugin goes. Asked where
    /// [`is_by_node`](Self::is_by_node) is not so.
    fn fits_anywhere(&self, _state: &CycleState, _pod: &PodInfo) -> bool {
        false
    }

    /// A number for what else of the cluster, beside nodes and their pods, the answers of [`track`](Self::track) hang on for
    /// pods like this one, as whether a class of devices stands for a resource they ask for: pods between which it changed
    /// are not alike. Asked for every pod: to be said quickly. Zero where there is nothing.
    fn circumstance(&self, _pod: &PodInfo, _nodes: &Snapshot) -> u128 {
        0
    }

    /// Whether for a pod that is tracked as [`Late`](Tracking::Late), after its `PreFilter`, really no node scores more
    /// than another; if not, it is decided by asking every filter and score for every node.
    fn is_level(&self, _state: &CycleState, _pod: &PodInfo) -> bool {
        true
    }
}

/// Nodes by the place they have: nodes of one place get the same answer.
pub trait Places: Send + Sync {
    /// Takes in a node as it is now, in place of what it was under this index.
    fn observe(&mut self, index: usize, node: &NodeInfo);

    /// A pod was added to the node (`sign` 1) or left it (-1). One that changed left and was added; but of changes of its
    /// status only those are told by which it takes more or less, or is about to leave.
    fn pod_changed(&mut self, index: usize, node: &NodeInfo, pod: &PodInfo, sign: i64) {
        let _ = (pod, sign);
        self.observe(index, node);
    }

    /// Which place a node has now. Asked once all nodes were taken in, and again for those that changed.
    fn place(&mut self, index: usize, node: &NodeInfo) -> u64;

    /// Whether the answers are still exact; if not, what is followed is begun anew, or not followed at all.
    fn is_exact(&self, _pod: &PodInfo, _nodes: &Snapshot) -> bool {
        true
    }

    /// Whether the answers are, as things are now, those for all pods that differ in nothing but namespace, labels and
    /// controller. Asked of what [`Track::track_kind`] made.
    fn is_of_kind(&self) -> bool {
        true
    }

    /// Whether pods fit at a place.
    fn fits(&self, place: u64) -> bool;

    /// Whether the score of a place may hang on which others are left, or on how many nodes they have.
    fn is_relative(&self) -> bool {
        true
    }

    /// The places that are left, and how many nodes each has, before they are scored.
    fn prepare(&mut self, _left: &[(u64, usize)]) {}

    /// The raw score of a place.
    fn score(&self, place: u64) -> i64;
}

/// Nodes by the place they have, which is the same for all pods of a kind, and by how many pods there count for one.
pub trait Counted: Send + Sync {
    /// Which pods count for pods like this one.
    fn counting(&self, pod: &PodInfo, nodes: &Snapshot) -> Box<dyn Counting>;

    /// Which place a node has now. Asked for all nodes, and again for those that changed.
    fn place(&mut self, index: usize, node: &NodeInfo) -> u64;

    /// The raw scores of the sites that are left. `counted` are all nodes with pods that count, one by one, also those
    /// where the pod does not fit.
    fn scores(&self, left: &[Site], counted: &[Site]) -> Vec<i64>;
}

/// Which pods count for a class of pods.
pub trait Counting: Send + Sync {
    /// Whether the plugin scores such pods at all; if not, nothing counts.
    fn is_scoring(&self) -> bool;

    /// Whether a pod counts.
    fn counts(&self, other: &PodInfo) -> bool;

    /// A namespace and labels that all pods have that count: only nodes with such pods are looked at. `None` when there is
    /// no such thing.
    fn labels(&self) -> Option<(&str, Vec<(&str, &str)>)> {
        None
    }

    /// Whether it is still these that count for a pod; if not, they are counted anew.
    fn is_exact(&self, pod: &PodInfo, nodes: &Snapshot) -> bool;
}

/// Nodes of one place, each with as many pods that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// As [`Counted::place`] numbers it.
    pub place: u64,
    /// How many nodes; at least one.
    pub nodes: usize,
    /// How many pods count on each of them.
    pub pods: i64,
}
