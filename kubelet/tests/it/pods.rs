use crate::harness::{World, is_ready};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

fn first(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_is_registered_ready_and_has_a_lease() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let node = world.get("/api/v1/nodes/node-1").await;
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "node-1");
    assert_eq!(node["status"]["capacity"]["pods"], "110");
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1.36.0+kubeplane");
    assert_eq!(node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"], 10250);
    let ready = node["status"]["conditions"].as_array().unwrap();
    let ready = ready.iter().find(|condition| condition["type"] == "Ready").unwrap();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("True"), &json!("KubeletReady")));
    let lease = world
        .wait("a lease", async || {
            let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1";
            let request = http::Request::get(path).body(Vec::new()).unwrap();
            world.client.request::<Value>(request).await.map_err(|error| error.to_string())
        })
        .await;
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 40);
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_says_the_node_has_beside_its_own_pods_can_have() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let say = async |amount: Value| {
        let patch = json!({"status": {"capacity": {"example.com/fpga": amount}}});
        let api = kube::Api::<Node>::all(world.client.clone());
        let params = PatchParams::default();
        api.patch_status("node-1", &params, &Patch::Merge(patch)).await.unwrap();
    };
    let allocatable = async |wanted: Value| {
        let look = async || {
            let node = world.get("/api/v1/nodes/node-1").await;
            let found = &node["status"]["allocatable"];
            if found["example.com/fpga"] == wanted { Ok(()) } else { Err(found.to_string()) }
        };
        world.wait("what pods can have", look).await;
    };
    say(json!("5")).await;
    allocatable(json!("5")).await;
    say(Value::Null).await;
    allocatable(Value::Null).await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_ready_with_its_first_probe_and_goes_when_deleted() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let pod = world
        .run(
            "web",
            json!({"terminationGracePeriodSeconds": 5, "containers": [{"name": "web", "image": "nginx:1.27",
                // The second probe would come too late for this test.
                "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 3600}}]}),
        )
        .await;
    let uid = pod.metadata.uid.unwrap();
    let pod = world.until("web", "ready", is_ready).await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["podIPs"][0]["ip"], pod["status"]["podIP"]);
    assert_eq!(first(&pod)["started"], true);
    assert!(first(&pod)["containerID"].as_str().unwrap().contains("://"));
    assert_eq!(first(&pod)["image"], "docker.io/library/nginx:1.27");
    for (reason, part) in [
        ("Pulling", "nginx:1.27"),
        ("Pulled", "Successfully pulled"),
        ("Created", "Container created"),
        ("Started", "Container started"),
    ] {
        world.event("web", reason, part).await;
    }
    world.delete("web").await;
    world.until("web", "gone", Value::is_null).await;
    world.event("web", "Killing", "Stopping container web").await;
    world
        .wait("no directory", async || {
            let dir = world.dir.path().join("kubelet/pods").join(&uid);
            if dir.exists() { Err(dir.display().to_string()) } else { Ok(()) }
        })
        .await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_runs_once_ends_with_its_exit_code() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let script = "echo good; echo why > /dev/termination-log; exit 3";
    world
        .run(
            "job",
            json!({"restartPolicy": "Never", "containers": [
            {"name": "c", "image": "busybox", "command": ["sh", "-c", script]}]}),
        )
        .await;
    let pod = world.until("job", "failed", |pod| pod["status"]["phase"] == "Failed").await;
    let ended = &first(&pod)["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(3), &json!("Error")));
    assert_eq!(ended["message"], "why\n");
    world
        .run(
            "done",
            json!({"restartPolicy": "OnFailure", "containers": [
            {"name": "c", "image": "busybox", "command": ["true"]}]}),
        )
        .await;
    let pod = world.until("done", "succeeded", |pod| pod["status"]["phase"] == "Succeeded").await;
    assert_eq!(first(&pod)["state"]["terminated"]["reason"], "Completed");
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_keeps_failing_backs_off() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    world
        .run(
            "crash",
            json!({"containers": [{"name": "c", "image": "busybox", "command": ["false"]}]}),
        )
        .await;
    let pod = world
        .until("crash", "in back-off", |pod| {
            first(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    assert_eq!(first(&pod)["restartCount"], 1);
    assert_eq!(first(&pod)["lastState"]["terminated"]["exitCode"], 1);
    let message = first(&pod)["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.starts_with("back-off 10s restarting failed container=c pod=crash_default("));
    world
        .event("crash", "BackOff", "Back-off restarting failed container c in pod crash_default")
        .await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_containers_prepare_what_the_others_use() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let mount = json!([{"name": "data", "mountPath": "/data"}]);
    world
        .post(
            "/api/v1/namespaces/default/configmaps",
            json!({"metadata": {"name": "settings"}, "data": {"color": "blue"}}),
        )
        .await;
    world
        .run("web", json!({
            "volumes": [{"name": "data", "emptyDir": {}}],
            "initContainers": [
                {"name": "proxy", "image": "busybox", "restartPolicy": "Always"},
                {"name": "first", "image": "busybox", "command": ["sh", "-c", "echo one > /data/x"], "volumeMounts": mount},
                {"name": "second", "image": "busybox", "command": ["sh", "-c", "echo $COLOR >> /data/x"], "volumeMounts": mount,
                 "env": [{"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}}]}
            ],
            "containers": [{"name": "c", "image": "busybox", "volumeMounts": mount,
                "command": ["sh", "-c", "cat /data/x; sleep infinity"]}]
        }))
        .await;
    let pod = world.until("web", "ready", is_ready).await;
    let init = pod["status"]["initContainerStatuses"].as_array().unwrap();
    assert!(init[0]["state"]["running"].is_object(), "{init:?}");
    assert_eq!(init[2]["state"]["terminated"]["reason"], "Completed");
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let log = world.dir.path().join(format!("logs/default_web_{uid}/c/0.log"));
    world
        .wait("log", async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let good = text.contains("stdout F one\n") && text.contains("stdout F blue\n");
            if good { Ok(()) } else { Err(text) }
        })
        .await;
    world.delete("web").await;
    world.until("web", "gone", Value::is_null).await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_named_and_waited_for() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    world
        .run(
            "env",
            json!({"containers": [{"name": "c", "image": "busybox",
            "envFrom": [{"configMapRef": {"name": "late"}}]}]}),
        )
        .await;
    let pod = world
        .until("env", "waiting", |pod| {
            first(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        })
        .await;
    assert_eq!(first(&pod)["state"]["waiting"]["message"], "configmap \"late\" not found");
    world
        .run(
            "volume",
            json!({"containers": [{"name": "c", "image": "busybox"}],
            "volumes": [{"name": "v", "secret": {"secretName": "late"}}]}),
        )
        .await;
    world
        .event(
            "volume",
            "FailedMount",
            "MountVolume.SetUp failed for volume \"v\" : secret \"late\" not found",
        )
        .await;
    world
        .run("image", json!({"containers": [{"name": "c", "image": "nothing.invalid/x:1"}]}))
        .await;
    world
        .until("image", "not pulled", |pod| {
            let reason = first(pod)["state"]["waiting"]["reason"].as_str().unwrap_or_default();
            reason == "ErrImagePull" || reason == "ImagePullBackOff"
        })
        .await;
    for kind in ["configmaps", "secrets"] {
        let path = format!("/api/v1/namespaces/default/{kind}");
        world.post(&path, json!({"metadata": {"name": "late"}})).await;
    }
    world.until("volume", "ready", is_ready).await;
    world.until("env", "ready", is_ready).await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_does_not_fit_fails_with_the_reason() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    world
        .run(
            "big",
            json!({"containers": [{"name": "c", "image": "busybox",
            "resources": {"requests": {"cpu": "10000"}}}]}),
        )
        .await;
    let pod = world.until("big", "failed", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(pod["status"]["reason"], "OutOfcpu");
    let message = pod["status"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Pod was rejected: Node didn't have enough resource: cpu"),
        "{message}"
    );
    world.event("big", "OutOfcpu", "Node didn't have enough resource: cpu").await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_map_volume_follows_its_source() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let path = "/api/v1/namespaces/default/configmaps";
    world.post(path, json!({"metadata": {"name": "m"}, "data": {"k": "1"}})).await;
    let pod = world
        .run(
            "p",
            json!({"containers": [{"name": "c", "image": "busybox"}],
            "volumes": [{"name": "v", "configMap": {"name": "m"}}]}),
        )
        .await;
    world.until("p", "ready", is_ready).await;
    let uid = pod.metadata.uid.unwrap();
    let file =
        world.dir.path().join(format!("kubelet/pods/{uid}/volumes/kubernetes.io~configmap/v/k"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1");
    let change = http::Request::patch(format!("{path}/m"))
        .header("content-type", "application/merge-patch+json")
        .body(br#"{"data": {"k": "2"}}"#.to_vec())
        .unwrap();
    let _: Value = world.client.request(change).await.unwrap();
    world
        .wait("the new value", async || match std::fs::read_to_string(&file) {
            Ok(text) if text == "2" => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_was_written_over_is_set_right() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    world.run("web", json!({"containers": [{"name": "c", "image": "busybox"}]})).await;
    world.until("web", "ready", is_ready).await;
    let wrong = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let change = http::Request::patch("/api/v1/namespaces/default/pods/web/status")
        .header("content-type", "application/strategic-merge-patch+json")
        .body(serde_json::to_vec(&wrong).unwrap())
        .unwrap();
    let pod: Value = world.client.request(change).await.unwrap();
    assert!(!is_ready(&pod));
    world.until("web", "ready again", is_ready).await;
    kubelet.stop().await;
}
