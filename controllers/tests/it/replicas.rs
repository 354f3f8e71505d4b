use crate::cluster::{Cluster, NODE, eventually};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kube::api::{DeleteParams, Patch, PatchParams};
use kubeplane_client::controller_of;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_adopts_releases_and_replaces_pods() {
    let cluster = Cluster::start().await.with_kubelet().await;
    cluster
        .create::<Pod>(json!({
            "metadata": {"name": "orphan", "labels": {"app": "a"}},
            "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]},
        }))
        .await;
    // The controller must not be asked before it can know of the orphan.
    eventually("the orphan is ready", || async {
        let orphan = cluster.api::<Pod>().get("orphan").await.unwrap();
        if kubeplane_workload::is_ready(&orphan) {
            Ok(())
        } else {
            Err(format!("{:?}", orphan.status))
        }
    })
    .await;
    cluster
        .create::<ReplicationController>(json!({
            "metadata": {"name": "rc"},
            "spec": {
                "replicas": 2,
                "selector": {"app": "a"},
                "template": {
                    "metadata": {"labels": {"app": "a"}},
                    "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]},
                },
            },
        }))
        .await;
    let settled = |others: usize| {
        let cluster = &cluster;
        move || async move {
            let rc = cluster.api::<ReplicationController>().get("rc").await.unwrap();
            let status = rc.status.unwrap_or_default();
            let pods = cluster.list::<Pod>().await;
            let owned = pods
                .iter()
                .filter(|pod| controller_of(*pod).is_some_and(|owner| owner.name == "rc"))
                .count();
            let ready = status.ready_replicas == Some(2) && status.replicas == 2;
            if ready && owned == 2 && pods.len() == owned + others {
                Ok(pods)
            } else {
                Err(format!("{owned} {status:?}"))
            }
        }
    };
    let pods = eventually("the orphan is adopted", settled(0)).await;
    assert!(pods.iter().any(|pod| pod.metadata.name.as_deref() == Some("orphan")));

    let relabel = Patch::Merge(json!({"metadata": {"labels": {"app": "b"}}}));
    cluster.api::<Pod>().patch("orphan", &PatchParams::default(), &relabel).await.unwrap();
    eventually("it is released and replaced", settled(1)).await;
    let orphan = cluster.api::<Pod>().get("orphan").await.unwrap();
    assert!(controller_of(&orphan).is_none());

    let pods = cluster.list::<Pod>().await;
    let victim = pods.iter().find(|pod| controller_of(*pod).is_some()).unwrap();
    let name = victim.metadata.name.clone().unwrap();
    cluster.api::<Pod>().delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("a deleted pod is replaced", || async {
        let pods = settled(1)().await?;
        let there = pods.iter().any(|pod| pod.metadata.name.as_ref() == Some(&name));
        if there { Err(format!("{name} is there")) } else { Ok(()) }
    })
    .await;
}
