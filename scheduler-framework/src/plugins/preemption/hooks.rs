//! What a program that makes the plugin may decide otherwise.

use super::candidates::by_importance;
use crate::{NodeInfo, PodInfo};
use std::{cmp::Ordering, fmt, sync::Arc};

type Eligible = Box<dyn Fn(&NodeInfo, &PodInfo, &PodInfo) -> bool + Send + Sync>;
type Importance = Box<dyn Fn(&PodInfo, &PodInfo) -> Ordering + Send + Sync>;

#[derive(Default)]
pub(super) struct Hooks {
    pub(super) eligible: Option<Eligible>,
    pub(super) importance: Option<Importance>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("eligible", &self.eligible.is_some())
            .field("importance", &self.importance.is_some())
            .finish()
    }
}

impl Hooks {
    /// Whether all is decided as usual.
    pub(super) fn is_empty(&self) -> bool {
        self.eligible.is_none() && self.importance.is_none()
    }

    /// Whether a pod on a node may have to leave for another.
    pub(super) fn may_leave(&self, node: &NodeInfo, other: &PodInfo, pod: &PodInfo) -> bool {
        let eligible = || self.eligible.as_ref().is_none_or(|own| own(node, other, pod));
        other.priority() < pod.priority() && eligible()
    }

    /// The more important pod first.
    pub(super) fn compare(&self, a: &Arc<PodInfo>, b: &Arc<PodInfo>) -> Ordering {
        match &self.importance {
            Some(own) => own(a, b),
            None => by_importance(a, b),
        }
    }
}
