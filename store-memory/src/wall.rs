use kubeplane_clock::Clock;
use std::time::Duration;

/// How far the wall clock is from the monotonic one: deadlines are kept in memory by the latter and on
/// disk by the former, which alone has a meaning to the next process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wall {
    /// Wall time in milliseconds since 1970 when the monotonic clock was at zero.
    origin: i64,
}

impl Wall {
    pub(crate) fn of(clock: &dyn Clock) -> Self {
        let elapsed = i64::try_from(clock.elapsed().as_millis()).unwrap_or(i64::MAX);
        Self { origin: clock.now().as_millisecond().saturating_sub(elapsed) }
    }

    /// The wall time of a deadline; zero for none.
    pub(crate) fn expires(self, deadline: Option<Duration>) -> u64 {
        let Some(deadline) = deadline else { return 0 };
        let deadline = i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX);
        u64::try_from(self.origin.saturating_add(deadline)).unwrap_or(0).max(1)
    }

    /// The deadline of a wall time; one in the past is due at once.
    pub(crate) fn deadline(self, expires: u64) -> Option<Duration> {
        if expires == 0 {
            return None;
        }
        let wall = i64::try_from(expires).unwrap_or(i64::MAX);
        let millis = u64::try_from(wall.saturating_sub(self.origin)).unwrap_or(0);
        Some(Duration::from_millis(millis))
    }
}
