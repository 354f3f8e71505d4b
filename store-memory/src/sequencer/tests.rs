use crate::{MemoryStore, log::appender::Sink};
use futures::{FutureExt, StreamExt};
use kubeplane_store_trait::{Error, Key, KeyRange, ReadAt, Revision, Store, WriteOptions};
use parking_lot::{Condvar, Mutex};
use std::{io, sync::Arc};
use tempfile::TempDir;

/// A disk that is as slow and as broken as a test wants.
#[derive(Debug, Clone, Default)]
struct Disk {
    state: Arc<(Mutex<DiskState>, Condvar)>,
}

#[derive(Debug, Default)]
struct DiskState {
    held: bool,
    broken: bool,
    waiting: bool,
    appended: usize,
}

impl Disk {
    fn set(&self, change: impl FnOnce(&mut DiskState)) {
        change(&mut self.state.0.lock());
        self.state.1.notify_all();
    }

    /// Blocks until a write waits for the disk.
    async fn is_written(&self) {
        let disk = self.clone();
        let wait = move || {
            let mut state = disk.state.0.lock();
            disk.state.1.wait_while(&mut state, |state| !state.waiting);
        };
        tokio::task::spawn_blocking(wait).await.unwrap();
    }
}

#[derive(Debug)]
struct Slow {
    disk: Disk,
    log: Box<dyn Sink>,
}

impl Sink for Slow {
    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.0.lock();
        state.waiting = true;
        self.disk.state.1.notify_all();
        self.disk.state.1.wait_while(&mut state, |state| state.held);
        state.waiting = false;
        state.appended += 1;
        if state.broken {
            return Err(io::Error::other("the disk is full"));
        }
        drop(state);
        self.log.append(frame)
    }
}

fn open(disk: &Disk) -> (TempDir, MemoryStore) {
    let directory = tempfile::tempdir().unwrap();
    let disk = disk.clone();
    let wrap = move |log| -> Box<dyn Sink> { Box::new(Slow { disk, log: Box::new(log) }) };
    let store = MemoryStore::builder().open_durable(directory.path(), wrap).unwrap();
    (directory, store)
}

async fn create(store: &MemoryStore, name: &str) -> Result<Revision, Error> {
    let key = Key::new(name.to_owned()).unwrap();
    store.create(&key, "value".into(), WriteOptions::default()).await
}

async fn exists(store: &MemoryStore, name: &str) -> bool {
    let key = Key::new(name.to_owned()).unwrap();
    store.get(&key, ReadAt::Latest).await.unwrap().entry.is_some()
}

#[tokio::test]
async fn nothing_is_seen_before_it_is_on_the_disk() {
    let disk = Disk::default();
    let (_directory, store) = open(&disk);
    let mut watcher = store.watch(&KeyRange::all(), Revision(0)).await.unwrap();
    disk.set(|state| state.held = true);
    let mut write = Box::pin(create(&store, "a"));
    assert!((&mut write).now_or_never().is_none());
    disk.is_written().await;
    assert!(!exists(&store, "a").await);
    assert!(watcher.next().now_or_never().is_none());
    disk.set(|state| state.held = false);
    let revision = write.await.unwrap();
    assert!(exists(&store, "a").await);
    assert_eq!(watcher.next().await.unwrap().unwrap().through, revision);
}

#[tokio::test]
async fn writes_that_wait_share_one_flush() {
    let disk = Disk::default();
    let (_directory, store) = open(&disk);
    disk.set(|state| state.held = true);
    let names: Vec<_> = (0..100).map(|index| index.to_string()).collect();
    let mut writes: Vec<_> = names.iter().map(|name| Box::pin(create(&store, name))).collect();
    for write in &mut writes {
        assert!(write.now_or_never().is_none());
    }
    disk.is_written().await;
    disk.set(|state| state.held = false);
    for write in writes {
        write.await.unwrap();
    }
    let flushes = disk.state.0.lock().appended;
    assert!(flushes <= 3, "{flushes} flushes for 100 writes");
}

#[tokio::test]
async fn a_failed_write_stops_the_store_and_loses_nothing_acknowledged() {
    let disk = Disk::default();
    let (directory, store) = open(&disk);
    create(&store, "good").await.unwrap();
    disk.set(|state| state.broken = true);
    let unknown = create(&store, "doubtful").await.unwrap_err();
    assert!(matches!(&unknown, Error::Indeterminate { reason } if reason.contains("disk is full")));
    disk.set(|state| state.broken = false);
    let refused = create(&store, "late").await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable { reason } if reason.contains("disk is full")));
    assert!(exists(&store, "good").await && !exists(&store, "doubtful").await);
    drop(store);
    let store = MemoryStore::open(directory.path()).unwrap();
    assert!(exists(&store, "good").await && !exists(&store, "late").await);
}
