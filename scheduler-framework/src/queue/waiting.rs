use super::heap::Heap;
use crate::PodInfo;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// How long pods wait before another try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) initial: Duration,
    pub(crate) most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), most: Duration::from_secs(10) }
    }
}

impl Backoff {
    /// After so many refusals in a row: none, one, two, four times the first and so on.
    pub(super) fn after(self, refusals: u32) -> Duration {
        match refusals.checked_sub(1) {
            None => Duration::ZERO,
            Some(shift) => self.initial.saturating_mul(1 << shift.min(20)).min(self.most),
        }
    }
}

/// Pods left over are tried again after this long without an event.
pub(super) const FLUSH_AFTER: Duration = Duration::from_secs(300);

/// Why pods come into a queue where no event of the cluster brings them, as the original calls it.
pub(super) mod cause {
    pub(in crate::queue) const FAILURE: &str = "ScheduleAttemptFailure";
    pub(in crate::queue) const BACKOFF: &str = "BackoffComplete";
    pub(in crate::queue) const EARLY: &str = "PopFromBackoffQ";
    pub(in crate::queue) const WOKEN: &str = "ForceActivate";
    pub(in crate::queue) const TIMEOUT: &str = "UnschedulableTimeout";
}

/// A pod in the queue.
#[derive(Debug, Clone)]
pub(crate) struct QueuedPod {
    pub(crate) info: Arc<PodInfo>,
    pub(crate) attempts: u32,
    /// How often it was refused since it was last placed or changed.
    pub(crate) refusals: u32,
    /// How often in a row something failed that was not its fault.
    pub(crate) failures: u32,
    /// When it entered the queue this time.
    pub(crate) since: Duration,
    /// When it was active for the first time.
    pub(crate) first_active: Option<Duration>,
    /// Whether it was tried this time only because it had waited for long.
    pub(crate) flushed: bool,
    /// The plugins that refused or hold it.
    pub(crate) plugins: BTreeSet<&'static str>,
    /// The one of them that holds it.
    pub(crate) gate: Option<&'static str>,
}

impl QueuedPod {
    /// How many tries in a row its back-off goes by.
    pub(super) fn tries(&self) -> u32 {
        if self.failures > 0 { self.failures } else { self.refusals }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Active,
    Backoff,
    /// Backs off because something failed.
    Failing,
    Unschedulable,
    Gated,
}

impl Place {
    /// The queue the original keeps such pods in.
    pub(super) fn queue(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Backoff | Self::Failing => "backoff",
            Self::Unschedulable | Self::Gated => "unschedulable",
        }
    }

    /// Whether the pod waits until something changes for the plugins that refused it.
    pub(super) fn is_refused(self) -> bool {
        matches!(self, Self::Unschedulable | Self::Gated)
    }
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) pod: QueuedPod,
    pub(super) place: Place,
    /// When it leaves its back-off, or is tried again without an event.
    pub(super) until: Duration,
    /// Tells its entry in a heap from older ones of the same pod.
    pub(super) ticket: u64,
}

/// A pod in a heap; it counts only as long as the ticket is the pod's.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) info: Arc<PodInfo>,
    pub(super) since: Duration,
    pub(super) ticket: u64,
}

impl Entry {
    pub(super) fn of(waiting: &Waiting) -> Self {
        let (info, since) = (waiting.pod.info.clone(), waiting.pod.since);
        Self { info, since, ticket: waiting.ticket }
    }
}

/// The pods whose back-off ends within one second.
#[derive(Debug)]
pub(super) struct Window {
    /// Which second; none is looked at when that is not known.
    pub(super) second: Option<u64>,
    pub(super) pods: Heap<Entry>,
}

impl Window {
    pub(super) fn of(second: Option<u64>) -> Self {
        Self { second, pods: Heap::new() }
    }
}
