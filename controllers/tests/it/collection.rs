use crate::cluster::{Cluster, NODE, eventually, gone};
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{ConfigMap, Pod},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams},
};
use serde_json::{Value, json};

fn set(replicas: i32) -> Value {
    json!({
        "metadata": {"name": "set"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "a"}},
            "template": {
                "metadata": {"labels": {"app": "a"}},
                "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]},
            },
        },
    })
}

async fn with_pods(count: usize) -> Cluster {
    let cluster = Cluster::start().await.with_kubelet().await;
    cluster.create::<ReplicaSet>(set(i32::try_from(count).unwrap())).await;
    eventually("the pods are ready", || async {
        let status =
            cluster.api::<ReplicaSet>().get("set").await.unwrap().status.unwrap_or_default();
        let ready = status.ready_replicas.and_then(|ready| usize::try_from(ready).ok());
        if ready == Some(count) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreground_deletion_takes_the_dependents_first() {
    let cluster = with_pods(3).await;
    let sets = cluster.api::<ReplicaSet>();
    sets.delete("set", &DeleteParams::foreground()).await.unwrap();
    gone(&sets, "set").await;
    assert_eq!(cluster.list::<Pod>().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphaning_deletion_leaves_the_dependents() {
    let cluster = with_pods(2).await;
    let sets = cluster.api::<ReplicaSet>();
    sets.delete("set", &DeleteParams::orphan()).await.unwrap();
    gone(&sets, "set").await;
    let pods = cluster.list::<Pod>().await;
    assert_eq!(pods.len(), 2);
    assert!(
        pods.iter().all(|pod| pod.metadata.owner_references.as_ref().is_none_or(Vec::is_empty))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_goes_when_its_last_owner_is_gone_and_not_before() {
    let cluster = Cluster::start().await;
    let owner = |name: &'static str| {
        let cluster = &cluster;
        async move {
            let owner = cluster.create::<ConfigMap>(json!({"metadata": {"name": name}})).await;
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner.metadata.uid})
        }
    };
    let owners = [owner("one").await, owner("two").await];
    cluster
        .create::<ConfigMap>(json!({"metadata": {"name": "both", "ownerReferences": owners}}))
        .await;
    let never = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "never"}]);
    cluster
        .create::<ConfigMap>(json!({"metadata": {"name": "lost", "ownerReferences": never}}))
        .await;

    let api = cluster.api::<ConfigMap>();
    gone(&api, "lost").await;
    api.delete("one", &DeleteParams::default()).await.unwrap();
    eventually("the dead owner is removed", || async {
        let both = api.get("both").await.unwrap();
        let names: Vec<_> = both
            .metadata
            .owner_references
            .iter()
            .flatten()
            .map(|owner| owner.name.clone())
            .collect();
        if names == ["two"] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    api.delete("two", &DeleteParams::default()).await.unwrap();
    gone(&api, "both").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_custom_object_owns_goes_with_it() {
    let cluster = Cluster::start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let definition = serde_json::from_value(json!({
        "metadata": {"name": "apps.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "apps", "singular": "app", "kind": "App", "listKind": "AppList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    }));
    definitions.create(&PostParams::default(), &definition.unwrap()).await.unwrap();
    let kind = GroupVersionKind::gvk("example.com", "v1", "App");
    let resource = ApiResource::from_gvk_with_plural(&kind, "apps");
    let apps: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), "default", &resource);
    let app = eventually("the kind is served", || async {
        let app = DynamicObject::new("one", &resource);
        apps.create(&PostParams::default(), &app).await.map_err(|error| error.to_string())
    })
    .await;
    let owner = json!([{
        "apiVersion": "example.com/v1", "kind": "App", "name": "one", "uid": app.metadata.uid,
        "controller": true, "blockOwnerDeletion": true,
    }]);
    cluster
        .create::<ConfigMap>(json!({"metadata": {"name": "owned", "ownerReferences": owner}}))
        .await;
    let maps = cluster.api::<ConfigMap>();
    // Once a later one is collected, the first is known.
    let never = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "never"}]);
    cluster
        .create::<ConfigMap>(json!({"metadata": {"name": "later", "ownerReferences": never}}))
        .await;
    gone(&maps, "later").await;
    apps.delete("one", &DeleteParams::foreground()).await.unwrap();
    gone(&apps, "one").await;
    assert!(maps.get_opt("owned").await.unwrap().is_none());
}
