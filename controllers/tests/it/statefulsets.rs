use crate::cluster::{Cluster, NODE, eventually, gone};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{Event, PersistentVolumeClaim, Pod},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

fn set(replicas: i32, more: Value) -> Value {
    let mut spec = json!({
        "replicas": replicas,
        "serviceName": "db",
        "selector": {"matchLabels": {"app": "db"}},
        "template": {
            "metadata": {"labels": {"app": "db"}},
            "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "one"}]},
        },
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
    });
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    json!({"metadata": {"name": "db"}, "spec": spec})
}

async fn patch(cluster: &Cluster, spec: Value) {
    let patch = Patch::Strategic(json!({"spec": spec}));
    cluster.api::<StatefulSet>().patch("db", &PatchParams::default(), &patch).await.unwrap();
}

/// Waits until all pods are ready, names and images as told.
async fn settled(cluster: &Cluster, expected: &[(&str, &str)]) -> StatefulSet {
    eventually("the set settles", || async {
        let set = cluster.api::<StatefulSet>().get("db").await.unwrap();
        let status = set.status.clone().unwrap_or_default();
        let pods = cluster.list::<Pod>().await;
        let image = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
        let found: Vec<_> = pods.iter().map(|pod| (pod.name_any(), image(pod))).collect();
        let same = found
            .iter()
            .map(|(name, image)| (name.as_str(), image.as_str()))
            .eq(expected.iter().copied());
        let count = i32::try_from(expected.len()).unwrap();
        let observed = status.observed_generation == set.metadata.generation;
        if same
            && observed
            && status.ready_replicas.unwrap_or_default() == count
            && status.replicas == count
        {
            Ok(set)
        } else {
            Err(format!("{found:?} {status:?}"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_come_and_go_in_order_with_their_claims() {
    let cluster = Cluster::start().await.with_kubelet().await;
    cluster.create::<StatefulSet>(set(3, json!({}))).await;
    settled(&cluster, &[("db-0", "one"), ("db-1", "one"), ("db-2", "one")]).await;
    let pods = cluster.list::<Pod>().await;
    for pod in &pods {
        let name = pod.name_any();
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("db-"));
        assert_eq!(pod.labels()["apps.kubernetes.io/pod-index"], name[3..]);
        assert_eq!(pod.labels()["statefulset.kubernetes.io/pod-name"], name);
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.subdomain.as_deref(), Some("db"));
        assert_eq!(spec.hostname, pod.metadata.name);
        let claim = spec.volumes.as_ref().unwrap()[0].persistent_volume_claim.as_ref().unwrap();
        assert_eq!(claim.claim_name, format!("data-{name}"));
    }

    patch(&cluster, json!({"replicas": 1})).await;
    settled(&cluster, &[("db-0", "one")]).await;
    let claims: Vec<_> =
        cluster.list::<PersistentVolumeClaim>().await.iter().map(ResourceExt::name_any).collect();
    assert_eq!(claims, ["data-db-0", "data-db-1", "data-db-2"]);
    eventually("events tell of it", || async {
        let events = cluster.list::<Event>().await;
        let texts: Vec<_> = events.into_iter().filter_map(|event| event.message).collect();
        let has = |text: &str| texts.iter().any(|message| message == text);
        let told = has("Create Claim data-db-0 Pod db-0 in StatefulSet db success")
            && has("Create Pod db-2 in StatefulSet db successful")
            && has("Delete Pod db-2 in StatefulSet db successful");
        if told { Ok(()) } else { Err(format!("{texts:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_stops_at_its_partition_and_can_be_undone() {
    let cluster = Cluster::start().await.with_kubelet().await;
    let partition = |at: i32| json!({"type": "RollingUpdate", "rollingUpdate": {"partition": at}});
    cluster.create::<StatefulSet>(set(3, json!({"updateStrategy": partition(1)}))).await;
    settled(&cluster, &[("db-0", "one"), ("db-1", "one"), ("db-2", "one")]).await;
    let image = |image: &str| json!({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}});
    patch(&cluster, image("two")).await;
    settled(&cluster, &[("db-0", "one"), ("db-1", "two"), ("db-2", "two")]).await;
    cluster.api::<Pod>().delete("db-0", &DeleteParams::default()).await.unwrap();
    settled(&cluster, &[("db-0", "one"), ("db-1", "two"), ("db-2", "two")]).await;
    patch(&cluster, json!({"updateStrategy": partition(0)})).await;
    settled(&cluster, &[("db-0", "two"), ("db-1", "two"), ("db-2", "two")]).await;
    let set = eventually("the update is over", || async {
        let set = cluster.api::<StatefulSet>().get("db").await.unwrap();
        let status = set.status.clone().unwrap();
        if status.current_revision == status.update_revision {
            Ok(set)
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    assert_eq!(cluster.list::<ControllerRevision>().await.len(), 2);
    patch(&cluster, image("one")).await;
    settled(&cluster, &[("db-0", "one"), ("db-1", "one"), ("db-2", "one")]).await;
    let revisions = cluster.list::<ControllerRevision>().await;
    let mut numbers: Vec<_> = revisions.iter().map(|revision| revision.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3], "an old revision is used again");
    assert!(set.status.unwrap().collision_count.unwrap_or_default() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_go_as_the_retention_policy_says_and_ordinals_start_anywhere() {
    let cluster = Cluster::start().await.with_kubelet().await;
    let more = json!({"podManagementPolicy": "Parallel", "ordinals": {"start": 5},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"}});
    cluster.create::<StatefulSet>(set(2, more)).await;
    settled(&cluster, &[("db-5", "one"), ("db-6", "one")]).await;
    patch(&cluster, json!({"replicas": 1})).await;
    settled(&cluster, &[("db-5", "one")]).await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    gone(&claims, "data-db-6").await;
    assert!(claims.get_opt("data-db-5").await.unwrap().is_some());
    cluster.api::<StatefulSet>().delete("db", &DeleteParams::background()).await.unwrap();
    gone(&claims, "data-db-5").await;
}
