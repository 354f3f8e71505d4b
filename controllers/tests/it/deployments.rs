use crate::cluster::{Cluster, NODE, eventually, gone};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, Pod},
};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

fn web(replicas: i32) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "one"}]},
            },
        },
    })
}

/// Waits until the rollout is complete, as `kubectl rollout status` would.
async fn rolled_out(cluster: &Cluster, revision: &str) -> Deployment {
    eventually("the rollout completes", || async {
        let web = cluster.api::<Deployment>().get("web").await.unwrap();
        let status = web.status.clone().unwrap_or_default();
        let wanted = web.spec.as_ref().and_then(|spec| spec.replicas);
        let reason = |kind: &str| {
            let condition =
                status.conditions.iter().flatten().find(|condition| condition.type_ == kind)?;
            condition.reason.clone()
        };
        let annotation = web
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get("deployment.kubernetes.io/revision"));
        let complete = status.observed_generation == web.metadata.generation
            && status.updated_replicas == wanted
            && status.replicas == wanted
            && status.available_replicas == wanted
            && annotation.map(String::as_str) == Some(revision)
            && reason("Progressing").as_deref() == Some("NewReplicaSetAvailable")
            && reason("Available").as_deref() == Some("MinimumReplicasAvailable");
        if complete { Ok(web.clone()) } else { Err(format!("{:?} {status:?}", web.metadata)) }
    })
    .await
}

async fn set_image(cluster: &Cluster, image: &str) {
    let patch =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    let params = PatchParams::default();
    cluster.api::<Deployment>().patch("web", &params, &Patch::Strategic(patch)).await.unwrap();
}

async fn scale(cluster: &Cluster, replicas: i32) {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    cluster.api::<Deployment>().patch("web", &PatchParams::default(), &patch).await.unwrap();
}

fn image(set: &ReplicaSet) -> String {
    let template = set.spec.as_ref().unwrap().template.as_ref().unwrap();
    template.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_rolled_out_updated_scaled_undone_and_deleted() {
    let cluster = Cluster::start().await.with_kubelet().await;
    cluster.create::<Deployment>(web(3)).await;
    rolled_out(&cluster, "1").await;
    assert_eq!(cluster.list::<Pod>().await.len(), 3);

    set_image(&cluster, "two").await;
    rolled_out(&cluster, "2").await;
    let sets = cluster.list::<ReplicaSet>().await;
    let mut sizes: Vec<_> =
        sets.iter().map(|set| (image(set), set.spec.as_ref().unwrap().replicas.unwrap())).collect();
    sizes.sort();
    assert_eq!(sizes, [("one".to_owned(), 0), ("two".to_owned(), 3)]);

    scale(&cluster, 5).await;
    rolled_out(&cluster, "2").await;
    scale(&cluster, 2).await;
    rolled_out(&cluster, "2").await;

    set_image(&cluster, "one").await;
    rolled_out(&cluster, "3").await;
    let sets = cluster.list::<ReplicaSet>().await;
    let back = sets.iter().find(|set| image(set) == "one").unwrap();
    let annotations = back.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");

    eventually("the scaling is told", || async {
        let events = cluster.list::<Event>().await;
        let mut texts = events.iter().filter_map(|event| event.message.clone());
        let scaled = texts.any(|text| {
            text.starts_with("Scaled up replica set web-") && text.ends_with("from 0 to 3")
        });
        let created =
            events.iter().any(|event| event.reason.as_deref() == Some("SuccessfulCreate"));
        if scaled && created { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;

    let api = cluster.api::<Deployment>();
    api.delete("web", &DeleteParams::background()).await.unwrap();
    gone(&api, "web").await;
    eventually("sets and pods follow", || async {
        let left = cluster.list::<ReplicaSet>().await.len() + cluster.list::<Pod>().await.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreate_never_runs_two_revisions_and_pause_holds_a_change_back() {
    let cluster = Cluster::start().await.with_kubelet().await;
    let mut deployment = web(2);
    deployment["spec"]["strategy"] = json!({"type": "Recreate"});
    cluster.create::<Deployment>(deployment).await;
    rolled_out(&cluster, "1").await;

    let api = cluster.api::<Deployment>();
    let pause = |paused: bool| Patch::Merge(json!({"spec": {"paused": paused}}));
    api.patch("web", &PatchParams::default(), &pause(true)).await.unwrap();
    set_image(&cluster, "two").await;
    eventually("the pause is seen", || async {
        let web = api.get("web").await.unwrap();
        let status = web.status.unwrap_or_default();
        let paused = status
            .conditions
            .iter()
            .flatten()
            .any(|c| c.reason.as_deref() == Some("DeploymentPaused"));
        let seen = status.observed_generation == web.metadata.generation;
        if paused && seen { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert_eq!(cluster.list::<ReplicaSet>().await.len(), 1);

    api.patch("web", &PatchParams::default(), &pause(false)).await.unwrap();
    rolled_out(&cluster, "2").await;
    let images: Vec<_> = cluster
        .list::<Pod>()
        .await
        .into_iter()
        .map(|pod| pod.spec.unwrap().containers[0].image.clone().unwrap())
        .collect();
    assert_eq!(images, ["two", "two"]);
}
