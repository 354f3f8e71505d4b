use crate::ObjectKey;
use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// Expectations older than this are no longer waited for.
const EXPIRES_AFTER: Duration = Duration::from_secs(300);

/// What a controller did and has not seen in its cache yet.
///
/// A controller that creates or deletes from a cache that lags behind would do it twice; it waits here until
/// everything it did was observed, or until five minutes passed. Deletions are tracked by uid, so that the
/// same deletion seen twice counts once.
#[derive(Debug, Clone)]
pub struct Expectations {
    clock: SharedClock,
    entries: Arc<Mutex<HashMap<ObjectKey, Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    creations: i64,
    deletions: HashSet<String>,
    since: Duration,
}

impl Expectations {
    /// No expectations.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, entries: Arc::default() }
    }

    fn expect(&self, owner: &ObjectKey, creations: i64, deletions: HashSet<String>) {
        let entry = Entry { creations, deletions, since: self.clock.elapsed() };
        self.entries.lock().insert(owner.clone(), entry);
    }

    /// `owner` is about to create `count` objects; earlier expectations are forgotten.
    pub fn expect_creations(&self, owner: &ObjectKey, count: usize) {
        self.expect(owner, i64::try_from(count).unwrap_or(i64::MAX), HashSet::new());
    }

    /// `owner` is about to delete the objects of these uids; earlier expectations are forgotten.
    pub fn expect_deletions(&self, owner: &ObjectKey, uids: impl IntoIterator<Item = String>) {
        self.expect(owner, 0, uids.into_iter().collect());
    }

    /// One object of `owner` appeared, or its creation failed.
    pub fn creation_observed(&self, owner: &ObjectKey) {
        self.creations_observed(owner, 1);
    }

    /// `count` creations appeared, failed, or were given up.
    pub fn creations_observed(&self, owner: &ObjectKey, count: usize) {
        if let Some(entry) = self.entries.lock().get_mut(owner) {
            entry.creations =
                entry.creations.saturating_sub(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The object of this uid is gone or going, or its deletion failed.
    pub fn deletion_observed(&self, owner: &ObjectKey, uid: &str) {
        if let Some(entry) = self.entries.lock().get_mut(owner) {
            entry.deletions.remove(uid);
        }
    }

    /// Whether `owner` may act on what its cache shows.
    #[must_use]
    pub fn satisfied(&self, owner: &ObjectKey) -> bool {
        let entries = self.entries.lock();
        let Some(entry) = entries.get(owner) else {
            return true;
        };
        let fulfilled = entry.creations <= 0 && entry.deletions.is_empty();
        fulfilled || self.clock.elapsed().saturating_sub(entry.since) > EXPIRES_AFTER
    }

    /// When expectations that are not fulfilled yet stop counting; `None` when nothing is waited for.
    #[must_use]
    pub fn expires_in(&self, owner: &ObjectKey) -> Option<Duration> {
        if self.satisfied(owner) {
            return None;
        }
        let since = self.entries.lock().get(owner)?.since;
        Some(EXPIRES_AFTER.saturating_sub(self.clock.elapsed().saturating_sub(since)))
    }

    /// Forgets everything about `owner`, which is gone.
    pub fn forget(&self, owner: &ObjectKey) {
        self.entries.lock().remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_clock::PausedClock;

    #[test]
    fn an_owner_waits_for_every_creation_and_every_deletion_once() {
        let clock = PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let expectations = Expectations::new(Arc::new(clock.clone()));
        let owner = ObjectKey::new("ns", "rs");
        assert!(expectations.satisfied(&owner));
        expectations.expect_creations(&owner, 2);
        expectations.creation_observed(&owner);
        assert!(!expectations.satisfied(&owner));
        expectations.creation_observed(&owner);
        assert!(expectations.satisfied(&owner));

        expectations.expect_deletions(&owner, ["a".to_owned(), "b".to_owned()]);
        expectations.deletion_observed(&owner, "a");
        expectations.deletion_observed(&owner, "a");
        assert!(!expectations.satisfied(&owner));
        clock.advance(EXPIRES_AFTER + Duration::from_secs(1));
        assert!(expectations.satisfied(&owner));
    }
}
