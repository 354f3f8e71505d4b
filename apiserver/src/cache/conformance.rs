//! The watch cache against the contract of a store: what it answers must be what the store would have answered.
//!
//! ```text
//!   create, update, delete, compact ──────────────────────────────> store underneath
//!   get, list of the latest ──> Snapshot                                  │
//!   watch ────────────────────> Cursor on the ring <── Cache::feed <──────┘
//! ```
//!
//! Some questions a cache does not answer, and the server asks the store for them; so does this adapter:
//! * exact revisions, and with them the pages after the first (`verbs::list`);
//! * watches from before the ring begins, until the ring can take over (`watch::backfill`);
//! * revision, status and compaction. The cache may hold events that the store has compacted, so whether a
//!   watch is too old is also asked of the store;
//! * opening again: the cache has nothing of its own to keep, and is filled anew.

use super::{Cache, CacheOptions, Cursor, Event, Freshness, Next, Row};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use kubeplane_clock::RealClock;
use kubeplane_core::status::ApiError;
use kubeplane_store_trait::{
    self as store, BoxWatcher, Capabilities, Deleted, Entry, Error, Key, KeyRange, ListOptions,
    Page, Read, ReadAt, Result, Revision, Store, StoreStatus, WatchBatch, Watcher, WriteOptions,
    conformance::{Factory, ModelFactory, ModelStore},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

const HEAD: &str = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":""#;
const TAIL: &str = r#""}"#;

/// Any bytes as an object.
fn object(value: &[u8]) -> Bytes {
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{HEAD}{hex}{TAIL}").into()
}

/// The bytes in an object.
fn bytes(object: &[u8]) -> Bytes {
    let hex = &object[HEAD.len()..object.len() - TAIL.len()];
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    hex.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn plain(entry: Entry) -> Entry {
    let value = if entry.value.is_empty() { Bytes::new() } else { bytes(&entry.value) };
    Entry { value, ..entry }
}

/// An error of the store as it is, but for what it says about the entry or the size.
fn plain_error(error: Error) -> Error {
    match error {
        Error::Exists { key, current } => Error::Exists { key, current: plain(current) },
        Error::Conflict { key, current } => Error::Conflict { key, current: current.map(plain) },
        other => other,
    }
}

fn unavailable(error: ApiError) -> Error {
    Error::Unavailable { reason: error.to_string() }
}

/// A store that is read through a cache.
#[derive(Debug)]
struct Cached {
    cache: Cache,
    store: Arc<dyn Store>,
    /// When each revision of an entry was created, which rows do not keep.
    created: Mutex<HashMap<(Key, Revision), Revision>>,
}

impl Cached {
    async fn start(store: Arc<dyn Store>) -> Arc<Self> {
        let mut kinds = kubeplane_builtin::all().into_iter();
        let definition = kinds.find(|kind| kind.plural == "configmaps").unwrap();
        let options = CacheOptions { store: store.clone(), clock: Arc::new(RealClock::default()) };
        let cache = Cache::new(definition, String::new(), options);
        cache.snapshot(Freshness::Any).await.unwrap();
        Arc::new(Self { cache, store, created: Mutex::default() })
    }

    fn note(&self, entry: &Entry) {
        self.created.lock().insert((entry.key.clone(), entry.revision), entry.created);
    }

    async fn entry(&self, row: &Row) -> Entry {
        let (key, revision) = (Key::new(row.key.clone()).unwrap(), row.revision);
        let created = self.created(&key, revision).await;
        Entry { key, value: bytes(&row.value), revision, created }
    }

    async fn created(&self, key: &Key, revision: Revision) -> Revision {
        for _ in 0..2000 {
            if let Some(created) = self.created.lock().get(&(key.clone(), revision)) {
                return *created;
            }
            for at in [ReadAt::Exact(revision), ReadAt::Latest] {
                let read = self.store.get(key, at).await;
                if let Some(entry) = read.ok().and_then(|read| read.entry) {
                    self.note(&entry);
                }
            }
            // Compacted, and its writer is about to note it.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("nobody knows when {key} at {revision} was created");
    }

    async fn event(&self, event: &Event) -> store::Event {
        let previous = match &event.previous {
            Some(row) => Some(self.entry(row).await),
            None => None,
        };
        match &event.row {
            Some(row) => store::Event::Put { entry: self.entry(row).await, previous },
            None => store::Event::Delete {
                key: previous.as_ref().unwrap().key.clone(),
                previous,
                revision: event.revision,
            },
        }
    }

    fn capabilities(&self) -> Capabilities {
        let inner = self.store.capabilities();
        let max_value = (inner.max_value - HEAD.len() - TAIL.len()) / 2;
        Capabilities { max_value, ..inner }
    }

    /// Where the events after a revision come from, and how far until the ring has them.
    async fn source(&self, after: Revision) -> Result<(Source, Revision)> {
        let oldest = self.store.status().await?.compacted;
        if after < oldest {
            return Err(Error::Compacted { requested: after, oldest });
        }
        self.cache.snapshot(Freshness::Any).await.map_err(unavailable)?;
        let source = match self.cache.cursor(after) {
            Some(cursor) => Source::Ring(cursor),
            None => Source::Store(self.store.watch(&KeyRange::all(), after).await?),
        };
        Ok((source, self.cache.progress().through))
    }

    async fn batch(&self, events: &[Arc<Event>], range: &KeyRange, after: Revision) -> WatchBatch {
        let mut batch = WatchBatch { events: Vec::new(), through: after };
        for event in events {
            batch.through = batch.through.max(event.revision);
            let event = self.event(event).await;
            if range.contains(event.key()) {
                batch.events.push(event);
            }
        }
        batch
    }

    fn stored(&self, batch: WatchBatch, range: &KeyRange) -> WatchBatch {
        let mut events = Vec::new();
        for event in batch.events.into_iter().filter(|event| range.contains(event.key())) {
            events.push(match event {
                store::Event::Put { entry, previous } => {
                    self.note(&entry);
                    let previous = previous.map(plain);
                    store::Event::Put { entry: plain(entry), previous }
                }
                store::Event::Delete { key, previous, revision } => {
                    store::Event::Delete { key, previous: previous.map(plain), revision }
                }
                other => other,
            });
        }
        WatchBatch { events, through: batch.through }
    }

    fn check_size(&self, value: &Bytes) -> Result<()> {
        let (size, limit) = (value.len(), self.capabilities().max_value);
        if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(()) }
    }
}

/// The store and its cache, shared with the watchers.
#[derive(Debug)]
struct CachedStore(Arc<Cached>);

#[async_trait]
impl Store for CachedStore {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        if at != ReadAt::Latest {
            let read = self.0.store.get(key, at).await?;
            return Ok(Read { entry: read.entry.map(plain), ..read });
        }
        let snapshot = self.0.cache.snapshot(Freshness::Consistent).await.map_err(unavailable)?;
        let entry = match snapshot.rows.get(key.as_bytes()) {
            Some(row) => Some(self.0.entry(row).await),
            None => None,
        };
        Ok(Read { entry, revision: snapshot.through })
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        if options.at != ReadAt::Latest {
            let page = self.0.store.list(range, options).await?;
            return Ok(Page { entries: page.entries.into_iter().map(plain).collect(), ..page });
        }
        let snapshot = self.0.cache.snapshot(Freshness::Consistent).await.map_err(unavailable)?;
        let limit = if options.count_only { 0 } else { options.limit.unwrap_or(usize::MAX) };
        let rows: Vec<_> = match range.is_empty() {
            true => Vec::new(),
            false => snapshot.range(range).map(|(_, row)| row.clone()).collect(),
        };
        let mut entries = Vec::new();
        for row in rows.iter().take(limit) {
            entries.push(self.0.entry(row).await);
        }
        let remaining = (rows.len() - entries.len()) as u64;
        let mut page = Page { entries, revision: snapshot.through, remaining, ..Page::default() };
        if options.keys_only {
            for entry in page.entries.drain(..) {
                page.keys.push(&entry.key, entry.revision, entry.created);
            }
        }
        Ok(page)
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        self.0.check_size(&value)?;
        let created = self.0.store.create(key, object(&value), options).await;
        let created = created.map_err(plain_error)?;
        self.0.created.lock().insert((key.clone(), created), created);
        Ok(created)
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        self.0.check_size(&value)?;
        let revision = self.0.store.update(key, object(&value), expected, options).await;
        let revision = revision.map_err(plain_error)?;
        let created = self.0.created(key, expected).await;
        self.0.created.lock().insert((key.clone(), revision), created);
        Ok(revision)
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        let deleted = self.0.store.delete(key, expected).await.map_err(plain_error)?;
        self.0.note(&deleted.previous);
        Ok(Deleted { previous: plain(deleted.previous), ..deleted })
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        let (source, until) = self.0.source(after).await?;
        let follow =
            Follow { cached: self.0.clone(), range: range.clone(), source, through: after, until };
        let batches = stream::unfold(follow, |mut follow| async move {
            let item = follow.next().await?;
            Some((item, follow))
        });
        Ok(Box::pin(CachedWatcher { cached: self.0.clone(), batches: batches.boxed() }))
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        self.0.store.compact(through).await
    }

    async fn revision(&self) -> Result<Revision> {
        self.0.store.revision().await
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.0.store.status().await
    }
}

enum Source {
    Store(BoxWatcher),
    Ring(Cursor),
    Ended,
}

struct Follow {
    cached: Arc<Cached>,
    range: KeyRange,
    source: Source,
    through: Revision,
    /// Where the ring takes over.
    until: Revision,
}

impl Follow {
    async fn next(&mut self) -> Option<Result<WatchBatch>> {
        let item = match &mut self.source {
            Source::Ended => return None,
            Source::Ring(cursor) => match cursor.next().await {
                Next::Events(events) => {
                    Ok(self.cached.batch(&events, &self.range, self.through).await)
                }
                Next::Progress(through) => Ok(WatchBatch { events: Vec::new(), through }),
                // The server ends such a watch without a word (the cache itself lagged and was filled again, or the
                // ring went round), and clients go on after what they have seen; unless that is compacted.
                Next::Ended => match self.cached.source(self.through).await {
                    Ok((source, until)) => {
                        (self.source, self.until) = (source, until);
                        Ok(WatchBatch { events: Vec::new(), through: self.through })
                    }
                    Err(_) => Err(Error::Lagged),
                },
            },
            Source::Store(watcher) => {
                watcher.as_mut().request_progress();
                watcher.next().await?.map(|batch| self.cached.stored(batch, &self.range))
            }
        };
        match &item {
            Ok(batch) => self.through = batch.through,
            Err(_) => self.source = Source::Ended,
        }
        if matches!(self.source, Source::Store(_)) && self.through >= self.until {
            let cursor = self.cached.cache.cursor(self.through);
            self.source = cursor.map_or(Source::Ended, Source::Ring);
        }
        Some(item)
    }
}

struct CachedWatcher {
    cached: Arc<Cached>,
    batches: stream::BoxStream<'static, Result<WatchBatch>>,
}

impl Stream for CachedWatcher {
    type Item = Result<WatchBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.as_mut().poll_next(context)
    }
}

