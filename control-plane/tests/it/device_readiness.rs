//! Devices that have to be made ready before pods are bound to their node.

use k8s_openapi::api::{
    core::v1::{Event, Pod},
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use kubeplane::testing::{TestCluster, run};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Half a minute passes.
async fn pass(cluster: &TestCluster) {
    cluster.advance(Duration::from_secs(30)).await;
}

/// The driver says so of the device of the claim.
async fn report(claims: &Api<ResourceClaim>, kind: &str) {
    let condition = json!({"type": kind, "status": "True", "reason": "Testing", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let device =
        json!({"driver": "gpu.test", "pool": "p", "device": "one", "conditions": [condition]});
    let patch = Patch::Merge(json!({"status": {"devices": [device]}}));
    claims.patch_status("x", &PatchParams::default(), &patch).await.unwrap();
}

/// Which device the claim has.
async fn device(claims: &Api<ResourceClaim>) -> String {
    let claim = serde_json::to_value(claims.get("x").await.unwrap()).unwrap();
    let device = claim.pointer("/status/allocation/devices/results/0/device");
    device.and_then(Value::as_str).unwrap_or_default().to_owned()
}

async fn is_bound(pods: &Api<Pod>) -> bool {
    pods.get("x").await.unwrap().spec.is_some_and(|spec| spec.node_name.is_some())
}

async fn is_told(cluster: &TestCluster, reason: &str, message: &str) -> bool {
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let all = events.list(&ListParams::default()).await.unwrap().items;
    all.iter().any(|own| {
        own.involved_object.name.as_deref() == Some("x")
            && own.reason.as_deref() == Some(reason)
            && own.message.as_deref() == Some(message)
    })
}

/// There is one device, and a pod whose claim has it.
async fn begin(cluster: &TestCluster) -> (Api<Pod>, Api<ResourceClaim>) {
    pass(cluster).await;
    let create = PostParams::default();
    let classes: Api<DeviceClass> = Api::all(cluster.client());
    let class = json!({"metadata": {"name": "gpu"}, "spec": {}});
    classes.create(&create, &of(class)).await.unwrap();
    let slices: Api<ResourceSlice> = Api::all(cluster.client());
    let one = json!({"name": "one", "bindingConditions": ["ready"],
        "bindingFailureConditions": ["failed"]});
    let slice = json!({"metadata": {"name": "s"}, "spec": {"driver": "gpu.test",
        "nodeName": "simulated-1", "devices": [one],
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}});
    slices.create(&create, &of(slice)).await.unwrap();
    let claims: Api<ResourceClaim> = Api::default_namespaced(cluster.client());
    let request = json!({"name": "gpu", "exactly": {"deviceClassName": "gpu"}});
    let claim = json!({"metadata": {"name": "x"}, "spec": {"devices": {"requests": [request]}}});
    claims.create(&create, &of(claim)).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let pod = json!({"metadata": {"name": "x"}, "spec": {
        "resourceClaims": [{"name": "gpu", "resourceClaimName": "x"}],
        "containers": [{"name": "c", "image": "i"}]}});
    pods.create(&create, &of(pod)).await.unwrap();
    pass(cluster).await;
    assert_eq!(device(&claims).await, "one");
    assert!(!is_bound(&pods).await, "its device is not ready");
    (pods, claims)
}

async fn play(cluster: TestCluster) {
    let (pods, claims) = begin(&cluster).await;
    let waits = "waiting for binding conditions for device on node simulated-1";
    assert!(is_told(&cluster, "BindingConditionsPending", waits).await);

    report(&claims, "failed").await;
    pass(&cluster).await;
    let failed = "running PreBind plugin \"DynamicResources\": device binding failed: claim=x, \
                  reason=Testing, message=\"m\"";
    assert!(is_told(&cluster, "FailedScheduling", failed).await);
    // The device was given back, with what was said of it, and as there is no other it is tried again.
    let now = claims.get("x").await.unwrap().status.unwrap();
    assert!(now.devices.is_none(), "{now:?}");
    assert_eq!(device(&claims).await, "one");
    assert!(!is_bound(&pods).await);

    report(&claims, "ready").await;
    pass(&cluster).await;
    assert!(is_bound(&pods).await);
}

async fn give_up(cluster: TestCluster) {
    let (pods, claims) = begin(&cluster).await;
    pods.delete("x", &DeleteParams::default().grace_period(0)).await.unwrap();
    pass(&cluster).await;
    let left = claims.get("x").await.unwrap().status.unwrap_or_default();
    assert!(left.allocation.is_none() && left.reserved_for.is_none(), "{left:?}");
}

#[test]
fn a_pod_that_goes_while_its_device_is_made_ready_gives_it_back() {
    let builder = TestCluster::builder().controllers().scheduler().paused();
    run(builder.simulated_nodes(1), give_up);
}

#[test]
fn pods_wait_for_devices_to_be_ready_and_leave_those_that_fail() {
    let builder = TestCluster::builder().controllers().scheduler().paused();
    run(builder.simulated_nodes(1), play);
}
