//! Taints that administrators put on devices.

use k8s_openapi::{
    api::{
        core::v1::Pod,
        resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use kubeplane::{
    api::ApiOptions,
    testing::{TestCluster, run},
};
use kubeplane_workload::DeviceTaintRule;
use serde_json::{Value, json};
use std::time::Duration;

struct Devices {
    cluster: TestCluster,
    pods: Api<Pod>,
    claims: Api<ResourceClaim>,
    rules: Api<DeviceTaintRule>,
}

impl Devices {
    /// A class, and a node with two devices of it.
    async fn new(cluster: TestCluster) -> Self {
        let create = PostParams::default();
        let classes: Api<DeviceClass> = Api::all(cluster.client());
        let selector = json!({"cel": {"expression": "device.driver == 'gpu.test'"}});
        let class = json!({"metadata": {"name": "gpu"}, "spec": {"selectors": [selector]}});
        classes.create(&create, &serde_json::from_value(class).unwrap()).await.unwrap();
        let slices: Api<ResourceSlice> = Api::all(cluster.client());
        let slice = json!({"metadata": {"name": "s"}, "spec": {"driver": "gpu.test",
            "nodeName": "simulated-1", "devices": [{"name": "one"}, {"name": "two"}],
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}});
        slices.create(&create, &serde_json::from_value(slice).unwrap()).await.unwrap();
        Self {
            pods: Api::default_namespaced(cluster.client()),
            claims: Api::default_namespaced(cluster.client()),
            rules: Api::all(cluster.client()),
            cluster,
        }
    }

    /// A pod with a claim of its own for one device.
    async fn wants(&self, name: &str) {
        let create = PostParams::default();
        let request = json!({"name": "gpu", "exactly": {"deviceClassName": "gpu"}});
        let claim =
            json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}});
        self.claims.create(&create, &serde_json::from_value(claim).unwrap()).await.unwrap();
        let pod = json!({"metadata": {"name": name}, "spec": {
            "resourceClaims": [{"name": "gpu", "resourceClaimName": name}],
            "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i"}]}});
        self.pods.create(&create, &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    async fn pass(&self, seconds: u64) {
        self.cluster.advance(Duration::from_secs(seconds)).await;
    }

    /// Which device a claim has.
    async fn device(&self, claim: &str) -> String {
        let claim = serde_json::to_value(self.claims.get(claim).await.unwrap()).unwrap();
        let device = claim.pointer("/status/allocation/devices/results/0/device");
        device.and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    async fn is_bound(&self, pod: &str) -> bool {
        let found = self.pods.get_opt(pod).await.unwrap();
        found.is_some_and(|pod| pod.spec.is_some_and(|spec| spec.node_name.is_some()))
    }

    async fn told(&self) -> Condition {
        let status = self.rules.get("r").await.unwrap().status;
        let mut conditions = status.conditions.into_iter();
        conditions
            .find(|own| own.type_ == "EvictionInProgress")
            .unwrap_or_else(|| panic!("nothing is told"))
    }
}

async fn play(cluster: TestCluster) {
    cluster.advance(Duration::from_secs(30)).await;
    let world = Devices::new(cluster).await;
    for name in ["a", "b"] {
        world.wants(name).await;
    }
    world.pass(30).await;
    assert!(world.is_bound("a").await && world.is_bound("b").await);
    let (goes, stays) = if world.device("a").await == "one" { ("a", "b") } else { ("b", "a") };
    assert_eq!((world.device(goes).await, world.device(stays).await), ("one".into(), "two".into()));

    let kind = ApiResource::erase::<DeviceTaintRule>(&());
    let rules: Api<DynamicObject> = Api::all_with(world.cluster.client(), &kind);
    let rule = json!({"metadata": {"name": "r"}, "spec": {
        "deviceSelector": {"driver": "gpu.test", "device": "one"},
        "taint": {"key": "test.com/bad", "effect": "None"}}});
    let made = rules.create(&PostParams::default(), &serde_json::from_value(rule).unwrap()).await;
    let made = made.unwrap();
    assert!(made.data["spec"]["taint"]["timeAdded"].is_string(), "{made:?}");
    let older = ApiResource {
        version: "v1alpha3".to_owned(),
        api_version: "resource.k8s.io/v1alpha3".to_owned(),
        ..kind
    };
    let older: Api<DynamicObject> = Api::all_with(world.cluster.client(), &older);
    let told = older.get("r").await.unwrap();
    assert_eq!(told.types.map(|types| types.api_version), Some("resource.k8s.io/v1alpha3".into()));
    assert_eq!(told.data["spec"], made.data["spec"], "it is the same rule");
    world.pass(15).await;
    let told = world.told().await;
    assert_eq!((told.status.as_str(), told.reason.as_str()), ("False", "NoEffect"));
    let begin = "1 published device selected. 1 allocated device selected. 1 pod would be evicted in \
                 1 namespace if the effect was NoExecute.";
    assert!(told.message.starts_with(begin), "{}", told.message);
    assert!(world.is_bound(goes).await, "it has no effect");

    let change = Patch::Merge(json!({"spec": {"taint": {"effect": "NoExecute"}}}));
    world.rules.patch("r", &PatchParams::default(), &change).await.unwrap();
    world.pass(60).await;
    assert!(world.pods.get_opt(goes).await.unwrap().is_none(), "it is driven out");
    assert!(world.is_bound(stays).await);
    let told = world.told().await;
    assert_eq!((told.status.as_str(), told.reason.as_str()), ("False", "Completed"));
    assert_eq!(told.message, "1 pod evicted since starting the controller.");
    assert_eq!(told.observed_generation, Some(2));

    // The device is free, and not for pods that do not tolerate its taint.
    world.wants("next").await;
    world.pass(60).await;
    assert!(!world.is_bound("next").await);
    world.rules.delete("r", &DeleteParams::default()).await.unwrap();
    world.pass(60).await;
    assert!(world.is_bound("next").await, "the taint went with its rule");
    assert_eq!(world.device("next").await, "one");
}

#[test]
fn a_rule_taints_devices_drives_pods_out_and_tells_of_it() {
    let options = ApiOptions {
        features: "DRADeviceTaintRules=true".parse().unwrap(),
        versions: "resource.k8s.io/v1alpha3=true".parse().unwrap(),
        ..ApiOptions::default()
    };
    let builder = TestCluster::builder().options(options).controllers().scheduler().paused();
    run(builder.simulated_nodes(1), play);
}
