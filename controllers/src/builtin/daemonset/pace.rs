//! How fast pods that fail again and again are replaced.

use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// A set, its generation and a node.
type Place = (String, i64, String);

/// The pauses by set, its generation and node.
#[derive(Debug)]
pub(super) struct Pace {
    clock: SharedClock,
    pauses: Mutex<HashMap<Place, (Duration, Duration)>>,
}

impl Pace {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, pauses: Mutex::default() }
    }

    /// How long a failed pod is kept; nothing when it is to go now, which makes the next pause longer.
    pub(super) fn pause(&self, set: &str, generation: i64, node: &str) -> Option<Duration> {
        let now = self.clock.elapsed();
        let mut pauses = self.pauses.lock();
        pauses.retain(|_, (_, since)| now.saturating_sub(*since) <= LONGEST * 2);
        let key = (set.to_owned(), generation, node.to_owned());
        let before = pauses.get(&key).copied();
        let left = before.map_or(Duration::ZERO, |(pause, since)| {
            pause.saturating_sub(now.saturating_sub(since))
        });
        if !left.is_zero() {
            return Some(left);
        }
        let next = before.map_or(FIRST, |(pause, _)| (pause * 2).min(LONGEST));
        pauses.insert(key, (next, now));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_clock::PausedClock;
    use std::sync::Arc;

    #[test]
    fn the_pause_doubles_with_every_failure() {
        let clock = PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let pace = Pace::new(Arc::new(clock.clone()));
        for pause in [1, 2, 4] {
            assert_eq!(pace.pause("set", 1, "node"), None);
            let pause = Duration::from_secs(pause);
            assert_eq!(pace.pause("set", 1, "node"), Some(pause));
            assert_eq!(pace.pause("set", 2, &format!("{pause:?}")), None);
            clock.advance(pause);
        }
    }
}
