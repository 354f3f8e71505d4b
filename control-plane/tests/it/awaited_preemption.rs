//! Preemption without the gate `SchedulerAsyncPreemption`: scheduling waits until the victims are deleted.

use crate::gangs::{PATIENCE, node};
use async_trait::async_trait;
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    scheduling::v1::PriorityClass,
};
use kube::{Api, api::PostParams, runtime::wait::await_condition};
use kubeplane::{
    core::{
        admission::{Operation, Request},
        status::{ApiError, ApiResult},
    },
    prelude::*,
    telemetry::Metrics,
    testing::TestCluster,
};
use serde_json::json;
use tokio::time::timeout;

/// Lets nobody delete the pod of a name.
#[derive(Debug)]
struct Keep(&'static str);

#[async_trait]
impl Admission for Keep {
    fn name(&self) -> &'static str {
        "Keep"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Delete
            && definition.plural.as_ref() == "pods"
            && subresource.is_empty()
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        if request.name != self.0 {
            return Ok(());
        }
        Err(ApiError::forbidden(&request.definition.resource(), request.name, "it stays"))
    }
}

fn pod(name: &str, class: &str) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
        "priorityClassName": class, "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "600m"}}}]}}))
    .unwrap()
}

fn has_node(pod: Option<&Pod>) -> bool {
    pod.is_some_and(|own| own.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()))
}

/// A cluster where one node has the pod of this name, and room for no other.
async fn start(victim: &str, metrics: &Metrics) -> (TestCluster, Api<Pod>) {
    let gates = "SchedulerAsyncPreemption=false".parse().unwrap();
    let options = ApiOptions { features: gates, metrics: metrics.clone(), ..ApiOptions::default() };
    let cluster = TestCluster::builder()
        .options(options)
        .api(|builder| builder.admit(Keep("kept")))
        .controllers_named("serviceaccount-controller")
        .scheduler()
        .start()
        .await
        .unwrap();
    let classes: Api<PriorityClass> = Api::all(cluster.client());
    for (name, value) in [("low", 10), ("high", 100)] {
        let class = json!({"metadata": {"name": name}, "value": value});
        let class = serde_json::from_value(class).unwrap();
        classes.create(&PostParams::default(), &class).await.unwrap();
    }
    let nodes: Api<Node> = Api::all(cluster.client());
    nodes.create(&PostParams::default(), &node("a")).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    pods.create(&PostParams::default(), &pod(victim, "low")).await.unwrap();
    timeout(PATIENCE, await_condition(pods.clone(), victim, has_node)).await.unwrap().unwrap();
    (cluster, pods)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_takes_the_place_of_another_that_is_deleted_while_scheduling_waits() {
    let metrics = Metrics::new();
    let (cluster, pods) = start("victim", &metrics).await;
    pods.create(&PostParams::default(), &pod("important", "high")).await.unwrap();
    let placed = await_condition(pods.clone(), "important", has_node);
    timeout(PATIENCE, placed).await.unwrap().unwrap();
    assert!(pods.get_opt("victim").await.unwrap().is_none());
    let told = metrics.encode();
    assert!(told.contains("scheduler_preemption_victims_count 1\n"), "{told}");
    assert!(!told.contains("scheduler_preemption_goroutines_execution_total{"), "{told}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_told_why_another_that_should_make_room_is_not_deleted() {
    let (cluster, pods) = start("kept", &Metrics::new()).await;
    pods.create(&PostParams::default(), &pod("important", "high")).await.unwrap();
    let why = "preemption: pods \"kept\" is forbidden: it stays";
    let told = await_condition(pods.clone(), "important", |pod: Option<&Pod>| {
        let status = pod.and_then(|own| own.status.as_ref());
        let mut conditions = status.and_then(|own| own.conditions.as_ref()).into_iter().flatten();
        conditions.any(|own| own.message.as_deref().is_some_and(|message| message.contains(why)))
    });
    assert!(timeout(PATIENCE, told).await.is_ok(), "{:#?}", pods.get("important").await);
    assert!(has_node(Some(&pods.get("kept").await.unwrap())));
    let status = pods.get("important").await.unwrap().status.unwrap();
    assert_eq!(status.nominated_node_name, None, "no room is held where none was made");
    cluster.stop().await.unwrap();
}
