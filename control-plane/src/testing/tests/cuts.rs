//! Parts that are cut off: what they are there for is not done, and is done when they are healed.

use super::*;
use futures::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Node};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, LogParams};

/// How often time is let pass until something is so, and how much.
const STEPS: usize = 60;
const STEP: Duration = Duration::from_secs(5);

/// What a node is said to be: ready `True` or `False`, or `Unknown`.
fn readiness(node: &Node) -> String {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    ready.map(|ready| ready.status.clone()).unwrap_or_default()
}

/// The names of the nodes that are not ready.
async fn not_ready(cluster: &TestCluster) -> Vec<String> {
    let nodes = Api::<Node>::all(cluster.client()).list(&ListParams::default()).await.unwrap();
    let not = nodes.iter().filter(|node| readiness(node) != "True");
    not.filter_map(|node| node.metadata.name.clone()).collect()
}

/// Lets time pass until this is so.
async fn until(cluster: &TestCluster, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..STEPS {
        if is_so().await {
            return;
        }
        cluster.advance(STEP).await;
    }
    panic!("it never is that {what}:\n{}", cluster.history().tail());
}

async fn becomes(cluster: &TestCluster, name: &str, wanted: &str) {
    let nodes: Api<Node> = Api::all(cluster.client());
    let is_so = async || readiness(&nodes.get(name).await.unwrap()) == wanted;
    until(cluster, &format!("{name} is ready: {wanted}"), is_so).await;
}

async fn make(pods: &Api<Pod>, name: &str, node: &str) {
    let pod = json!({"metadata": {"name": name}, "spec": {
        "nodeName": node, "containers": [{"name": "c", "image": "i"}]}});
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
}

async fn runs(pods: &Api<Pod>, name: &str) -> bool {
    let status = pods.get(name).await.unwrap().status.unwrap_or_default();
    status.phase.as_deref() == Some("Running")
}

#[test]
fn one_simulated_node_of_many_is_silent_while_it_is_cut_off() {
    const CUT: &str = "system:simulated-nodes:node-17";
    let nodes = "kind: Nodes\nmetadata: {name: node}\nspec: {count: 20}";
    let controllers = "node-lifecycle-controller,serviceaccount-controller";
    let builder = TestCluster::builder().controllers_named(controllers).paused();
    run(builder.simulation(nodes.parse().unwrap()), async |cluster| {
        cluster.advance(Duration::from_secs(60)).await;
        assert!(not_ready(&cluster).await.is_empty());

        cluster.faults().cut(CUT);
        becomes(&cluster, "node-17", "Unknown").await;
        cluster.advance(Duration::from_secs(60)).await;
        assert_eq!(not_ready(&cluster).await, ["node-17"], "the others are heard of");
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        make(&pods, "cut", "node-17").await;
        make(&pods, "other", "node-1").await;
        cluster.advance(Duration::from_secs(30)).await;
        assert_eq!((runs(&pods, "cut").await, runs(&pods, "other").await), (false, true));

        cluster.faults().heal(CUT);
        becomes(&cluster, "node-17", "True").await;
        until(&cluster, "its pod runs", async || runs(&pods, "cut").await).await;
        assert!(not_ready(&cluster).await.is_empty());
        let writes = cluster.history().writes();
        assert!(writes.iter().any(|write| write.by == CUT && write.key.contains("/pods/")));
    });
}

/// The nodes or pods of which figures are told.
async fn measured(cluster: &TestCluster, kind: &str, plural: &str) -> Vec<String> {
    let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", kind);
    let kind = ApiResource::from_gvk_with_plural(&kind, plural);
    let figures: Api<DynamicObject> = Api::all_with(cluster.client(), &kind);
    let list = figures.list(&ListParams::default()).await.unwrap();
    list.items.into_iter().filter_map(|one| one.metadata.name).collect()
}

