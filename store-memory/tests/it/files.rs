//! Damaged, shared and unusable data directories.

use kubeplane_store_memory::{MemoryStore, OpenError};
use kubeplane_store_trait::{Key, KeyRange, ListOptions, ReadAt, Revision, Store, WriteOptions};
use std::{
    fs,
    path::{Path, PathBuf},
};

async fn put(store: &MemoryStore, name: &str, value: &str) -> Revision {
    let key = Key::new(name.to_owned()).unwrap();
    let current = store.get(&key, ReadAt::Latest).await.unwrap().entry;
    let (value, options) = (value.to_owned().into(), WriteOptions::default());
    match current {
        None => store.create(&key, value, options).await.unwrap(),
        Some(entry) => store.update(&key, value, entry.revision, options).await.unwrap(),
    }
}

async fn names(store: &MemoryStore) -> Vec<String> {
    let page = store.list(&KeyRange::all(), ListOptions::default()).await.unwrap();
    page.entries.iter().map(|entry| entry.key.to_string()).collect()
}

/// Writes ten entries; returns the length of the log after each.
async fn ten(path: &Path) -> Vec<u64> {
    let store = MemoryStore::open(path).unwrap();
    let mut lengths = Vec::new();
    for index in 0..10 {
        put(&store, &format!("key-{index}"), &"v".repeat(index * 100)).await;
        lengths.push(fs::metadata(log(path)).unwrap().len());
    }
    store.close().await;
    lengths
}

fn files(path: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let named = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().starts_with(kind);
    let mut files: Vec<_> = entries.filter(named).collect();
    files.sort();
    files
}

fn log(path: &Path) -> PathBuf {
    files(path, "log-").pop().unwrap()
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_and_nothing_else() {
    let source = tempfile::tempdir().unwrap();
    let lengths = ten(source.path()).await;
    let whole = fs::read(log(source.path())).unwrap();
    let (before, end) = (lengths[8], lengths[9]);
    for cut in (before + 1..end).step_by(13) {
        for zeros in [0, 600] {
            let directory = tempfile::tempdir().unwrap();
            let name = log(source.path());
            let mut torn = whole[..usize::try_from(cut).unwrap()].to_vec();
            torn.resize(torn.len() + zeros, 0);
            fs::write(directory.path().join(name.file_name().unwrap()), torn).unwrap();
            let store = MemoryStore::open(directory.path()).unwrap();
            assert_eq!(names(&store).await.len(), 9, "cut at {cut}");
            put(&store, "later", "x").await;
            store.close().await;
            let store = MemoryStore::open(directory.path()).unwrap();
            assert_eq!(names(&store).await.len(), 10, "what is written after the cut is kept");
        }
    }
}

#[tokio::test]
async fn a_log_without_a_whole_header_is_begun_anew() {
    for bytes in [&b""[..], &b"kube"[..], &[0; 24][..]] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("log-00000000000000000001"), bytes).unwrap();
        let store = MemoryStore::open(directory.path()).unwrap();
        put(&store, "a", "x").await;
        store.close().await;
        assert_eq!(names(&MemoryStore::open(directory.path()).unwrap()).await, ["a"]);
    }
}

