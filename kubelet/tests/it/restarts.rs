use crate::harness::{World, is_ready};
use kube::api::DeleteParams;
use kubeplane_runtime_cri::v1;
use serde_json::{Value, json};

async fn containers(world: &World) -> usize {
    world.runtime.list_containers(v1::ContainerFilter::default()).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubelet_that_comes_back_keeps_what_runs() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    world
        .run(
            "web",
            json!({"containers": [{"name": "c", "image": "busybox",
            "readinessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 1},
            "startupProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 1}}]}),
        )
        .await;
    let before = world.until("web", "ready", is_ready).await;
    kubelet.stop().await;
    assert_eq!(containers(&world).await, 1);
    let kubelet = world.kubelet().await;
    world.run("other", json!({"containers": [{"name": "c", "image": "busybox"}]})).await;
    world.until("other", "ready", is_ready).await;
    let after = world.until("web", "ready", is_ready).await;
    let status = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
    assert_eq!(status(&before)["containerID"], status(&after)["containerID"]);
    assert_eq!(status(&after)["restartCount"], 0);
    let since = |pod: &Value| {
        let all = pod["status"]["conditions"].as_array().unwrap().clone();
        all.into_iter().find(|c| c["type"] == "Ready").unwrap()["lastTransitionTime"].clone()
    };
    assert_eq!(since(&before), since(&after));
    assert_eq!(containers(&world).await, 2);
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_meanwhile_is_cleaned_up() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    world.run("web", json!({"containers": [{"name": "c", "image": "busybox"}]})).await;
    world.until("web", "ready", is_ready).await;
    kubelet.stop().await;
    let now = DeleteParams::default().grace_period(0);
    world.pods().delete("web", &now).await.unwrap();
    world.until("web", "gone", Value::is_null).await;
    assert_eq!(containers(&world).await, 1);
    let kubelet = world.kubelet().await;
    world
        .wait("no container and no directory", async || {
            let pods = world.dir.path().join("kubelet/pods");
            let left = std::fs::read_dir(pods).unwrap().count() + containers(&world).await;
            if left == 0 { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_not_alive_is_replaced() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    world
        .run("sick", json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "busybox",
            "livenessProbe": {"exec": {"command": ["cat", "/nothing"]}, "periodSeconds": 1, "failureThreshold": 1}}]}))
        .await;
    let pod = world
        .until("sick", "restarted", |pod| {
            pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(1)
        })
        .await;
    assert!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"].is_object());
    world.event("sick", "Unhealthy", "Liveness probe failed: ").await;
    world.event("sick", "Killing", "Container c failed liveness probe, will be restarted").await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_active_too_long_is_failed() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    world
        .run(
            "slow",
            json!({"activeDeadlineSeconds": 1, "containers": [{"name": "c", "image": "busybox"}]}),
        )
        .await;
    let pod = world.until("slow", "failed", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    assert!(pod["status"]["containerStatuses"][0]["state"]["terminated"].is_object());
    kubelet.stop().await;
}
