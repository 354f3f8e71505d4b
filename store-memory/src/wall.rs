use kubeplane_clock::Clock;
use std::time::Duration;

const MILLISECOND: i64 = 1_000_000;

/// How far the wall clock is from the monotonic one: deadlines are kept in memory by the latter and on
/// disk by the former, which alone has a meaning to the next process. What is rounded is rounded up: nothing expires
/// before its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wall {
    /// Wall time in nanoseconds since 1970 when the monotonic clock was at zero: at the latest, as the two cannot be
    /// read at once, for times that go to disk.
    latest: i64,
    /// The same at the earliest, for times that come from there.
    earliest: i64,
}

impl Wall {
    pub(crate) fn of(clock: &dyn Clock) -> Self {
        let before = nanos(clock.elapsed());
        let now = i64::try_from(clock.now().as_nanosecond()).unwrap_or(i64::MAX);
        let after = nanos(clock.elapsed());
        Self { latest: now.saturating_sub(before), earliest: now.saturating_sub(after) }
    }

    /// The wall time of a deadline, in milliseconds since 1970; zero for none.
    pub(crate) fn expires(self, deadline: Option<Duration>) -> u64 {
        let Some(deadline) = deadline else { return 0 };
        let wall = self.latest.saturating_add(nanos(deadline));
        u64::try_from(wall).unwrap_or(0).div_ceil(MILLISECOND.unsigned_abs()).max(1)
    }

    /// The deadline of a wall time; one in the past is due at once.
    pub(crate) fn deadline(self, expires: u64) -> Option<Duration> {
        if expires == 0 {
            return None;
        }
        let wall = i64::try_from(expires).unwrap_or(i64::MAX).saturating_mul(MILLISECOND);
        let nanos = u64::try_from(wall.saturating_sub(self.earliest)).unwrap_or(0);
        Some(Duration::from_nanos(nanos))
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test says where")]
mod tests {
    use super::Wall;
    use kubeplane_clock::{Clock, PausedClock};
    use std::time::Duration;

    /// A clock that stands at a time which is no whole millisecond on either side.
    fn clock(nanos: u64) -> PausedClock {
        let clock = PausedClock::starting_at("2026-01-01T00:00:00.000300001Z".parse().unwrap());
        clock.advance(Duration::from_nanos(nanos));
        clock
    }

    #[test]
    fn what_is_read_back_by_another_process_is_due_no_sooner_and_hardly_later() {
        for elapsed in [0, 1, 699_999, 5_000_000_123] {
            for ttl in [1, 999_999, 1_000_000, 1_000_001, 2_345_678_901] {
                let writer = clock(elapsed);
                let due = writer.elapsed() + Duration::from_nanos(ttl);
                let expires = Wall::of(&writer).expires(Some(due));
                let end = writer.now() + Duration::from_nanos(ttl);
                // The next process counts from elsewhere.
                let reader = clock(elapsed + 777);
                let left = Wall::of(&reader).deadline(expires).unwrap() - reader.elapsed();
                let again = reader.now() + left;
                assert!(again >= end, "{elapsed} {ttl}: {again} comes before {end}");
                assert!(again < end + Duration::from_millis(1), "{elapsed} {ttl}: {again}, {end}");
            }
        }
    }

    #[test]
    fn without_a_deadline_there_is_no_time_and_a_time_long_past_is_due() {
        let wall = Wall::of(&clock(0));
        assert_eq!((wall.expires(None), wall.deadline(0)), (0, None));
        assert_eq!(wall.deadline(1), Some(Duration::ZERO));
        assert_eq!(
            wall.deadline(u64::MAX).map(|deadline| deadline.as_secs() > 1 << 32),
            Some(true)
        );
    }
}