#[tokio::test]
async fn damage_in_the_middle_is_reported_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let lengths = ten(directory.path()).await;
    let path = log(directory.path());
    let whole = fs::read(&path).unwrap();
    // Every byte of the header, and some of the rest.
    for at in (0..24).chain((24..whole.len()).step_by(11)) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(&path, &damaged).unwrap();
        let start = lengths.iter().rev().find(|end| **end <= at as u64).copied();
        match MemoryStore::open(directory.path()) {
            Err(OpenError::Corrupt { file, offset, .. }) => {
                assert_eq!(file, path);
                assert_eq!(offset, start.unwrap_or(if at < 24 { 0 } else { 24 }), "byte {at}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), damaged, "a refused log is left as it is");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(names(&MemoryStore::open(directory.path()).unwrap()).await.len(), 10);
}

#[tokio::test]
async fn another_version_is_told_from_damage_and_never_opened() {
    let directory = tempfile::tempdir().unwrap();
    ten(directory.path()).await;
    let path = log(directory.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&7_u32.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..20]);
    bytes[20..24].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    for accept in [false, true] {
        let builder = MemoryStore::builder().path(directory.path()).accept_data_loss(accept);
        match builder.open() {
            Err(OpenError::Version { file, found, supported }) => {
                assert_eq!((file, found, supported), (path.clone(), 7, 1))
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "it is left as it is");
    }
}

#[tokio::test]
async fn a_gap_before_a_log_that_was_only_begun_is_reported() {
    for begun in [&b""[..], &b"kube"[..], &[0; 24][..]] {
        let directory = tempfile::tempdir().unwrap();
        let lengths = ten(directory.path()).await;
        let (first, next) =
            (log(directory.path()), directory.path().join("log-00000000000000000011"));
        fs::write(&next, begun).unwrap();
        assert_eq!(names(&MemoryStore::open(directory.path()).unwrap()).await.len(), 10);
        fs::write(&next, begun).unwrap();
        let whole = fs::read(&first).unwrap();
        // The last two groups are gone, and nothing of them is left to be seen.
        fs::write(&first, &whole[..usize::try_from(lengths[7]).unwrap()]).unwrap();
        match MemoryStore::open(directory.path()) {
            Err(OpenError::Corrupt { file, reason, .. }) => {
                assert_eq!(file, next);
                assert_eq!(reason, "revisions 10 to 11 are missing");
            }
            other => panic!("{other:?}"),
        }
        let lossy = MemoryStore::builder().path(directory.path()).accept_data_loss(true);
        let store = lossy.open().unwrap();
        assert_eq!((names(&store).await.len(), store.data_loss().len()), (8, 1));
        assert!(store.revision().await.unwrap() > Revision(11), "no revision is given out twice");
    }
}

#[tokio::test]
async fn a_damaged_snapshot_and_a_missing_log_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    let open = || MemoryStore::builder().path(directory.path()).snapshot_after(1).open();
    let store = open().unwrap();
    for index in 0..50 {
        put(&store, &format!("{}", index % 7), "some value").await;
    }
    store.close().await;
    let snapshot = files(directory.path(), "snapshot-").pop().unwrap();
    let whole = fs::read(&snapshot).unwrap();
    let mut damaged = whole.clone();
    damaged[60] ^= 1;
    fs::write(&snapshot, damaged).unwrap();
    match open() {
        Err(OpenError::Corrupt { file, offset, .. }) => {
            assert_eq!((file, offset), (snapshot.clone(), 24))
        }
        other => panic!("{other:?}"),
    }
    fs::write(&snapshot, &whole).unwrap();
    let store = open().unwrap();
    put(&store, "after", "x").await;
    store.close().await;
    for old in files(directory.path(), "snapshot-") {
        fs::remove_file(old).unwrap();
    }
    let error = open().unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

#[tokio::test]
async fn the_directory_stays_small() {
    let directory = tempfile::tempdir().unwrap();
    let limit = 64 * 1024;
    let open = || MemoryStore::builder().path(directory.path()).snapshot_after(limit).open();
    let store = open().unwrap();
    for index in 0..2000 {
        put(&store, &format!("{}", index % 10), &"x".repeat(1000)).await;
        let entries = fs::read_dir(directory.path()).unwrap();
        // A file may be removed between the listing and the look at it.
        let size: u64 = entries.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum();
        assert!(size < limit * 4, "{size} bytes after {index} writes of ten entries");
    }
    store.close().await;
    assert_eq!(names(&open().unwrap()).await.len(), 10);
}

#[tokio::test]
async fn a_directory_in_use_is_refused_until_it_is_released() {
    let directory = tempfile::tempdir().unwrap();
    let store = MemoryStore::open(directory.path()).unwrap();
    let error = MemoryStore::open(directory.path()).unwrap_err();
    assert!(matches!(&error, OpenError::InUse { path } if path == directory.path()));
    assert!(error.to_string().ends_with("is in use by another process"), "{error}");
    put(&store, "a", "x").await;
    drop(store);
    let store = MemoryStore::open(directory.path()).unwrap();
    store.close().await;
    let key = Key::new("b").unwrap();
    let refused = store.create(&key, "x".into(), WriteOptions::default()).await.unwrap_err();
    assert!(refused.to_string().contains("closed"), "{refused}");
    assert_eq!(names(&MemoryStore::open(directory.path()).unwrap()).await, ["a"]);
}

#[test]
fn an_unusable_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        match MemoryStore::open(&path) {
            Err(OpenError::Io { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_may_look_into_the_directory() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("store");
    ten(&path).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in files(&path, "") {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
