//! What the store asks of etcd, as etcd and the network count it.

use crate::{gateway, server::Etcd};
use futures::StreamExt;
use kubeplane_store_etcd::{EtcdOptions, EtcdStore};
use kubeplane_store_trait::{Error, Key, KeyRange, ReadAt, Revision, Store, WriteOptions};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

fn calls(etcd: &Etcd, labels: &[&str]) -> u64 {
    gateway::metric(etcd.plain(), "grpc_server_started_total", labels)
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

#[tokio::test]
async fn a_write_is_one_round_trip_also_when_it_is_refused() {
    const ROUNDS: u64 = 10;
    let etcd = Etcd::start();
    let mut options = etcd.options();
    options.compaction = None;
    let store = crate::server::connect(options).await;
    let txns = ["grpc_method=\"Txn\"", "grpc_service=\"etcdserverpb.KV\""];
    let (all, before) = (calls(&etcd, &[]), calls(&etcd, &txns));
    let plain = WriteOptions::default();
    for round in 0..ROUNDS {
        let name = key(&format!("{round}"));
        let first = store.create(&name, "1".into(), plain).await.unwrap();
        let taken = store.create(&name, "2".into(), plain).await.unwrap_err();
        assert!(matches!(taken, Error::Exists { current, .. } if current.value == "1"));
        let second = store.update(&name, "2".into(), first, plain).await.unwrap();
        let stale = store.update(&name, "3".into(), first, plain).await.unwrap_err();
        assert!(
            matches!(stale, Error::Conflict { current: Some(now), .. } if now.revision == second)
        );
        let kept = store.delete(&name, first).await.unwrap_err();
        assert!(matches!(kept, Error::Conflict { current: Some(now), .. } if now.value == "2"));
        assert_eq!(store.delete(&name, second).await.unwrap().previous.value, "2");
    }
    assert_eq!(calls(&etcd, &txns) - before, 6 * ROUNDS, "one for each");
    assert_eq!(calls(&etcd, &[]) - all, 6 * ROUNDS, "and nothing else");
}

/// A watch that begins in the past is behind at first, and etcd (since 3.5.13) leaves what is asked of such a one
/// unanswered.
#[tokio::test]
async fn a_bookmark_that_was_asked_for_once_comes_though_the_watch_is_behind() {
    let etcd = Etcd::start();
    let store = etcd.connect().await;
    let plain = WriteOptions::default();
    let mut last = store.create(&key("quiet/a"), "x".into(), plain).await.unwrap();
    let before = Revision(last.0 - 1);
    for number in 0..300 {
        last = store.create(&key(&format!("busy/{number}")), "x".into(), plain).await.unwrap();
    }
    let range = KeyRange::prefix("quiet/");
    for after in [before, Revision(before.0 + 1), last] {
        let mut watcher = store.watch(&range, after).await.unwrap();
        watcher.as_mut().request_progress();
        let reached = async {
            while let Some(batch) = watcher.next().await {
                if batch.unwrap().through >= last {
                    return;
                }
            }
            panic!("the watch ended");
        };
        tokio::time::timeout(Duration::from_secs(30), reached).await.expect("a bookmark");
    }
}

/// Passes connections on, and counts them. What comes from etcd over the second one is held back from some time on.
async fn pass(
    listener: TcpListener,
    to: String,
    count: Arc<AtomicUsize>,
    held_back: CancellationToken,
) {
    let mut open = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let is_second = count.fetch_add(1, Ordering::SeqCst) == 1;
        let (to, held_back) = (to.clone(), held_back.clone());
        open.spawn(async move {
            let etcd = TcpStream::connect(to).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_etcd, mut to_etcd) = etcd.into_split();
            let down = async {
                tokio::select! {
                    _ = tokio::io::copy(&mut from_etcd, &mut to_client) => {}
                    () = held_back.cancelled(), if is_second => {}
                }
            };
            let _ = tokio::join!(tokio::io::copy(&mut from_client, &mut to_etcd), down);
        });
    }
}

#[tokio::test]
async fn watches_that_nobody_reads_share_no_connection_with_calls() {
    let etcd = Etcd::start();
    etcd.connect().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let connections = || count.load(Ordering::SeqCst);
    let to = etcd.url().strip_prefix("http://").unwrap().to_owned();
    let mut proxy = JoinSet::new();
    let held_back = CancellationToken::new();
    proxy.spawn(pass(listener, to, count.clone(), held_back.clone()));
    let store = EtcdStore::connect(EtcdOptions::new([url])).await.unwrap();
    let name = key("a");
    let first = store.create(&name, "x".into(), WriteOptions::default()).await.unwrap();
    assert_eq!(connections(), 1);
    let mut watchers = Vec::new();
    for _ in 0..20 {
        watchers.push(store.watch(&KeyRange::all(), Revision(first.0 - 1)).await.unwrap());
    }
    let value = vec![b'x'; 100_000];
    let mut last = first;
    for _ in 0..20 {
        last =
            store.update(&name, value.clone().into(), last, WriteOptions::default()).await.unwrap();
    }
    assert_eq!(connections(), 2, "one for calls, one for watches");
    // None has lost anything by not being read.
    for watcher in &mut watchers {
        let mut seen = 0;
        while seen < 21 {
            let next = tokio::time::timeout(Duration::from_secs(30), watcher.next()).await;
            seen += next.expect("the rest does not come").unwrap().unwrap().events.len();
        }
    }
    held_back.cancel();
    let written = store.update(&name, value.into(), last, WriteOptions::default()).await.unwrap();
    let found = store.get(&name, ReadAt::Latest).await.unwrap().entry.unwrap();
    assert_eq!(found.revision, written, "calls go on when no watch does");
}
