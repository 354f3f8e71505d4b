use parking_lot::Mutex;
use std::{collections::HashMap, hash::Hash, time::Duration};

/// How long to wait between tries of things that fail: doubled from a start up to a limit, and
/// forgotten after twice the limit without a failure.
#[derive(Debug)]
pub(crate) struct Backoff<K> {
    start: Duration,
    limit: Duration,
    entries: Mutex<HashMap<K, Entry>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    wait: Duration,
    updated: Duration,
}

impl<K: Hash + Eq> Backoff<K> {
    pub(crate) fn new(start: Duration, limit: Duration) -> Self {
        Self { start, limit, entries: Mutex::default() }
    }

    /// When the next try is allowed, if that is after `now`; `failed_at` is when the last try ended.
    pub(crate) fn until(&self, key: &K, failed_at: Duration, now: Duration) -> Option<Duration> {
        let entries = self.entries.lock();
        let entry = entries.get(key)?;
        if self.is_stale(*entry, failed_at) {
            return None;
        }
        let until = failed_at + entry.wait;
        (until > now).then_some(until)
    }

    /// The present wait of `key`.
    pub(crate) fn wait(&self, key: &K) -> Duration {
        self.entries.lock().get(key).map_or(Duration::ZERO, |entry| entry.wait)
    }

    /// Counts one more try of `key`.
    pub(crate) fn next(&self, key: K, now: Duration) {
        let mut entries = self.entries.lock();
        let wait = match entries.get(&key) {
            Some(entry) if !self.is_stale(*entry, now) => (entry.wait * 2).min(self.limit),
            _ => self.start,
        };
        entries.insert(key, Entry { wait, updated: now });
    }

    /// Forgets every key that `keep` refuses.
    pub(crate) fn retain(&self, keep: impl Fn(&K) -> bool) {
        self.entries.lock().retain(|key, _| keep(key));
    }

    fn is_stale(&self, entry: Entry, at: Duration) -> bool {
        at.saturating_sub(entry.updated) > self.limit * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_limit_and_are_forgotten_after_a_quiet_time() {
        let backoff = Backoff::new(10 * SECOND, 300 * SECOND);
        let mut now = 100 * SECOND;
        assert_eq!(backoff.until(&"web", now, now), None);
        let mut waits = Vec::new();
        for _ in 0..7 {
            backoff.next("web", now);
            waits.push(backoff.wait(&"web").as_secs());
            now += backoff.wait(&"web");
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.until(&"web", now, now), Some(now + 300 * SECOND));
        let later = now + 601 * SECOND;
        assert_eq!(backoff.until(&"web", later, later), None);
        backoff.next("web", later);
        assert_eq!(backoff.wait(&"web"), 10 * SECOND);
        backoff.retain(|key| *key != "web");
        assert_eq!(backoff.wait(&"web"), Duration::ZERO);
    }
}
