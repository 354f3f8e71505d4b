//! A store of your own, on `kubeplane-store-trait` alone: one map and the list of its changes behind a lock.
//!
//! `tests/it` holds it against the suite every store must pass, with `kubeplane_store_trait::conformance!`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use kubeplane_store_trait::{
    BoxWatcher, Capabilities, Deleted, Entry, Error, Event, Key, KeyRange, ListOptions, Page, Read,
    ReadAt, Result, Revision, Store, StoreStatus, WatchBatch, Watcher, WriteOptions,
};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

const MAX_VALUE: usize = 1 << 20;

type Entries = BTreeMap<Key, Entry>;

#[derive(Debug, Default)]
struct State {
    entries: Entries,
    revision: Revision,
    /// The entries as they were at `compacted`, and every change since.
    base: Entries,
    compacted: Revision,
    changes: Vec<Event>,
    /// Of watchers that have seen everything.
    waiting: Vec<Waker>,
}

impl State {
    /// The entries of a revision: as they are, or the base with the changes up to there.
    fn at(&self, at: ReadAt) -> Result<(Entries, Revision)> {
        let ReadAt::Exact(revision) = at else { return Ok((self.entries.clone(), self.revision)) };
        if revision < self.compacted {
            return Err(Error::Compacted { requested: revision, oldest: self.compacted });
        }
        if revision > self.revision {
            return Err(Error::Future { requested: revision, latest: self.revision });
        }
        let mut entries = self.base.clone();
        for change in self.changes.iter().take_while(|change| change.revision() <= revision) {
            apply(&mut entries, change);
        }
        Ok((entries, revision))
    }

    fn expect(&self, key: &Key, expected: Revision) -> Result<Entry> {
        match self.entries.get(key) {
            Some(entry) if entry.revision == expected => Ok(entry.clone()),
            other => Err(Error::Conflict { key: key.clone(), current: other.cloned() }),
        }
    }

    /// Makes the change that `event` says, at the next revision.
    fn write(&mut self, event: impl FnOnce(Revision) -> Event) -> Revision {
        self.revision = Revision(self.revision.0 + 1);
        let event = event(self.revision);
        apply(&mut self.entries, &event);
        self.changes.push(event);
        self.waiting.drain(..).for_each(Waker::wake);
        self.revision
    }
}

fn apply(entries: &mut Entries, change: &Event) {
    match change {
        Event::Put { entry, .. } => drop(entries.insert(entry.key.clone(), entry.clone())),
        Event::Delete { key, .. } => drop(entries.remove(key)),
        _ => {}
    }
}

/// The store. Its clones share what is stored.
#[derive(Debug, Clone)]
pub(crate) struct SmallStore(Arc<Mutex<State>>);

impl SmallStore {
    pub(crate) fn new() -> Self {
        // Nothing is written at revision one; zero stays before everything.
        Self(Arc::new(Mutex::new(State { revision: Revision(1), ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between the parts of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_size(value: &Bytes) -> Result<()> {
    let (size, limit) = (value.len(), MAX_VALUE);
    if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(()) }
}

#[async_trait]
impl Store for SmallStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: false, durable: false, max_value: MAX_VALUE }
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        let (entries, revision) = self.state().at(at)?;
        Ok(Read { entry: entries.get(key).cloned(), revision })
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let (entries, revision) = self.state().at(options.at)?;
        let mut entries: Vec<_> =
            entries.into_values().filter(|entry| range.contains(&entry.key)).collect();
        let limit = if options.count_only { 0 } else { options.limit.unwrap_or(usize::MAX) };
        let remaining = entries.len().saturating_sub(limit) as u64;
        entries.truncate(limit);
        if options.keys_only {
            entries.iter_mut().for_each(|entry| entry.value.clear());
        }
        Ok(Page { entries, revision, remaining })
    }

    async fn create(&self, key: &Key, value: Bytes, _: WriteOptions) -> Result<Revision> {
        check_size(&value)?;
        let mut state = self.state();
        if let Some(current) = state.entries.get(key).cloned() {
            return Err(Error::Exists { key: key.clone(), current });
        }
        Ok(state.write(|revision| Event::Put {
            entry: Entry { key: key.clone(), value, revision, created: revision },
            previous: None,
        }))
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        _: WriteOptions,
    ) -> Result<Revision> {
        check_size(&value)?;
        let mut state = self.state();
        let previous = state.expect(key, expected)?;
        Ok(state.write(|revision| Event::Put {
            entry: Entry { value, revision, ..previous.clone() },
            previous: Some(previous),
        }))
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        let mut state = self.state();
        let previous = state.expect(key, expected)?;
        let revision = state.write(|revision| Event::Delete {
            key: key.clone(),
            previous: Some(previous.clone()),
            revision,
        });
        Ok(Deleted { previous, revision })
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        let oldest = self.state().compacted;
        if after < oldest {
            return Err(Error::Compacted { requested: after, oldest });
        }
        let (store, range) = (self.clone(), range.clone());
        Ok(Box::pin(SmallWatcher { store, range, through: after, progress: false, ended: false }))
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        let mut state = self.state();
        if through == state.compacted {
            return Err(Error::Compacted { requested: through, oldest: through });
        }
        state.base = state.at(ReadAt::Exact(through))?.0;
        state.compacted = through;
        state.changes.retain(|change| change.revision() > through);
        Ok(())
    }

    async fn status(&self) -> Result<StoreStatus> {
        let state = self.state();
        let size = state.entries.values().map(|entry| entry.value.len() as u64).sum();
        Ok(StoreStatus { revision: state.revision, compacted: state.compacted, size })
    }
}

/// A place in the list of changes.
struct SmallWatcher {
    store: SmallStore,
    range: KeyRange,
    /// Every change of the range up to here was delivered.
    through: Revision,
    progress: bool,
    ended: bool,
}

impl Stream for SmallWatcher {
    type Item = Result<WatchBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let mut state = this.store.state();
        if this.through < state.compacted {
            this.ended = true;
            return Poll::Ready(Some(Err(Error::Lagged)));
        }
        let new = state.changes.partition_point(|change| change.revision() <= this.through);
        let new = state.changes[new..].iter().filter(|change| this.range.contains(change.key()));
        let events: Vec<_> = new.cloned().collect();
        let reached = state.revision >= this.through;
        this.through = this.through.max(state.revision);
        if !events.is_empty() || (reached && std::mem::take(&mut this.progress)) {
            return Poll::Ready(Some(Ok(WatchBatch { events, through: this.through })));
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Watcher for SmallWatcher {
    fn request_progress(self: Pin<&mut Self>) {
        let this = self.get_mut();
        this.progress = true;
        this.store.state().waiting.drain(..).for_each(Waker::wake);
    }
}

/// Writes, reads the past and watches; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let (store, options) = (SmallStore::new(), WriteOptions::default());
    let key = Key::new("greeting").context("a key has at least one byte")?;
    let created = store.create(&key, "hello".into(), options).await?;
    let updated = store.update(&key, "goodbye".into(), created, options).await?;
    store.delete(&key, updated).await?;
    let past = store.get(&key, ReadAt::Exact(created)).await?.entry.context("it was there")?;
    let mut lines = vec![format!("at revision {created}: {}", past.value.escape_ascii())];
    let mut watcher = store.watch(&KeyRange::all(), created).await?;
    let batch = watcher.next().await.context("a watch goes on")??;
    lines.extend(batch.events.iter().map(|event| match event {
        Event::Put { entry, .. } => format!("then {}", entry.value.escape_ascii()),
        other => format!("gone at revision {}", other.revision()),
    }));
    Ok(lines)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
