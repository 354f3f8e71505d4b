//! Resource claims of pods: made by a template, reserved, and given back.

use crate::{
    cluster::{Cluster, NODE, gone, trickle},
    volumes::{told, until},
};
use k8s_openapi::{
    api::{
        core::v1::Pod,
        resource::v1::{ResourceClaim, ResourceClaimTemplate, ResourceSlice},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use kubeplane_clock::{Clock, PausedClock};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

fn pod(name: &str, node: Option<&str>, claim: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"nodeName": node,
        "containers": [{"name": "c", "image": "i", "resources": {"claims": [{"name": "gpu"}]}}],
        "resourceClaims": [claim]}})
}

fn devices() -> Value {
    json!({"devices": {"requests": [{"name": "one", "exactly": {"deviceClassName": "gpu"}}]}})
}

/// The name of the claim that a pod's status tells.
fn told_name(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.resource_claim_statuses.as_ref()?;
    statuses.first()?.resource_claim_name.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_gets_a_claim_by_its_template_and_gives_it_back() {
    let cluster = Cluster::start().await;
    let (pods, claims) = (cluster.api::<Pod>(), cluster.api::<ResourceClaim>());
    let by_template = json!({"name": "gpu", "resourceClaimTemplateName": "gpus"});
    cluster.create::<Pod>(pod("user", None, by_template.clone())).await;
    let text = "PodResourceClaim gpu: resource claim template \"gpus\": \
        resourceclaimtemplate.resource.k8s.io \"gpus\" not found";
    told(&cluster, "user", "FailedResourceClaimCreation", text).await;
    let template = json!({"metadata": {"name": "gpus"}, "spec": {
        "metadata": {"labels": {"for": "gpus"}}, "spec": devices()}});
    cluster.create::<ResourceClaimTemplate>(template).await;
    let user = until(&pods, "user", "its claim is told", |pod| told_name(pod).is_some()).await;
    let name = told_name(&user).unwrap();
    assert!(name.starts_with("user-gpu-"), "{name}");
    let claim = claims.get(&name).await.unwrap();
    assert_eq!(claim.labels()["for"], "gpus");
    assert_eq!(claim.annotations()["resource.kubernetes.io/pod-claim-name"], "gpu");
    assert_eq!(claim.owner_references()[0].uid, user.metadata.uid.unwrap());
    assert_eq!(claims.list(&ListParams::default()).await.unwrap().items.len(), 1);
    // A pod that has ended needs it no more.
    let end = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    pods.patch_status("user", &PatchParams::default(), &end).await.unwrap();
    gone(&claims, &name).await;
    // Nor does it get another, which would have come before the next pod's.
    cluster.create::<Pod>(pod("next", None, by_template)).await;
    until(&pods, "next", "its claim is told", |pod| told_name(pod).is_some()).await;
    assert_eq!(told_name(&pods.get("user").await.unwrap()), Some(name));
    assert_eq!(claims.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_was_deleted_is_made_again_beside_the_others() {
    let cluster = Cluster::start().await;
    let (pods, claims) = (cluster.api::<Pod>(), cluster.api::<ResourceClaim>());
    let template = json!({"metadata": {"name": "gpus"}, "spec": {"spec": devices()}});
    cluster.create::<ResourceClaimTemplate>(template).await;
    let entry = |name: &str| json!({"name": name, "resourceClaimTemplateName": "gpus"});
    let mut user = pod("user", None, entry("gpu"));
    user["spec"]["resourceClaims"] = json!([entry("gpu"), entry("net")]);
    cluster.create::<Pod>(user).await;
    let names = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|own| own.resource_claim_statuses.clone());
        let each = statuses.into_iter().flatten();
        each.map(|own| (own.name, own.resource_claim_name)).collect::<BTreeMap<_, _>>()
    };
    let first = until(&pods, "user", "both are told", |pod| names(pod).len() == 2).await;
    let first = names(&first);
    let lost = first["gpu"].clone().unwrap();
    claims.delete(&lost, &DeleteParams::default()).await.unwrap();
    let now = until(&pods, "user", "both are told again", |pod| {
        let now = names(pod);
        now.len() == 2 && now["gpu"] != first["gpu"]
    })
    .await;
    let now = names(&now);
    assert_eq!(now["net"], first["net"]);
    claims.get(now["gpu"].as_deref().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_gate_templates_with_alternatives_are_refused() {
    let clock = PausedClock::starting_at(kubeplane_clock::real().now());
    let _time = trickle(&clock);
    let cluster =
        Cluster::with_gated_controllers(Arc::new(clock), "DRAPrioritizedList=false").await;
    let wish = |name: &str| json!({"name": name, "deviceClassName": name});
    let request = json!({"name": "one", "firstAvailable": [wish("large"), wish("small")]});
    let spec = json!({"devices": {"requests": [request]}});
    let template = json!({"metadata": {"name": "gpus"}, "spec": {"spec": spec}});
    cluster.create::<ResourceClaimTemplate>(template).await;
    let by_template = json!({"name": "gpu", "resourceClaimTemplateName": "gpus"});
    cluster.create::<Pod>(pod("user", None, by_template)).await;
    let text = "PodResourceClaim gpu: template includes a prioritized list of subrequests, but the \
                feature is disabled";
    told(&cluster, "user", "FailedResourceClaimCreation", text).await;
    assert!(cluster.list::<ResourceClaim>().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_reserved_for_pods_on_nodes_and_free_when_they_are_gone() {
    let cluster = Cluster::start().await;
    let (pods, claims) = (cluster.api::<Pod>(), cluster.api::<ResourceClaim>());
    let claim = json!({"metadata": {"name": "shared"}, "spec": devices()});
    cluster.create::<ResourceClaim>(claim).await;
    // The scheduler's part.
    let hold = Patch::Merge(
        json!({"metadata": {"finalizers": ["resource.kubernetes.io/delete-protection"]}}),
    );
    claims.patch("shared", &PatchParams::default(), &hold).await.unwrap();
    let allocate = Patch::Merge(json!({"status": {"allocation": {"devices": {"results": [
        {"request": "one", "driver": "gpu.example.com", "pool": "p", "device": "d"}]}}}}));
    claims.patch_status("shared", &PatchParams::default(), &allocate).await.unwrap();
    let given = json!({"name": "gpu", "resourceClaimName": "shared"});
    let made = cluster.create::<Pod>(pod("user", Some(NODE), given)).await;
    let consumers = |claim: &ResourceClaim| {
        let status = claim.status.as_ref().and_then(|status| status.reserved_for.clone());
        status.unwrap_or_default().into_iter().map(|own| own.uid).collect::<Vec<_>>()
    };
    let uid = made.metadata.uid.unwrap();
    until(&claims, "shared", "it is reserved", |claim| consumers(claim) == [uid.clone()]).await;
    pods.delete("user", &DeleteParams::default().grace_period(0)).await.unwrap();
    let free = until(&claims, "shared", "it is free", |claim| {
        consumers(claim).is_empty() && claim.finalizers().is_empty()
    })
    .await;
    assert!(free.status.is_none_or(|status| status.allocation.is_none()));
}

/// A pod on a node with a claim that has a device of the pool, and these tolerations.
async fn holder(cluster: &Cluster, name: &str, tolerations: Value) {
    let claims = cluster.api::<ResourceClaim>();
    cluster.create::<ResourceClaim>(json!({"metadata": {"name": name}, "spec": devices()})).await;
    let allocate = Patch::Merge(json!({"status": {"allocation": {"devices": {"results": [
        {"request": "one", "driver": "gpu.example.com", "pool": "p", "device": name,
            "tolerations": tolerations}]}}}}));
    claims.patch_status(name, &PatchParams::default(), &allocate).await.unwrap();
    let given = json!({"name": "gpu", "resourceClaimName": name});
    cluster.create::<Pod>(pod(name, Some(NODE), given)).await;
    until(&claims, name, "it is reserved", |claim| {
        claim.status.as_ref().is_some_and(|status| status.reserved_for.is_some())
    })
    .await;
}

/// Why a pod that is going is disrupted.
fn disrupted(pod: &Pod) -> Option<&str> {
    pod.metadata.deletion_timestamp.as_ref()?;
    let mut all = pod.status.as_ref()?.conditions.iter().flatten();
    all.find(|own| own.type_ == "DisruptionTarget" && own.status == "True")?.reason.as_deref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_leave_devices_that_drive_them_out() {
    let clock = PausedClock::starting_at(kubeplane_clock::real().now());
    let _time = trickle(&clock);
    let wanted = "device-taint-eviction-controller,resourceclaim-controller";
    let shared = Arc::new(clock.clone());
    let cluster = Cluster::selected(shared, |builder| builder, wanted).await;
    let forever = json!({"operator": "Exists", "effect": "NoExecute"});
    let mut a_minute = forever.clone();
    a_minute["tolerationSeconds"] = json!(60);
    let holders = [
        ("at-once", json!([])),
        ("later", json!([a_minute])),
        ("never", json!([forever])),
        ("healthy", json!([])),
    ];
    let slice = |taints: Value| {
        let device = |name: &str| match name {
            "healthy" => json!({"name": name}),
            name => json!({"name": name, "taints": taints}),
        };
        let devices: Vec<_> = holders.iter().map(|(name, _)| device(name)).collect();
        json!({"driver": "gpu.example.com", "nodeName": NODE, "devices": devices,
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}})
    };
    let object = json!({"metadata": {"name": "slice"}, "spec": slice(json!([]))});
    cluster.create::<ResourceSlice>(object).await;
    for (name, tolerations) in &holders {
        holder(&cluster, name, tolerations.clone()).await;
    }
    let taint = json!({"key": "example.com/broken", "effect": "NoExecute",
        "timeAdded": Time(clock.now())});
    let slices: Api<ResourceSlice> = Api::all(cluster.client.clone());
    let tainted = Patch::Merge(json!({"spec": slice(json!([taint]))}));
    slices.patch("slice", &PatchParams::default(), &tainted).await.unwrap();
    let pods = cluster.api::<Pod>();
    let goes = |pod: &Pod| disrupted(pod) == Some("DeletionByDeviceTaintManager");
    until(&pods, "at-once", "it is driven out", goes).await;
    told(&cluster, "at-once", "DeviceTaintManagerEviction", "Marking for deletion").await;
    assert_eq!(disrupted(&pods.get("later").await.unwrap()), None, "it has a minute");
    clock.advance(Duration::from_secs(61));
    until(&pods, "later", "its time is over", goes).await;
    for name in ["never", "healthy"] {
        assert!(pods.get(name).await.unwrap().metadata.deletion_timestamp.is_none(), "{name}");
    }
}
