//! What a loss of power takes, with flushes that failed before it.

use super::{
    create,
    disk::{EIO, TestDisk},
    exists,
};
use crate::{Durability, MemoryStore, log::disk::SystemDisk};
use kubeplane_store_trait::Store;
use std::{path::Path, sync::Arc};

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
