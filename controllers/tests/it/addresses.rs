//! Endpoints and EndpointSlices of Services: of pods, and of what users write by hand.

use crate::world::{
    ENDPOINTS, NODES, POD, SERVICE, SLICE, World, is_going, items, name, names, text,
};
use kube::{Api, api::DynamicObject};
use serde_json::{Value, json};

const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGED_BY: &str = "/metadata/labels/endpointslice.kubernetes.io~1managed-by";

fn service(spec: Value) -> Value {
    let mut all = json!({"ports": [{"port": 80, "targetPort": 8080}], "selector": {"app": "web"}, "clusterIP": "None"});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    all
}

async fn pod(world: &World, name: &str, ip: &str, ready: bool) -> Value {
    let containers = json!([{"name": "c", "image": "i", "ports": [{"containerPort": 8080}]}]);
    let pod = json!({"metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "busy", "containers": containers}});
    world.make(POD, pod).await;
    let ready = if ready { "True" } else { "False" };
    let conditions = json!([{"type": "Ready", "status": ready}]);
    let status =
        json!({"phase": "Running", "conditions": conditions, "podIP": ip, "podIPs": [{"ip": ip}]});
    world.merge_status(POD, name, status).await
}

async fn start() -> World {
    let world = World::start().await;
    world.make(NODES, json!({"metadata": {"name": "busy"}})).await;
    world
}

fn addresses(endpoints: &Value, of: &str) -> Vec<String> {
    let subsets = items(endpoints, "/subsets").iter();
    let all = subsets.flat_map(|subset| items(subset, &format!("/{of}")));
    all.map(|address| text(address, "/ip").to_owned()).collect()
}

/// Waits until the Endpoints have these addresses, ready and not.
async fn has(world: &World, ready: &[&str], others: &[&str]) -> Value {
    world
        .until(ENDPOINTS, "web", &format!("{ready:?} and {others:?}"), |endpoints| {
            addresses(endpoints, "addresses") == ready
                && addresses(endpoints, "notReadyAddresses") == others
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_of_pods_lead_to_the_last() {
    let world = start().await;
    pod(&world, "one", "10.0.0.1", true).await;
    world.make_spec(SERVICE, "web", service(json!({}))).await;
    has(&world, &["10.0.0.1"], &[]).await;
    // The resource version and uid of a pod may change in between without anything to say.
    world.merge(POD, "one", json!({"metadata": {"annotations": {"touched": "yes"}}})).await;
    for round in 0..10 {
        let ready = if round % 2 == 0 { "False" } else { "True" };
        let conditions = json!([{"type": "Ready", "status": ready}]);
        world.merge_status(POD, "one", json!({"conditions": conditions})).await;
    }
    pod(&world, "two", "10.0.0.2", false).await;
    has(&world, &["10.0.0.1"], &["10.0.0.2"]).await;
    let ready = json!([{"type": "Ready", "status": "True"}]);
    world.merge_status(POD, "two", json!({"conditions": ready})).await;
    has(&world, &["10.0.0.1", "10.0.0.2"], &[]).await;
    world.merge(POD, "one", json!({"metadata": {"labels": {"app": "other"}}})).await;
    has(&world, &["10.0.0.2"], &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_elsewhere_becomes_a_service_of_pods() {
    let world = start().await;
    pod(&world, "one", "10.0.0.1", true).await;
    let elsewhere =
        json!({"type": "ExternalName", "externalName": "example.com", "clusterIP": null});
    world.make_spec(SERVICE, "web", service(elsewhere)).await;
    // Another shows that the first was looked at.
    world.make_spec(SERVICE, "also", service(json!({}))).await;
    world.until(ENDPOINTS, "also", "it has endpoints", |_| true).await;
    assert!(world.find(ENDPOINTS, "web").await.is_none());
    let here = json!({"spec": {"type": "ClusterIP", "externalName": null, "clusterIP": "None"}});
    world.merge(SERVICE, "web", here).await;
    has(&world, &["10.0.0.1"], &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_end_serve_but_are_not_ready() {
    for ready in [true, false] {
        let world = start().await;
        world.make_spec(SERVICE, "web", service(json!({}))).await;
        pod(&world, "one", "10.0.0.1", ready).await;
        let (in_use, others): (&[&str], &[&str]) =
            if ready { (&["10.0.0.1"], &[]) } else { (&[], &["10.0.0.1"]) };
        has(&world, in_use, others).await;
        world.delete(POD, "one").await;
        has(&world, &[], &[]).await;
        assert!(is_going(&world.get(POD, "one").await));
        let conditions = json!({"ready": false, "serving": ready, "terminating": true});
        world
            .until_all(SLICE, "it is told how it is", |all| {
                let old = all.iter().find(|slice| slice["addressType"] == "IPv4");
                let endpoint = old.and_then(|slice| slice.pointer("/endpoints/0"));
                endpoint.is_some_and(|endpoint| endpoint["conditions"] == conditions)
            })
            .await;
    }
}

/// Waits until these are the endpoints: family, address, and whether it is ready.
async fn serves(world: &World, expected: &[(&str, &str, bool)]) {
    let wish = |all: &[Value]| {
        let mut found: Vec<_> = all
            .iter()
            .flat_map(|slice| {
                items(slice, "/endpoints").iter().map(move |endpoint| {
                    let ready = endpoint["conditions"]["ready"] == true;
                    (text(slice, "/addressType"), text(endpoint, "/addresses/0"), ready)
                })
            })
            .collect();
        found.sort_unstable();
        found == expected
    };
    world.until_all(SLICE, &format!("these are served: {expected:?}"), wish).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_have_an_endpoint_of_each_family_ready_when_a_service_says_so() {
    let world = start().await;
    let families = json!({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"});
    world.make_spec(SERVICE, "web", service(families)).await;
    for (name, ip, second, ready) in
        [("one", "10.0.0.1", "fd00::1", true), ("two", "10.0.0.2", "fd00::2", false)]
    {
        pod(&world, name, ip, ready).await;
        let both = json!({"podIPs": [{"ip": ip}, {"ip": second}]});
        world.merge_status(POD, name, both).await;
    }
    let endpoints = |two: bool| {
        [
            ("IPv4", "10.0.0.1", true),
            ("IPv4", "10.0.0.2", two),
            ("IPv6", "fd00::1", true),
            ("IPv6", "fd00::2", two),
        ]
    };
    serves(&world, &endpoints(false)).await;
    has(&world, &["10.0.0.1"], &["10.0.0.2"]).await;
    let publish = json!({"spec": {"publishNotReadyAddresses": true}});
    world.merge(SERVICE, "web", publish).await;
    serves(&world, &endpoints(true)).await;
    has(&world, &["10.0.0.1", "10.0.0.2"], &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_hold_a_thousand_addresses_and_say_so() {
    let world = start().await;
    world.cluster.stop_controllers().await;
    let ip = |index: usize| format!("10.0.{}.{}", index / 250, index % 250 + 1);
    for index in 0..1001 {
        pod(&world, &format!("pod-{index}"), &ip(index), true).await;
    }
    world.make_spec(SERVICE, "web", service(json!({}))).await;
    world.cluster.start_controllers().await;
    let note = "/metadata/annotations/endpoints.kubernetes.io~1over-capacity";
    world
        .until(ENDPOINTS, "web", "one is left out", |endpoints| {
            text(endpoints, note) == "truncated" && addresses(endpoints, "addresses").len() == 1000
        })
        .await;
    for index in 500..1001 {
        let labels = json!({"metadata": {"labels": {"app": "other"}}});
        world.merge(POD, &format!("pod-{index}"), labels).await;
    }
    world
        .until(ENDPOINTS, "web", "none is left out", |endpoints| {
            endpoints.pointer(note).is_none() && addresses(endpoints, "addresses").len() == 500
        })
        .await;
}

fn has_label(object: &Value, label: &str) -> bool {
    object["metadata"]["labels"].get(label).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_of_a_service_are_those_of_its_endpoints() {
    let world = start().await;
    let make = async |name: &str, labels: Value, headless: bool| {
        let mut spec = service(json!({}));
        if !headless {
            spec["clusterIP"] = json!("10.96.0.10");
        }
        let object = json!({"metadata": {"name": name, "labels": labels}, "spec": spec});
        world.make(SERVICE, object).await;
    };
    let right = async |name: &str, has: &[&str], lacks: &[&str]| {
        let check = async || {
            let mut all = vec![world.find(ENDPOINTS, name).await.unwrap_or_default()];
            let slices = world.list(SLICE).await;
            all.extend(slices.into_iter().filter(|slice| {
                text(slice, "/metadata/labels/kubernetes.io~1service-name") == name
            }));
            let right = |own: &Value| {
                has.iter().all(|label| has_label(own, label))
                    && !lacks.iter().any(|label| has_label(own, label))
            };
            if all.len() > 1 && all.iter().all(right) { Ok(()) } else { Err(format!("{all:#?}")) }
        };
        world.eventually("labels are right", check).await;
    };
    make("web", json!({"tier": "front"}), true).await;
    right("web", &[HEADLESS, "tier"], &[]).await;
    let other = json!({"metadata": {"labels": {"tier": null, "fresh": "yes"}}});
    world.merge(SERVICE, "web", other).await;
    right("web", &[HEADLESS, "fresh"], &["tier"]).await;
    make("plain", json!({}), false).await;
    right("plain", &[], &[HEADLESS]).await;
    make("says-so", json!({HEADLESS: ""}), false).await;
    right("says-so", &[], &[HEADLESS]).await;
    make("is-so", json!({HEADLESS: ""}), true).await;
    right("is-so", &[HEADLESS], &[]).await;
}

fn subset(port: &str, number: i64, ips: &[&str]) -> Value {
    let addresses: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    json!({"ports": [{"name": port, "port": number}], "addresses": addresses})
}

fn is_copy(slice: &Value) -> bool {
    text(slice, MANAGED_BY).starts_with("endpointslicemirroring")
}

async fn mirrored(world: &World, count: usize) -> Vec<Value> {
    world
        .until_all(SLICE, &format!("{count} slices are copies"), |all| {
            all.iter().filter(|slice| is_copy(slice)).count() == count
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_of_users_are_copied_subset_by_subset() {
    for (subsets, count) in [
        (json!([subset("a", 80, &["10.0.0.1"])]), 1),
        (json!([subset("a", 80, &["10.0.0.1"]), subset("b", 90, &["10.0.0.1"])]), 1),
        (json!([subset("a", 80, &["10.0.0.1"]), subset("b", 90, &["10.0.0.2"])]), 2),
    ] {
        let world = start().await;
        world.make_spec(SERVICE, "web", service(json!({"selector": null}))).await;
        world.make(ENDPOINTS, json!({"metadata": {"name": "web"}, "subsets": subsets})).await;
        mirrored(&world, count).await;
    }
    // Without a Service there is nothing to copy for; one with a selector has slices of its own.
    let world = start().await;
    let lone = json!({"metadata": {"name": "lone"}, "subsets": [subset("a", 80, &["10.0.0.1"])]});
    world.make(ENDPOINTS, lone).await;
    world.make_spec(SERVICE, "web", service(json!({}))).await;
    // Headless ones without a family have a slice of each.
    let all = world.until_all(SLICE, "there are two", |all| all.len() == 2).await;
    assert!(all.iter().all(|own| text(own, MANAGED_BY) == "endpointslice-controller.k8s.io"));
    assert!(all.iter().all(|own| name(own).starts_with("web-")), "{:?}", names(&all));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_go_with_their_service_whoever_wrote_them() {
    let world = start().await;
    for name in ["web", "lone"] {
        let subsets = [subset("a", 80, &["10.0.0.1"])];
        world.make(ENDPOINTS, json!({"metadata": {"name": name}, "subsets": subsets})).await;
    }
    world.make_spec(SERVICE, "web", service(json!({"selector": null}))).await;
    mirrored(&world, 1).await;
    world.delete(SERVICE, "web").await;
    world.gone(ENDPOINTS, "web").await;
    mirrored(&world, 0).await;
    assert!(world.find(ENDPOINTS, "lone").await.is_some(), "it never had a Service");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_follow_subsets_labels_and_annotations() {
    let world = start().await;
    world.make_spec(SERVICE, "web", service(json!({"selector": null}))).await;
    let own = json!({"metadata": {"name": "web", "labels": {"l": "1"}, "annotations": {"a": "1"}},
        "subsets": [subset("a", 80, &["10.0.0.1"])]});
    world.make(ENDPOINTS, own).await;
    let first = mirrored(&world, 1).await.remove(0);
    assert_eq!(first["metadata"]["labels"]["l"], "1");
    assert_eq!(first["metadata"]["annotations"]["a"], "1");
    world
        .merge(
            ENDPOINTS,
            "web",
            json!({"metadata": {"labels": {"l": "2"}, "annotations": {"a": "2",
                "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"}},
                "subsets": [subset("a", 81, &["10.0.0.1", "10.0.0.3"])]}),
        )
        .await;
    let check = async || {
        let all = world.list(SLICE).await;
        let slice = &all[0];
        let ips: Vec<_> =
            items(slice, "/endpoints").iter().map(|own| text(own, "/addresses/0")).collect();
        let right = ips == ["10.0.0.1", "10.0.0.3"]
            && name(slice) == name(&first)
            && slice["ports"][0]["port"] == 81
            && slice["metadata"]["labels"]["l"] == "2"
            && slice["metadata"]["annotations"]["a"] == "2";
        if all.len() == 1 && right { Ok(()) } else { Err(format!("{all:#?}")) }
    };
    world.eventually("the copy follows", check).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selector_ends_copies_and_its_end_starts_them() {
    for (before, copies_before, after, copies_after) in [
        (Value::Null, 1, json!({"app": "web"}), 0),
        (json!({"app": "web"}), 0, Value::Null, 1),
        (json!({}), 1, json!({"app": "web"}), 0),
        (json!({"app": "web"}), 0, json!({"app": null}), 1),
    ] {
        let world = start().await;
        // The controller of Endpoints would empty them: only the copying is looked at.
        world.make_spec(SERVICE, "web", service(json!({"selector": before}))).await;
        let write = async || {
            let own =
                json!({"metadata": {"name": "web"}, "subsets": [subset("a", 80, &["10.0.0.1"])]});
            let api: Api<DynamicObject> = world.api(ENDPOINTS);
            match api.get_opt("web").await.unwrap() {
                None => drop(world.make(ENDPOINTS, own).await),
                Some(_) => {
                    let labels = json!({"endpoints.kubernetes.io/managed-by": null});
                    let own = json!({"metadata": {"labels": labels}, "subsets": own["subsets"]});
                    world.merge(ENDPOINTS, "web", own).await;
                }
            }
        };
        // What the controller of Endpoints takes away once more, before it knows the selector is gone, is written again.
        let copied = async || {
            world
                .eventually("one slice is a copy", async || {
                    write().await;
                    let all = world.list(SLICE).await;
                    if all.iter().filter(|slice| is_copy(slice)).count() == 1 {
                        Ok(())
                    } else {
                        Err(format!("{all:#?}"))
                    }
                })
                .await;
        };
        if copies_before == 1 {
            copied().await;
        } else {
            world.until(ENDPOINTS, "web", "they are the selector's", |_| true).await;
            mirrored(&world, 0).await;
        }
        world.merge(SERVICE, "web", json!({"spec": {"selector": after}})).await;
        if copies_after == 1 {
            copied().await;
        } else {
            mirrored(&world, 0).await;
        }
    }
}
