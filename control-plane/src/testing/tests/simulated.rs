//! Nodes without kubelets, and parts of a test's own.

use super::*;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, LogParams};
use kubeplane_core::{
    Definition,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_run_on_simulated_nodes() {
    let builder = TestCluster::builder().controllers().scheduler().simulated_nodes(20);
    let cluster = builder.start().await.unwrap();
    let nodes: Api<Node> = Api::all(cluster.client());
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 20);
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let mut web = web();
    web.spec.as_mut().unwrap().replicas = Some(60);
    deployments.create(&PostParams::default(), &web).await.unwrap();
    let ready = |web: Option<&Deployment>| {
        web.and_then(|web| web.status.as_ref()?.ready_replicas).is_some_and(|ready| ready == 60)
    };
    let waited = timeout(PATIENCE, await_condition(deployments, "web", ready)).await;
    assert!(matches!(waited, Ok(Ok(_))), "not ready: {}", cluster.history().tail());
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let some = pods
        .list(&ListParams::default().limit(1))
        .await
        .unwrap()
        .items
        .remove(0)
        .metadata
        .name
        .unwrap();
    pods.delete(&some, &Default::default()).await.unwrap();
    let gone = await_condition(pods, &some, |pod: Option<&Pod>| pod.is_none());
    timeout(PATIENCE, gone).await.unwrap().unwrap();
    cluster.stop().await.unwrap();
}

#[derive(Debug)]
struct NoName;

#[async_trait::async_trait]
impl Admission for NoName {
    fn name(&self) -> &'static str {
        "NoName"
    }

    fn handles(&self, operation: Operation, definition: &Definition, _: &str) -> bool {
        operation == Operation::Create && definition.plural.as_ref() == "configmaps"
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        match request.name {
            "bad" => {
                Err(ApiError::forbidden(&request.definition.resource(), request.name, "bad name"))
            }
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn admission_of_a_tests_own_takes_part_also_after_a_restart() {
    let cluster =
        TestCluster::builder().api(|builder| builder.admit(NoName)).start().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("good")).await.unwrap();
    for _ in 0..2 {
        let error = maps.create(&PostParams::default(), &config_map("bad")).await.unwrap_err();
        assert!(error.to_string().contains("bad name"), "{error}");
        cluster.restart_api_server().await;
    }
    cluster.stop().await.unwrap();
}

#[test]
fn what_simulated_pods_say_and_use_is_told_without_a_kubelet() {
    let stages = "
kind: Nodes
metadata: {name: sim}
---
kind: PodStages
spec: {logs: {lines: [one, two, three], every: 10s}, usage: {cpu: 250m, memory: 64Mi}}
";
    let builder = TestCluster::builder().controllers_named("serviceaccount-controller").paused();
    run(builder.simulation(stages.parse().unwrap()), async |cluster| {
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "nodeName": "sim-1", "containers": [{"name": "c", "image": "i"}]}});
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        cluster.advance(Duration::from_secs(15)).await;
        assert_eq!(pods.logs("p", &LogParams::default()).await.unwrap(), "one\ntwo\n");
        let last = LogParams { tail_lines: Some(1), timestamps: true, ..LogParams::default() };
        let line = pods.logs("p", &last).await.unwrap();
        assert_eq!(line, "2026-01-01T00:00:10.000000000Z two\n");
        let wrong = LogParams { container: Some("d".to_owned()), ..LogParams::default() };
        let error = pods.logs("p", &wrong).await.unwrap_err().to_string();
        assert!(error.contains("container d is not valid for pod p"), "{error}");

        let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
        let kind = ApiResource::from_gvk_with_plural(&kind, "pods");
        let used: Api<DynamicObject> = Api::default_namespaced_with(cluster.client(), &kind);
        let used = used.get("p").await.unwrap();
        assert_eq!(used.data["containers"][0]["usage"], json!({"cpu": "250m", "memory": "64Mi"}));
    });
}
