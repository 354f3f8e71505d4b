//! The task that keeps a cache equal to the store.

use super::{Event, Inner, Progress, Row, Snapshot};
use futures::StreamExt;
use imbl::OrdMap;
use kubeplane_store_trait::{
    self as store, BoxWatcher, Entry, KeyRange, ListOptions, ReadAt, Revision,
};
use std::{sync::Arc, time::Duration};

/// How many objects are read from the store at once.
const PAGE: usize = 2000;
/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_millis(200);

/// Why following the store ended.
enum End {
    /// Go on from the last revision.
    Resume,
    /// List again.
    Refill,
}

pub(super) async fn run(inner: Arc<Inner>) {
    tokio::select! {
        () = inner.closed.cancelled() => {}
        () = inner.keep_filled() => {}
    }
}

impl Inner {
    async fn keep_filled(&self) {
        let mut epoch = 0;
        loop {
            epoch += 1;
            match self.fill(epoch).await {
                Ok(through) => self.follow(through).await,
                Err(error) => {
                    tracing::warn!(prefix = %self.prefix, %error, "watch cache cannot be filled");
                    self.options.clock.sleep(PAUSE).await;
                }
            }
        }
    }

    fn range(&self) -> KeyRange {
        KeyRange::prefix(self.prefix.clone())
    }

    async fn fill(&self, epoch: u64) -> store::Result<Revision> {
        let mut rows = OrdMap::new();
        let mut range = self.range();
        let mut options = ListOptions { limit: Some(PAGE), ..ListOptions::default() };
        let mut changed = Revision(0);
        let through = loop {
            let page = self.options.store.list(&range, options).await?;
            options.at = ReadAt::Exact(page.revision);
            let last = page.entries.last().map(|entry| entry.key.clone());
            for entry in page.entries {
                changed = changed.max(entry.revision);
                if let Some(row) = self.row(entry) {
                    rows.insert(row.0, row.1);
                }
            }
            match last.filter(|_| page.remaining > 0) {
                Some(last) => range = range.after(&last),
                None => break page.revision,
            }
        };
        self.snapshot.store(Arc::new(Snapshot { rows, through, changed, epoch }));
        self.ring.write().restart(through, epoch);
        self.progress.send_replace(Progress { filled: true, through, epoch });
        Ok(through)
    }

    fn row(&self, entry: Entry) -> Option<(bytes::Bytes, Arc<Row>)> {
        let key = entry.key.as_bytes().clone();
        match Row::new(&self.shape, &self.prefix, key.clone(), entry.value, entry.revision) {
            Ok(row) => Some((key, Arc::new(row))),
            Err(error) => {
                tracing::error!(key = %entry.key, %error, "stored object cannot be decoded");
                None
            }
        }
    }

    /// Follows the store until what is missed can only be had by listing again.
    async fn follow(&self, mut through: Revision) {
        loop {
            match self.options.store.watch(&self.range(), through).await {
                Ok(watcher) => match self.apply_all(watcher, &mut through).await {
                    End::Resume => {}
                    End::Refill => return,
                },
                Err(store::Error::Compacted { .. } | store::Error::Future { .. }) => return,
                Err(error) => {
                    tracing::warn!(prefix = %self.prefix, %error, "store cannot be watched");
                    self.options.clock.sleep(PAUSE).await;
                }
            }
        }
    }

    async fn apply_all(&self, mut watcher: BoxWatcher, through: &mut Revision) -> End {
        loop {
            let batch = tokio::select! {
                biased;
                batch = watcher.next() => batch,
                () = self.ask.notified() => {
                    watcher.as_mut().request_progress();
                    continue;
                }
            };
            match batch {
                Some(Ok(batch)) => {
                    *through = batch.through.max(*through);
                    self.apply(batch);
                }
                Some(Err(store::Error::Compacted { .. })) => return End::Refill,
                Some(Err(store::Error::Lagged)) => return End::Resume,
                Some(Err(error)) => {
                    tracing::warn!(prefix = %self.prefix, %error, "watch of the store ended");
                    self.options.clock.sleep(PAUSE).await;
                    return End::Resume;
                }
                None => {
                    self.options.clock.sleep(PAUSE).await;
                    return End::Resume;
                }
            }
        }
    }

    fn apply(&self, batch: store::WatchBatch) {
        let current = self.snapshot.load();
        let mut rows = current.rows.clone();
        let mut changed = current.changed;
        let mut events = Vec::with_capacity(batch.events.len());
        for event in batch.events {
            changed = changed.max(event.revision());
            events.extend(self.apply_one(&mut rows, event));
        }
        let through = batch.through.max(current.through).max(changed);
        let epoch = current.epoch;
        self.snapshot.store(Arc::new(Snapshot { rows, through, changed, epoch }));
        if !events.is_empty() {
            let now = self.options.clock.elapsed();
            let mut ring = self.ring.write();
            events.into_iter().for_each(|event| ring.push(now, event));
        }
        self.progress.send_replace(Progress { filled: true, through, epoch });
    }

    fn apply_one(
        &self,
        rows: &mut OrdMap<bytes::Bytes, Arc<Row>>,
        event: store::Event,
    ) -> Option<Arc<Event>> {
        let revision = event.revision();
        let (row, previous) = match event {
            store::Event::Put { entry, .. } => {
                let key = entry.key.as_bytes().clone();
                match self.row(entry) {
                    Some((key, row)) => {
                        let previous = rows.insert(key, row.clone());
                        (Some(row), previous)
                    }
                    // As in a list, it is not there; what it was before would be a lie.
                    None => (None, Some(rows.remove(&key)?)),
                }
            }
            store::Event::Delete { key, .. } => (None, Some(rows.remove(key.as_bytes())?)),
            _ => return None,
        };
        Some(Arc::new(Event::new(revision, row, previous)))
    }
}
