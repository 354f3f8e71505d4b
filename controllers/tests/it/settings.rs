//! What the settings of the built-in controllers, and so the flags of `kubeplane controllers`, lead to.

use crate::{
    cluster::{Cluster, eventually},
    world::{
        CLAIM, CLASS, CONFIG_MAP, ENDPOINTS, EVENT, NAMESPACE, NODES, POD, SERVICE, SLICE, VOLUME,
        World, is_going, items, name, number, owner, text,
    },
};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::{
    Api,
    api::{Patch, PatchParams, PropagationPolicy},
};
use kubeplane_client::ObjectKey;
use kubeplane_clock::Clock;
use kubeplane_controllers::{
    Action, BoxController, BuiltinOptions, Context, Controller, Error, Manager, Selection,
    Settings, Sources, builtin_with,
};
use kubeplane_core::{
    component::{Component, lifecycle},
    features::Features,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Works on each request until it is let go on.
#[derive(Clone)]
struct Slow {
    gate: Arc<Semaphore>,
    /// On how many it works, on how many it did at most, and with how many it is done.
    counts: Arc<Mutex<[usize; 3]>>,
}

#[async_trait]
impl Controller for Slow {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "slow"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.objects::<ConfigMap>();
    }

    async fn reconcile(&self, _: &ObjectKey, _: &Context) -> Result<Action, Error> {
        {
            let mut counts = self.counts.lock();
            counts[0] += 1;
            counts[1] = counts[1].max(counts[0]);
        }
        self.gate.acquire().await.unwrap().forget();
        let mut counts = self.counts.lock();
        counts[0] -= 1;
        counts[2] += 1;
        Ok(Action::Done)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_are_worked_on_at_once_as_is_said() {
    let cluster = Cluster::bare().await;
    for number in 0..9 {
        cluster.create::<ConfigMap>(json!({"metadata": {"name": format!("map-{number}")}})).await;
    }
    let slow = Slow { gate: Arc::new(Semaphore::new(0)), counts: Arc::default() };
    let controller = BoxController::new(slow.clone());
    assert_eq!(controller.workers(), 5, "unless it is told otherwise");
    let manager = Manager::builder(cluster.client.clone())
        .add_all([controller.with_workers(7)])
        .build()
        .unwrap();
    let (life, supervision) = lifecycle();
    let running = tokio::spawn(Box::new(manager).run(life));
    let reach = async |index: usize, wanted: usize| {
        eventually(&format!("count {index} is {wanted}"), || async {
            let counts = *slow.counts.lock();
            if counts[index] == wanted { Ok(()) } else { Err(format!("{counts:?}")) }
        })
        .await;
    };
    reach(0, 7).await;
    slow.gate.add_permits(9);
    reach(2, 9).await;
    assert_eq!(slow.counts.lock()[1], 7);
    supervision.stop();
    running.await.unwrap().unwrap();
}

#[test]
fn every_controller_works_on_as_many_as_the_settings_say() {
    let features: Features = "DRADeviceTaints=true".parse().unwrap();
    let options = BuiltinOptions::new(kubeplane_clock::real(), "the root").with_features(features);
    let workers = |settings: &Settings| -> BTreeMap<&'static str, usize> {
        let all = builtin_with(&options, settings);
        all.iter().map(|own| (own.name(), own.workers())).collect()
    };
    let usual = workers(&Settings::default());
    for (name, count) in [
        ("daemonset-controller", 2),
        ("deployment-controller", 5),
        ("device-taint-eviction-controller", 8),
        ("garbage-collector-controller", 20),
        ("namespace-controller", 10),
        ("persistentvolume-binder-controller", 1),
        ("resourceclaim-controller", 50),
    ] {
        assert_eq!(usual.get(name), Some(&count), "{name}");
    }
    let mut settings = Settings::default();
    settings.concurrency.deployments = 11;
    settings.concurrency.mirrored_endpoints = 0;
    let said = workers(&settings);
    assert_eq!(said["deployment-controller"], 11);
    assert_eq!(said["endpointslice-mirroring-controller"], 0);
    let others = said.iter().filter(|(name, count)| usual[*name] != **count);
    assert_eq!(others.count(), 2, "the rest is as it was");
}

/// A cluster whose controllers go by other settings.
async fn with(change: impl FnOnce(&mut Settings)) -> World {
    selected("*", change).await
}

/// The same with those controllers that `--controllers` would select.
async fn selected(selection: &str, change: impl FnOnce(&mut Settings)) -> World {
    let mut world = World::selected(selection).await;
    let mut settings = Settings::default();
    change(&mut settings);
    world.cluster.set(settings).await;
    world
}

/// Waits while time goes on by `step` with each look; how much of it passed.
async fn passes(
    world: &World,
    step: Duration,
    what: &str,
    check: impl AsyncFn() -> Result<(), String>,
) -> Duration {
    let start = world.clock.elapsed();
    eventually(what, || async {
        world.clock.advance(step);
        check().await
    })
    .await;
    world.clock.elapsed().saturating_sub(start)
}

const TENTH: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_goes_is_looked_at_again_though_nothing_is_told_of_it() {
    let world = with(|settings| settings.namespace_sync_period = Duration::from_millis(10)).await;
    let spec = json!({"finalizers": ["kubernetes", "example.com/hold"]});
    world.make_spec(NAMESPACE, "temp", spec).await;
    world.delete(NAMESPACE, "temp").await;
    let held = |own: &Value| own["spec"]["finalizers"] == json!(["example.com/hold"]);
    world.until(NAMESPACE, "temp", "the controller lets it go", held).await;
    // What was told of the namespace itself leads to a look or two.
    for number in 0..5 {
        let name = format!("late-{number}");
        let late = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "temp", "uid": name}});
        world.cluster.store(&format!("/registry/configmaps/temp/{name}"), &late).await;
        let maps = world.api_in(CONFIG_MAP, "temp");
        let took = passes(&world, TENTH, "what came late goes", async || {
            match maps.get_opt(&name).await.unwrap() {
                None => Ok(()),
                Some(map) => Err(format!("{map:?}")),
            }
        })
        .await;
        assert!(took < Duration::from_secs(200), "{took:?}");
    }
}

