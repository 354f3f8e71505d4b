//! Readers that take their time, and writers that do not notice.

use bytes::Bytes;
use futures::future::join_all;
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{Key, KeyRange, ListOptions, ReadAt, Revision, Store, WriteOptions};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{runtime, time::timeout};

/// So long is long enough on every machine.
const PATIENCE: Duration = Duration::from_secs(60);
const ENTRIES: usize = 2000;
const UPDATES: usize = 200;

fn key(index: usize) -> Key {
    Key::new(format!("{index:05}")).unwrap()
}

async fn update(store: &MemoryStore, index: usize) {
    let read = store.get(&key(index), ReadAt::Latest).await.unwrap();
    let (expected, options) = (read.entry.unwrap().revision, WriteOptions::default());
    store.update(&key(index), "later".into(), expected, options).await.unwrap();
}

/// A thread that lists without a pause; ends when it is dropped.
struct Lister {
    stop: Arc<AtomicBool>,
    lists: Arc<AtomicU32>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Lister {
    fn start(store: MemoryStore) -> Self {
        let (stop, lists) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (ended, counted) = (stop.clone(), lists.clone());
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().build().unwrap();
            while !ended.load(Ordering::Relaxed) {
                let page = async { store.list(&KeyRange::all(), ListOptions::default()).await };
                assert_eq!(runtime.block_on(page).unwrap().entries.len(), ENTRIES);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, lists, thread: Some(thread) }
    }

    fn lists(&self) -> u32 {
        self.lists.load(Ordering::Relaxed)
    }
}

impl Drop for Lister {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

async fn check(store: MemoryStore) {
    let (value, options) = (Bytes::from(vec![b'x'; 1024]), WriteOptions::default());
    let creates = (0..ENTRIES).map(|index| {
        let (store, value) = (&store, value.clone());
        async move { store.create(&key(index), value, options).await.unwrap() }
    });
    let last = join_all(creates).await.into_iter().max().unwrap();

    // All that can be held is held: pages, a snapshot half written out, a watch nobody looks at.
    let options = ListOptions::default();
    let page = store.list(&KeyRange::all(), options).await.unwrap();
    let exact = ListOptions { at: ReadAt::Exact(Revision(last.0 - 1)), ..options };
    let past = store.list(&KeyRange::all(), exact).await.unwrap();
    let snapshot = store.snapshot();
    let (mut whole, mut chunks) = (Vec::new(), snapshot.chunks());
    let first: Vec<_> = chunks.by_ref().take(2).collect();
    let watcher = store.watch(&KeyRange::all(), last).await.unwrap();
    let lister = Lister::start(store.clone());
    let deadline = Instant::now() + PATIENCE;
    while lister.lists() == 0 {
        assert!(Instant::now() < deadline, "no list is read");
        tokio::task::yield_now().await;
    }

    let (writing, before) = (store.clone(), lister.lists());
    let writer = tokio::spawn(async move {
        for index in 0..UPDATES {
            update(&writing, index).await;
        }
    });
    timeout(PATIENCE, writer).await.expect("writers do not wait for readers").unwrap();
    while lister.lists() == before {
        assert!(Instant::now() < deadline + PATIENCE, "no list is read beside a writer");
        tokio::task::yield_now().await;
    }
    drop((lister, watcher));

    // And what was held is what it was.
    snapshot.write_to(&mut whole).unwrap();
    let parts: Vec<_> = first.into_iter().chain(chunks).flatten().collect();
    assert!(parts == whole, "{} bytes, not {}", parts.len(), whole.len());
    assert_eq!(snapshot.revision(), last);
    assert_eq!((page.revision, page.entries.len()), (last, ENTRIES));
    assert!(page.entries.iter().all(|entry| entry.value.len() == 1024));
    assert_eq!(past.entries.len(), ENTRIES - 1);
    let now = store.list(&KeyRange::all(), options).await.unwrap();
    assert_eq!(now.entries.iter().filter(|entry| *entry.value == *b"later").count(), UPDATES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_take_their_time_do_not_stop_writers() {
    check(MemoryStore::new()).await;
    let directory = tempfile::tempdir().unwrap();
    check(MemoryStore::open(directory.path()).unwrap()).await;
}
