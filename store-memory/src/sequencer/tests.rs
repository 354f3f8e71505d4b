use super::inbox::Inbox;
use crate::MemoryStore;
use disk::{EIO, ENOSPC, Fault, TestDisk};
use futures::{FutureExt, StreamExt, future::join_all};
use kubeplane_store_trait::{
    Error, Key, KeyRange, ListOptions, ReadAt, Revision, Store, WriteOptions,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{task::unconstrained, time::timeout};

mod closing;
mod disk;
mod losing;
mod rooms;

fn open(disk: &TestDisk) -> (TempDir, MemoryStore) {
    let directory = tempfile::tempdir().unwrap();
    let builder = MemoryStore::builder().path(directory.path()).relaxed(["lease/"]);
    let store = builder.disk(Arc::new(disk.clone())).open().unwrap();
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
    let disk = TestDisk::default();
    let (_directory, store) = open(&disk);
    let mut watcher = store.watch(&KeyRange::all(), Revision(0)).await.unwrap();
    disk.set(|state| state.held = true);
    let mut write = Box::pin(create(&store, "a"));
    assert!((&mut write).now_or_never().is_none());
    disk.is_flushed().await;
    assert!(!exists(&store, "a").await);
    assert!(watcher.next().now_or_never().is_none());
    disk.set(|state| state.held = false);
    let revision = write.await.unwrap();
    assert!(exists(&store, "a").await);
    assert_eq!(watcher.next().await.unwrap().unwrap().through, revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_do_not_wait_for_a_writer_that_waits_for_the_disk() {
    let disk = TestDisk::default();
    let (_directory, store) = open(&disk);
    let first = create(&store, "a").await.unwrap();
    let second = create(&store, "b").await.unwrap();
    disk.set(|state| state.held = true);
    let writing = store.clone();
    let write = tokio::spawn(async move { create(&writing, "c").await });
    disk.is_flushed().await;
    let reading = store.clone();
    let reader = tokio::spawn(async move {
        assert!(exists(&reading, "a").await && !exists(&reading, "c").await);
        for (at, expected) in [(ReadAt::Latest, 2), (ReadAt::Exact(first), 1)] {
            for keys_only in [false, true] {
                let options = ListOptions { at, keys_only, ..ListOptions::default() };
                let page = reading.list(&KeyRange::all(), options).await.unwrap();
                assert_eq!(page.entries.len() + page.keys.len(), expected);
            }
        }
        let mut watcher = reading.watch(&KeyRange::all(), first).await.unwrap();
        assert_eq!(watcher.next().await.unwrap().unwrap().through, second);
        let mut saved = Vec::new();
        reading.snapshot().write_to(&mut saved).unwrap();
        assert_eq!(reading.status().await.unwrap().revision, second);
        assert_eq!(reading.revision().await.unwrap(), second);
    });
    let read = timeout(Duration::from_secs(60), reader).await;
    let waits = !write.is_finished();
    // Before anything is asserted: the store could not be closed.
    disk.set(|state| state.held = false);
    assert!(waits, "the write waits for the disk");
    read.expect("readers do not wait").unwrap();
    write.await.unwrap().unwrap();
}

#[tokio::test]
async fn writes_that_wait_share_one_flush() {
    let disk = TestDisk::default();
    let (_directory, store) = open(&disk);
    disk.set(|state| (state.held, state.flushed) = (true, 0));
    let names: Vec<_> = (0..100).map(|index| index.to_string()).collect();
    let mut writes: Vec<_> = names.iter().map(|name| Box::pin(create(&store, name))).collect();
    for write in &mut writes {
        assert!(write.now_or_never().is_none());
    }
    disk.is_flushed().await;
    disk.set(|state| state.held = false);
    for write in writes {
        write.await.unwrap();
    }
    let flushes = disk.state.0.lock().flushed;
    assert!(flushes <= 3, "{flushes} flushes for 100 writes");
}

#[tokio::test]
async fn relaxed_writes_do_not_wait_for_the_disk_but_for_those_that_do() {
    let disk = TestDisk::default();
    let (directory, store) = open(&disk);
    disk.set(|state| state.held = true);
    create(&store, "lease/a").await.unwrap();
    assert!(exists(&store, "lease/a").await);
    let mut strict = Box::pin(create(&store, "strict"));
    assert!((&mut strict).now_or_never().is_none());
    disk.is_flushed().await;
    let mut behind = Box::pin(create(&store, "lease/b"));
    assert!((&mut behind).now_or_never().is_none());
    assert!(!exists(&store, "lease/b").await && !exists(&store, "strict").await);
    disk.set(|state| (state.held, state.flushed) = (false, 0));
    assert!(strict.await.unwrap() < behind.await.unwrap());
    // Nothing else is written, and yet it comes to the disk.
    create(&store, "lease/c").await.unwrap();
    disk.until(|state| state.waiting || state.flushed >= 2).await;
    drop(store);
    let store = MemoryStore::open(directory.path()).unwrap();
    for name in ["lease/a", "strict", "lease/b", "lease/c"] {
        assert!(exists(&store, name).await, "{name}");
    }
}

#[tokio::test]
async fn relaxed_writes_come_to_the_disk_though_more_of_them_always_wait() {
    let disk = TestDisk::default();
    let (_directory, store) = open(&disk);
    disk.set(|state| (state.unflushed, state.slowness) = (0, Duration::from_millis(60)));
    // More than three groups, so that until the last one somebody always waits.
    let names: Vec<_> = (0..4000).map(|index| format!("lease/{index}")).collect();
    let writes = join_all(names.iter().map(|name| create(&store, name)));
    // All of them are in the queue before the first is answered.
    for written in unconstrained(writes).await {
        written.unwrap();
    }
    // A tenth of a second is the time of two.
    let waiting = disk.state.0.lock().unflushed;
    assert!(waiting <= 3, "{waiting} groups without a flush");
}

#[tokio::test]
async fn what_was_not_flushed_may_be_torn_anywhere_by_a_loss_of_power() {
    let directory = tempfile::tempdir().unwrap();
    let open = || MemoryStore::builder().path(directory.path()).relaxed(["lease/"]).open().unwrap();
    let store = open();
    create(&store, "strict").await.unwrap();
    let before =
        std::fs::metadata(directory.path().join("log-00000000000000000001")).unwrap().len();
    for index in 0..5 {
        let key = Key::new(format!("lease/{index}")).unwrap();
        store.create(&key, vec![b'x'; 2000].into(), WriteOptions::default()).await.unwrap();
    }
    store.close().await;
    let log = directory.path().join("log-00000000000000000001");
    let mut bytes = std::fs::read(&log).unwrap();
    // The second of them never came to the disk, those behind it did.
    let hole = usize::try_from(before).unwrap() + 2100;
    bytes[hole..hole + 1900].fill(0);
    std::fs::write(&log, bytes).unwrap();
    let store = open();
    assert!(exists(&store, "strict").await && exists(&store, "lease/0").await);
    assert!(!exists(&store, "lease/1").await && !exists(&store, "lease/4").await);
}

/// One write after the other to so many entries, with snapshots between; what was acknowledged, and what may have been
/// written.
async fn scenario(
    store: &MemoryStore,
    (writes, entries): (usize, usize),
) -> (BTreeMap<String, String>, Vec<(String, String)>, Option<Error>) {
    let (mut acknowledged, mut doubtful, mut failure) = (BTreeMap::new(), Vec::new(), None);
    for index in 0..writes {
        let (name, value) =
            (format!("key-{}", index % entries), format!("{index}-{}", "x".repeat(100)));
        let key = Key::new(name.clone()).unwrap();
        let current = store.get(&key, ReadAt::Latest).await.unwrap().entry;
        let written = match current {
            None => store.create(&key, value.clone().into(), WriteOptions::default()).await,
            Some(entry) => {
                let options = WriteOptions::default();
                store.update(&key, value.clone().into(), entry.revision, options).await
            }
        };
        match written {
            Ok(_) => {
                assert!(failure.is_none(), "acknowledged after a failure");
                acknowledged.insert(name, value);
            }
            Err(error @ Error::Indeterminate { .. }) => {
                assert!(failure.is_none(), "tried again after a failure");
                failure = Some(error);
                doubtful.push((name, value));
            }
            Err(error @ Error::Unavailable { .. }) => failure = failure.or(Some(error)),
            Err(error) => panic!("{error}"),
        }
    }
    (acknowledged, doubtful, failure)
}

/// What a store may hold behind a failure.
fn may_be(
    acknowledged: BTreeMap<String, String>,
    doubtful: Vec<(String, String)>,
) -> Vec<BTreeMap<String, String>> {
    let mut written = acknowledged.clone();
    written.extend(doubtful);
    vec![acknowledged, written]
}

async fn contents(store: &MemoryStore) -> BTreeMap<String, String> {
    let page = store.list(&KeyRange::all(), ListOptions::default()).await.unwrap();
    let pair = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    page.entries.iter().map(|entry| (entry.key.to_string(), pair(&entry.value))).collect()
}

#[tokio::test]
async fn whatever_call_to_the_disk_fails_nothing_acknowledged_is_lost() {
    let mut failed = BTreeMap::new();
    'faults: for fault in
        [Fault::Before(EIO), Fault::After(EIO), Fault::Before(ENOSPC), Fault::After(ENOSPC)]
    {
        for at in 1.. {
            let disk = TestDisk::default();
            let directory = tempfile::tempdir().unwrap();
            let builder = || MemoryStore::builder().path(directory.path()).snapshot_after(1500);
            disk.set(|state| (state.pretends, state.fault) = (true, Some((at, fault))));
            if let Ok(store) = builder().disk(Arc::new(disk.clone())).open() {
                let (acknowledged, doubtful, failure) = scenario(&store, (60, 20)).await;
                assert_eq!(contents(&store).await, acknowledged, "what is seen was acknowledged");
                assert_eq!(store.status().await.is_err(), failure.is_some(), "it says so");
                if let Some(failure) = &failure {
                    let cause = if matches!(fault, Fault::Before(EIO) | Fault::After(EIO)) {
                        "os error 5"
                    } else {
                        "os error 28"
                    };
                    assert!(failure.to_string().contains(cause), "{failure}");
                }
                drop(store);
                let store = builder().open().unwrap();
                let found = contents(&store).await;
                let expected = may_be(acknowledged, doubtful);
                assert!(expected.contains(&found), "call {at} {fault:?}: {found:?}");
                create(&store, "later").await.unwrap();
            }
            let Some(name) = disk.state.0.lock().failed else {
                continue 'faults;
            };
            *failed.entry(name).or_insert(0) += 1;
        }
    }
    for call in ["create", "write", "flush", "rename", "remove", "sync directory"] {
        assert!(failed.get(call).is_some_and(|count| *count > 3), "{failed:?}");
    }
}

#[tokio::test]
async fn writes_to_a_writer_that_is_gone_end() {
    let inbox = Inbox::default();
    let key = Key::new("a").unwrap();
    let write = crate::ledger::Write::Delete { key: key.clone(), expected: Revision(1) };
    let answer = inbox.push(write).await.unwrap();
    inbox.abandon();
    assert!(answer.await.is_err());
    let write = crate::ledger::Write::Delete { key, expected: Revision(1) };
    assert!(matches!(inbox.push(write).await, Err(Error::Unavailable { .. })));
}
