use crate::state::Change;
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

/// The most changes of a segment, and the bytes (roughly) after which the next one begins. All segments are touched when
/// one begins or goes, so that there should not be many.
const CHANGES: usize = 256;
const WEIGHT: usize = 1024 * 1024;

/// The last changes, in order and without a gap. A clone shares everything: the writer adds behind what the clones
/// see, and forgets whole segments before it.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    segments: Arc<VecDeque<Arc<Segment>>>,
    /// How many changes the last segment holds, and their weight; only the writer knows.
    filled: usize,
    weight: usize,
}

#[derive(Debug)]
struct Segment {
    /// The revision before its first change.
    base: u64,
    changes: Box<[OnceLock<Change>]>,
}

impl History {
    /// Adds the change of the next revision.
    pub(crate) fn push(&mut self, change: Change) {
        let full = self.filled == CHANGES || self.weight >= WEIGHT;
        if full || self.segments.is_empty() {
            let changes = std::iter::repeat_with(OnceLock::new).take(CHANGES).collect();
            let segment = Segment { base: change.revision - 1, changes };
            Arc::make_mut(&mut self.segments).push_back(Arc::new(segment));
            (self.filled, self.weight) = (0, 0);
        }
        if let Some(last) = self.segments.back() {
            self.weight += change.weight;
            // The slot is free: there is one writer, and it fills them in order.
            let _ = last.changes[self.filled].set(change);
            self.filled += 1;
        }
    }

    /// The changes with a revision greater than `after` and not greater than `through`.
    pub(crate) fn between(&self, after: u64, through: u64) -> impl Iterator<Item = &Change> {
        let segments = self.segments.range(self.first(after)..);
        segments
            .flat_map(move |segment| {
                let skipped = after.saturating_sub(segment.base);
                let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
                segment.changes.get(skipped..).unwrap_or_default().iter().map_while(OnceLock::get)
            })
            .take_while(move |change| change.revision <= through)
    }

    /// The segment in which the change after `after` is. Mostly that is the last one, or the first: what is new, and what
    /// is to be forgotten.
    fn first(&self, after: u64) -> usize {
        let begins = |segment: &Arc<Segment>| segment.base <= after;
        if self.segments.back().is_some_and(begins) {
            self.segments.len() - 1
        } else if self.segments.get(1).is_some_and(begins) {
            self.segments.partition_point(begins).saturating_sub(1)
        } else {
            0
        }
    }

    /// The same changes through `through`, for another writer to go on from.
    pub(crate) fn fork(&self, through: u64) -> Self {
        let mut fork = Self::default();
        for change in self.between(0, through) {
            fork.push(change.clone());
        }
        fork
    }

    /// Frees what lies wholly at or before `through`; `latest` is the revision of the last change.
    pub(crate) fn forget(&mut self, through: u64, latest: u64) {
        let superfluous = |segments: &VecDeque<Arc<Segment>>| {
            let end = segments.get(1).map_or(latest, |next| next.base);
            !segments.is_empty() && end <= through
        };
        while superfluous(&self.segments) {
            Arc::make_mut(&mut self.segments).pop_front();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test says where")]
mod tests {
    use super::History;
    use crate::state::{Change, Record, What};
    use kubeplane_store_trait::Key;
    use std::{sync::Arc, time::Duration};

    fn change(revision: u64, size: usize) -> Change {
        let key = Key::new("key").unwrap();
        let after = Arc::new(Record::new(key, vec![0; size].into(), revision, revision, None));
        let what = What::Put { before: Some(after.clone()), after };
        Change::new(revision, Duration::ZERO, what)
    }

    fn revisions(history: &History, after: u64, through: u64) -> Vec<u64> {
        history.between(after, through).map(|change| change.revision).collect()
    }

    #[test]
    fn it_is_read_from_every_place_and_forgotten_by_parts() {
        for size in [0, 300_000] {
            let mut history = History::default();
            for revision in 8..=1000 {
                history.push(change(revision, size));
            }
            let shared = history.clone();
            for after in (7..=1001).step_by(3) {
                assert_eq!(revisions(&history, after, 990), (after + 1..=990).collect::<Vec<_>>());
            }
            history.forget(600, 1000);
            assert_eq!(revisions(&history, 600, 1000), (601..=1000).collect::<Vec<_>>());
            assert!(revisions(&history, 0, 1000).len() < 700);
            history.forget(1000, 1000);
            assert!(revisions(&history, 0, 1000).is_empty());
            history.push(change(1001, size));
            assert_eq!(revisions(&history, 0, 1001), [1001]);
            assert_eq!(revisions(&shared, 7, 1000).len(), 993, "a clone stays as it was");
        }
    }

    #[test]
    fn a_fork_is_written_by_another() {
        let mut history = History::default();
        for revision in 8..=200 {
            history.push(change(revision, 0));
        }
        let mut fork = history.fork(150);
        fork.push(change(151, 0));
        history.push(change(201, 0));
        assert_eq!(revisions(&fork, 7, 300), (8..=151).collect::<Vec<_>>());
        assert_eq!(revisions(&history, 7, 300), (8..=201).collect::<Vec<_>>());
    }
}
