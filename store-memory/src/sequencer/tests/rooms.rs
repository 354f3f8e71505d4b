//! Disks that are slow or full, while snapshots are written.

use super::{
    contents, create,
    disk::{Calls, EAGAIN, EIO, EMFILE, ENOSPC, TestDisk},
};
use crate::MemoryStore;
use kubeplane_store_trait::{Error, Key, ReadAt, Store, WriteOptions};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::timeout};

/// Bytes of log that call for a snapshot.
const LIMIT: u64 = 20_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn open(path: &Path, disk: &TestDisk, limit: u64) -> MemoryStore {
    let builder = MemoryStore::builder().path(path).snapshot_after(limit);
    builder.disk(Arc::new(disk.clone())).open().unwrap()
}

async fn put(store: &MemoryStore, name: &str, value: String) -> Result<(), Error> {
    let key = Key::new(name.to_owned()).unwrap();
    let (value, options) = (value.into(), WriteOptions::default());
    match store.get(&key, ReadAt::Latest).await?.entry {
        None => store.create(&key, value, options).await.map(drop),
        Some(entry) => store.update(&key, value, entry.revision, options).await.map(drop),
    }
}

/// Writes about a kilobyte each, to ten entries in turn.
async fn write(store: &MemoryStore, turns: u32, done: &AtomicU32) {
    for turn in 0..turns {
        put(store, &format!("{}", turn % 10), format!("{turn}{}", "x".repeat(1000))).await.unwrap();
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn size(path: &Path) -> u64 {
    // A file may be removed between the listing and the look at it.
    let files = fs::read_dir(path).unwrap();
    files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
}

fn count(path: &Path, kind: &str) -> usize {
    let files = fs::read_dir(path).unwrap();
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(kind)).count()
}

async fn eventually(what: &str, reached: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached().await {
        assert!(Instant::now() < deadline, "not reached: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_takes_for_ever_is_waited_for_before_the_disk_is_full() {
    let (disk, directory) = (TestDisk::default(), tempfile::tempdir().unwrap());
    disk.set(|state| state.snapshots_held = true);
    let store = open(directory.path(), &disk, LIMIT);
    let done = Arc::new(AtomicU32::new(0));
    let (writing, told) = (store.clone(), done.clone());
    let mut writer = tokio::spawn(async move { write(&writing, 400, &told).await });
    // Writers do not wait while the log grows to what it may.
    eventually("a second log as large as the first", async || done.load(Ordering::Relaxed) >= 50)
        .await;
    // 400 of them are twenty times the limit.
    assert!(timeout(Duration::from_secs(1), &mut writer).await.is_err(), "they wait");
    let held = size(directory.path());
    assert!(held < 5 * LIMIT, "{held} bytes while a snapshot is written");
    assert!(!contents(&store).await.is_empty(), "readers do not wait");
    disk.set(|state| state.snapshots_held = false);
    timeout(PATIENCE, writer).await.expect("it goes on").unwrap();
    let kept = contents(&store).await;
    store.close().await;
    let left = size(directory.path());
    assert!(left < 5 * LIMIT, "{left} bytes in the end");
    assert_eq!(contents(&MemoryStore::open(directory.path()).unwrap()).await, kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_fails_is_told_leaves_nothing_and_is_tried_again() {
    let (disk, directory) = (TestDisk::default(), tempfile::tempdir().unwrap());
    let unfinished =
        |call: &str, path: &Path| call == "write" && path.ends_with("snapshot.unfinished");
    disk.set(|state| state.broken = Some((unfinished, ENOSPC)));
    let store = open(directory.path(), &disk, LIMIT);
    assert_eq!(store.status().await.unwrap().trouble, None);
    // Nobody who writes notices, several times over.
    write(&store, 200, &AtomicU32::new(0)).await;
    let trouble = async || store.status().await.unwrap().trouble;
    eventually("it is told", async || trouble().await.is_some()).await;
    let told = trouble().await.unwrap();
    assert!(told.contains("os error 28") && told.contains("snapshot"), "{told}");
    eventually("nothing is left", async || count(directory.path(), "snapshot") == 0).await;
    assert!(count(directory.path(), "log-") > 1);
    let kept = contents(&store).await;

    // Without another write.
    disk.set(|state| state.broken = None);
    eventually("it is tried again", async || trouble().await.is_none()).await;
    assert_eq!(count(directory.path(), "snapshot-"), 1);
    eventually("the logs go", async || count(directory.path(), "log-") == 1).await;
    store.close().await;
    let store = MemoryStore::open(directory.path()).unwrap();
    assert_eq!(contents(&store).await, kept);
    create(&store, "later").await.unwrap();
}

fn is_log(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-"))
}

fn is_next_log(path: &Path) -> bool {
    is_log(path) && !path.ends_with("log-00000000000000000001")
}

/// The log that is there is whole, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_or_a_thread_that_cannot_be_begun_is_told_and_tried_again() {
    let cases: [(&str, Calls, i32); 5] = [
        ("create", |call, path| call == "create" && is_log(path), EMFILE),
        ("write", |call, path| call == "write" && is_next_log(path), ENOSPC),
        ("flush", |call, path| call == "flush" && is_next_log(path), EIO),
        ("create the snapshot", |call, path| call == "create" && !is_log(path), EMFILE),
        ("thread", |call, _| call == "aside", EAGAIN),
    ];
    for (what, calls, code) in cases {
        let (disk, directory) = (TestDisk::default(), tempfile::tempdir().unwrap());
        disk.set(|state| state.pretends = true);
        let store = open(directory.path(), &disk, LIMIT);
        disk.set(|state| state.broken = Some((calls, code)));
        // Nobody who writes notices.
        write(&store, 60, &AtomicU32::new(0)).await;
        let trouble = async || store.status().await.unwrap().trouble;
        eventually(what, async || trouble().await.is_some()).await;
        let told = trouble().await.unwrap();
        assert!(told.contains(&format!("os error {code}")), "{what}: {told}");
        if matches!(what, "create" | "write" | "flush") {
            // It may be tried again at this very moment.
            eventually(what, async || count(directory.path(), "log-") == 1).await;
        }
        assert_eq!(count(directory.path(), "snapshot-"), 0, "{what}");

        disk.set(|state| state.broken = None);
        eventually(what, async || trouble().await.is_none()).await;
        eventually(what, async || count(directory.path(), "log-") == 1).await;
        assert_eq!(count(directory.path(), "snapshot-"), 1, "{what}");
        write(&store, 5, &AtomicU32::new(0)).await;
        let kept = contents(&store).await;
        drop(store);
        disk.lose_power();
        assert_eq!(contents(&MemoryStore::open(directory.path()).unwrap()).await, kept, "{what}");
    }
}

/// Somebody else may find it there after a crash, behind a log that is not whole.
#[tokio::test]
async fn a_half_made_log_that_cannot_be_removed_stops_the_store() {
    let (disk, directory) = (TestDisk::default(), tempfile::tempdir().unwrap());
    let calls: Calls = |call, path| is_next_log(path) && matches!(call, "write" | "remove");
    disk.set(|state| (state.pretends, state.broken) = (true, Some((calls, EIO))));
    let store = open(directory.path(), &disk, LIMIT);
    let value = "x".repeat(1000);
    let mut refused = None;
    for turn in 0..100 {
        refused = put(&store, &format!("{turn}"), value.clone()).await.err();
        if refused.is_some() {
            break;
        }
    }
    assert!(matches!(refused, Some(Error::Unavailable { .. })), "{refused:?}");
    assert!(store.status().await.is_err());
    let kept = contents(&store).await;
    drop(store);
    assert_eq!(contents(&MemoryStore::open(directory.path()).unwrap()).await, kept);
}

/// Writes a tenth of a megabyte at a time, to 25 entries in turn, until something has come of it.
async fn write_much(store: &MemoryStore, until: impl AsyncFn() -> bool) {
    for turn in 0.. {
        let value = format!("{turn}{}", "x".repeat(100_000));
        put(store, &format!("{}", turn % 25), value).await.unwrap();
        if turn > 100 && until().await {
            return;
        }
        assert!(turn < 4000, "it never comes to that");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_that_nobody_needs_goes_a_little_at_a_time() {
    const STEP: u64 = 1024 * 1024;
    let (disk, directory) = (TestDisk::default(), tempfile::tempdir().unwrap());
    let store = open(directory.path(), &disk, 3 * STEP);
    let first = directory.path().join("log-00000000000000000001");
    let cut = |kind: &str| {
        let state = disk.state.0.lock();
        let named = |path: &Path| path.file_name().unwrap().to_str().unwrap().starts_with(kind);
        state.shortened.iter().filter(|(path, _)| named(path)).cloned().collect::<Vec<_>>()
    };
    write_much(&store, async || !first.exists() && !cut("snapshot-").is_empty()).await;
    let lengths: Vec<_> =
        cut("log-").into_iter().filter(|(path, _)| *path == first).map(|(_, len)| len).collect();
    assert!(lengths.len() >= 2, "{lengths:?}");
    assert!(lengths.windows(2).all(|pair| pair[0] - pair[1] == STEP), "{lengths:?}");
    assert!(lengths.last().is_some_and(|left| (1..=STEP).contains(left)), "{lengths:?}");
    let kept = contents(&store).await;
    store.close().await;
    assert_eq!(contents(&MemoryStore::open(directory.path()).unwrap()).await, kept);
}

/// As when the process dies, or the power is lost, while old files are being removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_an_old_log_is_not_read_and_goes_later() {
    let (disk, directory) = (TestDisk::default(), tempfile::tempdir().unwrap());
    let limit = 3 * 1024 * 1024;
    let gone = |call: &str, path: &Path| {
        let log = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-"));
        call == "remove" && log
    };
    disk.set(|state| state.broken = Some((gone, EIO)));
    let store = open(directory.path(), &disk, limit);
    let first = directory.path().join("log-00000000000000000001");
    let shortened = async || fs::metadata(&first).unwrap().len() <= 1024 * 1024;
    write_much(&store, shortened).await;
    // What it says of its trouble is told elsewhere.
    let kept = contents(&store).await;
    drop(store);
    disk.lose_power();
    disk.set(|state| state.broken = None);
    let store = open(directory.path(), &disk, limit);
    assert_eq!(contents(&store).await, kept);
    write_much(&store, async || !first.exists()).await;
    let kept = contents(&store).await;
    drop(store);
    assert_eq!(contents(&MemoryStore::open(directory.path()).unwrap()).await, kept);
}

/// What one writer was told: the last value of each key that was acknowledged, and one that may have been written.
type Told = (BTreeMap<String, String>, Option<(String, String)>);

async fn until_refused(store: MemoryStore, writer: usize) -> Told {
    let (mut acknowledged, mut doubtful) = (BTreeMap::new(), None);
    let mut refused = false;
    for turn in 0..150 {
        let (name, value) =
            (format!("{writer}/{}", turn % 5), format!("{turn}{}", "x".repeat(200)));
        match put(&store, &name, value.clone()).await {
            Ok(()) => {
                assert!(!refused, "acknowledged after a failure");
                acknowledged.insert(name, value);
            }
            Err(Error::Indeterminate { .. }) => {
                assert!(!refused, "tried again after a failure");
                (refused, doubtful) = (true, Some((name, value)));
            }
            Err(Error::Unavailable { reason }) => {
                assert!(reason.contains("os error 28"), "{reason}");
                refused = true;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (acknowledged, doubtful)
}

fn check(found: &BTreeMap<String, String>, told: &[Told]) {
    let mut expected = BTreeMap::new();
    for (acknowledged, doubtful) in told {
        expected.extend(acknowledged.clone());
        if let Some((name, value)) = doubtful
            && found.get(name) == Some(value)
        {
            expected.insert(name.clone(), value.clone());
        }
    }
    assert_eq!(*found, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_stays_full_stops_the_store_and_loses_nothing() {
    let (mut stopped, mut went_on) = (0, 0);
    for room in (1000..40_000).step_by(3000) {
        let (disk, directory) = (TestDisk::default(), tempfile::tempdir().unwrap());
        disk.set(|state| state.room = Some(room));
        let store = open(directory.path(), &disk, 5000);
        let mut writers = JoinSet::new();
        for writer in 0..4 {
            writers.spawn(until_refused(store.clone(), writer));
        }
        let told = timeout(PATIENCE, writers.join_all()).await.expect("nobody hangs");
        let seen = contents(&store).await;
        for (acknowledged, _) in &told {
            let shown = |(name, value)| seen.get(name) == Some(value);
            assert!(acknowledged.iter().all(shown), "what was acknowledged stays readable");
        }
        match store.status().await {
            Ok(_) => went_on += 1,
            Err(error) => {
                assert!(error.to_string().contains("os error 28"), "{error}");
                stopped += 1;
            }
        }
        drop(store);
        // Also before there is room again.
        let again = MemoryStore::builder().path(directory.path()).disk(Arc::new(disk.clone()));
        if let Ok(store) = again.open() {
            check(&contents(&store).await, &told);
        }
        disk.set(|state| state.room = None);
        let store = open(directory.path(), &disk, 5000);
        check(&contents(&store).await, &told);
        create(&store, "later").await.unwrap();
    }
    assert!(stopped >= 3, "{stopped} were stopped, {went_on} went on");
}
