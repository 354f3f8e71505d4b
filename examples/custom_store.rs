//! A store of your own, on `kubeplane-store-trait` alone: memory, and a journal of what was written.
//!
//! The past and the watches are those of a `Timeline`. `tests/it` holds it against the suite every store must pass, with
//! `kubeplane_store_trait::conformance!`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use kubeplane_store_trait::{
    BoxWatcher, Capabilities, Deleted, Error, Event, Key, KeyRange, ListOptions, Page, Read,
    ReadAt, Result, Revision, Store, StoreStatus, Timeline, WriteOptions,
};

const MAX_VALUE: usize = 1 << 20;

/// The store. Its clones share what is stored.
#[derive(Debug, Clone)]
pub(crate) struct SmallStore(pub(crate) Timeline);

fn checked(value: Bytes) -> Result<Bytes> {
    let (size, limit) = (value.len(), MAX_VALUE);
    if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(value) }
}

#[async_trait]
impl Store for SmallStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: false, durable: false, max_value: MAX_VALUE }
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        let (entries, revision) = self.0.at(at)?;
        Ok(Read { entry: entries.get(key).cloned(), revision })
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        self.0.list(range, options)
    }

    async fn create(&self, key: &Key, value: Bytes, _: WriteOptions) -> Result<Revision> {
        self.0.create(key, checked(value)?)
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        _: WriteOptions,
    ) -> Result<Revision> {
        self.0.update(key, checked(value)?, expected)
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        self.0.delete(key, expected)
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        self.0.watch(range, after)
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        self.0.compact(through)
    }

    async fn status(&self) -> Result<StoreStatus> {
        let (revision, compacted) = (self.0.revision(), self.0.compacted());
        Ok(StoreStatus { revision, compacted, size: self.0.size(), trouble: None })
    }
}

/// Writes, reads the past and watches; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let options = WriteOptions::default();
    // It gets each change first; what it refuses has not happened.
    let journal = |change: &Event| Ok(()).inspect(|()| println!("journal: {change:?}"));
    let store = SmallStore(Timeline::journaled(journal));
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
