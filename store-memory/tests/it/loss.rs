//! Damaged directories, opened because somebody accepted the loss.

use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{Error, Key, KeyRange, ListOptions, Revision, Store, WriteOptions};
use std::{
    fs,
    path::{Path, PathBuf},
};

async fn create(store: &MemoryStore, name: &str) -> Revision {
    let key = Key::new(name.to_owned()).unwrap();
    let value = "some value".repeat(1000).into();
    store.create(&key, value, WriteOptions::default()).await.unwrap()
}

async fn names(store: &MemoryStore) -> Vec<String> {
    let page = store.list(&KeyRange::all(), ListOptions::default()).await.unwrap();
    page.entries.iter().map(|entry| entry.key.to_string()).collect()
}

fn file(path: &Path, kind: &str) -> PathBuf {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut named: Vec<_> = entries
        .filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(kind))
        .collect();
    named.sort();
    named.pop().unwrap()
}

/// A hundred entries; with `snapshot` all in a snapshot, else all in the log. Returns the latest revision.
async fn filled(path: &Path, snapshot: bool) -> Revision {
    let after = if snapshot { 1_000_000 } else { 1 << 30 };
    let store = MemoryStore::builder().path(path).snapshot_after(after).open().unwrap();
    for index in 0..100 {
        create(&store, &format!("{index:03}")).await;
    }
    let last = create(&store, "last").await;
    store.close().await;
    last
}

fn damage(file: &Path, part: usize) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.len() / 10 * part;
    bytes[at] ^= 0x55;
    fs::write(file, bytes).unwrap();
}

async fn check(path: &Path, last: Revision, kept: impl Fn(usize) -> bool) {
    assert!(MemoryStore::open(path).is_err(), "not without being asked to");
    let lossy = || MemoryStore::builder().path(path).accept_data_loss(true).open().unwrap();
    let store = lossy();
    let found = names(&store).await;
    assert!(kept(found.len()), "{} entries", found.len());
    let losses: Vec<_> = store.data_loss().iter().map(ToString::to_string).collect();
    assert_eq!(losses.len(), 1, "{losses:?}");
    assert!(losses[0].contains("at byte") && losses[0].contains("dropped"), "{losses:?}");
    assert!(store.revision().await.unwrap() > last, "no revision is given out twice");
    let refused = store.watch(&KeyRange::all(), last).await.err().unwrap();
    assert!(matches!(refused, Error::Compacted { .. }), "{refused}");
    create(&store, "zzz").await;
    store.close().await;
    assert!(file(path, "dropped-").exists());
    let store = lossy();
    assert!(store.data_loss().is_empty(), "it is whole now");
    store.close().await;
    assert_eq!(names(&MemoryStore::open(path).unwrap()).await.len(), found.len() + 1);
}

#[tokio::test]
async fn of_a_damaged_log_everything_before_the_damage_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let last = filled(directory.path(), false).await;
    damage(&file(directory.path(), "log-"), 4);
    check(directory.path(), last, |kept| (30..50).contains(&kept)).await;
}

#[tokio::test]
async fn damage_of_a_version_is_damage_like_any_other() {
    for snapshot in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let last = filled(directory.path(), snapshot).await;
        let damaged = file(directory.path(), if snapshot { "snapshot-" } else { "log-" });
        let mut bytes = fs::read(&damaged).unwrap();
        bytes[8] ^= 2;
        fs::write(&damaged, bytes).unwrap();
        // Of a log nothing before its first byte is kept, of a snapshot every part is whole.
        let kept = |kept: usize| if snapshot { kept > 50 } else { kept == 0 };
        check(directory.path(), last, kept).await;
    }
}

#[tokio::test]
async fn of_a_damaged_snapshot_the_whole_parts_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let last = filled(directory.path(), true).await;
    damage(&file(directory.path(), "snapshot-"), 4);
    check(directory.path(), last, |kept| (50..100).contains(&kept)).await;
}