#[test]
fn nothing_is_heard_of_a_simulated_node_that_is_cut_off() {
    const CUT: &str = "system:simulated-nodes:node-1";
    let simulation = "
kind: Nodes
metadata: {name: node}
spec: {count: 2}
---
kind: PodStages
spec: {logs: {lines: [one, two], every: 10s}, usage: {cpu: 250m, memory: 64Mi}}
";
    let builder = TestCluster::builder().controllers_named("serviceaccount-controller").paused();
    run(builder.simulation(simulation.parse().unwrap()), async |cluster| {
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        make(&pods, "cut", "node-1").await;
        make(&pods, "other", "node-2").await;
        cluster.advance(Duration::from_secs(5)).await;
        let follow = LogParams { follow: true, ..LogParams::default() };
        let mut followed = Box::pin(pods.log_stream("cut", &follow).await.unwrap()).lines();
        assert_eq!(followed.next().await.unwrap().unwrap(), "one");
        assert_eq!(measured(&cluster, "PodMetrics", "pods").await, ["cut", "other"]);

        cluster.faults().cut(CUT);
        let next = timeout(PATIENCE, followed.next()).await.expect("it ends though no time passes");
        assert!(!matches!(next, Some(Ok(_))), "nothing more is said: {next:?}");
        let whole = LogParams::default();
        let error = pods.logs("cut", &whole).await.unwrap_err().to_string();
        assert!(error.contains("connect: connection timed out"), "{error}");
        assert_eq!(pods.logs("other", &whole).await.unwrap(), "one\n");
        assert_eq!(measured(&cluster, "PodMetrics", "pods").await, ["other"]);
        assert_eq!(measured(&cluster, "NodeMetrics", "nodes").await, ["node-2"]);

        cluster.faults().heal(CUT);
        cluster.advance(Duration::from_secs(10)).await;
        assert_eq!(pods.logs("cut", &whole).await.unwrap(), "one\ntwo\n", "it went on meanwhile");
        assert_eq!(measured(&cluster, "PodMetrics", "pods").await, ["cut", "other"]);
        assert_eq!(measured(&cluster, "NodeMetrics", "nodes").await, ["node-1", "node-2"]);
    });
}

