//! Many clusters in one process, at once and one after the other.

use super::*;

/// Open files of this process, by what they are.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

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
    round().await;
    all_tasks_end("the first").await;
    let files = open_files();
    for _ in 0..50 {
        round().await;
    }
    all_tasks_end("fifty").await;
    assert_eq!(open_files(), files, "open files");
}
