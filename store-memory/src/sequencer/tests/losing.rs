//! What a loss of power takes, with flushes that failed before it.

use super::{
    contents, create,
    disk::{Calls, EIO, ENOSPC, TestDisk},
    exists, may_be, scenario,
};
use crate::{Durability, MemoryStore, log::disk::SystemDisk};
use kubeplane_store_trait::Store;
use std::{collections::BTreeMap, path::Path, sync::Arc};

fn open(path: &Path, disk: &TestDisk, durability: Durability) -> MemoryStore {
    let builder = MemoryStore::builder().path(path).relaxed(["lease/"]).durability(durability);
    builder.disk(Arc::new(disk.clone())).open().unwrap()
}

async fn check(path: &Path, names: &[&str]) {
    let store = MemoryStore::builder().path(path).disk(Arc::new(SystemDisk)).open().unwrap();
    for name in names {
        assert!(exists(&store, name).await, "{name}");
    }
    store.close().await;
}

/// After a flush that failed the system takes what it has in memory for written, and shows it to the next process.
#[tokio::test]
async fn what_a_failed_flush_left_behind_is_written_again_when_the_store_is_opened() {
    for relaxed in [false, true] {
        let (disk, directory) = (TestDisk::default(), tempfile::tempdir().unwrap());
        let store = open(directory.path(), &disk, Durability::Disk);
        create(&store, "before").await.unwrap();
        disk.set(|state| state.broken = Some((|call, _| call == "flush", EIO)));
        let mut kept = vec!["before", "after"];
        for name in ["lease/a", "lease/b", "lease/c"] {
            // Several frames that nothing was flushed between; the time for relaxed ones may run out meanwhile.
            if relaxed && create(&store, name).await.is_ok() {
                kept.push(name);
            }
        }
        let doubtful = create(&store, "doubtful").await.unwrap_err();
        assert!(doubtful.to_string().contains("os error 5"), "{doubtful}");
        drop(store);
        disk.set(|state| state.broken = None);

        let store = open(directory.path(), &disk, Durability::Disk);
        let seen = exists(&store, "doubtful").await;
        create(&store, "after").await.unwrap();
        drop(store);
        disk.lose_power();
        // What was seen after the start is kept as well as what was acknowledged then.
        kept.extend(seen.then_some("doubtful"));
        check(directory.path(), &kept).await;
    }
}

#[tokio::test]
async fn a_log_that_was_only_begun_is_written_again_too() {
    let (disk, directory) = (TestDisk::default(), tempfile::tempdir().unwrap());
    disk.set(|state| state.broken = Some((|call, _| call == "flush", EIO)));
    let builder = MemoryStore::builder().path(directory.path());
    builder.disk(Arc::new(disk.clone())).open().unwrap_err();
    disk.set(|state| state.broken = None);
    let store = open(directory.path(), &disk, Durability::Disk);
    create(&store, "a").await.unwrap();
    drop(store);
    disk.lose_power();
    check(directory.path(), &["a"]).await;
}

#[tokio::test]
async fn what_was_not_meant_to_be_on_the_disk_is_there_once_it_was_opened_so() {
    let (disk, directory) = (TestDisk::default(), tempfile::tempdir().unwrap());
    let store = open(directory.path(), &disk, Durability::Process);
    disk.set(|state| state.broken = Some((|call, _| call == "flush", EIO)));
    for name in ["a", "b"] {
        create(&store, name).await.unwrap();
    }
    // Closing flushes, in vain.
    store.close().await;
    disk.set(|state| state.broken = None);
    let store = open(directory.path(), &disk, Durability::Process);
    create(&store, "c").await.unwrap();
    drop(store);
    drop(open(directory.path(), &disk, Durability::Disk));
    disk.lose_power();
    check(directory.path(), &["a", "b", "c"]).await;
}

