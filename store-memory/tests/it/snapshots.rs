//! Snapshots: exported while writers write, restored into a directory and into a running store.

use futures::StreamExt;
use kubeplane_store_memory::{MemoryStore, OpenError, Snapshot};
use kubeplane_store_trait::{
    Entry, Error, Event, Key, KeyRange, ListOptions, ReadAt, Revision, Store, WriteOptions,
};
use std::{fs, path::Path};
use tokio::task::JoinSet;

async fn entries(store: &MemoryStore, at: ReadAt) -> Vec<Entry> {
    let options = ListOptions { at, ..ListOptions::default() };
    store.list(&KeyRange::all(), options).await.unwrap().entries
}

async fn put(store: &MemoryStore, name: &str, value: &str) -> Revision {
    let key = Key::new(name.to_owned()).unwrap();
    let (value, options) = (value.to_owned().into(), WriteOptions::default());
    match store.get(&key, ReadAt::Latest).await.unwrap().entry {
        None => store.create(&key, value, options).await.unwrap(),
        Some(entry) => store.update(&key, value, entry.revision, options).await.unwrap(),
    }
}

fn save(store: &MemoryStore, file: &Path) -> Revision {
    let snapshot = store.snapshot();
    snapshot.write_to(fs::File::create(file).unwrap()).unwrap();
    snapshot.revision()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_shows_one_revision_while_writers_write() {
    let home = tempfile::tempdir().unwrap();
    let store = MemoryStore::open(home.path().join("store")).unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        writers.spawn(async move {
            for turn in 0_usize.. {
                put(&store, &format!("{writer}/{}", turn % 50), &"x".repeat(turn % 9000)).await;
            }
        });
    }
    for round in 0..5 {
        let revision = store.revision().await.unwrap();
        while store.revision().await.unwrap() < Revision(revision.0 + 100) {
            tokio::task::yield_now().await;
        }
        let file = home.path().join(format!("file-{round}"));
        let revision = save(&store, &file);
        let expected = entries(&store, ReadAt::Exact(revision)).await;
        let info = Snapshot::inspect(&file).unwrap();
        assert_eq!((info.revision, info.entries), (revision, expected.len() as u64));
        assert_eq!(info.size, fs::metadata(&file).unwrap().len());
        let path = home.path().join(format!("restored-{round}"));
        let restored = Snapshot::restore(&file, &path, 0).unwrap();
        assert_eq!((restored.revision, restored.hash), (revision, info.hash));
        let again = MemoryStore::open(&path).unwrap();
        assert_eq!(entries(&again, ReadAt::Latest).await, expected);
        assert_eq!(put(&again, "later", "x").await, Revision(revision.0 + 1));
    }
}

#[tokio::test]
async fn a_bump_keeps_old_revisions_from_being_taken_for_new_ones() {
    let home = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    put(&store, "a", "1").await;
    let file = home.path().join("file");
    let saved = save(&store, &file);
    let seen_later = put(&store, "a", "2").await;
    let path = home.path().join("restored");
    Snapshot::restore(&file, &path, 1000).unwrap();
    let restored = MemoryStore::open(&path).unwrap();
    let refused = restored.watch(&KeyRange::all(), seen_later).await.err().unwrap();
    assert!(matches!(refused, Error::Compacted { .. }), "{refused}");
    let latest = restored.revision().await.unwrap();
    assert_eq!(latest, Revision(saved.0 + 1000));
    let mut watcher = restored.watch(&KeyRange::all(), latest).await.unwrap();
    let next = put(&restored, "a", "3").await;
    assert_eq!(watcher.next().await.unwrap().unwrap().through, next);
}

#[tokio::test]
async fn nothing_is_overwritten_and_nothing_damaged_restored() {
    let home = tempfile::tempdir().unwrap();
    let (file, path) = (home.path().join("file"), home.path().join("store"));
    let store = MemoryStore::open(&path).unwrap();
    for index in 0..100 {
        put(&store, &format!("{index}"), &"x".repeat(9000)).await;
    }
    save(&store, &file);
    assert!(matches!(Snapshot::restore(&file, &path, 0), Err(OpenError::InUse { .. })));
    store.close().await;
    assert!(matches!(Snapshot::restore(&file, &path, 0), Err(OpenError::NotEmpty { .. })));
    let whole = fs::read(&file).unwrap();
    let elsewhere = home.path().join("elsewhere");
    for len in [0, 10, 24, 1000, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..len]).unwrap();
        let error = Snapshot::restore(&file, &elsewhere, 0).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{len} bytes: {error}");
        assert!(!elsewhere.exists());
    }
    for at in (0..whole.len()).step_by(9973) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&file, damaged).unwrap();
        assert!(Snapshot::inspect(&file).is_err(), "byte {at}");
    }
}

#[tokio::test]
async fn a_running_store_takes_a_snapshot_as_writes_like_others() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("store");
    let store = MemoryStore::open(&path).unwrap();
    for name in ["changed", "gone", "kept"] {
        put(&store, name, "then").await;
    }
    let file = home.path().join("file");
    save(&store, &file);
    put(&store, "changed", "now").await;
    put(&store, "new", "now").await;
    let gone = Key::new("gone").unwrap();
    let entry = store.get(&gone, ReadAt::Latest).await.unwrap().entry.unwrap();
    let before = store.delete(&gone, entry.revision).await.unwrap().revision;
    let mut watcher = store.watch(&KeyRange::all(), before).await.unwrap();

    let after = store.replace(&file).await.unwrap();
    assert_eq!(after, Revision(before.0 + 3), "what is the same is not written");
    let batch = watcher.next().await.unwrap().unwrap();
    let told: Vec<_> = batch.events.iter().map(|event| event.key().to_string()).collect();
    assert_eq!(told, ["changed", "gone", "new"], "all at once");
    assert!(matches!(batch.events[2], Event::Delete { .. }));
    let expected = entries(&store, ReadAt::Latest).await;
    assert_eq!(
        expected.iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>(),
        ["changed", "gone", "kept"]
    );
    assert!(expected.iter().all(|entry| *entry.value == *b"then"));
    store.close().await;
    assert_eq!(entries(&MemoryStore::open(&path).unwrap(), ReadAt::Latest).await, expected);
}
