//! The scheduler gives pods the devices their claims ask for.

use k8s_openapi::api::{
    core::v1::{Node, Pod},
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
    runtime::wait::{Condition, await_condition},
};
use kubeplane::{
    ControlPlane,
    scheduler::{Profile, Scheduler},
    testing::TestCluster,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fmt::Debug, time::Duration};

const PATIENCE: Duration = Duration::from_secs(60);

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn node(name: &str) -> Node {
    let resources = json!({"cpu": "4", "memory": "1Gi", "pods": "20"});
    of(json!({"metadata": {"name": name},
        "status": {"allocatable": resources, "capacity": resources}}))
}

fn pod(name: &str, spec: Value) -> Pod {
    let mut spec = spec;
    spec["tolerations"] = json!([{"operator": "Exists"}]);
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c", "image": "i"}]);
    }
    of(json!({"metadata": {"name": name}, "spec": spec}))
}

fn claiming(name: &str, claim: &str) -> Pod {
    pod(name, json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": claim}]}))
}

fn claim(name: &str) -> ResourceClaim {
    let request = json!({"name": "gpu", "exactly": {"deviceClassName": "gpu"}});
    of(json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}}))
}

fn is_on(node: &'static str) -> impl Condition<Pod> {
    move |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.spec.as_ref()?.node_name.as_deref()) == Some(node)
    }
}

fn is_refused(why: &'static str) -> impl Condition<Pod> {
    move |pod: Option<&Pod>| {
        let status = pod.and_then(|pod| pod.status.as_ref());
        let mut conditions = status.into_iter().flat_map(|own| own.conditions.iter().flatten());
        conditions.any(|own| own.message.as_deref().is_some_and(|own| own.contains(why)))
    }
}

async fn wait<K>(api: &Api<K>, name: &str, condition: impl Condition<K>)
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let waited =
        tokio::time::timeout(PATIENCE, await_condition(api.clone(), name, condition)).await;
    assert!(matches!(waited, Ok(Ok(_))), "{name}: {:#?}", api.get_opt(name).await);
}

async fn play(cluster: &TestCluster) {
    let parameters = PostParams::default();
    let nodes: Api<Node> = Api::all(cluster.client());
    nodes.create(&parameters, &node("a")).await.unwrap();
    nodes.create(&parameters, &node("b")).await.unwrap();
    let classes: Api<DeviceClass> = Api::all(cluster.client());
    let expression = "device.driver == 'gpu.test' && device.attributes['gpu.test'].memory >= 8";
    let class = json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "test.com/gpu",
        "selectors": [{"cel": {"expression": expression}}]}});
    classes.create(&parameters, &of(class)).await.unwrap();
    let slices: Api<ResourceSlice> = Api::all(cluster.client());
    let device =
        |name: &str, memory: i64| json!({"name": name, "attributes": {"memory": {"int": memory}}});
    let slice = json!({"metadata": {"name": "b"}, "spec": {"driver": "gpu.test", "nodeName": "b",
        "pool": {"name": "b", "generation": 1, "resourceSliceCount": 1},
        "devices": [device("small", 4), device("large", 8)]}});
    slices.create(&parameters, &of(slice)).await.unwrap();
    let claims: Api<ResourceClaim> = Api::default_namespaced(cluster.client());
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    for name in ["first", "second"] {
        claims.create(&parameters, &claim(name)).await.unwrap();
    }
    let first = pods.create(&parameters, &claiming("first", "first")).await.unwrap();
    wait(&pods, "first", is_on("b")).await;
    let mut given = claims.get("first").await.unwrap();
    let status = given.status.clone().unwrap();
    let devices = status.allocation.unwrap().devices.unwrap().results.unwrap();
    assert_eq!((devices[0].pool.as_str(), devices[0].device.as_str()), ("b", "large"));
    let users = status.reserved_for.unwrap();
    assert_eq!(Some(&users[0].uid), first.metadata.uid.as_ref());

    pods.create(&parameters, &claiming("second", "second")).await.unwrap();
    wait(&pods, "second", is_refused("2 cannot allocate all claims")).await;
    // The device is given back: the other pod, which waited for that, gets it.
    given.status = None;
    claims.replace_status("first", &parameters, &given).await.unwrap();
    wait(&pods, "second", is_on("b")).await;

    let mut given = claims.get("second").await.unwrap();
    given.status = None;
    let limits = json!({"test.com/gpu": "1"});
    let container = json!({"name": "c", "image": "i", "resources": {"limits": limits}});
    pods.create(&parameters, &pod("third", json!({"containers": [container]}))).await.unwrap();
    wait(&pods, "third", is_refused("2 cannot allocate all claims")).await;
    claims.replace_status("second", &parameters, &given).await.unwrap();
    wait(&pods, "third", is_on("b")).await;
    let third = pods.get("third").await.unwrap().status.unwrap();
    let told = third.extended_resource_claim_status.unwrap();
    let made = claims.get(&told.resource_claim_name).await.unwrap();
    assert!(made.metadata.name.unwrap().starts_with("third-extended-resources-"));
    assert_eq!(told.request_mappings[0].resource_name, "test.com/gpu");
    overcrowd(&pods, &claims).await;
}