impl Watcher for CachedWatcher {
    fn request_progress(self: Pin<&mut Self>) {
        self.cached.cache.ask_progress();
    }
}

/// Caches over model stores.
#[derive(Debug, Default)]
struct Caches {
    model: ModelFactory,
    latest: Mutex<Weak<Cached>>,
}

impl Caches {
    async fn over(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let cached = Cached::start(store).await;
        *self.latest.lock() = Arc::downgrade(&cached);
        Arc::new(CachedStore(cached))
    }
}

#[async_trait]
impl Factory for Caches {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.over(self.model.fresh().await).await
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        let model = self.model.reopen(store).await?;
        Some(self.over(model).await)
    }

    fn watchers(&self) -> Option<usize> {
        let cached = self.latest.lock().upgrade()?;
        Some(cached.cache.inner.progress.receiver_count())
    }
}

kubeplane_store_trait::conformance!(Caches::default());

#[tokio::test]
async fn a_revision_of_more_changes_than_a_batch_comes_whole() {
    const KEYS: usize = 600;
    let model = ModelStore::new();
    let store = CachedStore(Cached::start(Arc::new(model.clone())).await);
    for index in 0..KEYS {
        let key = Key::new(index.to_string()).unwrap();
        store.create(&key, "x".into(), WriteOptions::default()).await.unwrap();
    }
    let start = store.revision().await.unwrap();
    let mut watcher = store.watch(&KeyRange::all(), start).await.unwrap();
    // As when a lease ends that many entries have.
    model.with(|state| {
        state.revision.0 += 1;
        state.entries.clone().into_values().for_each(|entry| state.remove(entry));
    });
    let batch = loop {
        let batch = watcher.next().await.unwrap().unwrap();
        if !batch.events.is_empty() {
            break batch;
        }
    };
    assert_eq!((batch.events.len(), batch.through), (KEYS, Revision(start.0 + 1)));
}
