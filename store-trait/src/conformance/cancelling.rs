//! Writes whose caller goes away.

use super::{
    Factory,
    reader::Reader,
    setup::{create, get, key, list, ok, some},
};
use crate::{Entry, Error, Event, Key, KeyRange, ReadAt, Revision, Store, WriteOptions};
use bytes::Bytes;
use std::{collections::BTreeMap, future::Future, pin::pin, sync::Arc, time::Duration};
use tokio::time::timeout;

const ROUNDS: usize = 40;

/// Starts a write and drops it: sooner or later, the further the rounds go; meanwhile `seen` looks on.
async fn begin(write: impl Future + Send, round: usize, mut seen: Option<&mut Seen>) {
    let mut write = pin!(write);
    if round.is_multiple_of(2) {
        // A write that was given up in time may still be done.
        let _ = timeout(Duration::from_micros(50 * round as u64), &mut write).await;
        return;
    }
    for _ in 0..round / 2 {
        if futures::poll!(&mut write).is_ready() {
            return;
        }
        match &mut seen {
            Some(seen) => seen.look(Duration::ZERO).await,
            None => tokio::task::yield_now().await,
        }
    }
}

pub(super) async fn a_cancelled_write_is_whole_or_not_at_all(factory: &dyn Factory) {
    let store = factory.fresh().await;
    create(&*store, "a", "at first").await;
    for round in 0..ROUNDS {
        let before = some(get(&*store, "a", ReadAt::Latest).await);
        let value = Bytes::from(format!("the value of round {round}"));
        let options = WriteOptions::default();
        let write = store.update(&before.key, value.clone(), before.revision, options);
        begin(write, round, None).await;
        let after = some(get(&*store, "a", ReadAt::Latest).await);
        assert_eq!(after.created, before.created);
        if after.revision == before.revision {
            assert_eq!(after, before, "a cancelled update did half of its work");
        } else {
            assert!(after.revision > before.revision, "an update went back");
            assert_eq!(after.value, value, "a cancelled update did half of its work");
        }
        settle(&*store, after, &value).await;
    }
}

/// Updates the entry, whose cancelled write may still be applied once.
async fn settle(store: &dyn Store, mut entry: Entry, late: &Bytes) {
    for _ in 0..2 {
        let options = WriteOptions::default();
        match store.update(&entry.key, "settled".into(), entry.revision, options).await {
            Ok(_) => return,
            Err(Error::Conflict { current: Some(current), .. }) => {
                assert_eq!(current.value, late, "only the cancelled write can be in between");
                entry = current;
            }
            Err(other) => panic!("must be Conflict, but is: {other}"),
        }
    }
    panic!("a cancelled write was applied twice");
}

pub(super) async fn nothing_is_seen_before_it_is_kept(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.revision().await);
    let reader = Reader::start(&*store, &KeyRange::all(), start).await;
    let mut seen = Seen { store, reader, entries: BTreeMap::new(), latest: start };
    for round in 0..ROUNDS {
        let (store, name) = (seen.store.clone(), key(format!("{round}")));
        let write = store.create(&name, "x".into(), WriteOptions::default());
        begin(write, round, Some(&mut seen)).await;
        seen.look(Duration::from_millis(1)).await;
    }
    let Seen { store, reader, entries, latest } = seen;
    are_kept(&*store, &entries, latest).await;
    drop(reader);
    if let Some(store) = factory.crash(store).await {
        are_kept(&*store, &entries, latest).await;
    }
}

/// What a reader and a watcher were shown.
struct Seen {
    store: Arc<dyn Store>,
    reader: Reader,
    entries: BTreeMap<Key, Entry>,
    latest: Revision,
}

impl Seen {
    async fn look(&mut self, patience: Duration) {
        let page = list(&*self.store, &KeyRange::all(), ReadAt::Latest).await;
        self.latest = self.latest.max(page.revision);
        self.entries.extend(page.entries.into_iter().map(|entry| (entry.key.clone(), entry)));
        while let Some(batch) = self.reader.soon(patience).await {
            self.latest = self.latest.max(batch.through);
            for event in batch.events {
                if let Event::Put { entry, .. } = event {
                    self.entries.insert(entry.key.clone(), entry);
                }
            }
        }
    }
}

/// All that was seen is still there.
async fn are_kept(store: &dyn Store, entries: &BTreeMap<Key, Entry>, latest: Revision) {
    let revision = ok(store.revision().await);
    assert!(revision >= latest, "{latest} was seen, but the store is at {revision}");
    for (key, entry) in entries {
        let read = ok(store.get(key, ReadAt::Latest).await).entry;
        assert_eq!(read.as_ref(), Some(entry), "it was seen, and then was not");
    }
}
