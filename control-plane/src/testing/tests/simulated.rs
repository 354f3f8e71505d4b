//! Nodes without kubelets, and parts of a test's own.

use super::*;
use k8s_openapi::api::core::v1::Node;
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
