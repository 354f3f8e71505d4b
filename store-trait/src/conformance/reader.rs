use super::setup::ok;
use crate::{BoxWatcher, Event, KeyRange, Result, Revision, Store, WatchBatch};
use futures::StreamExt;
use std::{collections::HashSet, time::Duration};
use tokio::time::timeout;

/// How long a case waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// After so many batches that lead nowhere a case gives up, also where time stands still.
const ROUNDS: usize = 10_000;

/// Reads a watcher and holds every batch against the contract.
pub(super) struct Reader {
    watcher: BoxWatcher,
    range: KeyRange,
    through: Revision,
}

impl Reader {
    pub(super) async fn start(store: &dyn Store, range: &KeyRange, after: Revision) -> Self {
        let watcher = ok(store.watch(range, after).await);
        Self { watcher, range: range.clone(), through: after }
    }

    /// How far everything has been delivered.
    pub(super) fn through(&self) -> Revision {
        self.through
    }

    /// The next batch, error or end.
    pub(super) async fn next(&mut self) -> Option<Result<WatchBatch>> {
        let Ok(next) = timeout(PATIENCE, self.watcher.next()).await else {
            panic!("nothing came within {PATIENCE:?} after revision {}", self.through)
        };
        if let Some(Ok(batch)) = &next {
            self.check(batch);
        }
        next
    }

    /// The next batch, if it comes soon.
    pub(super) async fn soon(&mut self, wait: Duration) -> Option<WatchBatch> {
        let batch = ok(timeout(wait, self.watcher.next()).await.ok()??);
        self.check(&batch);
        Some(batch)
    }

    pub(super) async fn batch(&mut self) -> WatchBatch {
        match self.next().await {
            Some(batch) => ok(batch),
            None => panic!("the watch ended without an error"),
        }
    }

    pub(super) fn request_progress(&mut self) {
        self.watcher.as_mut().request_progress();
    }

    /// Exactly the next `count` events.
    pub(super) async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.batch().await.events);
        }
        assert_eq!(events.len(), count, "more events than writes: {events:?}");
        events
    }

    /// Every event up to and including `revision`, however many batches and bookmarks that takes.
    pub(super) async fn until(&mut self, revision: Revision) -> Vec<Event> {
        let mut events = Vec::new();
        let all = async {
            let mut rounds = 0;
            while self.through < revision {
                rounds += 1;
                assert!(rounds <= ROUNDS, "no progress from {} to {revision}", self.through);
                self.request_progress();
                // A store may forget a request, so it is made again.
                if let Some(batch) = self.soon(Duration::from_secs(1)).await {
                    events.extend(batch.events);
                }
            }
        };
        assert!(timeout(PATIENCE, all).await.is_ok(), "no progress to {revision}");
        events
    }

    fn check(&mut self, batch: &WatchBatch) {
        assert!(batch.through >= self.through, "through went back: {batch:?}");
        let mut last = self.through;
        let mut keys = HashSet::new();
        for event in &batch.events {
            let revision = event.revision();
            assert!(
                revision > self.through && revision >= last,
                "event {event:?} comes after {last} and after everything through {} was delivered",
                self.through
            );
            if revision > last {
                keys.clear();
            }
            assert!(keys.insert(event.key()), "event {event:?} comes twice");
            assert!(revision <= batch.through, "event {event:?} is behind its own batch's through");
            assert!(self.range.contains(event.key()), "event {event:?} is not in {:?}", self.range);
            last = revision;
        }
        self.through = batch.through;
    }
}
