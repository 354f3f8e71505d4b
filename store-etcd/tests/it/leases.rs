//! Entries that expire share leases.

use crate::{
    gateway,
    server::{Etcd, connect},
};
use futures::future::join_all;
use kubeplane_clock::PausedClock;
use kubeplane_store_trait::{Error, Key, ReadAt, Store, WriteOptions};
use rustix::process::Signal;
use serde_json::json;
use std::{sync::Arc, time::Duration};

fn leases(etcd: &Etcd) -> Vec<String> {
    let answer = gateway::call(etcd.plain(), "/v3/lease/leases", &json!({}), "");
    let ids = answer["leases"].as_array().cloned().unwrap_or_default();
    ids.iter().map(|lease| lease["ID"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn entries_written_together_share_a_lease_up_to_a_thousand() {
    let etcd = Etcd::start();
    let store = etcd.connect().await;
    let options = WriteOptions { ttl: Some(Duration::from_secs(3600)) };
    let create = |index: usize| {
        let (store, name) = (&store, Key::new(format!("{index}")).unwrap());
        async move { store.create(&name, "x".into(), options).await.unwrap() }
    };
    join_all((0..1000).map(create)).await;
    assert_eq!(leases(&etcd).len(), 1);
    create(1000).await;
    assert_eq!(leases(&etcd).len(), 2);
}

#[tokio::test]
async fn a_lease_that_ended_early_is_replaced() {
    let etcd = Etcd::start();
    let store = etcd.connect().await;
    let options = WriteOptions { ttl: Some(Duration::from_secs(3600)) };
    let name = |name: &str| Key::new(name.to_owned()).unwrap();
    store.create(&name("a"), "x".into(), options).await.unwrap();
    for lease in leases(&etcd) {
        gateway::call(etcd.plain(), "/v3/lease/revoke", &json!({"ID": lease}), "");
    }
    store.create(&name("b"), "x".into(), options).await.unwrap();
    assert_eq!(leases(&etcd).len(), 1);
}

#[tokio::test]
async fn a_lease_outlives_the_slowest_write_on_it() {
    let etcd = Etcd::start();
    let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    etcd.connect().await;
    let mut options = etcd.options();
    options.clock = Arc::new(clock.clone());
    options.compaction = None;
    assert_eq!(options.timeout, Duration::from_secs(10), "how long a write may take");
    let store = connect(options).await;
    let write = async |name: &str, seconds: u64| {
        let ttl = Some(Duration::from_secs(seconds));
        store.create(&Key::new(name.to_owned()).unwrap(), "x".into(), WriteOptions { ttl }).await
    };
    let granted = |id: &str| {
        let answer = gateway::call(etcd.plain(), "/v3/lease/timetolive", &json!({"ID": id}), "");
        answer["grantedTTL"].as_str().unwrap().parse::<u64>().unwrap()
    };
    write("short", 60).await.unwrap();
    let short = leases(&etcd);
    assert_eq!(short.iter().map(|id| granted(id)).collect::<Vec<_>>(), [71]);
    write("also short", 60).await.unwrap();
    assert_eq!(leases(&etcd).len(), 2, "there is no time to share such a lease");

    write("long", 3600).await.unwrap();
    clock.advance(Duration::from_secs(49));
    write("long too", 3600).await.unwrap();
    let all = leases(&etcd);
    assert_eq!(all.len(), 3, "the two share one");
    assert!(all.iter().any(|id| granted(id) == 3661), "a minute more, and a second");
    // A write that begins now could end when less than an hour is left.
    clock.advance(Duration::from_secs(2));
    write("long and late", 3600).await.unwrap();
    assert_eq!(leases(&etcd).len(), 4);
}

#[tokio::test]
async fn writes_that_wait_for_a_lease_fail_in_the_time_of_one() {
    let etcd = Etcd::start();
    etcd.connect().await;
    let mut options = etcd.options();
    options.timeout = Duration::from_secs(1);
    let store = connect(options).await;
    etcd.signal(Signal::STOP);
    let create = |index: usize| {
        let (store, name) = (&store, Key::new(format!("{index}")).unwrap());
        let options = WriteOptions { ttl: Some(Duration::from_secs(3600)) };
        async move { store.create(&name, "x".into(), options).await.unwrap_err() }
    };
    // One after the other they would take 100 seconds.
    let failed = tokio::time::timeout(Duration::from_secs(40), join_all((0..100).map(create)));
    let failed = failed.await.expect("writes wait for each other");
    for error in failed {
        assert!(matches!(error, Error::Unavailable { .. }), "nothing was put: {error}");
    }
    etcd.signal(Signal::CONT);
    let name = Key::new("0").unwrap();
    let store = etcd.connect().await;
    assert_eq!(store.get(&name, ReadAt::Latest).await.unwrap().entry, None);
}
