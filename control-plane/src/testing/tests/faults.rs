//! What goes wrong when a test wants it to.

use super::*;
use jiff::SignedDuration;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};

const ALL: &str = "system:test:*";

fn user(cluster: &TestCluster, name: &str) -> Api<ConfigMap> {
    let user =
        UserInfo::new(format!("system:test:{name}"), ["system:masters", GROUP_AUTHENTICATED]);
    Api::default_namespaced(cluster.client_as(user))
}

async fn patched(maps: &Api<ConfigMap>) -> kube::Result<ConfigMap> {
    let patch = Patch::Merge(json!({"data": {"a": "b"}}));
    maps.patch("one", &PatchParams::default(), &patch).await
}

#[tokio::test]
async fn planned_faults_strike_and_are_told() {
    let cluster = TestCluster::start().await.unwrap();
    let maps = user(&cluster, "jane");
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();

    cluster.faults().set(FaultPlan::seeded(1).conflicts(1.0).only(ALL));
    let error = patched(&maps).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 409), "{error}");

    cluster.faults().set(FaultPlan::seeded(1).failing_store(1.0).only(ALL));
    let error = maps.create(&PostParams::default(), &config_map("two")).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code >= 500), "{error}");

    cluster.faults().set(FaultPlan::seeded(1).timeouts(2.0).only(ALL));
    let error = maps.create(&PostParams::default(), &config_map("three")).await.unwrap_err();
    assert!(error.to_string().contains("timed out"), "{error}");

    assert_eq!(cluster.faults().struck().len(), 3, "{:?}", cluster.faults().struck());
    cluster.faults().clear();
    patched(&maps).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn who_is_cut_off_hears_and_says_nothing_until_it_is_healed() {
    let cluster = TestCluster::start().await.unwrap();
    let maps = user(&cluster, "jane");
    let mut events = std::pin::pin!(maps.watch(&WatchParams::default(), "0").await.unwrap());
    cluster.faults().cut(ALL);
    let ended = async { while let Some(Ok(_)) = futures::StreamExt::next(&mut events).await {} };
    timeout(PATIENCE, ended).await.expect("the watch ends");
    assert!(maps.list(&ListParams::default()).await.is_err());
    Api::<ConfigMap>::default_namespaced(cluster.client())
        .list(&ListParams::default())
        .await
        .unwrap();
    cluster.faults().heal(ALL);
    maps.list(&ListParams::default()).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_outlive_a_restart_of_the_server() {
    let cluster = TestCluster::builder().listen().start().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("kept")).await.unwrap();
    cluster.restart_api_server().await;
    maps.get("kept").await.unwrap();
    let file = kube::config::Kubeconfig::read_from(cluster.kubeconfig().unwrap()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
    let outside: Api<ConfigMap> = Api::default_namespaced(kube::Client::try_from(config).unwrap());
    outside.get("kept").await.expect("the server is where it was");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_compaction_ends_watches_from_before_it() {
    let cluster = TestCluster::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    cluster.compact().await.unwrap();
    let list = ListParams::default().at("2").matching(kube::api::VersionMatch::Exact);
    let error = maps.list(&list).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 410), "{error}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_slow_store_takes_the_clusters_time() {
    let cluster = TestCluster::builder().paused().start().await.unwrap();
    let plan = FaultPlan::seeded(1).slow_store(1.0, Duration::from_secs(5)).only(ALL);
    cluster.faults().set(plan);
    let maps = user(&cluster, "jane");
    let writing =
        tokio::spawn(async move { maps.create(&PostParams::default(), &config_map("slow")).await });
    cluster.advance(Duration::from_secs(60)).await;
    let created = timeout(PATIENCE, writing).await.unwrap().unwrap().unwrap();
    let write =
        cluster.history().writes().into_iter().find(|write| write.key.ends_with("/slow")).unwrap();
    assert!(write.at.to_string().as_str() >= "2026-01-01T00:00:05Z", "{write}: {created:?}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_part_may_have_another_time() {
    let builder = TestCluster::builder().paused().simulated_nodes(1);
    let cluster =
        builder.skew("simulated-nodes", SignedDuration::from_hours(1)).start().await.unwrap();
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(cluster.client());
    let node = nodes.get("simulated-1").await.unwrap();
    let created = node.metadata.creation_timestamp.unwrap().0;
    let beat = node.status.unwrap().conditions.unwrap()[0].last_heartbeat_time.clone().unwrap().0;
    assert_eq!(beat.duration_since(created), SignedDuration::from_hours(1));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn dropped_watches_end_soon() {
    let cluster = TestCluster::start().await.unwrap();
    cluster.faults().set(FaultPlan::seeded(1).dropped_watches(1.0).only(ALL));
    let maps = user(&cluster, "jane");
    for number in 0..5 {
        let name = format!("map-{number}");
        maps.create(&PostParams::default(), &config_map(&name)).await.unwrap();
    }
    let mut events = std::pin::pin!(maps.watch(&WatchParams::default(), "1").await.unwrap());
    let mut seen = 0;
    let ended = async {
        while let Some(Ok(WatchEvent::Added(_))) = futures::StreamExt::next(&mut events).await {
            seen += 1;
        }
    };
    timeout(PATIENCE, ended).await.expect("the watch ends");
    cluster.stop().await.unwrap();
}
