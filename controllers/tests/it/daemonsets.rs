use crate::cluster::{Cluster, eventually};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

fn set(strategy: Value) -> Value {
    json!({"metadata": {"name": "agent"}, "spec": {
        "selector": {"matchLabels": {"app": "agent"}},
        "updateStrategy": strategy,
        "template": {
            "metadata": {"labels": {"app": "agent"}},
            "spec": {"nodeSelector": {"agent": "yes"}, "containers": [{"name": "c", "image": "one"}]},
        },
    }})
}

async fn nodes(cluster: &Cluster, names: &[&str]) {
    for name in names {
        let labels = json!({"agent": "yes"});
        cluster.create::<Node>(json!({"metadata": {"name": name, "labels": labels}})).await;
    }
}

fn target(pod: &Pod) -> String {
    let affinity = pod.spec.as_ref().unwrap().affinity.as_ref().unwrap();
    let affinity = affinity.node_affinity.as_ref().unwrap();
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref().unwrap();
    required.node_selector_terms[0].match_fields.as_ref().unwrap()[0].values.as_ref().unwrap()[0]
        .clone()
}

/// Waits until every one of these nodes has a ready pod of this image, and no other has one.
async fn settled(cluster: &Cluster, image: &str, nodes: &[&str]) {
    eventually("the set settles", || async {
        let set = cluster.api::<DaemonSet>().get("agent").await.unwrap();
        let status = set.status.clone().unwrap_or_default();
        let pods = cluster.list::<Pod>().await;
        let mut found: Vec<_> = pods
            .iter()
            .map(|pod| {
                (target(pod), pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap())
            })
            .collect();
        found.sort();
        let same = found
            .iter()
            .map(|(node, image)| (node.as_str(), image.as_str()))
            .eq(nodes.iter().map(|node| (*node, image)));
        let count = i32::try_from(nodes.len()).unwrap();
        let counted = status.desired_number_scheduled == count
            && status.current_number_scheduled == count
            && status.number_ready == count
            && status.updated_number_scheduled.unwrap_or_default() == count
            && status.number_unavailable.is_none()
            && status.observed_generation == set.metadata.generation;
        if same && counted { Ok(()) } else { Err(format!("{found:?} {status:?}")) }
    })
    .await;
}

async fn update(cluster: &Cluster, image: &str) {
    let patch =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    let api = cluster.api::<DaemonSet>();
    api.patch("agent", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fit_node_has_one_pod() {
    let cluster = Cluster::start().await.with_kubelet().await;
    nodes(&cluster, &["a", "b"]).await;
    cluster.create::<DaemonSet>(set(json!({"type": "RollingUpdate"}))).await;
    settled(&cluster, "one", &["a", "b"]).await;
    let tolerations = cluster.list::<Pod>().await[0].spec.clone().unwrap().tolerations.unwrap();
    let tolerates = |key: &str| tolerations.iter().any(|found| found.key.as_deref() == Some(key));
    assert!(
        tolerates("node.kubernetes.io/unschedulable") && tolerates("node.kubernetes.io/not-ready")
    );
    nodes(&cluster, &["c"]).await;
    settled(&cluster, "one", &["a", "b", "c"]).await;
    let all: Api<Node> = Api::all(cluster.client.clone());
    let label = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"agent": value}}}));
    all.patch("b", &PatchParams::default(), &label("no")).await.unwrap();
    settled(&cluster, "one", &["a", "c"]).await;
    let pods = cluster.list::<Pod>().await;
    cluster.api::<Pod>().delete(&pods[0].name_any(), &DeleteParams::default()).await.unwrap();
    settled(&cluster, "one", &["a", "c"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_roll_surge_or_wait_for_deletion() {
    let cluster = Cluster::start().await.with_kubelet().await;
    nodes(&cluster, &["a", "b", "c"]).await;
    cluster
        .create::<DaemonSet>(set(
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}),
        ))
        .await;
    settled(&cluster, "one", &["a", "b", "c"]).await;
    update(&cluster, "two").await;
    settled(&cluster, "two", &["a", "b", "c"]).await;

    let strategy = |strategy: Value| Patch::Merge(json!({"spec": {"updateStrategy": strategy}}));
    let surge =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    let api = cluster.api::<DaemonSet>();
    api.patch("agent", &PatchParams::default(), &strategy(surge)).await.unwrap();
    update(&cluster, "three").await;
    settled(&cluster, "three", &["a", "b", "c"]).await;

    let on_delete = json!({"type": "OnDelete", "rollingUpdate": null});
    api.patch("agent", &PatchParams::default(), &strategy(on_delete)).await.unwrap();
    update(&cluster, "four").await;
    eventually("the update is seen", || async {
        let set = api.get("agent").await.unwrap();
        let status = set.status.unwrap();
        let seen = status.observed_generation == set.metadata.generation;
        if seen && status.updated_number_scheduled.is_none() {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    for pod in cluster.list::<Pod>().await {
        cluster.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default()).await.unwrap();
    }
    settled(&cluster, "four", &["a", "b", "c"]).await;
}
