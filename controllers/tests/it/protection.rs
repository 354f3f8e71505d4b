use crate::cluster::{Cluster, NODE, eventually, gone};
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{PersistentVolumeClaim, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_stays_while_a_pod_on_a_node_uses_it() {
    let cluster = Cluster::start().await.with_kubelet().await;
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    cluster.create::<PersistentVolumeClaim>(claim).await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    eventually("it is protected", || async {
        let claim = claims.get("data").await.unwrap();
        if claim.finalizers() == ["kubernetes.io/pvc-protection"] {
            Ok(())
        } else {
            Err(format!("{claim:?}"))
        }
    })
    .await;
    cluster
        .create::<Pod>(json!({"metadata": {"name": "user"}, "spec": {
            "nodeName": NODE, "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}}))
        .await;
    claims.delete("data", &DeleteParams::default()).await.unwrap();
    // Something later in the same queues shows that the deletion was looked at.
    let other = json!({"metadata": {"name": "other"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    cluster.create::<PersistentVolumeClaim>(other).await;
    claims.delete("other", &DeleteParams::default()).await.unwrap();
    gone(&claims, "other").await;
    assert!(claims.get("data").await.unwrap().metadata.deletion_timestamp.is_some());
    cluster.api::<Pod>().delete("user", &DeleteParams::default()).await.unwrap();
    gone(&claims, "data").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_counts_what_its_controller_wants() {
    let cluster = Cluster::start().await.with_kubelet().await;
    let set = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]}}}});
    cluster.create::<ReplicaSet>(set).await;
    let budget = json!({"metadata": {"name": "web"}, "spec": {
        "maxUnavailable": "34%", "selector": {"matchLabels": {"app": "web"}}}});
    cluster.create::<PodDisruptionBudget>(budget).await;
    let budgets = cluster.api::<PodDisruptionBudget>();
    let status = |expected: [i32; 4], reason: &'static str| {
        let budgets = budgets.clone();
        async move {
            eventually("the budget is right", || async {
                let status = budgets.get("web").await.unwrap().status.unwrap_or_default();
                let found = [
                    status.expected_pods,
                    status.desired_healthy,
                    status.current_healthy,
                    status.disruptions_allowed,
                ];
                let told = status.conditions.iter().flatten().any(|found| found.reason == reason);
                if found == expected.map(Some) && told {
                    Ok(())
                } else {
                    Err(format!("{status:?}"))
                }
            })
            .await;
        }
    };
    status([3, 1, 3, 2], "SufficientPods").await;
    let patch = Patch::Merge(json!({"spec": {"maxUnavailable": null, "minAvailable": 3}}));
    budgets.patch("web", &PatchParams::default(), &patch).await.unwrap();
    status([3, 3, 3, 0], "InsufficientPods").await;
}
