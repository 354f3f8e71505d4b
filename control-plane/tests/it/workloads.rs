//! Controllers and the scheduler together.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use kubeplane::testing::{TestCluster, run};
use serde_json::{Value, json};
use std::time::Duration;

fn api(cluster: &TestCluster, version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = kube::core::GroupVersionKind::gvk(group, version, kind);
    let resource = kube::api::ApiResource::from_gvk(&kind);
    match kind.kind.as_str() {
        "Node" => Api::all_with(cluster.client(), &resource),
        _ => Api::default_namespaced_with(cluster.client(), &resource),
    }
}

async fn make(cluster: &TestCluster, object: Value) {
    let kind = object["kind"].as_str().unwrap().to_owned();
    let api = api(cluster, object["apiVersion"].as_str().unwrap(), &kind);
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// A DaemonSet of pods with this container.
fn agent(container: &Value) -> Value {
    let template =
        json!({"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [container]}});
    let spec = json!({"selector": {"matchLabels": {"app": "agent"}}, "template": template});
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": spec})
}

#[test]
fn daemons_wait_for_room_on_their_node() {
    let small = "kind: Nodes\nmetadata: {name: small}\nspec: {count: 1, capacity: {cpu: 200m, memory: 100M, pods: '10'}}\n";
    let large = "---\nkind: Nodes\nmetadata: {name: large}\nspec: {count: 1, capacity: {cpu: '2', memory: 200M, pods: '10'}}\n";
    let simulation = format!("{small}{large}").parse().unwrap();
    let builder = TestCluster::builder().controllers().scheduler().paused().simulation(simulation);
    run(builder, async |cluster| {
        let wants = json!({"requests": {"memory": "120M", "cpu": "75m"}});
        make(&cluster, agent(&json!({"name": "c", "image": "i", "resources": wants}))).await;
        cluster.advance(Duration::from_secs(30)).await;
        let pods = api(&cluster, "v1", "Pod").list(&ListParams::default()).await.unwrap().items;
        assert_eq!(pods.len(), 2, "one for each node, whether or not there is room");
        let mut states: Vec<_> = pods
            .iter()
            .map(|pod| {
                let conditions = pod.data["status"]["conditions"].as_array().unwrap();
                let scheduled =
                    conditions.iter().find(|own| own["type"] == "PodScheduled").unwrap();
                let node = pod.data["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
                (node, scheduled["reason"].as_str().unwrap_or_default().to_owned())
            })
            .collect();
        states.sort();
        assert_eq!(states[0], (String::new(), "Unschedulable".to_owned()));
        assert_eq!(states[1].0, "large-1");
        let set = api(&cluster, "apps/v1", "DaemonSet").get("agent").await.unwrap();
        let status = &set.data["status"];
        assert_eq!(
            (&status["desiredNumberScheduled"], &status["numberReady"]),
            (&json!(2), &json!(1))
        );
    });
}

#[test]
fn a_revision_that_a_user_makes_changes_nothing_by_itself() {
    let nodes = "kind: Nodes\nmetadata: {name: worker}\nspec: {count: 1, capacity: {cpu: '4', memory: 8G, pods: '10'}}\n";
    let simulation = nodes.parse().unwrap();
    let builder = TestCluster::builder().controllers().scheduler().paused().simulation(simulation);
    run(builder, async |cluster| {
        make(&cluster, agent(&json!({"name": "c", "image": "i"}))).await;
        cluster.advance(Duration::from_secs(30)).await;
        let revisions = api(&cluster, "apps/v1", "ControllerRevision");
        let list = async || revisions.list(&ListParams::default()).await.unwrap().items;
        let first = list().await.remove(0);
        let name = first.metadata.name.clone().unwrap();
        let mut second = first.clone();
        second.metadata = ObjectMeta {
            name: Some("agent-other".to_owned()),
            owner_references: first.metadata.owner_references.clone(),
            labels: first.metadata.labels.clone(),
            ..ObjectMeta::default()
        };
        second.data["revision"] = json!(first.data["revision"].as_i64().unwrap() + 1);
        revisions.create(&PostParams::default(), &second).await.unwrap();
        cluster.settle().await;
        assert_eq!(list().await.len(), 2, "both are there, though they are the same");
        revisions.delete(&name, &DeleteParams::default()).await.unwrap();
        cluster.advance(Duration::from_secs(30)).await;
        let left = list().await.into_iter().map(|own| own.metadata.name.unwrap());
        assert_eq!(left.collect::<Vec<_>>(), ["agent-other"]);
    });
}

/// How the scheduler's words about a pod end when making room is of no use.
const NO_ROOM: &str = "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";

async fn make_pod(cluster: &TestCluster, name: &str, cpu: &str) {
    let containers = json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]);
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 0});
    make(
        cluster,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}),
    )
    .await;
}