#[tokio::test]
async fn the_way_to_a_new_directory_is_made_durable() {
    let (disk, home) = (TestDisk::default(), tempfile::tempdir().unwrap());
    let path = home.path().join("a/b/store");
    let store = MemoryStore::builder().path(&path).disk(Arc::new(disk.clone())).open().unwrap();
    let synced = disk.state.0.lock().synced.clone();
    let above = [home.path().to_owned(), home.path().join("a"), home.path().join("a/b")];
    assert_eq!(synced[..3], above, "{synced:?}");
    drop(store);
    disk.set(|state| state.synced.clear());
    let store = MemoryStore::builder().path(&path).disk(Arc::new(disk.clone())).open().unwrap();
    let synced = disk.state.0.lock().synced.clone();
    assert!(synced.iter().all(|directory| *directory == path), "{synced:?}");
    store.status().await.unwrap();
}

/// Lives through snapshots every few writes until the disk is gone, then loses power, and looks at what is left. Returns
/// how many calls the disk saw.
async fn live_and_lose(disk: &TestDisk, lose: fn(&TestDisk), what: &str) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let builder = || MemoryStore::builder().path(directory.path()).snapshot_after(600);
    disk.set(|state| state.pretends = true);
    let mut told = (BTreeMap::new(), Vec::new());
    if let Ok(store) = builder().disk(Arc::new(disk.clone())).open() {
        let (acknowledged, doubtful, _) = scenario(&store, (30, 4)).await;
        told = (acknowledged, doubtful);
        store.close().await;
    }
    let calls = disk.state.0.lock().calls;
    lose(disk);
    let after = TestDisk::default();
    after.set(|state| state.pretends = true);
    let again = builder().disk(Arc::new(after)).open();
    let store = again.unwrap_or_else(|error| panic!("{what}: {error}"));
    let (found, expected) = (contents(&store).await, may_be(told.0, told.1));
    assert!(expected.contains(&found), "{what}: {found:?}, not {expected:?}");
    create(&store, "later").await.unwrap();
    calls
}

/// What came to the disk, and how the rest is lost.
type Loss = (&'static str, fn(&TestDisk));

/// The ways in which names may have come to the disk that were not flushed.
const LOSSES: [Loss; 3] = [
    ("none of them", TestDisk::lose_power),
    ("the removals", TestDisk::lose_power_after_removals),
    ("all of them", TestDisk::lose_power_after_names),
];

#[tokio::test]
async fn whenever_the_power_goes_nothing_acknowledged_is_lost() {
    for (names, lose) in LOSSES {
        for at in 1.. {
            let disk = TestDisk::default();
            disk.set(|state| state.gone_at = Some(at));
            let calls = live_and_lose(&disk, lose, &format!("at call {at}, {names}")).await;
            if calls < at {
                assert!(at > 60, "{at} calls for 30 writes");
                break;
            }
        }
    }
}

fn begins(path: &Path, kind: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind))
}

/// What is removed must be in a snapshot whose name is on the disk; what is acknowledged in a log whose name is.
#[tokio::test]
async fn no_name_is_relied_on_before_it_is_on_the_disk() {
    // The first old log goes, and then the power.
    let old: Calls = |call, path| call == "remove" && begins(path, "log-");
    for (names, lose) in LOSSES {
        let disk = TestDisk::default();
        disk.set(|state| state.gone_behind = Some(old));
        live_and_lose(&disk, lose, &format!("behind a removal, {names}")).await;
    }
    // No snapshot follows the next log, and no flush of the directory.
    let snapshot: Calls = |call, path| call == "write" && begins(path, "snapshot.");
    for (names, lose) in LOSSES {
        let disk = TestDisk::default();
        disk.set(|state| state.broken = Some((snapshot, ENOSPC)));
        live_and_lose(&disk, lose, &format!("without a snapshot, {names}")).await;
    }
}

#[tokio::test]
async fn once_all_is_done_all_names_are_on_the_disk() {
    let (disk, directory) = (TestDisk::default(), tempfile::tempdir().unwrap());
    let builder = MemoryStore::builder().path(directory.path()).snapshot_after(600);
    let store = builder.disk(Arc::new(disk.clone())).open().unwrap();
    let (acknowledged, _, failure) = scenario(&store, (30, 4)).await;
    assert!(failure.is_none() && !acknowledged.is_empty());
    // A snapshot that is being written is waited for.
    store.close().await;
    let state = disk.state.0.lock();
    assert!(state.names.is_empty(), "{:?}", state.names);
    assert!(state.removed > 0, "nothing was removed");
}
