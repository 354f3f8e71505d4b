use crate::{ClusterEvent, EventObject, Hint, PodInfo};
use std::{cmp::Ordering, time::Duration};

/// Whether a pod may enter the active queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreEnqueueVerdict {
    /// It may.
    Admit,
    /// Not now: it is gated, for this reason, until an event of the plugin.
    Hold(String),
}

/// Runs before a pod enters the active queue, and not then but before it begins to back off where pods that back off may be
/// taken early. Must be quick and never wait.
pub trait PreEnqueue: Send + Sync {
    /// Decides.
    fn pre_enqueue(&self, pod: &PodInfo) -> PreEnqueueVerdict;
}

/// Orders the active queue; a scheduler has exactly one.
pub trait QueueSort: Send + Sync {
    /// Which comes first; the durations tell when each entered the queue, on the scheduler's clock.
    fn compare(&self, a: (&PodInfo, Duration), b: (&PodInfo, Duration)) -> Ordering;
}

/// Says which events are worth a new try for a pod the plugin refused (KEP-4247).
pub trait EnqueueExtensions: Send + Sync {
    /// Asked for events of [`requeue_on`](crate::SchedulerPlugin::requeue_on) only. A wrong `Skip` leaves a
    /// pod waiting until the next flush; a wrong `Queue` costs one try.
    fn hint(&self, pod: &PodInfo, event: ClusterEvent, object: &EventObject) -> Hint;

    /// Whether what it says of an event of a node, or of a pod that is on one, goes by nothing but the waiting pod's
    /// namespace, labels, owner, scheduler and those parts of its spec that decide where it may go, but for the names of
    /// claims. Then one of several
    /// pods alike is asked for all of them, however many wait.
    fn is_same_for_pods_alike(&self) -> bool {
        false
    }

    /// The uid of the only one of several waiting pods alike that an event may help, where the event itself says so: then
    /// [`hint`](Self::hint) is asked for that pod, if it waits, and for none of the others. `pod` is any of them; what is
    /// said of it goes by no more than what pods alike have in common, where a claim for devices that is named and one that
    /// is made by a template are told apart. `None` when any of them may be helped.
    fn only_for(&self, _pod: &PodInfo, _object: &EventObject) -> Option<String> {
        None
    }
}
