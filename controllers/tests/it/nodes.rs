use crate::cluster::{Cluster, NODE, eventually};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_clock::{Clock, PausedClock};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Lets the cluster's time run until `check` holds.
async fn as_time_passes(
    clock: &PausedClock,
    what: &str,
    check: impl AsyncFn() -> Result<(), String>,
) {
    eventually(what, || async {
        clock.advance(Duration::from_secs(1));
        check().await
    })
    .await;
}

fn pod(name: &str, tolerations: Value) -> Value {
    let containers = json!([{"name": "c", "image": "i"}]);
    json!({
        "metadata": {"name": name},
        "spec": {"nodeName": NODE, "containers": containers, "tolerations": tolerations},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_noticed_and_its_pods_leave_when_others_are_well() {
    let clock = PausedClock::starting_at(kubeplane_clock::real().now());
    let cluster = Cluster::with_clock(Arc::new(clock.clone())).await.with_kubelet().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    for name in ["well-1", "well-2"] {
        cluster.create::<Node>(json!({"metadata": {"name": name}})).await;
    }
    let pods = cluster.api::<Pod>();
    cluster.create::<Pod>(pod("stays", json!([{"operator": "Exists"}]))).await;
    let for_a_while = json!([{
        "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30,
    }]);
    let mut leaves = pod("leaves", for_a_while);
    leaves["metadata"]["finalizers"] = json!(["example.com/seen"]);
    cluster.create::<Pod>(leaves).await;
    let start = clock.elapsed();
    as_time_passes(&clock, "the silent node is unknown", async || {
        for name in ["well-1", "well-2"] {
            let beat = json!({"status": {"conditions": [
                {"type": "Ready", "status": "True", "lastHeartbeatTime": clock.now()}]}});
            nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(beat)).await.unwrap();
        }
        let node = nodes.get(NODE).await.unwrap();
        let status = node.status.unwrap_or_default();
        let ready =
            status.conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
        let ready = ready.ok_or("no condition")?;
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let effects: Vec<_> = taints
            .iter()
            .filter(|taint| taint.key == "node.kubernetes.io/unreachable")
            .map(|taint| taint.effect.as_str())
            .collect();
        let lost = ready.reason.as_deref() == Some("NodeStatusUnknown");
        let tainted = effects.contains(&"NoSchedule") && effects.contains(&"NoExecute");
        if lost && tainted { Ok(()) } else { Err(format!("{ready:?} {effects:?}")) }
    })
    .await;
    assert!(clock.elapsed() - start >= Duration::from_secs(50));
    assert!(pods.get_opt("leaves").await.unwrap().is_some(), "it tolerates for a while");
    as_time_passes(&clock, "the pod is told why it is to leave", async || {
        let pod = pods.get("leaves").await.unwrap();
        let status = pod.status.unwrap_or_default();
        let mut conditions = status.conditions.iter().flatten();
        let why = conditions.find(|condition| condition.type_ == "DisruptionTarget");
        let reason = why.and_then(|why| why.reason.as_deref());
        let goes = pod.metadata.deletion_timestamp.is_some();
        if goes && reason == Some("DeletionByTaintManager") {
            Ok(())
        } else {
            Err(format!("{why:?}"))
        }
    })
    .await;
    let seen = json!({"metadata": {"finalizers": null}});
    pods.patch("leaves", &PatchParams::default(), &Patch::Merge(seen)).await.unwrap();
    as_time_passes(&clock, "the pod leaves", async || {
        match pods.get_opt("leaves").await.unwrap() {
            None => Ok(()),
            Some(pod) => Err(format!("{:?}", pod.status)),
        }
    })
    .await;
    assert!(pods.get_opt("stays").await.unwrap().is_some());
}
