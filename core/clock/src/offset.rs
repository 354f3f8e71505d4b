use crate::{Clock, SharedClock, Sleep};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Another clock whose wall time is off by a fixed amount: a component with clock skew.
#[derive(Debug, Clone)]
pub struct OffsetClock {
    inner: SharedClock,
    offset: SignedDuration,
}

impl OffsetClock {
    /// `inner`, with `offset` added to its wall time.
    #[must_use]
    pub fn new(inner: SharedClock, offset: SignedDuration) -> Self {
        Self { inner, offset }
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        let now = self.inner.now();
        now.saturating_add(self.offset).unwrap_or(now)
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
