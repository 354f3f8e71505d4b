//! What etcd refuses for being too much.

use crate::server::Etcd;
use bytes::Bytes;
use kubeplane_store_trait::{Error, Key, ReadAt, Store, WriteOptions};

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

#[tokio::test]
async fn requests_larger_than_etcd_takes_are_too_large() {
    let etcd = Etcd::with(&["--max-request-bytes", "10000"]);
    let store = etcd.connect().await;
    // The second is refused before etcd looks at it.
    for size in [20_000, 1_000_000, 2_000_000] {
        let value = Bytes::from(vec![0; size]);
        let error = store.create(&key("a"), value, WriteOptions::default()).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{size}: {error}");
    }
    assert_eq!(store.get(&key("a"), ReadAt::Latest).await.unwrap().entry, None);
    store.create(&key("a"), Bytes::from(vec![0; 5_000]), WriteOptions::default()).await.unwrap();
}

#[tokio::test]
async fn an_etcd_without_space_says_so_and_still_reads() {
    let etcd = Etcd::with(&["--quota-backend-bytes", "3000000"]);
    let store = etcd.connect().await;
    let value = Bytes::from(vec![7; 100_000]);
    let mut failed = None;
    for index in 0..200 {
        let name = key(&index.to_string());
        if let Err(full) = store.create(&name, value.clone(), WriteOptions::default()).await {
            failed = Some((name, full));
            break;
        }
    }
    let (name, error) = failed.expect("etcd takes 20 MB into 3");
    assert!(error.to_string().contains("out of space"), "{error}");
    assert!(store.get(&key("0"), ReadAt::Latest).await.unwrap().entry.is_some());
    // The write that fills etcd up is applied and refused: whoever is told "surely not" must not find it.
    let entry = store.get(&name, ReadAt::Latest).await.unwrap().entry;
    match error {
        Error::Unavailable { .. } => assert_eq!(entry, None, "it was said not to be written"),
        Error::Indeterminate { .. } => assert!(entry.is_none_or(|entry| entry.value == value)),
        other => panic!("{other}"),
    }
}
