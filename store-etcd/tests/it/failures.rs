//! What callers are told when etcd is away.

use crate::{
    certificates::Authority,
    server::{Etcd, connect},
};
use futures::{StreamExt, future::join_all};
use kubeplane_store_etcd::{ConnectError, EtcdOptions, EtcdStore};
use kubeplane_store_trait::{Error, Key, KeyRange, ReadAt, Retry, Revision, Store, WriteOptions};
use rustix::process::Signal;
use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

async fn create(store: &EtcdStore, name: &str) -> Result<Revision, Error> {
    store.create(&key(name), "x".into(), WriteOptions::default()).await
}

/// Creates an entry on an etcd that may be slow, as one that still chooses its leader.
async fn created(store: &EtcdStore, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match create(store, name).await {
            Ok(_) | Err(Error::Exists { .. }) => return,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn endpoints_that_cannot_be_used_are_named() {
    let error = EtcdStore::connect(EtcdOptions::new([""; 0])).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoEndpoint));
    for bad in ["https://127.0.0.1:1", "127.0.0.1:1", "ftp://host", "http://"] {
        let error = EtcdStore::connect(EtcdOptions::new([bad])).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Endpoint { endpoint, .. } if endpoint == bad));
    }
    let error = EtcdStore::connect(EtcdOptions::new(["http://127.0.0.1:1"])).await.unwrap_err();
    assert!(error.to_string().starts_with("etcd at http://127.0.0.1:1 does not answer: "));
}

#[tokio::test]
async fn one_living_member_of_several_is_enough() {
    let etcd = Etcd::start();
    etcd.connect().await;
    let members = ["http://127.0.0.1:1", etcd.url()];
    let store = EtcdStore::connect(EtcdOptions::new(members)).await.unwrap();
    for index in 0..20 {
        create(&store, &index.to_string()).await.unwrap();
    }
}

#[tokio::test]
async fn a_dead_etcd_refuses_and_a_restarted_one_goes_on() {
    let mut etcd = Etcd::start();
    let store = etcd.connect().await;
    let first = create(&store, "a").await.unwrap();
    let mut watcher = store.watch(&KeyRange::all(), first).await.unwrap();
    let second = create(&store, "b").await.unwrap();
    assert_eq!(watcher.next().await.unwrap().unwrap().through, second);
    etcd.kill();
    let ended = watcher.next().await.unwrap().unwrap_err();
    assert_eq!(ended.retry(), Retry::Safe, "{ended}");
    assert!(watcher.next().await.is_none());
    // The first call may still have been sent on the old connection.
    let _ = create(&store, "lost").await;
    let refused = create(&store, "refused").await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "nobody was reached: {refused}");
    let refused = store.get(&key("a"), ReadAt::Latest).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");

    etcd.restart();
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = store.get(&key("a"), ReadAt::Latest).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let third = create(&store, "c").await.unwrap();
    let mut watcher = store.watch(&KeyRange::all(), second).await.unwrap();
    let batch = watcher.next().await.unwrap().unwrap();
    assert_eq!((batch.events.len(), batch.through), (1, third), "the watch goes on without a gap");
}

#[tokio::test]
async fn a_write_that_is_not_answered_is_indeterminate() {
    let etcd = Etcd::start();
    etcd.connect().await;
    let mut options = etcd.options();
    options.timeout = Duration::from_secs(3);
    let store = connect(options).await;
    created(&store, "a").await;
    etcd.signal(Signal::STOP);
    let unknown = create(&store, "b").await.unwrap_err();
    assert!(matches!(unknown, Error::Indeterminate { .. }), "{unknown}");
    let read = store.get(&key("a"), ReadAt::Latest).await.unwrap_err();
    assert!(matches!(read, Error::Unavailable { .. }), "{read}");
    etcd.signal(Signal::CONT);
}

#[tokio::test]
async fn calls_that_wait_for_one_connection_end_in_the_time_of_one() {
    let mut etcd = Etcd::tls(&Authority::new());
    etcd.connect().await;
    let mut options = etcd.options();
    options.timeout = Duration::from_secs(3);
    let store = connect(options).await;
    etcd.kill();
    // It takes connections and says nothing on them.
    let _silent = TcpListener::bind(etcd.url().trim_start_matches("https://")).unwrap();
    let name = key("a");
    let gets = join_all((0..30).map(|_| store.get(&name, ReadAt::Latest)));
    // One after the other they would take a minute.
    let gets = tokio::time::timeout(Duration::from_secs(20), gets).await;
    for get in gets.expect("calls wait for each other") {
        let error = get.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_write_without_a_leader_is_surely_not_done() {
    let mut members = Etcd::three();
    let mut options = members[0].options();
    options.timeout = Duration::from_secs(2);
    options.compaction = None;
    let store = connect(options).await;
    created(&store, "a").await;
    members[1..].iter_mut().for_each(Etcd::kill);
    let deadline = Instant::now() + Duration::from_secs(60);
    // What was under way while the leader was lost may have been done.
    while !matches!(create(&store, "b").await, Err(Error::Unavailable { .. })) {
        assert!(Instant::now() < deadline, "it is never said that there is no leader");
    }
    let refused = create(&store, "c").await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
    assert!(refused.to_string().contains("no leader"), "{refused}");
}
