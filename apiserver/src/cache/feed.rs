//! The task that keeps a cache equal to the store.

use super::{Event, Inner, Progress, Row, Snapshot};
use futures::StreamExt;
use imbl::OrdMap;
use kubeplane_core::status::{ApiError, ApiResult};
use kubeplane_store_trait::{
    self as store, BoxWatcher, Entry, KeyRange, ListOptions, ReadAt, Revision,
};
use std::{fmt, sync::Arc, time::Duration};

/// How many objects are read from the store at once.
const PAGE: usize = 2000;
/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between tries to fill a cache.
const LONGEST: Duration = Duration::from_secs(2);

/// What is there after an event, and what was before.
type Turn = (Option<Arc<Row>>, Option<Arc<Row>>);

/// Why following the store ended.
enum End {
    /// Go on from the last revision.
    Resume,
    /// List again.
    Refill,
}

/// Why a cache is not filled.
enum Unfilled {
    Store(store::Error),
    Conversion(ApiError),
}

impl Unfilled {
    /// What readers are told; a store that cannot be read is waited for.
    fn conversion(self) -> Option<ApiError> {
        match self {
            Self::Store(_) => None,
            Self::Conversion(error) => Some(error),
        }
    }
}

impl fmt::Display for Unfilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Conversion(error) => error.fmt(f),
        }
    }
}

impl From<store::Error> for Unfilled {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<ApiError> for Unfilled {
    fn from(error: ApiError) -> Self {
        Self::Conversion(error)
    }
}

pub(super) async fn run(inner: Arc<Inner>) {
    tokio::select! {
        biased;
        () = inner.closed.cancelled() => {}
        () = inner.keep_filled() => {}
    }
}

impl Inner {
    async fn keep_filled(&self) {
        let (mut epoch, mut pause) = (0, PAUSE);
        loop {
            epoch += 1;
            match self.fill(epoch).await {
                Ok(through) => {
                    pause = PAUSE;
                    *self.failure.lock() = None;
                    self.follow(through).await;
                }
                Err(error) => {
                    tracing::warn!(prefix = %self.prefix, %error, "watch cache cannot be filled");
                    *self.failure.lock() = error.conversion();
                    self.options.clock.sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
    }

    fn range(&self) -> KeyRange {
        KeyRange::prefix(self.prefix.clone())
    }

    async fn fill(&self, epoch: u64) -> Result<Revision, Unfilled> {
        let mut rows = OrdMap::new();
        let mut range = self.range();
        let mut options = ListOptions { limit: Some(PAGE), ..ListOptions::default() };
        let (mut changed, mut bytes) = (Revision(0), 0);
        let through = loop {
            let page = self.options.store.list(&range, options).await?;
            options.at = ReadAt::Exact(page.revision);
            let last = page.entries.last().map(|entry| entry.key.clone());
            let remaining = page.remaining;
            for entry in self.adopted(page.entries).await? {
                changed = changed.max(entry.revision);
                if let Some((key, row)) = self.row(entry) {
                    bytes += size(&row);
                    rows.insert(key, row);
                }
            }
            match last.filter(|_| remaining > 0) {
                Some(last) => range = range.after(&last),
                None => break page.revision,
            }
        };
        self.snapshot.store(Arc::new(Snapshot { rows, bytes, through, changed, epoch }));
        self.ring.write().restart(through, epoch);
        self.progress.send_replace(Progress { filled: true, through, epoch });
        Ok(through)
    }

    /// Entries in the form of this version; those that cannot be read are as they were, and no rows are made of them.
    async fn adopted(&self, mut entries: Vec<Entry>) -> ApiResult<Vec<Entry>> {
        if entries.iter().all(|entry| self.shape.is_current(&entry.value)) {
            return Ok(entries);
        }
        let values = entries.iter().map(|entry| entry.value.clone()).collect();
        for (entry, value) in entries.iter_mut().zip(self.shape.adopt_all(values).await?) {
            match value {
                Ok(value) => entry.value = value,
                Err(error) => {
                    tracing::error!(key = %entry.key, %error, "stored object cannot be decoded");
                }
            }
        }
        Ok(entries)
    }

    fn row(&self, entry: Entry) -> Option<(bytes::Bytes, Arc<Row>)> {
        let key = entry.key.as_bytes().clone();
        if !self.shape.is_own(&entry.value) {
            return None;
        }
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
                    let end = batch.through;
                    let events = match self.adopted_events(batch.events).await {
                        Ok(events) => events,
                        Err(error) => {
                            tracing::warn!(prefix = %self.prefix, %error, "change cannot be converted");
                            *self.failure.lock() = Some(error);
                            self.options.clock.sleep(PAUSE).await;
                            return End::Refill;
                        }
                    };
                    *through = end.max(*through);
                    self.apply(store::WatchBatch { events, through: end });
                }
                // What is missing may lie before the last bookmark: the store says so by `Lagged`, too.
                Some(Err(store::Error::Compacted { .. } | store::Error::Lagged)) => {
                    return End::Refill;
                }
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

    async fn adopted_events(&self, mut events: Vec<store::Event>) -> ApiResult<Vec<store::Event>> {
        let put = |event: &store::Event| match event {
            store::Event::Put { entry, .. } if !self.shape.is_current(&entry.value) => {
                Some(entry.clone())
            }
            _ => None,
        };
        let others: Vec<Entry> = events.iter().filter_map(put).collect();
        if others.is_empty() {
            return Ok(events);
        }
        let mut adopted = self.adopted(others).await?.into_iter();
        for event in &mut events {
            if let store::Event::Put { entry, .. } = event
                && !self.shape.is_current(&entry.value)
                && let Some(own) = adopted.next()
            {
                *entry = own;
            }
        }
        Ok(events)
    }

    fn apply(&self, batch: store::WatchBatch) {
        let current = self.snapshot.load();
        let mut rows = current.rows.clone();
        let (mut changed, mut bytes) = (current.changed, current.bytes);
        let mut events = Vec::with_capacity(batch.events.len());
        for event in batch.events {
            let revision = event.revision();
            changed = changed.max(revision);
            let Some((row, previous)) = self.apply_one(&mut rows, event) else { continue };
            bytes += row.as_ref().map_or(0, size);
            bytes -= previous.as_ref().map_or(0, size);
            events.push(Arc::new(Event::new(revision, row, previous)));
        }
        let through = batch.through.max(current.through).max(changed);
        let epoch = current.epoch;
        self.snapshot.store(Arc::new(Snapshot { rows, bytes, through, changed, epoch }));
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
    ) -> Option<Turn> {
        Some(match event {
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
        })
    }
}

fn size(row: &Arc<Row>) -> u64 {
    row.value.len() as u64
}