async fn cordon(cluster: &TestCluster, node: &str, cordoned: bool) {
    let change = Patch::Merge(json!({"spec": {"unschedulable": cordoned}}));
    let nodes = api(cluster, "v1", "Node");
    nodes.patch(node, &PatchParams::default(), &change).await.unwrap();
}

/// The pod waits, and its condition and an event say why.
async fn waits(cluster: &TestCluster, name: &str, why: &str) {
    let pod = api(cluster, "v1", "Pod").get(name).await.unwrap();
    let conditions = pod.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let scheduled = conditions.iter().find(|own| own["type"] == "PodScheduled");
    let scheduled = scheduled.unwrap_or_else(|| panic!("{name}: {:#}", pod.data["status"]));
    assert_eq!(
        (&scheduled["status"], &scheduled["reason"], &scheduled["message"]),
        (&json!("False"), &json!("Unschedulable"), &json!(why))
    );
    assert_eq!(pod.data["status"]["phase"], "Pending");
    let events = api(cluster, "v1", "Event").list(&ListParams::default()).await.unwrap().items;
    let told = events.iter().map(|event| &event.data).any(|event| {
        event["involvedObject"]["name"] == name
            && event["type"] == "Warning"
            && event["reason"] == "FailedScheduling"
            && event["message"] == why
    });
    assert!(told, "no event says {why:?} of {name}: {events:#?}");
}

async fn runs(cluster: &TestCluster, name: &str) {
    let pod = api(cluster, "v1", "Pod").get(name).await.unwrap();
    let state = (&pod.data["spec"]["nodeName"], &pod.data["status"]["phase"]);
    assert_eq!(state, (&json!("worker-1"), &json!("Running")), "{name}: {:#}", pod.data["status"]);
}

/// Half a minute is less than pods wait that are tried again without a reason.
#[test]
fn a_pod_that_fits_nowhere_is_told_why_and_tried_again_when_the_cluster_changes() {
    let nodes = "kind: Nodes\nmetadata: {name: worker}\nspec: {count: 1, capacity: {cpu: '4', memory: 8G, pods: '10'}}\n";
    let simulation = nodes.parse().unwrap();
    let builder = TestCluster::builder().controllers().scheduler().paused().simulation(simulation);
    run(builder, async |cluster| {
        let soon = Duration::from_secs(30);
        cluster.advance(soon).await;

        make_pod(&cluster, "huge", "1000").await;
        cluster.advance(soon).await;
        let lacking = format!("0/1 nodes are available: 1 Insufficient cpu. {NO_ROOM}");
        waits(&cluster, "huge", &lacking).await;

        cordon(&cluster, "worker-1", true).await;
        cluster.advance(soon).await;
        make_pod(&cluster, "small", "1").await;
        cluster.advance(soon).await;
        let cordoned = format!("0/1 nodes are available: 1 node(s) were unschedulable. {NO_ROOM}");
        waits(&cluster, "small", &cordoned).await;
        cordon(&cluster, "worker-1", false).await;
        cluster.advance(soon).await;
        runs(&cluster, "small").await;
        waits(&cluster, "huge", &lacking).await;

        // What would fit alone is told that nobody is less important than it, and waits for others to leave.
        make_pod(&cluster, "large", "3500m").await;
        cluster.advance(soon).await;
        waits(
            &cluster,
            "large",
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: \
             0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        )
        .await;
        let pods = api(&cluster, "v1", "Pod");
        pods.delete("small", &DeleteParams::default()).await.unwrap();
        cluster.advance(soon).await;
        runs(&cluster, "large").await;
    });
}
