use crate::{Clock, Sleep};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// A clock that stands still until it is told to advance.
///
/// Clones share one time line. Sleepers whose time has come are woken in the order of their deadlines.
#[derive(Debug, Clone)]
pub struct PausedClock {
    start: Timestamp,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    elapsed: Duration,
    next: u64,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
}

impl PausedClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self { start, state: Arc::default() }
    }

    /// Moves time forward and wakes every sleeper whose deadline has passed.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock();
        state.elapsed = state.elapsed.saturating_add(by);
        let later = (state.elapsed, u64::MAX);
        let rest = state.sleepers.split_off(&later);
        let due = std::mem::replace(&mut state.sleepers, rest);
        drop(state);
        for (_, wake) in due {
            // A sleeper that was dropped no longer listens.
            let _ = wake.send(());
        }
    }

    /// Another clock that shows the same time and goes on by itself; nobody sleeps on it.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = State { elapsed: self.elapsed(), ..State::default() };
        Self { start: self.start, state: Arc::new(Mutex::new(state)) }
    }

    /// How many sleeps were begun so far.
    #[must_use]
    pub fn sleeps(&self) -> u64 {
        self.state.lock().next
    }

    /// The time until the next sleeper wakes, if any sleeps.
    #[must_use]
    pub fn next_wake(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        state.sleepers.retain(|_, wake| !wake.is_closed());
        let now = state.elapsed;
        state.sleepers.keys().next().map(|(at, _)| at.saturating_sub(now))
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.elapsed()).unwrap_or(SignedDuration::MAX);
        self.start.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }

    fn elapsed(&self) -> Duration {
        self.state.lock().elapsed
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        if duration.is_zero() {
            return Box::pin(tokio::task::yield_now());
        }
        let (wake, woken) = oneshot::channel();
        let mut state = self.state.lock();
        let key = (state.elapsed.saturating_add(duration), state.next);
        state.next += 1;
        state.sleepers.insert(key, wake);
        drop(state);
        Box::pin(async move {
            if woken.await.is_err() {
                // The clock is gone, so this time never comes.
                std::future::pending::<()>().await;
            }
        })
    }

    fn is_paused(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_when_their_time_has_come_and_not_before() {
        let clock = PausedClock::starting_at(Timestamp::UNIX_EPOCH);
        let mut short = tokio::spawn(clock.sleep(Duration::from_secs(1)));
        let long = tokio::spawn(clock.sleep(Duration::from_secs(5)));
        clock.advance(Duration::from_secs(1));
        (&mut short).await.unwrap();
        assert_eq!(clock.next_wake(), Some(Duration::from_secs(4)));
        assert!(!long.is_finished());
        clock.advance(Duration::from_secs(4));
        long.await.unwrap();
        assert_eq!(clock.next_wake(), None);
    }

    #[tokio::test]
    async fn a_fork_goes_on_by_itself() {
        let clock = PausedClock::starting_at(Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(2));
        let fork = clock.fork();
        fork.advance(Duration::from_secs(3));
        assert_eq!((clock.elapsed().as_secs(), fork.elapsed().as_secs()), (2, 5));
        assert_eq!(fork.now().as_second(), 5);
    }
}
