//! Who goes with whom: the garbage collector, and namespaces.

use crate::world::{
    CONFIG_MAP, DEFINITION, GADGET, Kind, NAMESPACE, NEW_GADGET, NODES, POD, RC, World, condition,
    is_going, items, name, names, owner, says, template, text,
};
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};

const HELD: &str = "example.com/held";

fn map(name: &str, owners: &[Value]) -> Value {
    json!({"metadata": {"name": name, "ownerReferences": owners}})
}

fn blocking(of: &Value) -> Value {
    let mut reference = owner(of, false);
    reference["blockOwnerDeletion"] = json!(true);
    reference
}

async fn one(world: &World, name: &str) -> Value {
    world.make(CONFIG_MAP, map(name, &[])).await
}

async fn release(world: &World, kind: Kind, name: &str) {
    world.merge(kind, name, json!({"metadata": {"finalizers": null}})).await;
}

/// Waits until the collector has looked at everything that was written before.
async fn collected(world: &World, name: &str) {
    let owner_of = one(world, &format!("{name}-owner")).await;
    world.make(CONFIG_MAP, map(name, &[owner(&owner_of, false)])).await;
    world.delete(CONFIG_MAP, &format!("{name}-owner")).await;
    world.gone(CONFIG_MAP, name).await;
}