/// One pod more than may have a claim.
async fn overcrowd(pods: &Api<Pod>, claims: &Api<ResourceClaim>) {
    let parameters = PostParams::default();
    let user = |number: i32| {
        let (name, uid) = (format!("p{number}"), format!("u{number}"));
        json!({"resource": "pods", "name": name, "uid": uid})
    };
    let users: Vec<_> = (0..256).map(user).collect();
    let result = json!({"request": "gpu", "driver": "gpu.test", "pool": "b", "device": "small"});
    let mut crowded = claims.create(&parameters, &claim("crowded")).await.unwrap();
    crowded.status = Some(of(json!({"reservedFor": users, "allocation": {
        "allocationTimestamp": "2026-01-01T00:00:00Z", "devices": {"results": [result]}}})));
    claims.replace_status("crowded", &parameters, &crowded).await.unwrap();
    pods.create(&parameters, &claiming("late", "crowded")).await.unwrap();
    let why = "add reservation to claim default/crowded: ResourceClaim.resource.k8s.io \"crowded\" is invalid: \
               status.reservedFor: Too many: 257: must have at most 256 items";
    wait(pods, "late", is_refused(why)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_go_from_pod_to_pod_as_claims_are_given_back() {
    let cluster = TestCluster::builder().controllers_named("serviceaccount-controller");
    let cluster = cluster.start().await.unwrap();
    let scheduler = Scheduler::builder(cluster.client())
        .profile(Profile::default())
        .backoff(Duration::from_millis(50), Duration::from_millis(200))
        .build()
        .unwrap();
    ControlPlane::new().with(scheduler).run_until(play(&cluster)).await.unwrap();
    cluster.stop().await.unwrap();
}

/// How often it is looked how many pods have devices.
const LOOK: Duration = Duration::from_millis(50);

async fn placed(pods: &Api<Pod>) -> Vec<Pod> {
    let all = pods.list(&ListParams::default()).await.unwrap().items;
    let has_node = |pod: &Pod| pod.spec.as_ref().is_some_and(|own| own.node_name.is_some());
    all.into_iter().filter(has_node).collect()
}

/// The devices of the pods that have nodes, by the claims that were made for them.
async fn given(pods: &Api<Pod>, claims: &Api<ResourceClaim>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for pod in placed(pods).await {
        let node = pod.spec.unwrap().node_name.unwrap();
        let told = pod.status.unwrap().extended_resource_claim_status.unwrap();
        let claim = claims.get(&told.resource_claim_name).await.unwrap();
        let devices = claim.status.unwrap().allocation.unwrap().devices.unwrap();
        for own in devices.results.unwrap() {
            assert_eq!(own.pool, node, "{} is elsewhere", told.resource_claim_name);
            let device = format!("{}/{}", own.pool, own.device);
            assert!(!all.contains(&device), "{device} is given twice");
            all.insert(device);
        }
    }
    all
}

async fn until_given(pods: &Api<Pod>, claims: &Api<ResourceClaim>, count: usize) {
    let until = async {
        while given(pods, claims).await.len() != count {
            tokio::time::sleep(LOOK).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, until).await;
    assert!(waited.is_ok(), "{:?} and not {count}", given(pods, claims).await);
}

/// Three nodes with four devices each, for sixteen pods alike, each of the next of these profiles.
async fn crowd(cluster: &TestCluster, profiles: &[&str]) {
    let parameters = PostParams::default();
    let class =
        json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "test.com/gpu"}});
    let classes: Api<DeviceClass> = Api::all(cluster.client());
    classes.create(&parameters, &of(class)).await.unwrap();
    let nodes: Api<Node> = Api::all(cluster.client());
    let slices: Api<ResourceSlice> = Api::all(cluster.client());
    for name in ["a", "b", "c"] {
        let devices: Vec<_> = (0..4).map(|number| json!({"name": format!("d{number}")})).collect();
        let slice = json!({"metadata": {"name": name}, "spec": {"driver": "gpu.test",
            "nodeName": name, "devices": devices,
            "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}}});
        slices.create(&parameters, &of(slice)).await.unwrap();
        nodes.create(&parameters, &node(name)).await.unwrap();
    }
    let claims: Api<ResourceClaim> = Api::default_namespaced(cluster.client());
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    for number in 0..16 {
        let limits = json!({"test.com/gpu": "1"});
        let container = json!({"name": "c", "image": "i", "resources": {"limits": limits}});
        let profile = profiles[number % profiles.len()];
        let spec = json!({"containers": [container], "schedulerName": profile});
        let own = pod(&format!("p{number}"), spec);
        pods.create(&parameters, &own).await.unwrap();
    }
    until_given(&pods, &claims, 12).await;
    // Those that go give back what they had, and those that wait get it.
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    for own in placed(&pods).await.into_iter().take(6) {
        pods.delete(&own.metadata.name.unwrap(), &at_once).await.unwrap();
    }
    until_given(&pods, &claims, 10).await;
}

async fn give_to_a_crowd(profiles: &[&str]) {
    let names = "serviceaccount-controller,resourceclaim-controller";
    let cluster = TestCluster::builder().controllers_named(names).start().await.unwrap();
    let own = profiles.iter().map(|name| Profile::default().named(name));
    let scheduler = Scheduler::builder(cluster.client())
        .profiles(own)
        .backoff(Duration::from_millis(50), Duration::from_millis(200))
        .build()
        .unwrap();
    ControlPlane::new().with(scheduler).run_until(crowd(&cluster, profiles)).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_device_is_given_twice_to_pods_that_ask_for_it_as_a_resource() {
    give_to_a_crowd(&["default-scheduler"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_device_is_given_twice_by_the_profiles_of_one_scheduler() {
    give_to_a_crowd(&["default-scheduler", "other"]).await;
}
