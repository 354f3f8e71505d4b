//! The state of a cluster: its past, its snapshots, its forks, and who wrote it.

use super::*;
use kube::api::{DeleteParams, Patch, PatchParams};

async fn names(maps: &Api<ConfigMap>) -> Vec<String> {
    let list = maps.list(&ListParams::default()).await.unwrap();
    list.items
        .into_iter()
        .filter_map(|map| map.metadata.name)
        .filter(|name| !name.starts_with("kube"))
        .collect()
}

#[tokio::test]
async fn the_past_can_be_read() {
    let cluster = TestCluster::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    let then = cluster.revision();
    let change = Patch::Merge(json!({"data": {"now": "other"}}));
    maps.patch("one", &PatchParams::default(), &change).await.unwrap();
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    let past = cluster.at(then).get::<ConfigMap>("default", "one").await.unwrap().unwrap();
    assert_eq!(past.data, None);
    let changed = cluster.at(then + 1).get::<ConfigMap>("default", "one").await.unwrap().unwrap();
    assert_eq!(changed.data.unwrap()["now"], "other");
    assert!(cluster.at(then + 2).get::<ConfigMap>("default", "one").await.unwrap().is_none());
    assert!(cluster.at(then - 1).get::<ConfigMap>("default", "one").await.unwrap().is_none());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_fork_goes_its_own_way() {
    let cluster = TestCluster::builder().paused().seed(3).start().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("before")).await.unwrap();
    let then = cluster.revision();
    cluster.advance(Duration::from_secs(100)).await;
    let fork = cluster.fork().await.unwrap();
    assert_eq!(fork.clock().now(), cluster.clock().now());
    let forked: Api<ConfigMap> = Api::default_namespaced(fork.client());
    forked.create(&PostParams::default(), &config_map("there")).await.unwrap();
    maps.create(&PostParams::default(), &config_map("here")).await.unwrap();
    assert_eq!(names(&maps).await, ["before", "here"]);
    assert_eq!(names(&forked).await, ["before", "there"]);
    assert!(
        fork.at(then).get::<ConfigMap>("default", "before").await.unwrap().is_some(),
        "with its past"
    );
    fork.advance(Duration::from_secs(100)).await;
    assert!(fork.clock().now() > cluster.clock().now());
    fork.stop().await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_brings_back_what_was() {
    let cluster = TestCluster::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("kept")).await.unwrap();
    let snapshot = cluster.snapshot().unwrap();
    maps.delete("kept", &DeleteParams::default()).await.unwrap();
    maps.create(&PostParams::default(), &config_map("lost")).await.unwrap();
    cluster.restore(&snapshot).await.unwrap();
    assert!(cluster.revision() > snapshot.revision());
    assert_eq!(names(&maps).await, ["kept"]);
    cluster.stop().await.unwrap();
    // And in another cluster altogether.
    let again = TestCluster::builder().snapshot(snapshot).start().await.unwrap();
    assert_eq!(names(&Api::default_namespaced(again.client())).await, ["kept"]);
    again.stop().await.unwrap();
}

#[tokio::test]
async fn the_history_says_who_wrote_what() {
    let cluster = TestCluster::builder()
        .controllers_named("serviceaccount-controller")
        .start()
        .await
        .unwrap();
    let jane = cluster.client_as(UserInfo::new("jane", ["system:masters", GROUP_AUTHENTICATED]));
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    Api::all(jane.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(jane, "team");
    let there = await_condition(accounts, "default", |account: Option<&_>| account.is_some());
    timeout(PATIENCE, there).await.unwrap().unwrap();
    let by = |key: &str| {
        let write = cluster.history().writes().into_iter().find(|write| write.key == key);
        write.map(|write| (write.kind, write.by))
    };
    assert_eq!(by("/registry/namespaces/team"), Some((WriteKind::Create, "jane".to_owned())));
    let controller = "system:serviceaccount:kube-system:service-account-controller".to_owned();
    assert_eq!(by("/registry/serviceaccounts/team/default"), Some((WriteKind::Create, controller)));
    assert_eq!(by("/registry/namespaces/default").unwrap().1, "system:apiserver");
    let text = cluster.history().to_string();
    assert!(text.contains("create /registry/namespaces/team by jane"), "{text}");
    cluster.stop().await.unwrap();
}
