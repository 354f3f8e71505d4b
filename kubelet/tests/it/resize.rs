//! Pods that get more or less while they run.

use crate::harness::{World, is_ready};
use kube::api::{Patch, PatchParams};
use kubeplane_runtime_cri::{ContainerId, v1};
use serde_json::{Value, json};

/// Asks for other resources of one container.
pub(crate) async fn resize(world: &World, pod: &str, container: &str, resources: Value) {
    let patch = json!({"spec": {"containers": [{"name": container, "resources": resources}]}});
    let patch = Patch::Strategic(patch);
    world.pods().patch_subresource("resize", pod, &PatchParams::default(), &patch).await.unwrap();
}

/// The condition of this type.
fn condition<'a>(pod: &'a Value, type_: &str) -> &'a Value {
    let all = pod["status"]["conditions"].as_array();
    all.into_iter().flatten().find(|own| own["type"] == type_).unwrap_or(&Value::Null)
}

/// Whether the pod has what it asks for, as the original's tests see it.
pub(crate) fn is_resized(pod: &Value) -> bool {
    pod["status"]["observedGeneration"] == pod["metadata"]["generation"]
        && condition(pod, "PodResizePending").is_null()
        && condition(pod, "PodResizeInProgress").is_null()
        && is_ready(pod)
}

fn status<'a>(pod: &'a Value, container: &str) -> &'a Value {
    let all = pod["status"]["containerStatuses"].as_array();
    all.into_iter().flatten().find(|own| own["name"] == container).unwrap_or(&Value::Null)
}

fn is_running(pod: &Value, container: &str) -> bool {
    status(pod, container)["state"]["running"].is_object()
}

/// What the runtime was told of a container.
async fn limits(world: &World, pod: &Value, container: &str) -> v1::LinuxContainerResources {
    let id = status(pod, container)["containerID"].as_str().unwrap();
    let id = ContainerId::new(id.split_once("://").unwrap().1.to_owned());
    let status = world.runtime.container_status(&id).await.unwrap();
    status.resources.unwrap().linux.unwrap()
}

/// So many thousandths of a processor.
fn cpu(milli: i64) -> Value {
    json!({"requests": {"cpu": format!("{milli}m")}})
}

