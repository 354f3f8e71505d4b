//! What is left of pods when nodes go, evictions, and the budgets that hold them back.

use crate::world::{
    BUDGET, JOB, Kind, NODES, POD, RS, World, condition, is_going, name, number, owner, says,
    template, text,
};
use async_trait::async_trait;
use kube::api::{DynamicObject, EvictParams, Patch, PatchParams};
use kubeplane_core::{
    Definition, GroupResource,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};
use kubeplane_handlers::PodEviction;
use serde_json::{Value, json};
use std::sync::Arc;

async fn start() -> World {
    let world = World::with(|builder| {
        builder.handler(GroupResource::new("", "pods"), "eviction", Arc::new(PodEviction))
    })
    .await;
    world.make(NODES, json!({"metadata": {"name": "busy"}})).await;
    world
}

async fn running(world: &World, name: &str, more: Value) -> Value {
    let mut pod = template("web");
    pod["metadata"]["name"] = json!(name);
    pod["spec"]["nodeName"] = json!("busy");
    for (key, value) in more.as_object().unwrap() {
        pod["metadata"][key] = value.clone();
    }
    let pod = world.make(POD, pod).await;
    world.ready(std::slice::from_ref(&pod)).await;
    pod
}

async fn budget(world: &World, spec: Value) {
    let mut spec = spec;
    if spec.get("selector").is_none() {
        spec["selector"] = json!({"matchLabels": {"app": "web"}});
    }
    world.make_spec(BUDGET, "budget", spec).await;
}

/// Waits until the budget counts so many healthy pods.
async fn healthy(world: &World, count: i64) -> Value {
    world
        .until(BUDGET, "budget", &format!("{count} are healthy"), |budget| {
            number(budget, "/status/currentHealthy") == count
                && budget["status"]["observedGeneration"] == budget["metadata"]["generation"]
        })
        .await
}

