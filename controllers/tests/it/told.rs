//! Conditions and events of what does not go as usual, in the words that users and tools know.

use crate::world::{
    BUDGET, CLAIM, DAEMON_SET, DEPLOYMENT, EVENT, GADGET, NODES, POD, RS, SERVICE, VOLUME, World,
    condition, items, name, number, says, template, text, uid,
};
use async_trait::async_trait;
use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler, resource::v1::ResourceClaimTemplate,
};
use kubeplane_apiserver::Builder;
use kubeplane_core::{
    Definition,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Lets nobody make objects of a kind.
#[derive(Debug)]
struct Closed(&'static str);

#[async_trait]
impl Admission for Closed {
    fn name(&self) -> &'static str {
        "Closed"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create && definition.plural == self.0 && subresource.is_empty()
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        Err(ApiError::forbidden(&request.definition.resource(), request.name, "none today"))
    }
}

fn web() -> Value {
    json!({"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template("web")})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_selects_everything_or_counts_in_no_known_way_is_left_alone() {
    let names = "deployment-controller,daemonset-controller,job-controller";
    let world = World::selected(names).await;
    let all = json!({"selector": {}, "template": template("a")});
    let odd = json!({"completionMode": "Odd", "selector": {"matchLabels": {"app": "a"}},
        "template": template("a")});
    let table = [
        (
            ["apps/v1", "Deployment", "deployments"],
            &all,
            "SelectingAll",
            "This deployment is selecting all pods. A non-empty selector is required.",
        ),
        (
            ["apps/v1", "DaemonSet", "daemonsets"],
            &all,
            "SelectingAll",
            "This daemon set is selecting all pods. A non-empty selector is required.",
        ),
        (
            ["batch/v1", "Job", "jobs"],
            &odd,
            "UnknownCompletionMode",
            "Skipped Job sync because completion mode is unknown",
        ),
    ];
    for ([version, kind, plural], spec, reason, message) in table {
        let metadata = json!({"namespace": "default", "name": plural, "uid": plural,
            "generation": 1, "creationTimestamp": world.now()});
        let object =
            json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
        world.cluster.store(&format!("/registry/{plural}/default/{plural}"), &object).await;
        assert_eq!(world.told(plural, reason).await, message);
    }
    assert!(world.list(POD).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_says_how_far_its_new_set_is() {
    // Nobody but the test looks after sets.
    let world = World::selected("deployment-controller").await;
    world.make_spec(DEPLOYMENT, "web", web()).await;
    let reaches = async |status: &str, reason: &str| {
        let wish = |web: &Value| says(web, "Progressing", status, reason);
        let web = world.until(DEPLOYMENT, "web", reason, wish).await;
        text(condition(&web, "Progressing").unwrap(), "/message").to_owned()
    };
    let said = reaches("True", "NewReplicaSetCreated").await;
    let set = name(&world.list(RS).await[0]).to_owned();
    assert_eq!(said, format!("Created new replica set \"{set}\""));
    world.merge(DEPLOYMENT, "web", json!({"spec": {"paused": true}})).await;
    assert_eq!(reaches("Unknown", "DeploymentPaused").await, "Deployment is paused");
    world.merge(DEPLOYMENT, "web", json!({"spec": {"paused": false}})).await;
    assert_eq!(reaches("Unknown", "DeploymentResumed").await, "Deployment is resumed");
    world.merge_status(DEPLOYMENT, "web", json!({"conditions": []})).await;
    let said = reaches("True", "FoundNewReplicaSet").await;
    assert_eq!(said, format!("Found new replica set \"{set}\""));
    let one = json!({"replicas": 1, "fullyLabeledReplicas": 1, "observedGeneration": 1});
    world.merge_status(RS, &set, one).await;
    let said = reaches("True", "ReplicaSetUpdated").await;
    assert_eq!(said, format!("ReplicaSet \"{set}\" is progressing."));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_and_endpoints_that_may_not_be_made_are_told_of() {
    let closed = |kind| move |builder: Builder| builder.admit(Closed(kind));
    let world = World::selected_with("deployment-controller", closed("replicasets")).await;
    world.make_spec(DEPLOYMENT, "web", web()).await;
    let said = world.told("web", "ReplicaSetCreateError").await;
    assert!(said.starts_with("Failed to create new replica set \"web-"), "{said}");
    assert!(said.ends_with("forbidden: none today"), "{said}");
    let stopped = |web: &Value| says(web, "Progressing", "False", "ReplicaSetCreateError");
    world.until(DEPLOYMENT, "web", "it goes no further", stopped).await;

    let world = World::selected_with("endpoints-controller", closed("endpoints")).await;
    let spec = json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]});
    world.make_spec(SERVICE, "web", spec).await;
    let said = world.told("web", "FailedToCreateEndpoint").await;
    assert!(said.starts_with("Failed to create endpoint for service default/web: "), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_told_of_when_they_come_and_go() {
    let world = World::selected("node-lifecycle-controller").await;
    let node = world.make(NODES, json!({"metadata": {"name": "n"}})).await;
    let said = world.told("n", "RegisteredNode").await;
    assert_eq!(said, "Node n event: Registered Node n in Controller");
    world.delete(NODES, "n").await;
    let said = world.told("n", "RemovingNode").await;
    assert_eq!(said, "Node n event: Removing Node n from Controller");
    let events = world.list(EVENT).await;
    let about: Vec<_> = events.iter().map(|event| text(event, "/involvedObject/uid")).collect();
    assert!(about.iter().all(|about| *about == uid(&node)), "{about:?}");
}

/// A budget, as far as it is counted.
async fn budget(world: &World, own: &str, mut spec: Value) {
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    world.make_spec(BUDGET, own, spec).await;
    let counted = |budget: &Value| number(budget, "/status/observedGeneration") == 1;
    world.until(BUDGET, own, "it is counted", counted).await;
}

async fn pod(world: &World, more: Value) -> Value {
    let mut pod = template("web");
    pod["metadata"]["name"] = json!("a");
    pod["metadata"]["ownerReferences"] = more;
    world.make(POD, pod).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_whose_eviction_came_to_nothing_counts_again() {
    let world = World::selected("disruption-controller").await;
    let pod = pod(&world, json!([])).await;
    world.ready(&[pod]).await;
    budget(&world, "web", json!({"minAvailable": 1})).await;
    let healthy = async |count: i64| {
        let wish = |budget: &Value| number(budget, "/status/currentHealthy") == count;
        world.until(BUDGET, "web", &format!("{count} are healthy"), wish).await
    };
    healthy(1).await;
    world.merge_status(BUDGET, "web", json!({"disruptedPods": {"a": world.now()}})).await;
    healthy(0).await;
    world.pass(121);
    let said = world.told("a", "NotDeleted").await;
    assert_eq!(said, "Pod was expected by PDB default/web to be deleted but it wasn't");
    assert_eq!(healthy(1).await["status"]["disruptedPods"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_that_cannot_be_counted_or_share_a_pod_are_told_of() {
    let world = World::selected("disruption-controller").await;
    for own in ["one", "two"] {
        budget(&world, own, json!({"maxUnavailable": 1})).await;
    }
    let stranger = json!([{"apiVersion": "example.com/v1", "kind": "Gizmo", "name": "g",
        "uid": "u", "controller": true}]);
    pod(&world, stranger).await;
    let said = world.told("a", "MultiplePodDisruptionBudgets").await;
    let both = "Pod \"default\"/\"a\" matches multiple PodDisruptionBudgets.  Chose \"";
    assert!(said.starts_with(both) && said.ends_with("\" arbitrarily."), "{said}");
    let said = world.told("one", "CalculateExpectedPodCountFailed").await;
    let why = "no matches for kind \"Gizmo\" in version \"example.com/v1\"";
    assert_eq!(said, format!("Failed to calculate the number of expected pods: {why}"));
    let failed = |budget: &Value| says(budget, "DisruptionAllowed", "False", "SyncFailed");
    world.until(BUDGET, "one", "nothing is allowed", failed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_budgets_that_come_to_share_a_pod_it_is_told_when_the_pod_changes() {
    let world = World::selected("disruption-controller").await;
    let pod = pod(&world, json!([])).await;
    for own in ["one", "two"] {
        budget(&world, own, json!({"minAvailable": 1})).await;
    }
    world.ready(&[pod]).await;
    world.told("a", "MultiplePodDisruptionBudgets").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_tells_of_pods_that_ended() {
    let world = World::selected("daemonset-controller").await;
    world.make(NODES, json!({"metadata": {"name": "n"}})).await;
    let spec = json!({"selector": {"matchLabels": {"app": "d"}}, "template": template("d")});
    world.make_spec(DAEMON_SET, "d", spec).await;
    for (phase, reason, found, try_to) in [
        ("Failed", "FailedDaemonPod", "failed", "kill"),
        ("Succeeded", "SucceededDaemonPod", "succeeded", "delete"),
    ] {
        let pods = world.pods(1).await;
        let pod = name(&pods[0]);
        world.merge_status(POD, pod, json!({"phase": phase})).await;
        let expected =
            format!("Found {found} daemon pod default/{pod} on node n, will try to {try_to} it");
        assert_eq!(world.told("d", reason).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_volume_is_bound_to_another_is_lost() {
    let world = World::selected("persistentvolume-binder-controller").await;
    let other = json!({"namespace": "default", "name": "other", "uid": "x"});
    let volume = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "storageClassName": "slow", "hostPath": {"path": "/tmp/v"}, "claimRef": other,
        "persistentVolumeReclaimPolicy": "Retain"});
    world.make_spec(VOLUME, "v", volume).await;
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "slow",
        "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "v"});
    let bound = json!({"pv.kubernetes.io/bind-completed": "yes"});
    let claim = json!({"metadata": {"name": "mine", "annotations": bound}, "spec": spec});
    world.make(CLAIM, claim).await;
    let said = world.told("mine", "ClaimMisbound").await;
    assert_eq!(said, "Two claims are bound to the same volume, this one is bound incorrectly");
    let lost = |claim: &Value| text(claim, "/status/phase") == "Lost";
    world.until(CLAIM, "mine", "it is lost", lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_for_a_pod_that_may_not_be_made_is_told_of() {
    let closed = |builder: Builder| builder.admit(Closed("resourceclaims"));
    let world = World::selected_with("resourceclaim-controller", closed).await;
    let request = json!({"name": "one", "exactly": {"deviceClassName": "gpu"}});
    let gpus = json!({"metadata": {"name": "gpus"},
        "spec": {"spec": {"devices": {"requests": [request]}}}});
    world.cluster.create::<ResourceClaimTemplate>(gpus).await;
    let mut pod = template("web");
    pod["metadata"]["name"] = json!("a");
    pod["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimTemplateName": "gpus"}]);
    world.make(POD, pod).await;
    // The pod may be seen before the template, of which it is said then that it is not there.
    let begin = "PodResourceClaim gpu: create ResourceClaim : ";
    let said = world.told_so("a", "FailedResourceClaimCreation", begin).await;
    assert!(said.ends_with("forbidden: none today"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_are_none_are_not_mirrored() {
    let world = World::selected("endpointslice-mirroring-controller").await;
    let ports = json!([{"port": 80}]);
    world.make_spec(SERVICE, "db", json!({"clusterIP": "None", "ports": ports})).await;
    let metadata = json!({"namespace": "default", "name": "db", "uid": "u-1",
        "creationTimestamp": world.now()});
    let addresses = json!([{"ip": "10.0.0.1"}, {"ip": "nowhere"}]);
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata,
        "subsets": [{"addresses": addresses, "ports": ports}]});
    world.cluster.store("/registry/services/endpoints/default/db", &endpoints).await;
    let said = world.told("db", "InvalidIPAddress").await;
    assert_eq!(said, "Skipped 1 invalid IP addresses when mirroring to EndpointSlices");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_short_of_something_take_no_more_pods() {
    let world = World::selected("node-lifecycle-controller").await;
    let node = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true}});
    world.make(NODES, node).await;
    let short = ["MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"];
    let tell = async |status: &str| {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastHeartbeatTime": world.now()});
        let mut conditions = vec![condition("Ready", "True")];
        conditions.extend(short.iter().map(|kind| condition(kind, status)));
        world.merge_status(NODES, "n", json!({"conditions": conditions})).await;
    };
    let tainted = async |keys: Vec<&str>| {
        let expected: BTreeSet<_> =
            keys.iter().map(|key| format!("node.kubernetes.io/{key} NoSchedule")).collect();
        let has = |node: &Value| {
            let taints = items(node, "/spec/taints").iter();
            let found =
                taints.map(|taint| format!("{} {}", text(taint, "/key"), text(taint, "/effect")));
            found.collect::<BTreeSet<_>>() == expected
        };
        world.until(NODES, "n", &format!("it is tainted as {expected:?}"), has).await;
    };
    tell("True").await;
    let mut keys = vec!["memory-pressure", "disk-pressure", "pid-pressure"];
    keys.extend(["network-unavailable", "unschedulable"]);
    tainted(keys).await;
    tell("False").await;
    tainted(vec!["unschedulable"]).await;
    world.merge(NODES, "n", json!({"spec": {"unschedulable": false}})).await;
    tainted(Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_that_does_not_say_which_pods_it_has_is_not_scaled() {
    let world = World::selected("horizontal-pod-autoscaler-controller").await;
    world.define().await;
    world.make(GADGET, json!({"metadata": {"name": "g"}, "spec": {"replicas": 1}})).await;
    let target = json!({"apiVersion": "example.com/v1", "kind": "Gadget", "name": "g"});
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}});
    let spec = json!({"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3,
        "metrics": [{"type": "Resource", "resource": cpu}]});
    let scaler = json!({"metadata": {"name": "scaler"}, "spec": spec});
    world.cluster.create::<HorizontalPodAutoscaler>(scaler).await;
    assert_eq!(world.told("scaler", "SelectorRequired").await, "selector is required");
    let scalers = world.cluster.api::<HorizontalPodAutoscaler>();
    let check = async || {
        let status = scalers.get("scaler").await.unwrap().status.unwrap_or_default();
        let mut conditions = status.conditions.iter().flatten();
        let active = conditions.find(|own| own.type_ == "ScalingActive");
        let said = active.map(|own| (own.status.as_str(), own.message.as_deref()));
        let missing = ("False", Some("the HPA target's scale is missing a selector"));
        if said == Some(missing) { Ok(()) } else { Err(format!("{status:?}")) }
    };
    world.eventually("why it is not scaled is told", check).await;
}
