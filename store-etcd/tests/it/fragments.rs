//! Changes that are too large for one message of etcd come in several, and are one batch all the same.

use crate::{gateway, server::Etcd};
use futures::{StreamExt, future::join_all};
use kubeplane_store_etcd::EtcdStore;
use kubeplane_store_trait::{Event, Key, KeyRange, Revision, Store, WriteOptions};
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// etcd cuts what is larger than its largest request and 512 KiB: three messages, and a little.
const ENTRIES: usize = 320;
const SIZE: usize = 5_000;
const AT_LEAST: u64 = 3;

fn etcd() -> Etcd {
    Etcd::with(&["--max-request-bytes", "10000"])
}

/// Writes all of them, and gives the revision before.
async fn fill(store: &EtcdStore, ttl: Option<Duration>) -> Revision {
    let before = store.revision().await.unwrap();
    let create = |index: usize| async move {
        let name = Key::new(format!("{index:03}")).unwrap();
        store.create(&name, vec![b'x'; SIZE].into(), WriteOptions { ttl }).await.unwrap()
    };
    join_all((0..ENTRIES).map(create)).await;
    before
}

fn sent(etcd: &Etcd) -> u64 {
    let labels = ["grpc_method=\"Watch\""];
    gateway::metric(etcd.plain(), "grpc_server_msg_sent_total", &labels)
}

/// etcd counts a message just after it is sent.
async fn await_sent(etcd: &Etcd, least: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while sent(etcd) < least {
        assert!(Instant::now() < deadline, "etcd has not cut it: {} messages", sent(etcd));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_long_history_arrives_whole_and_in_order() {
    let etcd = etcd();
    let store = etcd.connect().await;
    let before = fill(&store, None).await;
    let already = sent(&etcd);
    let mut watcher = store.watch(&KeyRange::all(), before).await.unwrap();
    let (mut seen, mut names) = (Vec::new(), BTreeSet::new());
    while seen.len() < ENTRIES {
        let next = tokio::time::timeout(Duration::from_secs(30), watcher.next()).await;
        let batch = next.expect("the rest does not come").unwrap().unwrap();
        for event in batch.events {
            let Event::Put { entry, previous: None } = event else { panic!("{event:?}") };
            assert_eq!(entry.value.len(), SIZE);
            names.insert(entry.key.to_string());
            seen.push(entry.revision);
        }
        assert!(seen.last().is_none_or(|last| *last <= batch.through));
    }
    assert!(seen.is_sorted() && seen[0] > before, "{seen:?}");
    assert_eq!((seen.len(), names.len()), (ENTRIES, ENTRIES), "each once");
    await_sent(&etcd, already + 1 + AT_LEAST).await;
}

#[tokio::test]
async fn what_expires_together_is_one_batch_however_large() {
    let etcd = etcd();
    let store = etcd.connect().await;
    fill(&store, Some(Duration::from_secs(3600))).await;
    let last = store.revision().await.unwrap();
    let mut watcher = store.watch(&KeyRange::all(), last).await.unwrap();
    let already = sent(&etcd);
    let leases = gateway::call(etcd.plain(), "/v3/lease/leases", &json!({}), "");
    let [lease] = leases["leases"].as_array().unwrap().as_slice() else {
        panic!("they share a lease: {leases}");
    };
    // As etcd does it when the time is over.
    gateway::call(etcd.plain(), "/v3/lease/revoke", &json!({"ID": lease["ID"]}), "");
    let next = tokio::time::timeout(Duration::from_secs(30), watcher.next()).await;
    let batch = next.expect("nothing comes").unwrap().unwrap();
    assert_eq!((batch.events.len(), batch.through), (ENTRIES, Revision(last.0 + 1)));
    for event in &batch.events {
        let Event::Delete { previous: Some(was), revision, .. } = event else {
            panic!("{event:?}");
        };
        assert_eq!((was.value.len(), *revision), (SIZE, batch.through));
    }
    await_sent(&etcd, already + AT_LEAST).await;
}
