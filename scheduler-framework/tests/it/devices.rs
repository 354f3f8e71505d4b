//! Pods that want devices, by claims or as extended resources, go where a full pass would put them, whatever is taken and
//! freed between.

use crate::{
    replay::{framework, info},
    scenario::Dice,
};
use k8s_openapi::api::{
    core::v1::Node,
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
};
use kubeplane_scheduler_framework::{
    Cache, ClusterObjects, Failure, Framework, ObjectSource, PodInfo,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{Arc, Mutex},
};

const NODES: usize = 15;
const GPU: &str = "example.com/gpu";

/// Objects that come and go, by name.
#[derive(Debug)]
struct Shown<K>(Mutex<BTreeMap<String, Arc<K>>>);

impl<K> Shown<K> {
    fn none() -> Arc<Self> {
        Arc::new(Self(Mutex::new(BTreeMap::new())))
    }

    fn remove(&self, name: &str) {
        self.0.lock().unwrap().remove(name);
    }
}

impl<K: serde::de::DeserializeOwned> Shown<K> {
    fn set(&self, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let object = Arc::new(serde_json::from_value(object).unwrap());
        self.0.lock().unwrap().insert(name, object);
    }
}

impl<K: Debug + Send + Sync> ObjectSource<K> for Shown<K> {
    fn find(&self, _: &str, name: &str) -> Option<Arc<K>> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn all(&self) -> Vec<Arc<K>> {
        self.0.lock().unwrap().values().cloned().collect()
    }

    fn within(&self, _: &str) -> Vec<Arc<K>> {
        self.all()
    }
}

/// Every fifth node has the resource itself and no devices.
fn has_itself(node: usize) -> bool {
    node % 5 == 4
}

fn devices_of(node: usize) -> usize {
    if has_itself(node) { 0 } else { 4 + node % 4 }
}

fn class() -> Value {
    json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": GPU}})
}

struct World {
    cache: Cache,
    claims: Arc<Shown<ResourceClaim>>,
    classes: Arc<Shown<DeviceClass>>,
    /// The devices that are taken, by the pod that has them: node and number.
    taken: BTreeMap<String, Vec<(usize, usize)>>,
    placed: Vec<String>,
}

