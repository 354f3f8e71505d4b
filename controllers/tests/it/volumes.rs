//! Claims and volumes find each other, and what becomes of them.

use crate::cluster::{Cluster, NODE, eventually, gone};
use k8s_openapi::api::{
    core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::{StorageClass, VolumeAttributesClass},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::ClusterResourceScope,
};
use kubeplane_client::Watchable;
use kubeplane_core::Object;
use kubeplane_workload::storage::{claim_phase, claim_ref, volume_name, volume_phase};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Debug;

/// Creates an object of a kind without namespaces.
pub(crate) async fn make<K>(cluster: &Cluster, object: Value) -> K
where
    K: Watchable + Serialize + kube::Resource<Scope = ClusterResourceScope>,
{
    let object: K = serde_json::from_value(object).unwrap();
    let api: Api<K> = Api::all(cluster.client.clone());
    api.create(&PostParams::default(), &object).await.unwrap()
}

pub(crate) fn volume(name: &str, size: &str, more: Value) -> Value {
    let mut spec = json!({
        "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"},
    });
    merge(&mut spec, more);
    json!({"metadata": {"name": name}, "spec": spec})
}

pub(crate) fn claim(name: &str, more: Value) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "",
    });
    merge(&mut spec, more);
    json!({"metadata": {"name": name}, "spec": spec})
}

fn merge(spec: &mut Value, more: Value) {
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
}

fn class(name: &str, provisioner: &str, mode: &str) -> Value {
    json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode})
}

fn volumes(cluster: &Cluster) -> Api<PersistentVolume> {
    Api::all(cluster.client.clone())
}

/// Waits until an object is as wished.
pub(crate) async fn until<K>(api: &Api<K>, name: &str, what: &str, wish: impl Fn(&K) -> bool) -> K
where
    K: Clone + serde::de::DeserializeOwned + Debug,
{
    eventually(what, || async {
        match api.get_opt(name).await.unwrap() {
            Some(object) if wish(&object) => Ok(object),
            other => Err(format!("{other:#?}")),
        }
    })
    .await
}

/// Waits for an event about an object.
pub(crate) async fn told(cluster: &Cluster, name: &str, reason: &str, message: &str) -> Event {
    let events: Api<Event> = Api::all(cluster.client.clone());
    eventually(&format!("{reason} is told of {name}"), || async {
        let all = events.list(&Default::default()).await.unwrap().items;
        let of: Vec<_> = all
            .into_iter()
            .filter(|event| event.involved_object.name.as_deref() == Some(name))
            .collect();
        let found = of.iter().find(|event| {
            event.reason.as_deref() == Some(reason) && event.message.as_deref() == Some(message)
        });
        found.cloned().ok_or_else(|| {
            format!("{:?}", of.iter().map(|own| (&own.reason, &own.message)).collect::<Vec<_>>())
        })
    })
    .await
}

