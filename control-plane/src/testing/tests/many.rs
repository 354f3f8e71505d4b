//! Many clusters in one process, at once and one after the other.

use super::*;

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

#[tokio::test]
async fn a_hundred_clusters_share_nothing() {
    let mut clusters = Vec::new();
    for number in 0..100 {
        let cluster = TestCluster::builder().paused().seed(number).start().await.unwrap();
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        maps.create(&PostParams::default(), &config_map(&format!("map-{number}"))).await.unwrap();
        cluster.advance(Duration::from_millis(number)).await;
        clusters.push(cluster);
    }
    for (number, cluster) in clusters.iter().enumerate() {
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        let list = maps.list(&ListParams::default()).await.unwrap();
        let names: Vec<_> = list.iter().filter_map(|map| map.metadata.name.clone()).collect();
        assert_eq!(names, [format!("map-{number}")]);
        assert_eq!(cluster.clock().elapsed(), Duration::from_millis(number as u64));
    }
    for cluster in clusters {
        cluster.stop().await.unwrap();
    }
    all_tasks_end("a hundred").await;
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
