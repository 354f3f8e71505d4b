//! History is forgotten by one of several servers, each on its own stopped clock.

use crate::server::{Etcd, connect};
use futures::StreamExt;
use kubeplane_clock::PausedClock;
use kubeplane_store_etcd::{EtcdOptions, EtcdStore};
use kubeplane_store_trait::{Error, Event, Key, KeyRange, ReadAt, Revision, Store, WriteOptions};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const INTERVAL: Duration = Duration::from_secs(300);
const KEY: &str = "compact_rev_key";

struct Server {
    store: EtcdStore,
    clock: PausedClock,
}

impl Server {
    async fn start(etcd: &Etcd) -> Self {
        let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let mut options = etcd.options();
        options.clock = Arc::new(clock.clone());
        let server = Self { store: connect(options).await, clock };
        server.waits().await;
        server
    }

    /// Lets the server's interval pass, and waits until it waits for the next one.
    async fn interval(&self) {
        self.clock.advance(INTERVAL);
        self.waits().await;
    }

    /// Until it waits for a whole interval: a call that is under way waits on the clock, too, though not for so long.
    async fn waits(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.clock.next_wake() != Some(INTERVAL) {
            assert!(Instant::now() < deadline, "the server does not go on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

#[tokio::test]
async fn one_of_several_servers_compacts_in_each_interval() {
    let etcd = Etcd::start();
    let servers = [Server::start(&etcd).await, Server::start(&etcd).await];
    let watching = etcd.connect().await;
    let mut watcher = watching.watch(&KeyRange::single(&key(KEY)), Revision(1)).await.unwrap();
    let mut written = Vec::new();
    for round in 0_u64..4 {
        let name = key(&format!("object-{round}"));
        written.push(watching.create(&name, "x".into(), WriteOptions::default()).await.unwrap());
        for server in &servers {
            server.interval().await;
        }
        let batch = watcher.next().await.unwrap().unwrap();
        let [Event::Put { entry, .. }] = batch.events.as_slice() else {
            panic!("one write an interval: {batch:?}");
        };
        let through: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
        let compacted = watching.status().await.unwrap().compacted;
        if round == 0 {
            assert_eq!((through, compacted), (0, Revision(0)), "the first finds where it is");
            continue;
        }
        assert_eq!(Revision(through), compacted);
        let before = written[usize::try_from(round).unwrap() - 1];
        let after = written[usize::try_from(round).unwrap()];
        assert!(before <= compacted && compacted < after, "{before} {compacted} {after}");
    }
    // The next server goes on alone.
    let [first, second] = servers;
    drop(first);
    let before = watching.status().await.unwrap().compacted;
    second.interval().await;
    second.interval().await;
    assert!(watching.status().await.unwrap().compacted > before);
    let gone = watching.get(&key("object-0"), ReadAt::Exact(Revision(2))).await.unwrap_err();
    assert!(matches!(gone, Error::Compacted { .. }), "{gone}");
    assert!(second.store.compacts_itself());
}

/// A member that lags behind the others has not compacted what they have, and says nothing when asked for it. Here it
/// is an etcd of its own, which will never catch up.
#[tokio::test]
async fn a_member_that_has_not_compacted_holds_nobody_up() {
    let (etcd, lagging) = (Etcd::start(), Etcd::start());
    let store = etcd.connect().await;
    lagging.connect().await;
    let mut through = Revision(0);
    for index in 0..5 {
        let name = key(&format!("object-{index}"));
        through = store.create(&name, "x".into(), WriteOptions::default()).await.unwrap();
    }
    store.compact(through).await.unwrap();
    let mut options = EtcdOptions::new([etcd.url(), lagging.url()]);
    options.timeout = Duration::from_secs(5);
    options.compaction = None;
    let both = connect(options).await;
    let mut told = Vec::new();
    for _ in 0..8 {
        let status = tokio::time::timeout(Duration::from_secs(30), both.status()).await;
        told.push(status.expect("the store waits for ever").unwrap().compacted);
    }
    // Nothing was compacted by the one, and everything by the other: that which was asked says so.
    assert!(told.iter().all(|told| [Revision(0), through].contains(told)), "{told:?}");
    assert!(told.contains(&through), "{told:?}");
}