fn is_available(volume: &PersistentVolume) -> bool {
    volume_phase(volume) == "Available"
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim_phase(claim) == "Bound"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_takes_the_smallest_volume_that_suits_and_leaves_it_released() {
    let cluster = Cluster::start().await;
    let all = volumes(&cluster);
    for (name, size, more) in [
        ("large", "10Gi", json!({})),
        ("small", "1Gi", json!({})),
        ("fits", "6Gi", json!({})),
        ("shared", "5Gi", json!({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]})),
        ("block", "5Gi", json!({"volumeMode": "Block"})),
        ("classy", "5Gi", json!({"storageClassName": "gold"})),
        ("reserved", "5Gi", json!({"claimRef": {"namespace": "default", "name": "later"}})),
    ] {
        make::<PersistentVolume>(&cluster, volume(name, size, more)).await;
        until(&all, name, "it is available", is_available).await;
    }
    cluster.create::<PersistentVolumeClaim>(claim("data", json!({}))).await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    let bound = until(&claims, "data", "it is bound", is_bound).await;
    assert_eq!(volume_name(&bound), Some("fits"), "fewest modes first, then the size");
    for key in ["pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"] {
        assert_eq!(bound.annotations().get(key).map(String::as_str), Some("yes"));
    }
    let status = bound.status.clone().unwrap();
    assert_eq!(status.capacity.unwrap()["storage"].0, "6Gi");
    assert_eq!(status.access_modes.unwrap(), ["ReadWriteOnce"]);
    let own = until(&all, "fits", "it is bound", |own| volume_phase(own) == "Bound").await;
    assert_eq!(claim_ref(&own).unwrap().uid, bound.metadata.uid);
    assert_eq!(own.annotations()["pv.kubernetes.io/bound-by-controller"], "yes");

    cluster.create::<PersistentVolumeClaim>(claim("later", json!({}))).await;
    let later = until(&claims, "later", "it is bound", is_bound).await;
    assert_eq!(volume_name(&later), Some("reserved"));
    claims.delete("data", &DeleteParams::default()).await.unwrap();
    gone(&claims, "data").await;
    let left = until(&all, "fits", "it is released", |own| volume_phase(own) == "Released").await;
    assert_eq!(claim_ref(&left).unwrap().uid, bound.metadata.uid, "nobody else gets its data");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_names_a_volume_gets_that_or_none() {
    let cluster = Cluster::start().await;
    let (all, claims) = (volumes(&cluster), cluster.api::<PersistentVolumeClaim>());
    cluster.create::<PersistentVolumeClaim>(claim("early", json!({"volumeName": "mine"}))).await;
    make::<PersistentVolume>(&cluster, volume("mine", "9Gi", json!({}))).await;
    make::<PersistentVolume>(&cluster, volume("little", "1Gi", json!({}))).await;
    let early = until(&claims, "early", "it is bound", is_bound).await;
    assert!(!early.annotations().contains_key("pv.kubernetes.io/bound-by-controller"));
    let late = claim("late", json!({"volumeName": "mine"}));
    cluster.create::<PersistentVolumeClaim>(late).await;
    let text = "volume \"mine\" already bound to a different claim.";
    let event = told(&cluster, "late", "FailedBinding", text).await;
    let source = event.source.unwrap_or_default().component;
    assert_eq!(source.as_deref(), Some("persistentvolume-controller"));
    let greedy = claim("greedy", json!({"volumeName": "little"}));
    cluster.create::<PersistentVolumeClaim>(greedy).await;
    let text = "Cannot bind to requested volume \"little\": requested PV is too small";
    told(&cluster, "greedy", "VolumeMismatch", text).await;
    for name in ["late", "greedy"] {
        assert_eq!(claim_phase(&claims.get(name).await.unwrap()), "Pending");
    }

    // The volume of a claim that is bound vanishes.
    all.delete("mine", &DeleteParams::default()).await.unwrap();
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    all.patch("mine", &PatchParams::default(), &none).await.unwrap();
    until(&claims, "early", "it is lost", |own| claim_phase(own) == "Lost").await;
    let text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
    told(&cluster, "early", "ClaimLost", text).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_without_a_class_gets_the_default_one_when_there_is_one() {
    let cluster = Cluster::start().await;
    let mut bare = claim("bare", json!({}));
    bare["spec"].as_object_mut().unwrap().remove("storageClassName");
    cluster.create::<PersistentVolumeClaim>(bare).await;
    let text = "no persistent volumes available for this claim and no storage class is set";
    told(&cluster, "bare", "FailedBinding", text).await;
    let mut default = class("fast", "example.com/disks", "Immediate");
    default["metadata"]["annotations"] =
        json!({"storageclass.kubernetes.io/is-default-class": "true"});
    make::<StorageClass>(&cluster, default).await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    let asked = until(&claims, "bare", "its provisioner is asked", |own| {
        own.annotations().contains_key("volume.kubernetes.io/storage-provisioner")
    })
    .await;
    assert_eq!(asked.spec.as_ref().unwrap().storage_class_name.as_deref(), Some("fast"));
    for key in ["volume.kubernetes.io", "volume.beta.kubernetes.io"] {
        assert_eq!(asked.annotations()[&format!("{key}/storage-provisioner")], "example.com/disks");
    }
    let text = "Waiting for a volume to be created either by the external provisioner \
        'example.com/disks' or manually by the system administrator. If volume creation is delayed, \
        please verify that the provisioner is running and correctly registered.";
    told(&cluster, "bare", "ExternalProvisioning", text).await;

    // The provisioner's part.
    let reference = json!({"claimRef": {"namespace": "default", "name": "bare", "uid": asked.metadata.uid},
        "storageClassName": "fast", "persistentVolumeReclaimPolicy": "Delete"});
    let mut made = volume("made", "5Gi", reference);
    made["metadata"]["annotations"] =
        json!({"pv.kubernetes.io/provisioned-by": "example.com/disks"});
    make::<PersistentVolume>(&cluster, made).await;
    let bound = until(&claims, "bare", "it is bound", is_bound).await;
    assert_eq!(volume_name(&bound), Some("made"));
    claims.delete("bare", &DeleteParams::default()).await.unwrap();
    let all = volumes(&cluster);
    let left = until(&all, "made", "it is released", |own| volume_phase(own) == "Released").await;
    assert!(left.metadata.deletion_timestamp.is_none(), "that is for the provisioner to do");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_provisions_or_reclaims_is_told() {
    let cluster = Cluster::start().await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    make::<StorageClass>(&cluster, class("manual", "kubernetes.io/no-provisioner", "Immediate"))
        .await;
    make::<StorageClass>(&cluster, class("cloud", "kubernetes.io/aws-ebs", "Immediate")).await;
    for name in ["manual", "cloud", "absent"] {
        let object = claim(name, json!({"storageClassName": name}));
        cluster.create::<PersistentVolumeClaim>(object).await;
    }
    let text = "no volume plugin matched name: kubernetes.io/no-provisioner";
    told(&cluster, "manual", "ProvisioningFailed", text).await;
    let text = "storageclass.storage.k8s.io \"absent\" not found";
    told(&cluster, "absent", "ProvisioningFailed", text).await;
    until(&claims, "cloud", "the driver is asked", |own| {
        own.annotations().get("volume.kubernetes.io/storage-provisioner").map(String::as_str)
            == Some("ebs.csi.aws.com")
    })
    .await;

    let all = volumes(&cluster);
    for policy in ["Delete", "Recycle"] {
        let name = policy.to_lowercase();
        let more = json!({"persistentVolumeReclaimPolicy": policy, "hostPath": null,
            "fc": {"targetWWNs": ["50060e801049cfd1"], "lun": 0}});
        make::<PersistentVolume>(&cluster, volume(&name, "5Gi", more)).await;
        let object = claim(&name, json!({"volumeName": name}));
        cluster.create::<PersistentVolumeClaim>(object).await;
        until(&claims, &name, "it is bound", is_bound).await;
        claims.delete(&name, &DeleteParams::default()).await.unwrap();
        until(&all, &name, "it has failed", |own| volume_phase(own) == "Failed").await;
    }
    let text = "error getting deleter volume plugin for volume \"delete\": no deletable volume plugin matched";
    told(&cluster, "delete", "VolumeFailedDelete", text).await;
    let text = "No recycler plugin found for the volume!";
    told(&cluster, "recycle", "VolumeFailedRecycle", text).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_waits_for_its_first_pod() {
    let cluster = Cluster::start().await;
    let (all, claims) = (volumes(&cluster), cluster.api::<PersistentVolumeClaim>());
    let mode = "WaitForFirstConsumer";
    make::<StorageClass>(&cluster, class("late", "kubernetes.io/no-provisioner", mode)).await;
    let late = json!({"storageClassName": "late"});
    make::<PersistentVolume>(&cluster, volume("disk", "5Gi", late.clone())).await;
    until(&all, "disk", "it is available", is_available).await;
    let made = cluster.create::<PersistentVolumeClaim>(claim("data", late)).await;
    let text = "waiting for first consumer to be created before binding";
    told(&cluster, "data", mode, text).await;
    let pod = json!({"metadata": {"name": "user"}, "spec": {
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}});
    cluster.create::<Pod>(pod).await;
    let touch = Patch::Merge(json!({"metadata": {"labels": {"look": "again"}}}));
    claims.patch("data", &PatchParams::default(), &touch).await.unwrap();
    let text = "waiting for pod user to be scheduled";
    told(&cluster, "data", "WaitForPodScheduled", text).await;
    assert!(volume_name(&claims.get("data").await.unwrap()).is_none());

    // The scheduler's part.
    let reference = json!({"kind": "PersistentVolumeClaim", "namespace": "default", "name": "data",
        "uid": made.metadata.uid});
    let chosen = Patch::Merge(json!({"spec": {"claimRef": reference}}));
    all.patch("disk", &PatchParams::default(), &chosen).await.unwrap();
    let bound = until(&claims, "data", "it is bound", is_bound).await;
    assert_eq!(volume_name(&bound), Some("disk"));
}

fn with_scratch(name: &str) -> Value {
    let template = json!({"metadata": {"labels": {"for": name}}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_gets_claims_of_its_own() {
    let cluster = Cluster::start().await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    let pod = cluster.create::<Pod>(with_scratch("one")).await;
    let made = until(&claims, "one-scratch", "it is made", |_| true).await;
    assert_eq!(made.labels()["for"], "one");
    let owner = &made.owner_references()[0];
    assert_eq!((&owner.uid, owner.controller), (pod.metadata.uid.as_ref().unwrap(), Some(true)));

    cluster.create::<PersistentVolumeClaim>(claim("two-scratch", json!({}))).await;
    cluster.create::<Pod>(with_scratch("two")).await;
    let text = "ephemeral volume scratch: PVC default/two-scratch was not created for pod default/two \
        (pod is not owner)";
    let event = told(&cluster, "two", "FailedBinding", text).await;
    assert_eq!(event.source.unwrap().component.as_deref(), Some("ephemeral_volume"));
    claims.delete("two-scratch", &DeleteParams::default()).await.unwrap();
    until(&claims, "two-scratch", "it is made anew", |own| own.owner_references().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_of_attributes_stays_while_a_claim_names_it() {
    let cluster = Cluster::start().await;
    let classes: Api<VolumeAttributesClass> = Api::all(cluster.client.clone());
    let object = json!({"metadata": {"name": "gold"}, "driverName": "example.com/disks",
        "parameters": {"iops": "100"}});
    make::<VolumeAttributesClass>(&cluster, object).await;
    until(&classes, "gold", "it is protected", |own| {
        own.finalizers() == ["kubernetes.io/vac-protection"]
    })
    .await;
    let user = claim("user", json!({"volumeAttributesClassName": "gold"}));
    cluster.create::<PersistentVolumeClaim>(user).await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    // The claim was seen when the binder tells of it.
    let text = "no persistent volumes available for this claim and no storage class is set";
    told(&cluster, "user", "FailedBinding", text).await;
    classes.delete("gold", &DeleteParams::default()).await.unwrap();
    assert!(classes.get("gold").await.unwrap().metadata.deletion_timestamp.is_some());
    claims.delete("user", &DeleteParams::default()).await.unwrap();
    gone(&classes, "gold").await;
}

/// What control-plane gives the provisioner.
async fn allow_local_volumes(cluster: &Cluster) {
    let verbs = ["get", "list", "watch", "create", "patch", "update", "delete"];
    let rules = json!([{"apiGroups": ["", "storage.k8s.io"], "verbs": verbs,
        "resources": ["persistentvolumes", "persistentvolumeclaims", "nodes", "events", "storageclasses"]}]);
    let version = "rbac.authorization.k8s.io/v1";
    let role = json!({"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": "local"}, "rules": rules});
    let binding = json!({"apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": "local"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "local"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system", "name": "local-path-provisioner"}]});
    for object in [role, binding] {
        cluster.create_any(&Object::from_value(object).unwrap()).await;
    }
    let mut class = class("standard", "kubeplane.dev/local-path", "WaitForFirstConsumer");
    class["allowVolumeExpansion"] = json!(true);
    make::<StorageClass>(cluster, class).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_a_node_becomes_a_volume_grows_and_goes() {
    let cluster = Cluster::start().await;
    allow_local_volumes(&cluster).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    make::<Node>(
        &cluster,
        json!({"metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": "host-1"},
        "annotations": {"kubeplane.dev/local-volumes": "/var/lib/volumes"}}}),
    )
    .await;
    let (all, claims) = (volumes(&cluster), cluster.api::<PersistentVolumeClaim>());
    let more = json!({"storageClassName": "standard"});
    let made = cluster.create::<PersistentVolumeClaim>(claim("data", more)).await;
    told(
        &cluster,
        "data",
        "WaitForFirstConsumer",
        "waiting for first consumer to be created before binding",
    )
    .await;
    let select = |node: &str| {
        Patch::Merge(
            json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": node}}}),
        )
    };
    claims.patch("data", &PatchParams::default(), &select("absent")).await.unwrap();
    let text = "failed to provision volume with StorageClass \"standard\": node \"absent\" has no directory for volumes";
    told(&cluster, "data", "ProvisioningFailed", text).await;
    until(&claims, "data", "the scheduler may choose again", |own| {
        !own.annotations().contains_key("volume.kubernetes.io/selected-node")
    })
    .await;
    claims.patch("data", &PatchParams::default(), &select(NODE)).await.unwrap();
    let bound = until(&claims, "data", "it is bound", is_bound).await;
    let name = format!("pvc-{}", made.metadata.uid.unwrap());
    assert_eq!(volume_name(&bound), Some(name.as_str()));
    told(
        &cluster,
        "data",
        "ProvisioningSucceeded",
        &format!("Successfully provisioned volume {name}"),
    )
    .await;
    let spec = all.get(&name).await.unwrap().spec.unwrap();
    assert_eq!(spec.local.unwrap().path, format!("/var/lib/volumes/{name}"));
    let required = spec.node_affinity.unwrap().required.unwrap();
    let term = required.node_selector_terms[0].match_expressions.as_ref().unwrap();
    assert_eq!(term[0].values.as_ref().unwrap(), &["host-1"]);

    let grow = Patch::Merge(json!({"spec": {"resources": {"requests": {"storage": "7Gi"}}}}));
    claims.patch("data", &PatchParams::default(), &grow).await.unwrap();
    let grown = until(&claims, "data", "it has grown", |own| {
        let capacity = own.status.as_ref().and_then(|status| status.capacity.as_ref());
        capacity.is_some_and(|capacity| capacity["storage"].0 == "7Gi")
    })
    .await;
    assert!(grown.status.unwrap().conditions.is_none_or(|own| own.is_empty()));
    told(
        &cluster,
        "data",
        "VolumeResizeSuccessful",
        "ExpandVolume succeeded for volume default/data",
    )
    .await;

    claims.delete("data", &DeleteParams::default()).await.unwrap();
    let key = format!("local-volume.kubeplane.dev/{name}");
    until(&nodes, NODE, "the kubelet is asked", |node| {
        node.annotations().get(&key).map(String::as_str) == Some("remove")
    })
    .await;
    assert!(all.get_opt(&name).await.unwrap().is_some(), "it stays until its directory is gone");
    let done = Patch::Merge(json!({"metadata": {"annotations": {&key: "removed"}}}));
    nodes.patch(NODE, &PatchParams::default(), &done).await.unwrap();
    gone(&all, &name).await;
    until(&nodes, NODE, "nothing is left on the node", |node| {
        !node.annotations().contains_key(&key)
    })
    .await;
}