/// Waits until the collector knows the kind of users.
async fn follows_gadgets(world: &World) {
    world.pass(60);
    let seen = world.make(GADGET, map("seen", &[])).await;
    world.make(GADGET, map("of-seen", &[owner(&seen, false)])).await;
    world.delete(GADGET, "seen").await;
    world.gone(GADGET, "of-seen").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_in_another_namespace_is_none() {
    let world = World::start().await;
    for name in ["a", "b"] {
        world.make(NAMESPACE, json!({"metadata": {"name": name}})).await;
    }
    let in_namespace = |name: &str, namespace: &str, owners: &[Value]| {
        let mut object = map(name, owners);
        object["metadata"]["namespace"] = json!(namespace);
        object
    };
    let parent = world.make(CONFIG_MAP, in_namespace("parent", "b", &[])).await;
    let mut false_parent = owner(&parent, false);
    false_parent["uid"] = json!("not-this");
    world.make(CONFIG_MAP, in_namespace("valid", "b", &[owner(&parent, false)])).await;
    for index in 0..5 {
        let invalid = in_namespace(&format!("invalid-{index}"), "a", &[owner(&parent, false)]);
        world.make(CONFIG_MAP, invalid).await;
    }
    world.make(CONFIG_MAP, in_namespace("wrong", "b", &[false_parent])).await;
    let in_a = world.api_in(CONFIG_MAP, "a");
    let check = async || {
        let left = in_a.list(&Default::default()).await.unwrap().items;
        let left: Vec<_> = left.into_iter().filter_map(|map| map.metadata.name).collect();
        if left == ["kube-root-ca.crt"] { Ok(()) } else { Err(format!("{left:?}")) }
    };
    world.eventually("those of no owner go", check).await;
    let in_b = world.api_in(CONFIG_MAP, "b");
    let check = async || match in_b.get_opt("wrong").await.unwrap() {
        None => Ok(()),
        Some(_) => Err("it is there".to_owned()),
    };
    world.eventually("one of another uid goes", check).await;
    assert!(in_b.get_opt("valid").await.unwrap().is_some());
    let events = world.api_in(crate::world::EVENT, "a");
    let check = async || {
        let all = events.list(&Default::default()).await.unwrap().items;
        let told = all.iter().find(|event| event.data["reason"] == "OwnerRefInvalidNamespace");
        told.map(|event| event.data["message"].clone()).ok_or_else(|| format!("{all:?}"))
    };
    let message = world.eventually("it is told why", check).await;
    let uid = text(&parent, "/metadata/uid");
    let expected = format!(
        "ownerRef [v1/ConfigMap, namespace: a, name: parent, uid: {uid}] does not exist in namespace \"a\""
    );
    assert_eq!(message, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_another_owner_left_stays() {
    let world = World::start().await;
    let (gone, stays) = (one(&world, "gone").await, one(&world, "stays").await);
    world.make(CONFIG_MAP, map("of-gone", &[owner(&gone, false)])).await;
    world.make(CONFIG_MAP, map("of-both", &[owner(&gone, false), owner(&stays, false)])).await;
    world.make(CONFIG_MAP, map("of-none", &[])).await;
    world.delete(CONFIG_MAP, "gone").await;
    world.gone(CONFIG_MAP, "of-gone").await;
    world
        .until(CONFIG_MAP, "of-both", "one owner is left", |map| {
            items(map, "/metadata/ownerReferences").len() == 1
        })
        .await;
    assert!(world.find(CONFIG_MAP, "of-none").await.is_some());
}

fn rc(pods: i64) -> Value {
    let mut template = template("a");
    template["metadata"]["labels"]["app"] = json!("a");
    json!({"replicas": pods, "selector": {"app": "a"}, "template": template})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_owners_go_at_once_each_in_its_way() {
    let world = World::start().await;
    let mut expected = Vec::new();
    for index in 0..24 {
        let set = format!("set-{index}");
        let mut spec = rc(3);
        for pointer in ["/selector/app", "/template/metadata/labels/app"] {
            *spec.pointer_mut(pointer).unwrap() = json!(set);
        }
        world.make_spec(RC, &set, spec).await;
        expected.push(set);
    }
    world.pods(24 * 3).await;
    let policies =
        [PropagationPolicy::Orphan, PropagationPolicy::Background, PropagationPolicy::Foreground];
    let deletions = expected
        .iter()
        .enumerate()
        .map(|(index, set)| world.delete_with(RC, set, policies[index % 3].clone()));
    futures::future::join_all(deletions).await;
    world.until_all(RC, "the sets go", |all| all.is_empty()).await;
    let orphans = world.pods(24).await;
    assert!(orphans.iter().all(|pod| items(pod, "/metadata/ownerReferences").is_empty()));
    assert!(orphans.iter().all(|pod| {
        let set: usize = text(pod, "/metadata/labels/app")[4..].parse().unwrap();
        set.is_multiple_of(3)
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_waits_for_those_that_block_it_and_for_no_others() {
    let world = World::start().await;
    let (waits, solid) = (one(&world, "waits").await, one(&world, "solid").await);
    let hold = |mut map: Value| {
        map["metadata"]["finalizers"] = json!([HELD]);
        map
    };
    // One that has another owner stays, and does not block.
    world.make(CONFIG_MAP, map("shared", &[blocking(&waits), owner(&solid, false)])).await;
    world.make(CONFIG_MAP, hold(map("blocks", &[blocking(&waits)]))).await;
    world.delete_with(CONFIG_MAP, "waits", PropagationPolicy::Foreground).await;
    world.until(CONFIG_MAP, "blocks", "it is told to go", is_going).await;
    world
        .until(CONFIG_MAP, "shared", "the owner that waits is taken off", |map| {
            items(map, "/metadata/ownerReferences").len() == 1
        })
        .await;
    collected(&world, "later").await;
    assert!(world.find(CONFIG_MAP, "waits").await.is_some(), "it waits");
    release(&world, CONFIG_MAP, "blocks").await;
    world.gone(CONFIG_MAP, "waits").await;
    assert!(!is_going(&world.get(CONFIG_MAP, "shared").await));

    let loose = one(&world, "loose").await;
    world.make(CONFIG_MAP, hold(map("idle", &[owner(&loose, false)]))).await;
    world.delete_with(CONFIG_MAP, "loose", PropagationPolicy::Foreground).await;
    world.gone(CONFIG_MAP, "loose").await;
    world.until(CONFIG_MAP, "idle", "it is told to go all the same", is_going).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_twice_keeps_its_own_finalizer() {
    let world = World::start().await;
    let mut object = map("twice", &[]);
    object["metadata"]["finalizers"] = json!([HELD]);
    world.make(CONFIG_MAP, object).await;
    for _ in 0..2 {
        world.delete_with(CONFIG_MAP, "twice", PropagationPolicy::Foreground).await;
    }
    world
        .until(CONFIG_MAP, "twice", "the collector is done", |map| {
            items(map, "/metadata/finalizers") == [json!(HELD)]
        })
        .await;
    release(&world, CONFIG_MAP, "twice").await;
    world.gone(CONFIG_MAP, "twice").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_of_users_own_and_are_owned() {
    let world = World::start().await;
    world.define().await;
    let custom = world.make(GADGET, map("owner", &[])).await;
    let built_in = one(&world, "owner").await;
    world.make(CONFIG_MAP, map("dependent", &[owner(&custom, false)])).await;
    world.make(GADGET, map("dependent", &[owner(&built_in, false)])).await;
    world.make(GADGET, map("of-its-kind", &[owner(&custom, false)])).await;
    world.delete_with(GADGET, "owner", PropagationPolicy::Foreground).await;
    world.gone(GADGET, "of-its-kind").await;
    world.gone(CONFIG_MAP, "dependent").await;
    world.delete(CONFIG_MAP, "owner").await;
    world.gone(GADGET, "dependent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_kind_goes_so_does_what_its_objects_own() {
    let world = World::start().await;
    world.define().await;
    let owner_of = world.make(GADGET, map("owner", &[])).await;
    world.make(CONFIG_MAP, map("dependent", &[owner(&owner_of, false)])).await;
    world.make(CONFIG_MAP, map("free", &[])).await;
    // It was seen while there was its kind.
    follows_gadgets(&world).await;
    world.delete(DEFINITION, "gadgets.example.com").await;
    world.gone(DEFINITION, "gadgets.example.com").await;
    world.pass(60);
    world.gone(CONFIG_MAP, "dependent").await;
    assert!(world.find(CONFIG_MAP, "free").await.is_some());
    // The kind comes back, and the next is like the first.
    world.define().await;
    let owner_of = world.make(GADGET, map("owner", &[])).await;
    world.make(CONFIG_MAP, map("dependent", &[owner(&owner_of, false)])).await;
    follows_gadgets(&world).await;
    world.delete(GADGET, "owner").await;
    world.gone(CONFIG_MAP, "dependent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_changes_its_version_keeps_what_its_objects_own() {
    let world = World::start().await;
    world.define().await;
    let owner_of = world.make(GADGET, map("owner", &[])).await;
    world.make(CONFIG_MAP, map("dependent", &[owner(&owner_of, false)])).await;
    let brief = world.make(GADGET, map("brief", &[])).await;
    world.make(CONFIG_MAP, map("of-brief", &[owner(&brief, false)])).await;
    follows_gadgets(&world).await;
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = |name: &str, current: bool| json!({"name": name, "served": current, "storage": current, "schema": {"openAPIV3Schema": open}});
    let changed = json!({"spec": {"versions": [version("v2", true), version("v1", false)]}});
    world.merge(DEFINITION, "gadgets.example.com", changed).await;
    let check = async || {
        world.try_make(NEW_GADGET, map("seen", &[])).await.map_err(|error| error.to_string())
    };
    let seen = world.eventually("the new version is served", check).await;
    // It may go when neither version is followed.
    world.delete(NEW_GADGET, "brief").await;
    world.pass(60);
    world.make(NEW_GADGET, map("of-seen", &[owner(&seen, false)])).await;
    world.delete(NEW_GADGET, "seen").await;
    world.gone(NEW_GADGET, "of-seen").await;
    world.pass(60);
    world.gone(CONFIG_MAP, "of-brief").await;
    assert!(world.find(CONFIG_MAP, "dependent").await.is_some());
    world.delete(NEW_GADGET, "owner").await;
    world.gone(CONFIG_MAP, "dependent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_cannot_be_listed_stops_nothing_else() {
    let world = World::start().await;
    world.define().await;
    world.make(GADGET, map("one", &[])).await;
    // A second version that nobody can convert to is the one that is preferred.
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": open}});
    let webhook = json!({"clientConfig": {"url": "https://127.0.0.1:1/convert"}, "conversionReviewVersions": ["v1"]});
    let broken = json!({"spec": {"versions": [version("v2", false), version("v1", true)],
        "conversion": {"strategy": "Webhook", "webhook": webhook}}});
    world.merge(DEFINITION, "gadgets.example.com", broken).await;
    world.pass(60);
    collected(&world, "other").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_of_no_namespace_have_dependents_in_all() {
    let world = World::start().await;
    let node = world.make(NODES, json!({"metadata": {"name": "owner"}})).await;
    let mut pod = template("a");
    pod["metadata"]["name"] = json!("dependent");
    pod["metadata"]["ownerReferences"] = json!([owner(&node, false)]);
    world.make(POD, pod).await;
    world.make(CONFIG_MAP, map("dependent", &[owner(&node, false)])).await;
    let mut never = owner(&node, false);
    never["name"] = json!("never");
    never["uid"] = json!("never");
    world.make(CONFIG_MAP, map("of-none", &[never])).await;
    world.gone(CONFIG_MAP, "of-none").await;
    assert!(world.find(CONFIG_MAP, "dependent").await.is_some());
    world.delete(NODES, "owner").await;
    world.gone(CONFIG_MAP, "dependent").await;
    world.gone(POD, "dependent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_labelled_and_says_why_it_does_not_go() {
    let world = World::start().await;
    let made = world.make(NAMESPACE, json!({"metadata": {"name": "temp"}})).await;
    assert_eq!(made["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "temp"}));
    let renamed = json!({"metadata": {"labels": {"kubernetes.io/metadata.name": "other"}}});
    let kept = world.merge(NAMESPACE, "temp", renamed).await;
    assert_eq!(text(&kept, "/metadata/labels/kubernetes.io~1metadata.name"), "temp");
    let mut object = map("held", &[]);
    object["metadata"]["finalizers"] = json!([HELD]);
    object["metadata"]["namespace"] = json!("temp");
    world.make(CONFIG_MAP, object).await;
    world.delete(NAMESPACE, "temp").await;
    let check = async || {
        let found = world.get(NAMESPACE, "temp").await;
        let of = |kind: &str| {
            condition(&found, kind).map(|own| (text(own, "/status"), text(own, "/reason")))
        };
        let right = of("NamespaceDeletionDiscoveryFailure")
            == Some(("False", "ResourcesDiscovered"))
            && of("NamespaceDeletionGroupVersionParsingFailure")
                == Some(("False", "ParsedGroupVersions"))
            && of("NamespaceDeletionContentFailure") == Some(("False", "ContentDeleted"))
            && of("NamespaceContentRemaining") == Some(("True", "SomeResourcesRemain"))
            && of("NamespaceFinalizersRemaining") == Some(("True", "SomeFinalizersRemain"));
        if right { Ok(found.clone()) } else { Err(format!("{:#}", found["status"])) }
    };
    let told = world.eventually("it tells what is left", check).await;
    assert_eq!(text(&told, "/status/phase"), "Terminating");
    let remaining = condition(&told, "NamespaceContentRemaining").unwrap();
    let message = "Some resources are remaining: configmaps. has 1 resource instances";
    assert_eq!(text(remaining, "/message"), message);
    let finalizers = condition(&told, "NamespaceFinalizersRemaining").unwrap();
    let message = "Some content in the namespace has finalizers remaining: example.com/held in 1 resource instances";
    assert_eq!(text(finalizers, "/message"), message);
    assert_eq!(name(&told), "temp");
    let maps = world.api_in(CONFIG_MAP, "temp");
    let free = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &Default::default(), &free).await.unwrap();
    world.pass(30);
    world.gone(NAMESPACE, "temp").await;
    assert!(!names(&world.list(NAMESPACE).await).contains(&"temp"));
    assert!(maps.delete("held", &DeleteParams::default()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_do_not_end_in_their_time_are_told_of() {
    let world = World::selected("namespace-controller").await;
    world.make(NAMESPACE, json!({"metadata": {"name": "temp"}})).await;
    let mut pod = template("a");
    pod["metadata"]["name"] = json!("stuck");
    pod["metadata"]["namespace"] = json!("temp");
    pod["spec"]["nodeName"] = json!("nowhere");
    world.make(POD, pod).await;
    world.delete(NAMESPACE, "temp").await;
    let wish = |found: &Value| {
        says(found, "NamespaceContentRemaining", "True", "SomeResourcesRemain")
            && says(found, "NamespaceDeletionContentFailure", "False", "ContentDeleted")
    };
    world.until(NAMESPACE, "temp", "the pod may still end", wish).await;
    world.pass(60);
    let kind = "NamespaceDeletionContentFailure";
    let wish = |found: &Value| says(found, kind, "True", "ContentDeletionFailed");
    let told = world.until(NAMESPACE, "temp", "the pod had its time", wish).await;
    let why = "Failed to delete all resource types, 1 remaining: unexpected items still remain in namespace: \
               temp for gvr: /v1, Resource=pods";
    assert_eq!(text(condition(&told, kind).unwrap(), "/message"), why);
    // It is gone in the end, and the namespace with it.
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    world.api_in(POD, "temp").delete("stuck", &now).await.unwrap();
    world.gone(NAMESPACE, "temp").await;
}