#[test]
fn a_log_of_a_simulated_pod_is_followed_to_its_end() {
    let simulation = "
kind: Nodes
metadata: {name: node}
---
kind: PodStages
spec: {startDelay: 2s, runFor: 25s, logs: {lines: [one, two, three, four], every: 10s}}
";
    let builder = TestCluster::builder().controllers_named("serviceaccount-controller").paused();
    run(builder.simulation(simulation.parse().unwrap()), async |cluster| {
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let pod = json!({"metadata": {"name": "work"}, "spec": {"nodeName": "node-1",
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
        let pod = serde_json::from_value(pod).unwrap();
        pods.create(&PostParams::default(), &pod).await.unwrap();
        cluster.settle().await;
        let error = pods.logs("work", &LogParams::default()).await.unwrap_err().to_string();
        assert!(error.contains("container \"c\" in pod \"work\" is not available"), "{error}");
        cluster.advance(Duration::from_secs(5)).await;
        let follow = LogParams { follow: true, ..LogParams::default() };
        let followed = Box::pin(pods.log_stream("work", &follow).await.unwrap()).lines();
        let reading = timeout(PATIENCE, followed.collect::<Vec<_>>());
        let path = "/api/v1/namespaces/default/pods/work/log?follow=true&limitBytes=6";
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let client = cluster.client();
        let some = timeout(PATIENCE, client.request_text(request));
        let passing = cluster.advance(Duration::from_secs(60));
        let (all, some, ()) = tokio::join!(reading, some, passing);
        assert_eq!(some.expect("it ends with what was asked for").unwrap(), "one\ntw");
        let all = all.expect("it ends with its pod");
        let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
        assert_eq!(all, ["one", "two", "three"]);
    });
}

#[test]
fn nobody_is_asked_at_the_address_of_a_simulated_node() {
    run(TestCluster::builder().simulated_nodes(1).paused(), async |cluster| {
        let path = "/api/v1/nodes/simulated-1/proxy/stats/summary";
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let client = cluster.client();
        let asked = timeout(PATIENCE, client.request_text(request)).await;
        let error = asked.expect("it is known at once").unwrap_err().to_string();
        assert!(error.contains("connect: connection refused"), "{error}");
    });
}

#[test]
fn a_slow_simulated_node_holds_up_no_other() {
    let builder = TestCluster::builder().controllers_named("node-lifecycle-controller").paused();
    run(builder.simulated_nodes(20), async |cluster| {
        let plan = FaultPlan::seeded(1).slow_store(1.0, Duration::from_secs(300));
        cluster.faults().set(plan.only("system:simulated-nodes:simulated-3"));
        cluster.advance(Duration::from_secs(200)).await;
        assert_eq!(not_ready(&cluster).await, ["simulated-3"]);
        cluster.faults().clear();
        cluster.advance(Duration::from_secs(300)).await;
        becomes(&cluster, "simulated-3", "True").await;
    });
}

#[test]
fn pods_of_others_run_while_a_node_with_many_is_slow() {
    let builder = TestCluster::builder().controllers_named("serviceaccount-controller").paused();
    run(builder.simulated_nodes(2), async |cluster| {
        let plan = FaultPlan::seeded(1).slow_store(1.0, Duration::from_secs(300));
        cluster.faults().set(plan.only("system:simulated-nodes:simulated-1"));
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        for number in 0..40 {
            make(&pods, &format!("slow-{number}"), "simulated-1").await;
        }
        make(&pods, "other", "simulated-2").await;
        cluster.advance(Duration::from_secs(20)).await;
        assert_eq!((runs(&pods, "other").await, runs(&pods, "slow-0").await), (true, false));

        cluster.faults().clear();
        let pending = ListParams::default().fields("status.phase=Pending");
        let none = async || pods.list(&pending).await.unwrap().items.is_empty();
        until(&cluster, "all pods run", none).await;
    });
}

#[test]
fn a_node_with_a_kubelet_is_not_ready_while_it_is_cut_off() {
    let builder = TestCluster::builder().controllers_named("node-lifecycle-controller").nodes(2);
    // Nothing goes wrong by it, but with a plan time passes while kubelets start, for which they may wait.
    run(builder.faults(FaultPlan::seeded(1)).paused(), async |cluster| {
        for node in ["node-1", "node-2"] {
            becomes(&cluster, node, "True").await;
        }
        cluster.faults().cut("system:node:node-1");
        becomes(&cluster, "node-1", "Unknown").await;
        assert_eq!(not_ready(&cluster).await, ["node-1"]);
        cluster.faults().heal("system:node:node-1");
        becomes(&cluster, "node-1", "True").await;
    });
}

#[test]
fn nobody_says_that_a_node_is_not_ready_while_the_controllers_are_cut_off() {
    const CONTROLLERS: [&str; 2] =
        ["system:kube-controller-manager", "system:serviceaccount:kube-system:*"];
    const NODE: &str = "system:simulated-nodes:simulated-1";
    let controllers = "node-lifecycle-controller,deployment-controller";
    let builder = TestCluster::builder().controllers_named(controllers).paused();
    run(builder.simulated_nodes(2), async |cluster| {
        cluster.advance(Duration::from_secs(60)).await;
        CONTROLLERS.iter().for_each(|user| cluster.faults().cut(*user));
        cluster.faults().cut(NODE);
        let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
        deployments.create(&PostParams::default(), &web()).await.unwrap();
        cluster.advance(Duration::from_secs(300)).await;
        let sets: Api<ReplicaSet> = Api::default_namespaced(cluster.client());
        let made = async || !sets.list(&ListParams::default()).await.unwrap().items.is_empty();
        assert!(!made().await, "the controllers know of no deployment");
        assert!(not_ready(&cluster).await.is_empty(), "nor of the node");

        CONTROLLERS.iter().for_each(|user| cluster.faults().heal(user));
        until(&cluster, "there is a ReplicaSet", made).await;
        becomes(&cluster, "simulated-1", "Unknown").await;
        assert_eq!(not_ready(&cluster).await, ["simulated-1"]);
        cluster.faults().heal(NODE);
        becomes(&cluster, "simulated-1", "True").await;
    });
}