async fn evict(world: &World, name: &str, params: &EvictParams) -> Result<(), (u16, String)> {
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = world.cluster.api();
    match pods.evict(name, params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err((status.code, status.message.clone())),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_asks_the_scale_of_whatever_owns_the_pods() {
    let world = start().await;
    world.define().await;
    let gadget = json!({"metadata": {"name": "four"}, "spec": {"replicas": 4}});
    let gadget = world.make(crate::world::GADGET, gadget).await;
    for index in 0..4 {
        let owners = json!({"ownerReferences": [owner(&gadget, true)]});
        running(&world, &format!("pod-{index}"), owners).await;
    }
    budget(&world, json!({"maxUnavailable": 2})).await;
    let status = healthy(&world, 4).await["status"].clone();
    let of = |field: &str| status[field].as_i64().unwrap();
    assert_eq!([of("expectedPods"), of("desiredHealthy"), of("disruptionsAllowed")], [4, 2, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_whose_deployment_is_gone_is_asked_itself() {
    // Nobody collects what has lost its owner.
    let world = World::selected("disruption-controller").await;
    let gone = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "gone", "uid": "u",
        "controller": true}]);
    let spec = json!({"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template("web")});
    let meta = json!({"name": "set", "ownerReferences": gone});
    let set = world.make(RS, json!({"metadata": meta, "spec": spec})).await;
    running(&world, "pod", json!({"ownerReferences": [owner(&set, true)]})).await;
    budget(&world, json!({"maxUnavailable": 1})).await;
    let counted = |budget: &Value| number(budget, "/status/expectedPods") == 3;
    let told = world.until(BUDGET, "budget", "three are expected", counted).await;
    assert_eq!(number(&told, "/status/desiredHealthy"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_follows_the_size_of_what_owns_its_pods_and_their_labels() {
    let world = World::selected("disruption-controller").await;
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("web")});
    let set = world.make_spec(RS, "set", spec).await;
    for index in 0..2 {
        let owners = json!({"ownerReferences": [owner(&set, true)]});
        running(&world, &format!("pod-{index}"), owners).await;
    }
    budget(&world, json!({"maxUnavailable": 1})).await;
    let expects = async |pods: i64| {
        let wish = |budget: &Value| {
            number(budget, "/status/expectedPods") == pods
                && number(budget, "/status/currentHealthy") == 2
        };
        world.until(BUDGET, "budget", &format!("{pods} are expected"), wish).await
    };
    expects(2).await;
    world.merge(RS, "set", json!({"spec": {"replicas": 4}})).await;
    expects(4).await;
    world.merge(POD, "pod-0", json!({"metadata": {"labels": {"app": "other"}}})).await;
    healthy(&world, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_without_labels_are_selected_by_what_selects_all() {
    let lacking = json!({"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]});
    for selector in [json!({}), lacking] {
        let world = start().await;
        budget(&world, json!({"minAvailable": 1, "selector": selector})).await;
        healthy(&world, 0).await;
        running(&world, "pod", json!({"labels": null})).await;
        healthy(&world, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_patch_changes_a_selector_in_its_way() {
    let expression = |key: &str| json!([{"key": key, "operator": "In", "values": ["true"]}]);
    let base = json!({"matchLabels": {"base": "true"}, "matchExpressions": expression("base")});
    let patch = json!({"matchLabels": {"patch": "true"}, "matchExpressions": expression("patch")});
    let merged = json!({"matchLabels": {"base": "true", "patch": "true"}, "matchExpressions": expression("patch")});
    let spec = json!({"spec": {"selector": patch}});
    let mut applied = spec.clone();
    applied["apiVersion"] = json!("policy/v1");
    applied["kind"] = json!("PodDisruptionBudget");
    let plain = PatchParams::default();
    let force = PatchParams::apply("test").force();
    for (patch, params, expected) in [
        (Patch::Strategic(spec.clone()), &plain, &patch),
        (Patch::Merge(spec.clone()), &plain, &merged),
        (Patch::Apply(applied), &force, &patch),
    ] {
        let world = World::bare().await;
        budget(&world, json!({"maxUnavailable": 2, "selector": base})).await;
        let changed: DynamicObject =
            world.api(BUDGET).patch("budget", params, &patch).await.unwrap();
        assert_eq!(&changed.data["spec"]["selector"], expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disruption_that_does_not_happen_is_taken_back() {
    let world = start().await;
    let target = |reason: &str, world: &World| {
        json!([{"type": "DisruptionTarget", "status": "True", "reason": reason,
            "message": "m", "lastTransitionTime": world.now()}])
    };
    for (pod, phase, reason) in [
        ("stale", "Running", "r"),
        ("deleted", "Running", "r"),
        ("kubelet", "Failed", "TerminationByKubelet"),
        ("failed", "Failed", "r"),
    ] {
        running(&world, pod, json!({})).await;
        let status = json!({"phase": phase, "conditions": target(reason, &world)});
        world.merge_status(POD, pod, status).await;
    }
    world.delete(POD, "deleted").await;
    world.pass(125);
    world
        .until(POD, "stale", "it is taken back", |pod| {
            condition(pod, "DisruptionTarget").is_some_and(|own| own["status"] == "False")
        })
        .await;
    for pod in ["deleted", "kubelet", "failed"] {
        let pod = world.get(POD, pod).await;
        assert_eq!(
            condition(&pod, "DisruptionTarget").unwrap()["status"],
            "True",
            "{}",
            name(&pod)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_at_once_all_succeed_in_the_end_and_none_conflicts() {
    const COUNT: usize = 20;
    let world = start().await;
    for index in 0..COUNT {
        running(&world, &format!("pod-{index}"), json!({"labels": {"app": "web"}})).await;
    }
    budget(&world, json!({"minAvailable": 0})).await;
    healthy(&world, i64::try_from(COUNT).unwrap()).await;
    let evictions = (0..COUNT).map(|index| {
        let world = &world;
        async move {
            let name = format!("pod-{index}");
            let check = async || match evict(world, &name, &EvictParams::default()).await {
                Ok(()) => Ok(()),
                Err((429, why)) => Err(why),
                Err(other) => panic!("{other:?}"),
            };
            world.eventually("it is evicted", check).await;
            assert!(is_going(&world.get(POD, &name).await));
        }
    });
    futures::future::join_all(evictions).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_has_ended_costs_no_budget() {
    let world = start().await;
    running(&world, "done", json!({})).await;
    world.merge_status(POD, "done", json!({"phase": "Succeeded"})).await;
    running(&world, "runs", json!({})).await;
    // It is still ready, so it still counts.
    budget(&world, json!({"minAvailable": 2})).await;
    let before = healthy(&world, 2).await;
    evict(&world, "done", &EvictParams::default()).await.unwrap();
    let after = world.get(BUDGET, "budget").await;
    assert!(after.pointer("/status/disruptedPods").is_none(), "{after:#}");
    assert_eq!(after["status"]["observedGeneration"], before["status"]["observedGeneration"]);
    assert_eq!(evict(&world, "runs", &EvictParams::default()).await.unwrap_err().0, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_are_posted_in_the_version_there_is() {
    let world = start().await;
    running(&world, "pod", json!({})).await;
    let post = async |body: Value| {
        let request = http::Request::post("/api/v1/namespaces/default/pods/pod/eviction")
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&body).unwrap())
            .unwrap();
        world.cluster.client.request::<Value>(request).await
    };
    let dry = json!({"dryRun": ["All"]});
    for version in [None, Some("policy/v1"), Some("policy/v1beta1")] {
        let mut body = json!({"metadata": {"name": "pod"}, "deleteOptions": dry});
        if let Some(version) = version {
            body["apiVersion"] = json!(version);
            body["kind"] = json!("Eviction");
        }
        let status = post(body).await.unwrap();
        assert_eq!(
            (text(&status, "/kind"), text(&status, "/apiVersion")),
            ("Status", "v1"),
            "{version:?}"
        );
    }
    let unknown =
        json!({"metadata": {"name": "pod"}, "apiVersion": "policy/v2", "kind": "Eviction"});
    let error = post(unknown).await.unwrap_err().to_string();
    assert!(error.contains("policy/v2"), "{error}");
    for method in ["GET", "PATCH"] {
        let request = http::Request::builder()
            .method(method)
            .uri("/api/v1/namespaces/default/pods/pod/eviction")
            .header("content-type", "application/merge-patch+json")
            .body(b"{}".to_vec())
            .unwrap();
        let answer = world.cluster.client.request::<Value>(request).await;
        assert!(matches!(answer, Err(kube::Error::Api(status)) if status.code == 405), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_pod_says_why_it_goes_but_not_for_a_trial() {
    let world = start().await;
    let dry = EvictParams {
        post_options: kube::api::PostParams { dry_run: true, ..Default::default() },
        ..EvictParams::default()
    };
    for (pod, phase, params) in [
        ("ended", "Succeeded", EvictParams::default()),
        ("runs", "Running", EvictParams::default()),
        ("trial", "Running", dry),
    ] {
        running(&world, pod, json!({"finalizers": ["example.com/held"]})).await;
        world.merge_status(POD, pod, json!({"phase": phase})).await;
        evict(&world, pod, &params).await.unwrap();
        let left = world.get(POD, pod).await;
        let told = condition(&left, "DisruptionTarget");
        assert_eq!(told.is_some(), pod != "trial", "{left:#}");
        assert_eq!(is_going(&left), pod != "trial");
        if let Some(told) = told {
            assert_eq!(text(told, "/reason"), "EvictionByEvictionAPI");
            assert_eq!(text(told, "/message"), "Eviction API: evicting");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_node_that_is_gone_are_ended() {
    let env = json!([{"name": "c", "image": "i", "env": [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}]}]);
    let ports = json!([{"name": "c", "image": "i", "ports": [
        {"containerPort": 93, "hostPort": 9376}, {"containerPort": 93, "hostPort": 9377}]}]);
    let world = World::start().await;
    for (pod, phase, containers) in [
        ("pending", "Pending", template("a")["spec"]["containers"].clone()),
        ("succeeded", "Succeeded", template("a")["spec"]["containers"].clone()),
        ("failed", "Failed", template("a")["spec"]["containers"].clone()),
        ("same-variables", "Pending", env),
        ("same-ports", "Pending", ports),
    ] {
        let spec = json!({"nodeName": "gone", "containers": containers});
        let meta = json!({"name": pod, "finalizers": ["example.com/held"]});
        world.make(POD, json!({"metadata": meta, "spec": spec})).await;
        world.merge_status(POD, pod, json!({"phase": phase})).await;
    }
    // A node that is not there is not believed to be gone at once.
    for _ in 0..12 {
        world.pass(20);
        tokio::task::yield_now().await;
    }
    for (pod, phase) in [
        ("pending", "Failed"),
        ("succeeded", "Succeeded"),
        ("failed", "Failed"),
        ("same-variables", "Failed"),
        ("same-ports", "Failed"),
    ] {
        let check = async || {
            world.pass(20);
            let left = world.get(POD, pod).await;
            if is_going(&left) { Ok(left) } else { Err(format!("{left:#}")) }
        };
        let left = world.eventually("it is told to go", check).await;
        assert_eq!(text(&left, "/status/phase"), phase, "{pod}");
        let told = condition(&left, "DisruptionTarget");
        assert_eq!(told.is_some(), !["succeeded", "failed"].contains(&pod), "{left:#}");
        if let Some(told) = told {
            assert_eq!(text(told, "/reason"), "DeletionByPodGC");
            assert_eq!(text(told, "/message"), "PodGC: node no longer exists");
            assert_eq!(number(told, "/observedGeneration"), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_end_on_a_node_out_of_service_have_ended() {
    let world = World::start().await;
    let not_ready = json!([{"type": "Ready", "status": "False"}]);
    let taints = json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute", "value": "nodeshutdown"}]);
    let node = json!({"metadata": {"name": "broken"}, "spec": {"taints": taints}, "status": {"conditions": not_ready}});
    world.make(NODES, node).await;
    let tolerations = json!([{"operator": "Exists"}]);
    for (pod, held) in [("held", true), ("free", false)] {
        let meta = json!({"name": pod, "finalizers": if held { json!(["example.com/held"]) } else { json!(null) }});
        let mut spec = template("a")["spec"].clone();
        spec["nodeName"] = json!("broken");
        spec["tolerations"] = tolerations.clone();
        spec["terminationGracePeriodSeconds"] = json!(300);
        world.make(POD, json!({"metadata": meta, "spec": spec})).await;
        world.merge_status(POD, pod, json!({"phase": "Running"})).await;
        world.delete(POD, pod).await;
    }
    let gone = async |of: Kind, name: &str| {
        let check = async || {
            world.pass(5);
            match world.find(of, name).await {
                None => Ok(()),
                Some(left) => Err(format!("{left:#}")),
            }
        };
        world.eventually("it goes", check).await;
    };
    gone(POD, "free").await;
    let left = world
        .until(POD, "held", "it has failed", |pod| text(pod, "/status/phase") == "Failed")
        .await;
    assert!(condition(&left, "DisruptionTarget").is_none(), "it was told to go before");
}

/// Lets nobody remove the pod of this name; of an empty one, any.
#[derive(Debug)]
pub(crate) struct Keep(pub(crate) &'static str);

#[async_trait]
impl Admission for Keep {
    fn name(&self) -> &'static str {
        "Keep"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Delete && definition.plural == "pods" && subresource.is_empty()
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        if self.0.is_empty() || request.name == self.0 {
            let of = request.definition.resource();
            return Err(ApiError::forbidden(&of, request.name, "it is kept"));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_cannot_be_removed_does_not_keep_others() {
    let world = World::with(|builder| builder.admit(Keep("a-kept"))).await;
    for pod in ["a-kept", "b-free"] {
        let mut object = template("web");
        object["metadata"]["name"] = json!(pod);
        object["spec"]["nodeName"] = json!("gone");
        world.make(POD, object).await;
    }
    let check = async || {
        world.pass(20);
        match world.find(POD, "b-free").await {
            None => Ok(()),
            Some(left) => Err(format!("{left:#}")),
        }
    };
    world.eventually("the other goes", check).await;
    assert!(world.find(POD, "a-kept").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_tells_whose_pods_cannot_be_counted() {
    let world = start().await;
    let mut pods = template("web");
    pods["spec"]["restartPolicy"] = json!("Never");
    world.make_spec(JOB, "work", json!({"parallelism": 2, "template": pods})).await;
    budget(&world, json!({"maxUnavailable": 1})).await;
    let failed = |budget: &Value| says(budget, "DisruptionAllowed", "False", "SyncFailed");
    let told = world.until(BUDGET, "budget", "it cannot be counted", failed).await;
    let message = text(condition(&told, "DisruptionAllowed").unwrap(), "/message");
    assert_eq!(message, "jobs.batch does not implement the scale subresource");
}