impl World {
    fn new() -> Self {
        let (claims, classes) = (Shown::<ResourceClaim>::none(), Shown::<DeviceClass>::none());
        let slices = Shown::<ResourceSlice>::none();
        for node in 0..NODES {
            let all = (0..devices_of(node)).map(|device| json!({"name": format!("d{device}")}));
            let (name, all) = (format!("n{node}"), all.collect::<Vec<_>>());
            slices.set(json!({"metadata": {"name": name}, "spec": {"driver": "drv",
                "nodeName": name, "devices": all,
                "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}}}));
        }
        classes.set(class());
        let objects = ClusterObjects {
            resource_claims: claims.clone(),
            resource_slices: slices,
            device_classes: classes.clone(),
            ..ClusterObjects::default()
        };
        let mut cache = Cache::with_objects(Arc::new(objects));
        for node in 0..NODES {
            let mut amounts = json!({"cpu": "8", "memory": "16Gi", "pods": "20"});
            if has_itself(node) {
                amounts[GPU] = json!("2");
            }
            let node = json!({"metadata": {"name": format!("n{node}")},
                "status": {"allocatable": amounts}});
            let node: Node = serde_json::from_value(node).unwrap();
            cache.set_node(Arc::new(node));
        }
        Self { cache, claims, classes, taken: BTreeMap::new(), placed: Vec::new() }
    }

    /// One of four kinds of pods: with a device as a resource, by a claim, with none, with two as a resource.
    fn pod(&self, number: usize) -> Arc<PodInfo> {
        let name = format!("p{number}");
        let mut wants = json!({"cpu": "500m"});
        let mut spec = json!({});
        match number % 4 {
            0 => wants[GPU] = json!("1"),
            1 => {
                let claim = format!("c-{name}");
                let request = json!({"name": "r", "exactly": {"deviceClassName": "gpu",
                    "allocationMode": "ExactCount", "count": 1}});
                self.claims
                    .set(json!({"metadata": {"name": claim, "namespace": "d", "uid": claim},
                    "spec": {"devices": {"requests": [request]}}}));
                spec["resourceClaims"] = json!([{"name": "c", "resourceClaimName": claim}]);
            }
            2 => {}
            _ => wants[GPU] = json!("2"),
        }
        let resources = json!({"requests": wants, "limits": wants});
        spec["containers"] = json!([{"name": "c", "resources": resources}]);
        info(&json!({"metadata": {"name": name, "namespace": "d", "uid": name}, "spec": spec}))
    }

    /// The pod is on a node, and has devices of it if it wants some.
    fn place(&mut self, number: usize, pod: &Arc<PodInfo>, node: &str) {
        self.cache.assume(node, pod.clone());
        self.placed.push(pod.uid().to_owned());
        let node: usize = node[1..].parse().unwrap();
        let wanted = [1, 1, 0, 2][number % 4];
        if wanted == 0 || has_itself(node) && number % 4 != 1 {
            return;
        }
        let used: BTreeSet<_> = self.taken.values().flatten().copied().collect();
        let free = (0..devices_of(node)).map(|device| (node, device));
        let given: Vec<_> = free.filter(|own| !used.contains(own)).take(wanted).collect();
        assert_eq!(given.len(), wanted, "{} is where too few devices are free", pod.key());
        let results = given.iter().map(|(node, device)| {
            json!({"request": "r", "driver": "drv", "pool": format!("n{node}"),
                "device": format!("d{device}")})
        });
        let allocation = json!({"devices": {"results": results.collect::<Vec<_>>()}});
        let claim = format!("c-{}", pod.name());
        self.claims.set(json!({"metadata": {"name": claim, "namespace": "d", "uid": claim},
            "spec": {}, "status": {"allocation": allocation}}));
        self.taken.insert(pod.uid().to_owned(), given);
    }

    /// One of the pods that are placed goes, and what it had with it.
    fn leave(&mut self, dice: &mut Dice) {
        let index = usize::try_from(dice.below(self.placed.len() as u64)).unwrap();
        let uid = self.placed.swap_remove(index);
        self.cache.remove_pod(&uid);
        self.claims.remove(&format!("c-{uid}"));
        self.taken.remove(&uid);
    }
}

/// Where a pod goes, which a full pass must have for one of the best, and whether it was followed.
async fn decide(framework: &Framework, cache: &Cache, pod: &PodInfo) -> Option<(String, bool)> {
    let snapshot = cache.snapshot();
    let trace = framework.trace(pod, &snapshot).unwrap();
    match framework.schedule(pod, &snapshot).await {
        Ok(placement) => {
            let told = format!("{} not among {:?}\n{trace}", placement.node, trace.best);
            assert!(trace.best.contains(&placement.node), "{} {told}", pod.key());
            Some((placement.node, placement.followed))
        }
        Err(Failure::Unschedulable(_)) => {
            assert!(trace.best.is_empty(), "{}\n{trace}", pod.key());
            None
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn pods_alike_that_want_devices_are_followed() {
    let (mut with_devices, mut followed, mut refused) = (0, 0, 0);
    for seed in 1..=6 {
        let (mut world, framework) = (World::new(), framework(seed));
        let mut dice = Dice::new(seed);
        for number in 0..200 {
            match number {
                // Nothing stands for the resource any more, and then again.
                100 => world.classes.remove("gpu"),
                130 => world.classes.set(class()),
                _ => {}
            }
            let pod = world.pod(number);
            match decide(&framework, &world.cache, &pod).await {
                Some((node, by_class)) => {
                    let wants = usize::from(number % 4 != 2);
                    with_devices += wants;
                    followed += wants * usize::from(by_class);
                    world.place(number, &pod, &node);
                }
                None => {
                    world.claims.remove(&format!("c-{}", pod.name()));
                    refused += 1;
                }
            }
            if number % 2 == 0 && !world.placed.is_empty() {
                world.leave(&mut dice);
            }
        }
    }
    assert!(refused > 0, "devices ran out, or had no class");
    assert!(followed * 2 > with_devices, "{followed} of {with_devices}");
}

#[tokio::test]
async fn many_kinds_of_pods_that_want_devices_are_followed_in_turn() {
    const KINDS: usize = 40;
    let (world, framework) = (World::new(), framework(7));
    let mut followed = 0;
    for round in 0..4 {
        for kind in 0..KINDS {
            let mut wants = json!({"cpu": format!("{}m", 10 + kind)});
            wants[GPU] = json!("1");
            let resources = json!({"requests": wants, "limits": wants});
            let spec = json!({"containers": [{"name": "c", "resources": resources}]});
            let name = format!("p{round}-{kind}");
            let meta = json!({"name": name, "namespace": "d", "uid": name});
            let pod = info(&json!({"metadata": meta, "spec": spec}));
            let (_, by_class) = decide(&framework, &world.cache, &pod).await.unwrap();
            followed += usize::from(by_class);
        }
    }
    assert_eq!(followed, 3 * KINDS, "all but the first of each kind");
}

/// Where a pod goes, which must be the one node where it fits, and how many nodes were looked at.
async fn only_place(
    framework: &Framework,
    cache: &Cache,
    pod: &PodInfo,
) -> Option<(String, usize)> {
    let snapshot = cache.snapshot();
    let trace = framework.trace(pod, &snapshot).unwrap();
    let placed = framework.schedule(pod, &snapshot).await.ok();
    let node: Vec<_> = placed.iter().map(|own| own.node.clone()).collect();
    assert_eq!(node, trace.best, "{trace}");
    placed.map(|own| (own.node, own.evaluated))
}

#[tokio::test]
async fn what_only_one_node_has_is_looked_for_there_alone() {
    let classes = Shown::<DeviceClass>::none();
    let objects = ClusterObjects { device_classes: classes.clone(), ..ClusterObjects::default() };
    let mut cache = Cache::with_objects(Arc::new(objects));
    let resource = |number: usize| format!("example.com/own-{number}");
    let node = |number: usize, has: usize| {
        let mut amounts = json!({"cpu": "8", "memory": "16Gi", "pods": "20"});
        amounts[resource(has)] = json!("1");
        let name = format!("n{number}");
        let node = json!({"metadata": {"name": name}, "status": {"allocatable": amounts}});
        let node: Node = serde_json::from_value(node).unwrap();
        Arc::new(node)
    };
    for number in 0..150 {
        cache.set_node(node(number, number));
    }
    let pod = |name: &str, has: usize| {
        let mut wants = json!({"cpu": "1"});
        wants[resource(has)] = json!("1");
        let resources = json!({"requests": wants, "limits": wants});
        let spec = json!({"containers": [{"name": "c", "resources": resources}]});
        info(&json!({"metadata": {"name": name, "namespace": "d", "uid": name}, "spec": spec}))
    };
    let framework = framework(1);
    for number in [3, 70, 149] {
        let own = pod(&format!("p{number}"), number);
        let placed = only_place(&framework, &cache, &own).await;
        assert_eq!(placed, Some((format!("n{number}"), 1)));
        cache.assume(&format!("n{number}"), own);
    }
    // Another node has it instead, and then it is taken.
    cache.set_node(node(100, 8));
    cache.set_node(node(8, 100));
    let own = pod("p8", 8);
    assert_eq!(only_place(&framework, &cache, &own).await, Some(("n100".to_owned(), 1)));
    cache.assume("n100", own);
    assert_eq!(only_place(&framework, &cache, &pod("late", 8)).await, None);
    // What devices stand for any node may have.
    classes
        .set(json!({"metadata": {"name": "own"}, "spec": {"extendedResourceName": resource(9)}}));
    let placed = only_place(&framework, &cache, &pod("p9", 9)).await;
    let (node, evaluated) = placed.unwrap();
    assert!(node == "n9" && evaluated > 1, "{node} of {evaluated}");
}
