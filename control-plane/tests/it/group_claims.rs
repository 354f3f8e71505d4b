//! Claims for devices that all pods of a PodGroup share.

use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use kubeplane::{
    api::ApiOptions,
    testing::{TestCluster, run},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

fn api(cluster: &TestCluster, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::default_namespaced_with(cluster.client(), &resource)
}

async fn make(api: &Api<DynamicObject>, object: Value) -> DynamicObject {
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap()
}

async fn play(cluster: TestCluster) {
    let groups = api(&cluster, "scheduling.k8s.io", "v1alpha2", "PodGroup");
    let templates = api(&cluster, "resource.k8s.io", "v1", "ResourceClaimTemplate");
    let claims = api(&cluster, "resource.k8s.io", "v1", "ResourceClaim");
    let pods = api(&cluster, "", "v1", "Pod");
    cluster.advance(Duration::from_secs(30)).await;
    let request = json!({"name": "gpu", "exactly": {"deviceClassName": "gpu"}});
    let spec = json!({"devices": {"requests": [request]}});
    make(&templates, json!({"metadata": {"name": "gpu"}, "spec": {"spec": spec}})).await;
    let entry = json!({"name": "shared", "resourceClaimTemplateName": "gpu"});
    let group = json!({"metadata": {"name": "crew"},
        "spec": {"schedulingPolicy": {"basic": {}}, "resourceClaims": [entry]}});
    let group = make(&groups, group).await;
    let pod = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"nodeName": "simulated-1",
            "schedulingGroup": {"podGroupName": "crew"}, "resourceClaims": [entry],
            "containers": [{"name": "c", "image": "i"}]}})
    };
    for name in ["a", "b"] {
        make(&pods, pod(name)).await;
    }
    cluster.advance(Duration::from_secs(30)).await;

    let all = claims.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(all.len(), 1, "one for all: {all:?}");
    let claim = all[0].metadata.name.clone().unwrap();
    assert!(claim.starts_with("crew-shared-"), "{claim}");
    let owner = &all[0].metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), Some(&owner.uid)), ("PodGroup", group.metadata.uid.as_ref()));
    let told = json!([{"name": "shared", "resourceClaimName": claim}]);
    let now = groups.get("crew").await.unwrap();
    assert_eq!(now.data["status"]["resourceClaimStatuses"], told);
    for name in ["a", "b"] {
        assert_eq!(pods.get(name).await.unwrap().data["status"]["resourceClaimStatuses"], told);
    }

    let device = json!({"request": "gpu", "driver": "gpu.test", "pool": "p", "device": "one"});
    let given = json!({"status": {"allocation": {"devices": {"results": [device]}}}});
    let given = Patch::Merge(given);
    claims.patch_status(&claim, &PatchParams::default(), &given).await.unwrap();
    cluster.advance(Duration::from_secs(30)).await;
    let users = claims.get(&claim).await.unwrap().data["status"]["reservedFor"].clone();
    let whole = json!([{"apiGroup": "scheduling.k8s.io", "resource": "podgroups", "name": "crew",
        "uid": group.metadata.uid}]);
    assert_eq!(users, whole, "it is the group that has it, not each of its pods");

    for name in ["a", "b"] {
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }
    groups.delete("crew", &DeleteParams::default()).await.unwrap();
    cluster.advance(Duration::from_secs(120)).await;
    let left = claims.list(&ListParams::default()).await.unwrap().items;
    assert!(left.is_empty(), "it goes with the group: {left:?}");
}

#[test]
fn a_group_of_pods_has_one_claim_for_all_of_them() {
    let gates = "GenericWorkload=true,DRAWorkloadResourceClaims=true";
    let options = ApiOptions { features: gates.parse().unwrap(), ..ApiOptions::default() };
    let builder = TestCluster::builder().options(options).controllers().paused();
    run(builder.simulated_nodes(1), play);
}

/// The names of a group's claims.
fn told(group: &DynamicObject) -> BTreeMap<String, String> {
    let text = |own: &Value, key: &str| own[key].as_str().unwrap_or_default().to_owned();
    let all = group.data["status"]["resourceClaimStatuses"].as_array().into_iter().flatten();
    all.map(|own| (text(own, "name"), text(own, "resourceClaimName"))).collect()
}

async fn lose_one(cluster: TestCluster) {
    let groups = api(&cluster, "scheduling.k8s.io", "v1alpha2", "PodGroup");
    let templates = api(&cluster, "resource.k8s.io", "v1", "ResourceClaimTemplate");
    let claims = api(&cluster, "resource.k8s.io", "v1", "ResourceClaim");
    cluster.advance(Duration::from_secs(30)).await;
    let request = json!({"name": "gpu", "exactly": {"deviceClassName": "gpu"}});
    let spec = json!({"devices": {"requests": [request]}});
    make(&templates, json!({"metadata": {"name": "gpu"}, "spec": {"spec": spec}})).await;
    let entry = |name: &str| json!({"name": name, "resourceClaimTemplateName": "gpu"});
    let group = json!({"metadata": {"name": "crew"}, "spec": {"schedulingPolicy": {"basic": {}},
        "resourceClaims": [entry("a"), entry("b")]}});
    make(&groups, group).await;
    cluster.advance(Duration::from_secs(30)).await;
    let first = told(&groups.get("crew").await.unwrap());
    assert_eq!(first.len(), 2, "{first:?}");
    claims.delete(&first["a"], &DeleteParams::default()).await.unwrap();
    cluster.advance(Duration::from_secs(30)).await;
    let now = told(&groups.get("crew").await.unwrap());
    assert_eq!(now.get("b"), first.get("b"));
    assert_ne!(now["a"], first["a"]);
    claims.get(&now["a"]).await.unwrap();
}

