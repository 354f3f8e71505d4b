//! Many clusters in one process: as many as you like, each with its own objects, clock, chance and metrics.
//! `cargo run --release --example many_clusters [COUNT]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use kubeplane::testing::TestCluster;
use serde_json::json;
use std::collections::BTreeSet;

/// How many start at once.
const AT_ONCE: usize = 8;

/// Runs that many clusters at the same time; returns the lines shown.
pub(crate) async fn run(count: usize) -> anyhow::Result<Vec<String>> {
    let starting = stream::iter(0..count).map(|_| TestCluster::start()).buffered(AT_ONCE);
    let clusters: Vec<TestCluster> = starting.try_collect().await?;
    for (number, cluster) in clusters.iter().enumerate() {
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        let map = json!({"metadata": {"name": "which"}, "data": {"number": number.to_string()}});
        // The same name everywhere: nobody is in anybody's way.
        maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
    }
    let (mut objects, mut numbers, mut uids) = (0, BTreeSet::new(), BTreeSet::new());
    for cluster in &clusters {
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        let list = maps.list(&ListParams::default().fields("metadata.name=which")).await?;
        objects += list.items.len();
        numbers.extend(list.items.into_iter().filter_map(|map| map.data?.remove("number")));
        let home = Api::<Namespace>::all(cluster.client()).get("default").await?;
        uids.extend(home.metadata.uid);
    }
    let mut lines = vec![
        format!("{count} clusters, {objects} objects, {} values", numbers.len()),
        format!("{} namespaces named default", uids.len()),
    ];
    let stopping = stream::iter(clusters).map(TestCluster::stop).buffer_unordered(AT_ONCE);
    let stopped: Vec<()> = stopping.try_collect().await?;
    lines.push(format!("{} stopped", stopped.len()));
    Ok(lines)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let count = std::env::args().nth(1).map_or(Ok(100), |count| count.parse())?;
    run(count).await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
