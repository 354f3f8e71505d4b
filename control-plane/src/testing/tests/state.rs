//! The state of a cluster: its past, its snapshots, its forks, and who wrote it.

use super::*;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Config,
    api::{DeleteParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use std::collections::BTreeMap;

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

/// A deployment on simulated nodes, with everything that sees to it.
async fn with_components(seed: Option<u64>) -> (TestCluster, Api<Pod>) {
    let mut builder = TestCluster::builder().controllers().scheduler().simulated_nodes(2).paused();
    if let Some(seed) = seed {
        builder = builder.seed(seed);
    }
    let cluster = builder.start().await.unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    deployments.create(&PostParams::default(), &web()).await.unwrap();
    cluster.advance(Duration::from_secs(60)).await;
    let pods = Api::default_namespaced(cluster.client());
    assert_eq!(running(&pods).await.len(), 4, "{}", cluster.history());
    (cluster, pods)
}

/// What is not to change of a pod that runs: its name with uid, address, start and restarts.
async fn running(pods: &Api<Pod>) -> BTreeMap<String, String> {
    let list = pods.list(&ListParams::default()).await.unwrap();
    let facts = |pod: Pod| {
        let status = pod.status?;
        let own = status.container_statuses?.into_iter().next()?;
        let started = own.state?.running?.started_at?.0;
        let (uid, address) = (pod.metadata.uid?, status.pod_ip?);
        let facts = format!("{uid} {address} since {started}, {} restarts", own.restart_count);
        own.ready.then_some((pod.metadata.name?, facts))
    };
    list.items.into_iter().filter_map(facts).collect()
}

async fn scale(cluster: &TestCluster, replicas: i32) {
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let change = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch("web", &PatchParams::default(), &change).await.unwrap();
    cluster.advance(Duration::from_secs(60)).await;
}

fn uid(facts: &str) -> &str {
    facts.split(' ').next().unwrap()
}

fn address(facts: &str) -> &str {
    facts.split(' ').nth(1).unwrap()
}

#[tokio::test]
async fn pods_run_on_in_a_fork_and_new_ones_are_others() {
    for seed in [Some(9), None] {
        let (cluster, pods) = with_components(seed).await;
        let before = running(&pods).await;
        let fork = cluster.fork().await.unwrap();
        fork.advance(Duration::from_secs(300)).await;
        let forked: Api<Pod> = Api::default_namespaced(fork.client());
        assert_eq!(running(&forked).await, before, "nothing starts again");

        scale(&fork, 7).await;
        scale(&cluster, 7).await;
        let (here, there) = (running(&pods).await, running(&forked).await);
        assert_eq!((here.len(), there.len()), (7, 7));
        for (name, facts) in &before {
            assert_eq!((here.get(name), there.get(name)), (Some(facts), Some(facts)));
        }
        for (name, facts) in there.iter().filter(|(name, _)| !before.contains_key(*name)) {
            assert!(!here.contains_key(name), "{name} is the origin's");
            assert!(here.values().all(|other| uid(other) != uid(facts)), "{facts} is the origin's");
        }
        let addresses: BTreeSet<_> = there.values().map(|facts| address(facts)).collect();
        assert_eq!(addresses.len(), 7, "one for each: {there:?}");
        fork.stop().await.unwrap();
        cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn pods_that_are_brought_back_run_on() {
    let (cluster, pods) = with_components(Some(10)).await;
    let before = running(&pods).await;
    let snapshot = cluster.snapshot().unwrap();
    let name = before.keys().next().unwrap();
    pods.delete(name, &DeleteParams::default()).await.unwrap();
    scale(&cluster, 6).await;
    let meanwhile = running(&pods).await;
    assert!(meanwhile.len() == 6 && !meanwhile.contains_key(name), "{meanwhile:?}");
    cluster.restore(&snapshot).await.unwrap();
    cluster.advance(Duration::from_secs(60)).await;
    assert_eq!(running(&pods).await, before, "as they were, from when they were");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_fork_of_what_listens_has_a_port_of_its_own() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cluster = TestCluster::builder().listen_on(address).start().await.unwrap();
    let fork = cluster.fork().await.unwrap();
    let forked: Api<ConfigMap> = Api::default_namespaced(fork.client());
    forked.create(&PostParams::default(), &config_map("there")).await.unwrap();
    let mut ports = Vec::new();
    for (of, expected) in [(&cluster, vec![]), (&fork, vec!["there".to_owned()])] {
        let file = Kubeconfig::read_from(of.kubeconfig().unwrap()).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(file, &options).await.unwrap();
        assert_eq!(config.cluster_url.host(), Some("127.0.0.1"));
        ports.push(config.cluster_url.port_u16().unwrap());
        let outside = kube::Client::try_from(config).unwrap();
        assert_eq!(names(&Api::default_namespaced(outside)).await, expected);
    }
    assert_eq!(ports[0], address.port());
    assert_ne!(ports[1], address.port());
    fork.stop().await.unwrap();
    cluster.stop().await.unwrap();
}

/// Waits until so many pods run whose logs, which the cluster's own kubelet has, say what they should.
async fn await_logs(cluster: &TestCluster, count: usize) -> BTreeMap<String, String> {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let mut last = String::new();
    let told = async {
        loop {
            let now = running(&pods).await;
            let mut logs = Vec::new();
            for name in now.keys() {
                logs.push(pods.logs(name, &Default::default()).await.unwrap_or_default());
            }
            if now.len() == count && logs.iter().all(|log| log == "hello\n") {
                return now;
            }
            last = format!("{now:?} {logs:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("no {count} pods: {last}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_kubelet_is_forked_and_begins_with_a_snapshot() {
    let builder = TestCluster::builder().controllers().scheduler().nodes(1);
    let cluster = builder.clone().start().await.unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    deployments.create(&PostParams::default(), &web()).await.unwrap();
    let before = await_logs(&cluster, 4).await;
    let snapshot = cluster.snapshot().unwrap();

    // The fork's node is another machine: its kubelet finds nothing that runs, and starts the same pods there.
    let fork = cluster.fork().await.unwrap();
    let endpoint = async |of: &TestCluster| {
        let nodes: Api<Node> = Api::all(of.client());
        let status = nodes.get("node-1").await.unwrap().status.unwrap();
        status.daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port
    };
    assert_ne!(endpoint(&fork).await, endpoint(&cluster).await, "each has a kubelet of its own");
    let there = await_logs(&fork, 4).await;
    let uids = |pods: &BTreeMap<String, String>| -> Vec<String> {
        pods.values().map(|facts| uid(facts).to_owned()).collect()
    };
    assert_eq!(uids(&there), uids(&before), "the pods are the same");
    let forked: Api<Deployment> = Api::default_namespaced(fork.client());
    let one = Patch::Merge(json!({"spec": {"replicas": 1}}));
    forked.patch("web", &PatchParams::default(), &one).await.unwrap();
    await_logs(&fork, 1).await;
    fork.stop().await.unwrap();
    assert_eq!(await_logs(&cluster, 4).await, before, "nothing of that happened here");

    deployments.delete("web", &DeleteParams::default()).await.unwrap();
    cluster.stop().await.unwrap();
    // And in another cluster altogether.
    let again = builder.snapshot(snapshot).start().await.unwrap();
    assert_eq!(uids(&await_logs(&again, 4).await), uids(&before));
    again.stop().await.unwrap();
}
