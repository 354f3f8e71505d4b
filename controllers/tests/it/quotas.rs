use crate::cluster::{Cluster, NODE, eventually, gone};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ReplicationController, ResourceQuota, Service};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    discovery::ApiResource,
};
use kubeplane_core::Object;
use kubeplane_handlers::admission;
use serde_json::{Value, json};

async fn start() -> Cluster {
    let clock = kubeplane_clock::real();
    let quota = admission::ResourceQuota::new(clock.clone());
    Cluster::with(clock, |builder| builder.admit(quota)).await
}

/// Waits until a quota says that this is used.
async fn used(cluster: &Cluster, name: &str, wanted: Value) {
    let quotas = cluster.api::<ResourceQuota>();
    eventually(&format!("{name} says what is used"), || async {
        let status = quotas.get(name).await.unwrap().status.unwrap_or_default();
        let found = json!(status.used.unwrap_or_default());
        if found == wanted { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"nodeName": NODE, "containers": [
        {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creations_at_once_never_exceed_a_quota_and_deletions_make_room() {
    let cluster = start().await.with_kubelet().await;
    let hard = json!({"pods": "5", "requests.cpu": "2"});
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": hard}});
    cluster.create::<ResourceQuota>(quota).await;
    used(&cluster, "few", json!({"pods": "0", "requests.cpu": "0"})).await;
    let pods = cluster.api::<Pod>();
    let creations = (0..20).map(|number| {
        let pods = pods.clone();
        async move {
            let pod = serde_json::from_value(pod(&format!("p{number}"), "100m")).unwrap();
            pods.create(&PostParams::default(), &pod).await
        }
    });
    let outcomes = join_all(creations).await;
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert_eq!(refused.len(), 15);
    for error in refused {
        let error = error.to_string();
        assert!(error.contains("exceeded quota: few, requested: pods=1, used: pods=5"), "{error}");
    }
    used(&cluster, "few", json!({"pods": "5", "requests.cpu": "500m"})).await;

    // What the kubelet still had to say of a pod would undo what is said of it below.
    let present = eventually("all run", || async {
        let all = pods.list(&Default::default()).await.unwrap().items;
        if all.iter().all(kubeplane_workload::is_ready) { Ok(all) } else { Err(format!("{all:?}")) }
    })
    .await;
    let name = |index: usize| present[index].metadata.name.clone().unwrap();
    pods.delete(&name(0), &DeleteParams::default()).await.unwrap();
    used(&cluster, "few", json!({"pods": "4", "requests.cpu": "400m"})).await;
    // A pod that has ended takes nothing any more.
    let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    pods.patch_status(&name(1), &PatchParams::default(), &ended).await.unwrap();
    used(&cluster, "few", json!({"pods": "3", "requests.cpu": "300m"})).await;
    cluster.create::<Pod>(pod("large", "1500m")).await;
    used(&cluster, "few", json!({"pods": "4", "requests.cpu": "1800m"})).await;
    let more = serde_json::from_value(pod("larger", "500m")).unwrap();
    let error = pods.create(&PostParams::default(), &more).await.unwrap_err().to_string();
    assert!(error.contains("requested: requests.cpu=500m, used: requests.cpu=1800m"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_fills_a_quota_and_no_more() {
    let cluster = start().await;
    let quota = json!({"metadata": {"name": "many"}, "spec": {"hard": {"pods": "25"}}});
    cluster.create::<ResourceQuota>(quota).await;
    used(&cluster, "many", json!({"pods": "0"})).await;
    let template = json!({"metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 20, "selector": {"app": "a"}, "template": template});
    let set = json!({"metadata": {"name": "set"}, "spec": spec});
    cluster.create::<ReplicationController>(set).await;
    used(&cluster, "many", json!({"pods": "20"})).await;
    let more = Patch::Merge(json!({"spec": {"replicas": 30}}));
    let sets = cluster.api::<ReplicationController>();
    sets.patch("set", &PatchParams::default(), &more).await.unwrap();
    used(&cluster, "many", json!({"pods": "25"})).await;
    eventually("the failure is told", || async {
        let status = sets.get("set").await.unwrap().status.unwrap_or_default();
        let mut conditions = status.conditions.iter().flatten();
        let failure = conditions.find(|condition| condition.type_ == "ReplicaFailure");
        let told = failure.and_then(|failure| failure.message.clone()).unwrap_or_default();
        let right = status.replicas == 25 && told.contains("exceeded quota: many");
        if right { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_follows_its_own_changes_and_those_of_services() {
    let cluster = start().await;
    // Every namespace has the ConfigMap with the root certificates, but not from the start.
    eventually("the root certificates", || async {
        let found = cluster.api::<ConfigMap>().get_opt("kube-root-ca.crt").await.unwrap();
        found.map(drop).ok_or_else(|| "not there".to_owned())
    })
    .await;
    let ports = json!([{"port": 80}]);
    let service =
        json!({"metadata": {"name": "web"}, "spec": {"type": "NodePort", "ports": ports}});
    cluster.create::<Service>(service).await;
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "one"}})).await;
    let hard = json!({"services": "3", "services.nodeports": "1", "configmaps": "9", "count/configmaps": "9"});
    let quota = json!({"metadata": {"name": "mixed"}, "spec": {"hard": hard}});
    cluster.create::<ResourceQuota>(quota).await;
    let all = json!({"services": "1", "services.nodeports": "1", "configmaps": "2", "count/configmaps": "2"});
    used(&cluster, "mixed", all).await;
    let local = Patch::Merge(
        json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": null}]}}),
    );
    cluster.api::<Service>().patch("web", &PatchParams::default(), &local).await.unwrap();
    let fewer =
        Patch::Merge(json!({"spec": {"hard": {"services.nodeports": "0", "configmaps": null}}}));
    cluster.api::<ResourceQuota>().patch("mixed", &PatchParams::default(), &fewer).await.unwrap();
    used(
        &cluster,
        "mixed",
        json!({"services": "1", "services.nodeports": "0", "count/configmaps": "2"}),
    )
    .await;
    cluster.api::<ConfigMap>().delete("one", &DeleteParams::default()).await.unwrap();
    used(
        &cluster,
        "mixed",
        json!({"services": "1", "services.nodeports": "0", "count/configmaps": "1"}),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_users_kinds_are_counted() {
    let cluster = start().await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crons.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "crons", "kind": "Cron"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    cluster.create_any(&Object::from_value(definition).unwrap()).await;
    let quota =
        json!({"metadata": {"name": "crons"}, "spec": {"hard": {"count/crons.example.com": "1"}}});
    cluster.create::<ResourceQuota>(quota).await;
    used(&cluster, "crons", json!({"count/crons.example.com": "0"})).await;
    let resource = ApiResource {
        group: "example.com".into(),
        version: "v1".into(),
        api_version: "example.com/v1".into(),
        kind: "Cron".into(),
        plural: "crons".into(),
    };
    let crons: Api<kube::api::DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), "default", &resource);
    let cron = |name: &str| kube::api::DynamicObject::new(name, &resource);
    crons.create(&PostParams::default(), &cron("a")).await.unwrap();
    let error = crons.create(&PostParams::default(), &cron("b")).await.unwrap_err().to_string();
    assert!(error.contains("exceeded quota: crons"), "{error}");
    crons.delete("a", &DeleteParams::default()).await.unwrap();
    gone(&crons, "a").await;
    used(&cluster, "crons", json!({"count/crons.example.com": "0"})).await;
    crons.create(&PostParams::default(), &cron("b")).await.unwrap();
}
