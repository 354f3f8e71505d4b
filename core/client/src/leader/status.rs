use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use std::{fmt, sync::Arc, time::Duration};

/// How long after its lease ran out a leader that still leads counts as stuck, as in the original.
const TOLERANCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeaseName {
    name: String,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    renewed: Duration,
    lasts: Duration,
}

/// How an election stands for one candidate: for its health check (`leaderElection` in the original) and
/// its metric. Clones share it.
#[derive(Clone)]
pub struct LeaderStatus {
    clock: SharedClock,
    held: Arc<Mutex<Option<Held>>>,
    master: Family<LeaseName, Gauge>,
}

impl fmt::Debug for LeaderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderStatus").field("held", &*self.held.lock()).finish_non_exhaustive()
    }
}

impl LeaderStatus {
    /// Of a candidate that does not lead.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, held: Arc::default(), master: Family::default() }
    }

    /// Adds `leader_election_master_status` to what `registry` exposes.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Whether this instance leads: 1 or 0, by lease";
        registry.register("leader_election_master_status", help, self.master.clone());
    }

    /// Whether the candidate leads.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.held.lock().is_some()
    }

    /// Whether all is well: it does not lead, or its lease was renewed in time.
    ///
    /// # Errors
    /// Why it is stuck: it still leads although its lease ran out more than twenty seconds ago.
    pub fn check(&self) -> Result<(), String> {
        let Some(Held { renewed, lasts }) = *self.held.lock() else { return Ok(()) };
        let idle = self.clock.elapsed().saturating_sub(renewed);
        if idle <= lasts + TOLERANCE {
            return Ok(());
        }
        Err(format!("the lease was renewed last {} seconds ago", idle.as_secs()))
    }

    pub(super) fn waits(&self, lease: &str) {
        *self.held.lock() = None;
        self.gauge(lease, 0);
    }

    pub(super) fn leads(&self, lease: &str, renewed: Duration, lasts: Duration) {
        *self.held.lock() = Some(Held { renewed, lasts });
        self.gauge(lease, 1);
    }

    fn gauge(&self, lease: &str, value: i64) {
        self.master.get_or_create(&LeaseName { name: lease.to_owned() }).set(value);
    }
}
