//! Many clusters in one process, at once and one after the other.

use super::*;
use crate::api::ApiOptions;

/// Open files of this process.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Memory of this process, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// How many rounds there are, and after how many nothing more may be kept for the next ones.
fn rounds() -> (usize, usize) {
    if std::env::var_os("KUBEPLANE_LONG").is_some() { (1000, 100) } else { (20, 10) }
}

/// What allocators hold back by chance, in MiB; a cluster that is not freed takes about as much at once.
const SLACK: u64 = 12;

/// What clusters of odd numbers have on, and what it adds.
const GATE: &str = "GenericWorkload";
const BEHIND_GATE: &str = "/apis/scheduling.k8s.io/v1alpha2";

/// Every other cluster has a gate on, and each makes another number of objects than those beside it.
async fn numbered(number: u64) -> TestCluster {
    let mut builder = TestCluster::builder();
    if number % 2 == 1 {
        let features = format!("{GATE}=true").parse().unwrap();
        builder = builder.options(ApiOptions { features, ..ApiOptions::default() });
    }
    let cluster = builder.paused().seed(number).start().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    for name in names_of(number) {
        maps.create(&PostParams::default(), &config_map(&name)).await.unwrap();
    }
    cluster.advance(Duration::from_millis(number)).await;
    cluster
}

fn names_of(number: u64) -> Vec<String> {
    (0..=number % 3).map(|own| format!("map-{number}-{own}")).collect()
}

async fn text(cluster: &TestCluster, path: &str) -> kube::Result<String> {
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    cluster.client().request_text(request).await
}

/// How many config maps the server says it was asked to make.
fn made(metrics: &str) -> u64 {
    let lines = metrics.lines().filter(|line| {
        line.starts_with("apiserver_request_total{")
            && [r#"verb="POST""#, r#"resource="configmaps""#].iter().all(|own| line.contains(own))
    });
    let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    lines.map(|line| value(line).unwrap() as u64).sum()
}

#[tokio::test]
async fn a_hundred_clusters_share_nothing() {
    let mut clusters = Vec::new();
    for number in 0..100 {
        clusters.push(numbered(number).await);
    }
    for (number, cluster) in (0..).zip(&clusters) {
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        let list = maps.list(&ListParams::default()).await.unwrap();
        let names: Vec<_> = list.iter().filter_map(|map| map.metadata.name.clone()).collect();
        assert_eq!(names, names_of(number));
        assert_eq!(cluster.clock().elapsed(), Duration::from_millis(number));

        let metrics = text(cluster, "/metrics").await.unwrap();
        assert_eq!(made(&metrics), names_of(number).len() as u64, "{number}: {metrics}");
        let is_on = number % 2;
        let gate = format!("kubernetes_feature_enabled{{name=\"{GATE}\",stage=\"ALPHA\"}} {is_on}");
        assert!(metrics.lines().any(|line| line == gate), "{number}: {metrics}");
        let served = text(cluster, BEHIND_GATE).await;
        assert_eq!(served.is_ok(), is_on == 1, "{number}: {served:?}");
    }
    for cluster in clusters {
        cluster.stop().await.unwrap();
    }
    all_tasks_end("a hundred").await;
}

#[tokio::test]
async fn a_client_takes_its_cluster_along() {
    let cluster = TestCluster::builder().controllers().start().await.unwrap();
    let directory = cluster.directory().to_owned();
    let client = cluster.into_client();
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    drop(client);
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    // A watch is answered in pieces, also by this way.
    let there = |map: Option<&ConfigMap>| map.is_some();
    timeout(PATIENCE, await_condition(maps.clone(), "one", there)).await.unwrap().unwrap();
    assert!(directory.exists());
    drop(maps);
    all_tasks_end("the last client is gone").await;
    assert!(!directory.exists());
}

#[tokio::test]
async fn starting_and_stopping_again_and_again_leaves_nothing() {
    let round = async || {
        let cluster = TestCluster::builder().listen().start().await.unwrap();
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
        let directory = cluster.directory().to_owned();
        cluster.stop().await.unwrap();
        assert!(!directory.exists());
    };
    let (all, first) = rounds();
    for _ in 0..first {
        round().await;
    }
    all_tasks_end("the first").await;
    let before = (open_files(), threads(), memory());
    for _ in first..all {
        round().await;
    }
    all_tasks_end("all").await;
    assert_eq!((open_files(), threads()), (before.0, before.1), "open files, threads");
    let memory = memory();
    assert!(memory <= before.2 + SLACK, "{} MiB after {first}, {memory} after {all}", before.2);
}
