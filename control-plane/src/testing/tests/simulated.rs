//! Nodes without kubelets, and parts of a test's own.

use super::*;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Node;
use kube::{
    CustomResource, CustomResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, LogParams, Patch, PatchParams},
};
use kubeplane_client::ObjectKey;
use kubeplane_controllers::{Action, Context, Controller, Error, Sources};
use kubeplane_core::{
    Definition,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// How many nodes are ready, of how many.
async fn ready_nodes(cluster: &TestCluster) -> (usize, usize) {
    let nodes = Api::<Node>::all(cluster.client()).list(&ListParams::default()).await.unwrap();
    let is_ready = |node: &&Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    (nodes.iter().filter(is_ready).count(), nodes.items.len())
}

#[test]
fn nodes_come_and_become_ready_whatever_fails_meanwhile() {
    let nodes = "kind: Nodes\nmetadata: {name: late}\nspec: {count: 40, readyDelay: 10m}";
    let plan =
        FaultPlan::seeded(1).timeouts(0.5).failing_store(0.2).only("system:simulated-nodes:*");
    let builder = TestCluster::builder().simulation(nodes.parse().unwrap()).faults(plan).paused();
    run(builder, async |cluster| {
        assert_eq!(ready_nodes(&cluster).await, (0, 40), "all are there, and not ready yet");
        cluster.advance(Duration::from_secs(20 * 60)).await;
        let struck = cluster.faults().struck();
        assert_eq!(ready_nodes(&cluster).await, (40, 40), "{}", struck.join("\n"));
        let on_nodes = |line: &&String| line.contains("PATCH /api/v1/nodes/late-");
        assert!(struck.iter().any(|line| line.contains("POST /api/v1/nodes:")), "{struck:?}");
        assert!(struck.iter().filter(on_nodes).count() > 10, "{struck:?}");
    });
}

/// Makes a map for each widget, with the time at which it did.
#[derive(Debug)]
struct Mapping;

#[async_trait::async_trait]
impl Controller for Mapping {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "mapping"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.objects::<Widget>();
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": key.name},
            "data": {"now": context.now().to_string()}});
        let maps: Api<ConfigMap> = Api::namespaced(context.client(), &key.namespace);
        let apply = PatchParams::apply("mapping").force();
        maps.patch(&key.name, &apply, &Patch::Apply(map)).await?;
        Ok(Action::Done)
    }
}

/// Makes one widget when it starts.
#[derive(Debug)]
struct Making {
    clock: SharedClock,
    widgets: Api<Widget>,
}

#[async_trait::async_trait]
impl Component for Making {
    fn name(&self) -> &str {
        "making"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let widget = Widget::new("first", WidgetSpec { made: self.clock.now().to_string() });
        self.widgets.create(&PostParams::default(), &widget).await?;
        lifecycle.ready();
        lifecycle.stopping().await;
        Ok(())
    }
}

#[derive(CustomResource, Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[kube(group = "example.com", version = "v1", kind = "Widget", namespaced)]
struct WidgetSpec {
    made: String,
}

#[test]
fn a_kind_a_controller_and_a_component_of_a_tests_own_work_together() {
    const CONTROLLERS: &str = "system:test-controllers";
    let hour = SignedDuration::from_hours(1);
    let made = |parts: &ClusterParts| {
        let user = UserInfo::new("maker", ["system:masters", GROUP_AUTHENTICATED]);
        let widgets = Api::default_namespaced(parts.client_as(user));
        Ok::<_, BoxError>(Making { clock: parts.clock_of("making"), widgets })
    };
    let builder = TestCluster::builder().crd(Widget::crd()).controller(|| Mapping).component(made);
    let builder = builder.skew("making", -hour).skew("test-controllers", hour).paused();
    run(builder, async |cluster| {
        cluster.settle().await;
        let widgets: Api<Widget> = Api::default_namespaced(cluster.client());
        let widget = widgets.get("first").await.unwrap();
        assert_eq!(widget.spec.made, "2025-12-31T23:00:00Z", "its clock is off");
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        let map = maps.get("first").await.unwrap();
        assert_eq!(map.data.unwrap()["now"], "2026-01-01T01:00:00Z", "and so is the controller's");
        let writes = cluster.history().writes();
        let made = writes.iter().find(|write| write.key.contains("/widgets/"));
        assert_eq!(made.unwrap().by, "maker");

        cluster.faults().cut(CONTROLLERS);
        let second = Widget::new("second", WidgetSpec { made: "later".to_owned() });
        widgets.create(&PostParams::default(), &second).await.unwrap();
        cluster.advance(Duration::from_secs(60)).await;
        assert!(maps.get_opt("second").await.unwrap().is_none(), "the controller is cut off");
        cluster.faults().heal(CONTROLLERS);
        cluster.advance(Duration::from_secs(300)).await;
        assert!(maps.get_opt("second").await.unwrap().is_some(), "it has seen to it since");
    });
}
