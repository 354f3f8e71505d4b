//! Three members that are killed, stopped, cut off and started again while clients write, read and watch. What every client
//! was told must fit into one history, and every watch must have seen all of it.

mod faults;
mod history;
mod network;
mod workload;

use crate::server::{Etcd, Place, connect};
use kubeplane_clock::Seed;
use kubeplane_store_etcd::{EtcdOptions, EtcdStore};
use kubeplane_store_trait::{Key, KeyRange, ReadAt, Store, WriteOptions};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const WRITERS: usize = 6;
const WATCHERS: usize = 4;
const KEYS: u64 = 6;
/// The key that tells watchers that all is over.
const END: &str = "/registry/z/end";

/// Three members, each in a network namespace of its own.
struct Cluster {
    members: Vec<Etcd>,
}

impl Cluster {
    fn start() -> Self {
        let places = network::MEMBERS.map(|(name, address)| {
            (name, format!("http://{address}:2379"), format!("http://{address}:2380"))
        });
        let initial = places.each_ref().map(|(name, _, peer)| format!("{name}={peer}")).join(",");
        let start = |(name, client, peer): &(&str, String, String)| {
            Etcd::member(&Place { name, client, peer, initial: &initial })
        };
        Self { members: places.iter().map(start).collect() }
    }

    /// How to reach all of them, beginning somewhere in the list.
    fn options(&self, first: usize) -> EtcdOptions {
        let urls = self.members.iter().map(|member| member.url().to_owned());
        let mut urls: Vec<_> = urls.collect();
        urls.rotate_left(first % 3);
        let mut options = EtcdOptions::new(urls);
        options.timeout = Duration::from_secs(3);
        options.keep_alive = Duration::from_secs(5);
        options.compaction = None;
        options
    }

    /// The member that says it leads.
    fn leader(&self) -> Option<usize> {
        self.members.iter().position(|member| {
            let status = crate::gateway::try_call(
                member.plain(),
                "/v3/maintenance/status",
                &serde_json::json!({}),
                "",
            );
            status.is_some_and(|status| status["header"]["member_id"] == status["leader"])
        })
    }
}

fn seed() -> u64 {
    let given = std::env::var("KUBEPLANE_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| Seed::random().value())
}

fn duration() -> Duration {
    Duration::from_secs(if std::env::var_os("KUBEPLANE_LONG").is_some() { 300 } else { 30 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_failing_cluster_see_one_history() {
    if network::enter("cluster::clients_of_a_failing_cluster_see_one_history") {
        return;
    }
    let value = seed();
    println!("KUBEPLANE_SEED={value}");
    let seed = Seed::new(value);
    let mut cluster = Cluster::start();
    let probe = connect(cluster.options(0)).await;
    let begin = probe.revision().await.unwrap();
    let started = Instant::now();
    let over = CancellationToken::new();

    let mut writers = JoinSet::new();
    for client in 0..WRITERS {
        let store = connect(cluster.options(client)).await;
        let seed = Seed::new(seed.below(u64::MAX));
        writers.spawn(workload::write(store, client, seed, started, over.clone()));
    }
    let mut watchers = JoinSet::new();
    for client in 0..WATCHERS {
        let store = connect(cluster.options(client)).await;
        watchers.spawn(workload::watch(store, begin));
    }
    let faults = faults::inject(&mut cluster, &seed, duration()).await;
    over.cancel();
    let mut operations = Vec::new();
    while let Some(done) = writers.join_next().await {
        operations.extend(done.unwrap());
    }
    let last = end(&probe).await;
    let history = workload::history(&probe, begin).await;
    let watched = tokio::time::timeout(Duration::from_secs(120), watchers.join_all()).await;
    let watched = watched.expect("a watch never came to the end");

    let summary = history::summary(&operations);
    println!("{} faults: {faults:?}", faults.len());
    println!("{} events through {last}, {summary:?}", history.len());
    let broken = history::check(&history, &operations);
    assert!(broken.is_empty(), "seed {value}: {:#?}", &broken[..broken.len().min(10)]);
    let mut resumed = 0;
    for (client, watch) in watched.into_iter().enumerate() {
        let differs = watch.events.iter().zip(&history).position(|(seen, is)| seen != is);
        if let Some(at) = differs {
            let (seen, is) = (&watch.events[at], &history[at]);
            let near = is.revision().0.saturating_sub(50)..=seen.revision().0 + 50;
            let trail = watch.trail.iter().filter(|(reached, _)| near.contains(&reached.0));
            panic!(
                "seed {value}: watch {client} saw, as number {at}, {seen:?} for {is:?}: {:?}",
                trail.collect::<Vec<_>>()
            );
        }
        assert_eq!(watch.events.len(), history.len(), "seed {value}: watch {client}");
        resumed += watch.restarts;
    }
    println!("{resumed} watches had to be made anew by the reader");
    assert!(summary.written > 200, "seed {value}: little was tried: {summary:?}");
    assert_eq!(history::state(&history), listed(&probe).await, "seed {value}");
}

/// Writes the last key of all, once the cluster takes it.
async fn end(store: &EtcdStore) -> kubeplane_store_trait::Revision {
    let key = Key::new(END).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = store.get(&key, ReadAt::Latest).await;
        if let Ok(kubeplane_store_trait::Read { entry: Some(entry), .. }) = found {
            return entry.revision;
        }
        let _ = store.create(&key, "end".into(), WriteOptions::default()).await;
        assert!(Instant::now() < deadline, "the cluster does not come back: {found:?}");
    }
}

async fn listed(store: &EtcdStore) -> BTreeMap<Key, kubeplane_store_trait::Revision> {
    let page = store.list(&KeyRange::all(), Default::default()).await.unwrap();
    page.entries.into_iter().map(|entry| (entry.key, entry.revision)).collect()
}
