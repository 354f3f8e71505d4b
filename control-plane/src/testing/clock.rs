//! The time of a test cluster.

use super::{faults::Faults, idle::Idle};
use jiff::Timestamp;
use kubeplane_clock::{Clock, PausedClock, SharedClock, Sleep};
use std::time::Duration;

/// How often a runtime that does not tell when it waits is asked, before nothing is expected of it any more.
const QUIET: u32 = 3;
/// How long a look takes there, and of how many turns of all tasks it consists.
const LOOK: (Duration, u32) = (Duration::from_millis(2), 32);

/// The clock of one part, whose wall time is off as a plan of faults says.
#[derive(Debug)]
pub(super) struct PartClock {
    pub(super) inner: SharedClock,
    pub(super) faults: Faults,
    /// The part, and the user it is.
    pub(super) name: String,
    pub(super) user: String,
}

impl Clock for PartClock {
    fn now(&self) -> Timestamp {
        let now = self.inner.now();
        now.saturating_add(self.faults.skew_of(&self.name, &self.user)).unwrap_or(now)
    }

    fn elapsed(&self) -> Duration {
        self.inner.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.inner.sleep(duration)
    }

    fn is_paused(&self) -> bool {
        self.inner.is_paused()
    }
}

#[derive(Debug, Clone)]
pub(super) struct ClusterClock {
    pub(super) shared: SharedClock,
    pub(super) paused: Option<PausedClock>,
    pub(super) idle: Option<Idle>,
}

impl ClusterClock {
    /// Lets time pass, stopping at each moment somebody waits for until all that follows from it is done.
    pub(super) async fn advance(&self, by: Duration, activity: &(dyn Fn() -> u64 + Sync)) {
        let Some(clock) = &self.paused else {
            return self.shared.sleep(by).await;
        };
        let end = clock.elapsed().saturating_add(by);
        loop {
            self.settle(activity).await;
            let left = end.saturating_sub(clock.elapsed());
            match clock.next_wake() {
                Some(next) if next <= left => clock.advance(next),
                _ => {
                    clock.advance(left);
                    return self.settle(activity).await;
                }
            }
        }
    }

    /// Lets as much time pass as others wait for, for as long as it is polled.
    pub(super) async fn pass(&self, activity: &(dyn Fn() -> u64 + Sync)) {
        let Some(clock) = &self.paused else {
            return std::future::pending().await;
        };
        loop {
            self.settle(activity).await;
            if let Some(next) = clock.next_wake() {
                clock.advance(next);
            }
        }
    }

    /// Waits until nothing more happens at this moment of the clock.
    pub(super) async fn settle(&self, activity: &(dyn Fn() -> u64 + Sync)) {
        if let Some(idle) = &self.idle {
            return idle.wait().await;
        }
        let look = || (activity(), self.paused.as_ref().map(PausedClock::sleeps));
        let (mut last, mut quiet) = (look(), 0);
        while quiet < QUIET {
            tokio::time::sleep(LOOK.0).await;
            for _ in 0..LOOK.1 {
                tokio::task::yield_now().await;
            }
            let now = look();
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
        }
    }
}