/// The thousandths of processors that pods of the node can have.
async fn processors(world: &World) -> i64 {
    let node = world.get("/api/v1/nodes/node-1").await;
    let text = node["status"]["allocatable"]["cpu"].as_str().unwrap();
    text.parse::<i64>().unwrap() * 1000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_changed_while_it_runs() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let old = json!({"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}});
    let containers = json!([{"name": "a", "image": "busybox", "resources": old},
        {"name": "b", "image": "busybox", "resources": old}]);
    world.run("web", json!({"containers": containers})).await;
    let before = world.until("web", "ready", is_ready).await;
    assert_eq!(status(&before, "a")["resources"], old);
    let new = json!({"requests": {"cpu": "150m", "memory": "48Mi"}, "limits": {"cpu": "300m", "memory": "96Mi"}});
    resize(&world, "web", "a", new.clone()).await;
    let after = world
        .until("web", "resized", |pod| is_resized(pod) && status(pod, "a")["resources"] == new)
        .await;
    assert_eq!(status(&after, "a")["allocatedResources"], new["requests"]);
    assert_eq!(status(&after, "a")["containerID"], status(&before, "a")["containerID"]);
    assert_eq!(status(&after, "a")["restartCount"], 0);
    assert_eq!(status(&after, "b")["resources"], old);
    let told = limits(&world, &after, "a").await;
    assert_eq!((told.cpu_shares, told.cpu_quota), (153, 30_000));
    assert_eq!(told.memory_limit_in_bytes, 96 << 20);
    world.event("web", "ResizeStarted", r#"Pod resize started: {"containers":[{"name":"a""#).await;
    world.event("web", "ResizeCompleted", r#""generation":2}"#).await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_started_anew_when_its_policy_says_so() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let memory =
        |amount: &str| json!({"requests": {"memory": amount}, "limits": {"memory": amount}});
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    world
        .run("web", json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "busybox",
            "resources": memory("32Mi"), "resizePolicy": policy}]}))
        .await;
    world.until("web", "ready", is_ready).await;
    resize(&world, "web", "c", memory("64Mi")).await;
    let after = world
        .until("web", "resized and restarted", |pod| {
            is_resized(pod) && is_running(pod, "c") && status(pod, "c")["restartCount"] == 1
        })
        .await;
    assert_eq!(status(&after, "c")["resources"], memory("64Mi"));
    assert_eq!(limits(&world, &after, "c").await.memory_limit_in_bytes, 64 << 20);
    world.event("web", "Killing", "Container c resize requires restart").await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_asks_for_too_much_waits_until_there_is_room() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let all = processors(&world).await;
    let run = async |name: &str, milli: i64| {
        let container = json!({"name": "c", "image": "busybox", "resources": cpu(milli)});
        world
            .run(name, json!({"terminationGracePeriodSeconds": 1, "containers": [container]}))
            .await;
        world.until(name, "ready", is_ready).await;
    };
    run("large", all - 300).await;
    run("small", 100).await;
    resize(&world, "small", "c", cpu(400)).await;
    let waiting = world
        .until("small", "deferred", |pod| {
            condition(pod, "PodResizePending")["reason"] == "Deferred"
        })
        .await;
    let message = format!(
        "Node didn't have enough resource: cpu, requested: 400, used: {}, capacity: {all}",
        all - 300
    );
    assert_eq!(condition(&waiting, "PodResizePending")["message"], message);
    assert_eq!(condition(&waiting, "PodResizePending")["observedGeneration"], 2);
    assert_eq!(status(&waiting, "c")["allocatedResources"]["cpu"], "100m");
    world.event("small", "ResizeDeferred", "Pod resize Deferred: ").await;

    // What was only asked for is not given because the kubelet was away.
    kubelet.stop().await;
    let kubelet = world.kubelet().await;
    world.run("next", json!({"containers": [{"name": "c", "image": "busybox"}]})).await;
    world.until("next", "ready", is_ready).await;
    let waiting = world
        .until("small", "still deferred", |pod| {
            condition(pod, "PodResizePending")["reason"] == "Deferred" && is_running(pod, "c")
        })
        .await;
    assert_eq!(status(&waiting, "c")["allocatedResources"]["cpu"], "100m");

    world.delete("large").await;
    let after = world
        .until("small", "resized", |pod| {
            is_resized(pod) && status(pod, "c")["allocatedResources"]["cpu"] == "400m"
        })
        .await;
    assert_eq!(status(&after, "c")["restartCount"], 0);
    assert_eq!(limits(&world, &after, "c").await.cpu_shares, 409);
    world.event("small", "ResizeCompleted", r#""cpu":"400m""#).await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_that_is_in_use_is_not_taken_away() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let memory =
        |amount: &str| json!({"requests": {"memory": amount}, "limits": {"memory": amount}});
    world
        .run(
            "web",
            json!({"containers": [{"name": "c", "image": "busybox", "resources": memory("64Mi")}]}),
        )
        .await;
    world.until("web", "ready", is_ready).await;
    // Each simulated container uses 1Mi.
    resize(&world, "web", "c", memory("512Ki")).await;
    let refused = world
        .until("web", "refused", |pod| condition(pod, "PodResizeInProgress")["reason"] == "Error")
        .await;
    let part = "memory limit (524288) below current usage (1048576)";
    let message = condition(&refused, "PodResizeInProgress")["message"].as_str().unwrap();
    assert!(
        message.starts_with("cannot decrease memory limits: ") && message.contains(part),
        "{message}"
    );
    assert_eq!(status(&refused, "c")["resources"], memory("64Mi"));
    assert_eq!(status(&refused, "c")["allocatedResources"]["memory"], "512Ki");
    world.event("web", "ResizeError", part).await;
    resize(&world, "web", "c", memory("32Mi")).await;
    let after = world
        .until("web", "resized", |pod| {
            is_resized(pod) && status(pod, "c")["resources"] == memory("32Mi")
        })
        .await;
    assert_eq!(limits(&world, &after, "c").await.memory_limit_in_bytes, 32 << 20);
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_init_container_is_changed_while_it_runs() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let node = world.get("/api/v1/nodes/node-1").await;
    let declared = &node["status"]["declaredFeatures"];
    assert_eq!(declared, &json!(["InPlacePodVerticalScalingInitContainers"]));
    let init = |milli: i64| json!([{"name": "i", "image": "busybox", "command": ["sleep", "infinity"], "resources": cpu(milli)}]);
    let containers = json!([{"name": "c", "image": "busybox"}]);
    world
        .run("slow", json!({"terminationGracePeriodSeconds": 1, "initContainers": init(100), "containers": containers}))
        .await;
    let own = |pod: &Value| pod["status"]["initContainerStatuses"][0].clone();
    let before =
        world.until("slow", "running", |pod| own(pod)["state"]["running"].is_object()).await;
    let patch = Patch::Strategic(
        json!({"spec": {"initContainers": [{"name": "i", "resources": cpu(200)}]}}),
    );
    world
        .pods()
        .patch_subresource("resize", "slow", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let after = world.until("slow", "resized", |pod| own(pod)["resources"] == cpu(200)).await;
    assert_eq!(own(&before)["containerID"], own(&after)["containerID"]);
    kubelet.stop().await;
}