/// Whether the quota says that there is no pod.
async fn counted(quotas: &Api<ResourceQuota>) -> Result<(), String> {
    let status = quotas.get("few").await.unwrap().status.unwrap_or_default();
    let used = json!(status.used.unwrap_or_default());
    if used == json!({"pods": "0"}) { Ok(()) } else { Err(used.to_string()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_are_counted_anew_as_often_as_is_said() {
    let world = with(|settings| settings.resource_quota_sync_period = Duration::from_secs(2)).await;
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "5"}}});
    world.cluster.create::<ResourceQuota>(quota).await;
    let quotas = world.cluster.api::<ResourceQuota>();
    passes(&world, TENTH, "it is counted", async || counted(&quotas).await).await;
    // A new quota is looked at once more by itself.
    for _ in 0..3 {
        let wrong = Patch::Merge(json!({"status": {"used": {"pods": "3"}}}));
        quotas.patch_status("few", &PatchParams::default(), &wrong).await.unwrap();
        let took =
            passes(&world, TENTH, "it is counted anew", async || counted(&quotas).await).await;
        assert!(took < Duration::from_secs(200), "{took:?}");
    }
}

fn claim(name: &str, class: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "5Gi"}}, "storageClassName": class}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_wait_are_looked_at_as_often_as_is_said() {
    let world = with(|settings| settings.pvclaimbinder_sync_period = Duration::from_secs(1)).await;
    world.make(CLAIM, claim("waits", "")).await;
    let took = passes(&world, TENTH, "it is told ten times what it waits for", async || {
        let events = world.list(EVENT).await;
        let told = events.iter().filter(|event| {
            event["reason"] == "FailedBinding" && event["involvedObject"]["name"] == "waits"
        });
        let told: i64 = told.map(|event| number(event, "/count")).sum();
        if told >= 10 { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    assert!(took < Duration::from_secs(100), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_for_volumes_where_that_is_said() {
    let world = with(|settings| settings.enable_dynamic_provisioning = false).await;
    let class = json!({"metadata": {"name": "disks"}, "provisioner": "example.com/disks",
        "volumeBindingMode": "Immediate"});
    world.make(CLASS, class).await;
    world.make(CLAIM, claim("asks", "disks")).await;
    // It is looked at one after the other.
    world.make(CLAIM, claim("other", "")).await;
    world.told("other", "FailedBinding").await;
    let asks = world.get(CLAIM, "asks").await;
    assert!(asks.pointer("/metadata/annotations").is_none(), "{asks:#}");
    // What is there is taken all the same.
    let volume = json!({"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"],
        "storageClassName": "disks", "hostPath": {"path": "/nowhere"}});
    world.make_spec(VOLUME, "disk", volume).await;
    let bound = |own: &Value| text(own, "/status/phase") == "Bound";
    world.until(CLAIM, "asks", "it has the volume", bound).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_garbage_collector_what_is_owned_stays() {
    let mut settings = Settings::default();
    settings.enable_garbage_collector = false;
    let options = BuiltinOptions::new(kubeplane_clock::real(), "the root");
    let all = builtin_with(&options, &settings);
    let names: Vec<_> = all.iter().map(BoxController::name).collect();
    assert!(!names.contains(&"garbage-collector-controller"), "{names:?}");
    for selection in ["*,-garbagecollector", "garbage-collector-controller"] {
        Selection::parse(selection).check(&names).unwrap();
    }

    let mut world = with(|settings| settings.enable_garbage_collector = false).await;
    let of = world.make(CONFIG_MAP, json!({"metadata": {"name": "owner"}})).await;
    let owned = json!({"name": "owned", "ownerReferences": [owner(&of, false)]});
    world.make(CONFIG_MAP, json!({"metadata": owned})).await;
    world.delete_with(CONFIG_MAP, "owner", PropagationPolicy::Foreground).await;
    assert!(is_going(&world.get(CONFIG_MAP, "owner").await));
    assert!(!is_going(&world.get(CONFIG_MAP, "owned").await));
    world.cluster.set(Settings::default()).await;
    world.gone(CONFIG_MAP, "owned").await;
    world.gone(CONFIG_MAP, "owner").await;
}

/// Waits until it is told that there are so many nodes; how long that took.
async fn nodes_are_counted(world: &World, count: usize) -> Duration {
    passes(world, Duration::from_secs(20), "the nodes are counted", async || {
        let told = world.cluster.metrics.encode();
        let end = format!(" {count}");
        let mut sizes = told.lines().filter(|line| line.starts_with("node_collector_zone_size{"));
        if sizes.any(|line| line.ends_with(&end)) { Ok(()) } else { Err(end) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zones_are_looked_at_as_often_as_is_said() {
    let hour = Duration::from_secs(3600);
    let world = with(|settings| settings.node_monitor_period = hour).await;
    world.make(NODES, json!({"metadata": {"name": "one"}})).await;
    nodes_are_counted(&world, 1).await;
    world.make(NODES, json!({"metadata": {"name": "two"}})).await;
    let took = nodes_are_counted(&world, 2).await;
    assert!(took > hour / 2, "{took:?}");
}

/// The addresses in all EndpointSlices of a Service.
async fn sliced(world: &World, service: &str) -> Vec<String> {
    let slices = world.list(SLICE).await;
    let of = "/metadata/labels/kubernetes.io~1service-name";
    let own = slices.iter().filter(|slice| text(slice, of) == service);
    let endpoints = own.flat_map(|slice| items(slice, "/endpoints"));
    let addresses = endpoints.flat_map(|endpoint| items(endpoint, "/addresses"));
    addresses.map(|address| address.as_str().unwrap_or_default().to_owned()).collect()
}

/// The addresses in the Endpoints of a Service.
async fn listed(world: &World, service: &str) -> Vec<String> {
    let endpoints = world.find(ENDPOINTS, service).await.unwrap_or_default();
    let addresses = items(&endpoints, "/subsets").iter().flat_map(|own| items(own, "/addresses"));
    addresses.map(|address| text(address, "/ip").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_pods_wait_for_more_of_them_where_that_is_said() {
    let day = Duration::from_secs(24 * 3600);
    let world = selected("endpoints-controller,endpointslice-controller", |settings| {
        settings.endpoint_updates_batch_period = day;
        settings.endpointslice_updates_batch_period = day;
    })
    .await;
    world.make(NODES, json!({"metadata": {"name": "busy"}})).await;
    let spec = json!({"selector": {"app": "web"}, "clusterIP": "None",
        "ports": [{"port": 80, "targetPort": 8080}]});
    world.make_spec(SERVICE, "web", spec.clone()).await;
    let there = |all: &[Value]| !all.is_empty();
    world.until_all(SLICE, "there is a slice", there).await;
    world.until(ENDPOINTS, "web", "there are Endpoints", |_| true).await;
    let pod = json!({"metadata": {"name": "one", "labels": {"app": "web"}}, "spec": {
        "nodeName": "busy", "containers": [{"name": "c", "image": "i"}]}});
    world.make(POD, pod).await;
    let status = json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True"}]});
    world.merge_status(POD, "one", status).await;

    // A Service that changes does not wait, and shows what the controllers have seen.
    world.make_spec(SERVICE, "other", spec).await;
    world
        .eventually("the other has it", async || {
            let look = json!({"metadata": {"annotations": {"looked": world.now()}}});
            world.merge(SERVICE, "other", look).await;
            let found = (sliced(&world, "other").await, listed(&world, "other").await);
            let wanted = vec!["10.0.0.1".to_owned()];
            if found == (wanted.clone(), wanted) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    assert_eq!(sliced(&world, "web").await, Vec::<String>::new());
    assert_eq!(listed(&world, "web").await, Vec::<String>::new());
    world.clock.advance(day);
    world
        .eventually("it is there a day later", async || {
            let found = (sliced(&world, "web").await, listed(&world, "web").await);
            let wanted = vec!["10.0.0.1".to_owned()];
            if found == (wanted.clone(), wanted) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_endpoints_are_compared_later_where_that_is_said() {
    let hour = Duration::from_secs(3600);
    let world = selected("endpointslice-mirroring-controller", |settings| {
        settings.mirroring_endpointslice_updates_batch_period = hour;
    })
    .await;
    let spec = json!({"clusterIP": "None", "ports": [{"port": 5432}]});
    world.make_spec(SERVICE, "db", spec).await;
    let subsets = json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 5432}]}]);
    world.make(ENDPOINTS, json!({"metadata": {"name": "db"}, "subsets": subsets})).await;
    let there = |all: &[Value]| all.len() == 1;
    let copies = world.until_all(SLICE, "there is a copy", there).await;
    world.delete(SLICE, name(&copies[0])).await;
    let took = passes(&world, Duration::from_secs(20), "the copy comes back", async || {
        let found = sliced(&world, "db").await;
        if found == ["192.0.2.1"] { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    assert!(took > hour / 2, "{took:?}");
}
