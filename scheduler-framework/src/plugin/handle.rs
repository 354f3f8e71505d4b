use crate::{
    Framework, GroupMembers, groups::Groups, metrics::SchedulerMetrics, objects::ClusterObjects,
    plugins::Stock,
};
use kubeplane_client::SeriesRecorder;
use kubeplane_clock::SharedClock;
use std::{
    fmt,
    sync::{Arc, Weak},
};
use tokio::sync::mpsc;

/// What plugins of a running scheduler work with.
#[derive(Clone)]
pub struct Handle {
    /// Speaks with the API server as the scheduler.
    pub client: kube::Client,
    /// The time.
    pub clock: SharedClock,
    /// Tells users what happened, in the name of the profile, by events of events.k8s.io/v1.
    pub recorder: SeriesRecorder,
    /// Objects other than pods and nodes, as they are now.
    pub objects: Arc<ClusterObjects>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) stock: Arc<Stock>,
    pub(crate) frameworks: Vec<Weak<Framework>>,
    pub(crate) wake: mpsc::Sender<Wake>,
    pub(crate) metrics: SchedulerMetrics,
}

/// A waiting pod is to be looked at again.
#[derive(Debug)]
pub(crate) struct Wake {
    pub(crate) uid: String,
    /// Even when it waits for an event.
    pub(crate) always: bool,
}

impl Handle {
    /// Has a waiting pod tried again at once; `false` when too many such wishes wait.
    pub fn activate(&self, uid: &str) -> bool {
        self.wake.try_send(Wake { uid: uid.to_owned(), always: true }).is_ok()
    }

    /// Lets a placed pod that waits go as far as one plugin is concerned; `false` when it does not wait.
    pub fn allow(&self, uid: &str, plugin: &str) -> bool {
        let mut frameworks = self.frameworks.iter().filter_map(Weak::upgrade);
        frameworks.any(|own| own.allow(uid, plugin))
    }

    /// Has a placed pod that waits count as refused by a plugin it waits for; `false` when it does not wait.
    pub fn reject(&self, uid: &str, why: &str) -> bool {
        let mut frameworks = self.frameworks.iter().filter_map(Weak::upgrade);
        frameworks.any(|own| own.reject(uid, why))
    }

    /// Takes the place of a placed pod that waits for a permission, for another that is worth more: its reservations
    /// are undone and it is tried again by itself, for no plugin has refused it. `false` when it does not wait; it may
    /// be bound by then, and only deleting it makes room.
    pub fn preempt(&self, uid: &str) -> bool {
        let mut frameworks = self.frameworks.iter().filter_map(Weak::upgrade);
        frameworks.any(|own| own.preempt(uid))
    }

    /// The pods of the PodGroup with this key, `namespace/name` as [`PodInfo::group`](crate::PodInfo::group) gives it,
    /// as the scheduling loop has them at this moment: nobody is in it who has gone, and a pod that is being placed
    /// counts as placed from its assumption on. Empty where there are none. Asking is cheap: nothing is copied.
    #[must_use]
    pub fn group_members(&self, group: &str) -> GroupMembers {
        GroupMembers::new(self.groups.members(group))
    }

    /// Has a pod that a PreEnqueue plugin held asked for again.
    pub fn release(&self, uid: &str) -> bool {
        self.wake.try_send(Wake { uid: uid.to_owned(), always: false }).is_ok()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
