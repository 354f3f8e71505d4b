mod cuts;
mod faults;
mod many;
mod replay;
mod simulated;
mod state;
mod told;
mod under_way;

use super::*;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Pod},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
    runtime::wait::await_condition,
};
use kubeplane_core::{
    auth::GROUP_AUTHENTICATED,
    component::{Component, ComponentError, Lifecycle},
};
use serde_json::json;
use std::panic::AssertUnwindSafe;
use std::{collections::BTreeSet, panic::catch_unwind, time::Duration};
use tokio::{runtime::Handle, time::timeout};

const PATIENCE: Duration = Duration::from_secs(60);

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

fn web() -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 4,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "web", "image": "busybox", "command": ["sh", "-c", "echo hello; sleep 3600"],
                }]},
            },
        },
    }))
    .unwrap()
}

#[tokio::test]
async fn a_bare_cluster_has_what_every_cluster_starts_with() {
    let cluster = TestCluster::start().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    let list = namespaces.list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = list.iter().filter_map(|one| one.metadata.name.as_deref()).collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    let stranger = cluster.client_as(UserInfo::new("jane", [GROUP_AUTHENTICATED]));
    let refused = Api::<Namespace>::all(stranger).list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
    assert_eq!(cluster.kubeconfig(), None);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_parts_together_run_a_deployment_on_every_node() {
    let builder = TestCluster::builder().controllers().scheduler().nodes(2);
    let cluster = builder.start().await.unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    deployments.create(&PostParams::default(), &web()).await.unwrap();
    let ready = |web: Option<&Deployment>| {
        web.and_then(|web| web.status.as_ref()?.ready_replicas).is_some_and(|ready| ready == 4)
    };
    let waited = timeout(PATIENCE, await_condition(deployments, "web", ready)).await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let list = pods.list(&ListParams::default()).await.unwrap();
    assert!(matches!(waited, Ok(Ok(_))), "not ready: {:#?}", list.items);
    let of = |pick: fn(&Pod) -> Option<String>| -> BTreeSet<_> { list.iter().map(pick).collect() };
    let nodes = of(|pod| pod.spec.as_ref()?.node_name.clone());
    assert_eq!(nodes, [Some("node-1".to_owned()), Some("node-2".to_owned())].into());
    let addresses = of(|pod| pod.status.as_ref()?.pod_ip.clone());
    assert_eq!(addresses.len(), 4, "every pod has an address of its own: {addresses:?}");
    let name = list.items[0].metadata.name.as_deref().unwrap();
    let log = pods.logs(name, &Default::default()).await.unwrap();
    assert_eq!(log, "hello\n", "the log comes from the node, through the API server");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_listening_cluster_is_reached_with_its_kubeconfig() {
    let cluster = TestCluster::builder().listen().start().await.unwrap();
    let file = kube::config::Kubeconfig::read_from(cluster.kubeconfig().unwrap()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
    let outside: Api<ConfigMap> = Api::default_namespaced(kube::Client::try_from(config).unwrap());
    outside.create(&PostParams::default(), &config_map("from-outside")).await.unwrap();
    let inside: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    assert!(inside.get_opt("from-outside").await.unwrap().is_some());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn clusters_of_one_process_do_not_see_each_other() {
    let one = TestCluster::start().await.unwrap();
    let two = TestCluster::start().await.unwrap();
    let [first, second]: [Api<ConfigMap>; 2] =
        [&one, &two].map(|c| Api::default_namespaced(c.client()));
    first.create(&PostParams::default(), &config_map("mine")).await.unwrap();
    one.stop().await.unwrap();
    assert!(second.get_opt("mine").await.unwrap().is_none());
    second.create(&PostParams::default(), &config_map("mine")).await.unwrap();
}

/// Waits until no task is left on the runtime.
async fn all_tasks_end(what: &str) {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let ended = async {
        while tasks() > 0 {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(PATIENCE, ended).await.is_ok(), "{what}: {} tasks are left", tasks());
}

#[tokio::test]
async fn nothing_is_left_of_a_cluster_that_was_stopped_or_dropped() {
    let builder = TestCluster::builder().controllers().scheduler().nodes(1).listen();
    let stopped = builder.clone().start().await.unwrap();
    let directory = stopped.directory().to_owned();
    stopped.stop().await.unwrap();
    assert!(!directory.exists());
    all_tasks_end("stopped").await;
    let dropped = builder.start().await.unwrap();
    let directory = dropped.directory().to_owned();
    drop(dropped);
    assert!(!directory.exists());
    all_tasks_end("dropped").await;
}

#[test]
fn a_panic_in_a_test_stops_the_cluster_and_goes_on() {
    let kept = Mutex::new(PathBuf::new());
    let test = async |cluster: TestCluster| {
        cluster.directory().clone_into(&mut kept.lock());
        assert!(!cluster.directory().exists(), "wrong number");
    };
    let panic = catch_unwind(AssertUnwindSafe(|| run(TestCluster::builder(), test))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"wrong number"));
    assert!(!kept.lock().exists(), "files are left");
}