#[test]
fn a_claim_of_a_group_that_was_deleted_is_made_again_beside_the_others() {
    let gates = "GenericWorkload=true,DRAWorkloadResourceClaims=true";
    let options = ApiOptions { features: gates.parse().unwrap(), ..ApiOptions::default() };
    let builder = TestCluster::builder().options(options).controllers().paused();
    run(builder, lose_one);
}

async fn leave(cluster: TestCluster) {
    let groups = api(&cluster, "scheduling.k8s.io", "v1alpha2", "PodGroup");
    let pods = api(&cluster, "", "v1", "Pod");
    cluster.advance(Duration::from_secs(30)).await;
    let group = json!({"metadata": {"name": "crew"}, "spec": {"schedulingPolicy": {"basic": {}}}});
    let made = make(&groups, group).await;
    let held = vec!["scheduling.k8s.io/podgroup-protection".to_owned()];
    assert_eq!(made.metadata.finalizers, Some(held));
    for name in ["a", "b"] {
        let pod = json!({"metadata": {"name": name}, "spec": {"nodeName": "simulated-1",
            "schedulingGroup": {"podGroupName": "crew"},
            "containers": [{"name": "c", "image": "i"}]}});
        make(&pods, pod).await;
    }
    groups.delete("crew", &DeleteParams::default()).await.unwrap();
    for name in ["a", "b"] {
        cluster.advance(Duration::from_secs(30)).await;
        let kept = groups.get("crew").await.unwrap();
        assert!(kept.metadata.deletion_timestamp.is_some(), "{name} is in it");
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }
    cluster.advance(Duration::from_secs(30)).await;
    assert!(groups.get_opt("crew").await.unwrap().is_none());
}

#[test]
fn a_group_stays_until_the_last_pod_has_left_it() {
    let features = "GenericWorkload=true".parse().unwrap();
    let options = ApiOptions { features, ..ApiOptions::default() };
    let builder = TestCluster::builder().options(options).controllers().paused();
    run(builder.simulated_nodes(1), leave);
}

async fn drive_out(cluster: TestCluster) {
    let groups = api(&cluster, "scheduling.k8s.io", "v1alpha2", "PodGroup");
    let templates = api(&cluster, "resource.k8s.io", "v1", "ResourceClaimTemplate");
    let claims = api(&cluster, "resource.k8s.io", "v1", "ResourceClaim");
    let pods = api(&cluster, "", "v1", "Pod");
    cluster.advance(Duration::from_secs(30)).await;
    let request = json!({"name": "gpu", "exactly": {"deviceClassName": "gpu"}});
    let spec = json!({"devices": {"requests": [request]}});
    make(&templates, json!({"metadata": {"name": "gpu"}, "spec": {"spec": spec}})).await;
    let entry = json!({"name": "shared", "resourceClaimTemplateName": "gpu"});
    let group = json!({"metadata": {"name": "crew"},
        "spec": {"schedulingPolicy": {"basic": {}}, "resourceClaims": [entry]}});
    make(&groups, group).await;
    for name in ["a", "b"] {
        let pod = json!({"metadata": {"name": name}, "spec": {"nodeName": "simulated-1",
            "schedulingGroup": {"podGroupName": "crew"}, "resourceClaims": [entry],
            "containers": [{"name": "c", "image": "i"}]}});
        make(&pods, pod).await;
    }
    cluster.advance(Duration::from_secs(30)).await;
    let claim = claims.list(&ListParams::default()).await.unwrap().items.remove(0);
    let device = json!({"request": "gpu", "driver": "gpu.test", "pool": "p", "device": "one"});
    let given = Patch::Merge(json!({"status": {"allocation": {"devices": {"results": [device]}}}}));
    let name = claim.metadata.name.unwrap();
    claims.patch_status(&name, &PatchParams::default(), &given).await.unwrap();
    cluster.advance(Duration::from_secs(30)).await;

    let taint = json!({"key": "gpu.test/broken", "effect": "NoExecute"});
    let slice = json!({"metadata": {"name": "slice"}, "spec": {"driver": "gpu.test",
        "nodeName": "simulated-1", "devices": [{"name": "one", "taints": [taint]}],
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}});
    let kind = GroupVersionKind::gvk("resource.k8s.io", "v1", "ResourceSlice");
    let slices = Api::all_with(cluster.client(), &ApiResource::from_gvk(&kind));
    make(&slices, slice).await;
    cluster.advance(Duration::from_secs(60)).await;
    for name in ["a", "b"] {
        let left = pods.get_opt(name).await.unwrap();
        let goes = left.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some());
        assert!(goes, "{name} has a device that drives it out");
    }
}

#[test]
fn a_group_leaves_a_device_whose_taint_drives_it_out() {
    let gates = "GenericWorkload=true,DRAWorkloadResourceClaims=true";
    let options = ApiOptions { features: gates.parse().unwrap(), ..ApiOptions::default() };
    let builder = TestCluster::builder().options(options).controllers().paused();
    run(builder.simulated_nodes(1), drive_out);
}
