//! Deployments and the ReplicaSets behind them, step by step: nobody makes pods ready but the test.

use crate::world::{
    CONFIG_MAP, DEPLOYMENT, NODES, POD, RS, World, condition, controller, is_active, is_going,
    is_of, items, name, names, number, owner, says, template, text, uid,
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";
const DESIRED: &str = "/metadata/annotations/deployment.kubernetes.io~1desired-replicas";
const MAX: &str = "/metadata/annotations/deployment.kubernetes.io~1max-replicas";

fn web(replicas: i64, more: Value) -> Value {
    let mut spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": template("web")});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn rolling(surge: i64, unavailable: i64) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

fn image(set: &Value) -> &str {
    text(set, "/spec/template/spec/containers/0/image")
}

fn to_image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

/// Replicas wanted and there, of the newest template, ready, available, missing, and on their way out.
fn counts(web: &Value) -> [i64; 6] {
    let of = |name: &str| number(web, &format!("/status/{name}"));
    [
        of("replicas"),
        of("updatedReplicas"),
        of("readyReplicas"),
        of("availableReplicas"),
        of("unavailableReplicas"),
        of("terminatingReplicas"),
    ]
}

/// That the status counts so, and is of the present generation.
async fn counted(world: &World, expected: [i64; 6]) -> Value {
    world
        .until(DEPLOYMENT, "web", &format!("{expected:?} are counted"), |web| {
            counts(web) == expected
                && web["status"]["observedGeneration"] == web["metadata"]["generation"]
        })
        .await
}

/// Makes pods ready until the rollout is complete.
async fn complete(world: &World, name: &str) -> Value {
    let check = async || {
        let all = world.list(POD).await.into_iter();
        let unready = all.filter(|pod| is_active(pod) && condition(pod, "Ready").is_none());
        world.ready(&unready.collect::<Vec<_>>()).await;
        let web = world.get(DEPLOYMENT, name).await;
        let wanted = number(&web, "/spec/replicas");
        let [all, updated, _, available, _, _] = counts(&web);
        let seen = web["status"]["observedGeneration"] == web["metadata"]["generation"];
        if seen && [all, updated, available] == [wanted; 3] {
            Ok(web)
        } else {
            Err(format!("{:#}", web["status"]))
        }
    };
    world.eventually("the rollout completes", check).await
}

/// Waits until the sets, by image, want so many pods.
async fn sizes(world: &World, expected: &[(&str, i64)]) -> Vec<Value> {
    let mut sets = world
        .until_all(RS, &format!("sizes are {expected:?}"), |sets| {
            let mut found: Vec<_> =
                sets.iter().map(|set| (image(set), number(set, "/spec/replicas"))).collect();
            found.sort_unstable();
            found == expected
        })
        .await;
    sets.sort_by(|a, b| image(a).cmp(image(b)));
    sets
}

async fn pods_of(world: &World, set: &Value) -> Vec<Value> {
    world.list(POD).await.into_iter().filter(|pod| is_of(pod, set)).collect()
}

/// Pods that are told to go stay for a while, as somebody runs them.
fn lingering(more: Value) -> Value {
    let mut spec = web(6, more);
    spec["template"]["spec"]["nodeName"] = json!("busy");
    spec["template"]["spec"]["terminationGracePeriodSeconds"] = json!(300);
    spec
}

async fn busy_node(world: &World) {
    world.make(NODES, json!({"metadata": {"name": "busy"}})).await;
}

/// Ends all pods of a set that are on their way out.
async fn end_going(world: &World, set: &Value) {
    for pod in pods_of(world, set).await.iter().filter(|pod| is_going(pod)) {
        world.end(pod).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_deployment_hands_on_its_annotations_and_a_hash() {
    let world = World::start().await;
    let last = "kubectl.kubernetes.io/last-applied-configuration";
    let annotations = json!({"example.com/team": "blue", last: "not handed on"});
    world
        .make(
            DEPLOYMENT,
            json!({"metadata": {"name": "web", "annotations": annotations},
            "spec": web(2, json!({}))}),
        )
        .await;
    let web = complete(&world, "web").await;
    let set = &sizes(&world, &[("one", 2)]).await[0];
    let own = set["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(own["example.com/team"], "blue");
    assert!(!own.contains_key(last));
    assert_eq!(text(set, REVISION), "1");
    assert_eq!((text(set, DESIRED), text(set, MAX)), ("2", "3"));
    assert_eq!(text(&web, REVISION), "1");
    let hash = text(set, "/metadata/labels/pod-template-hash");
    assert_eq!(name(set), format!("web-{hash}"));
    for pointer in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        assert_eq!(
            set.pointer(pointer).unwrap(),
            &json!({"app": "web", "pod-template-hash": hash})
        );
    }
    for pod in pods_of(&world, set).await {
        assert_eq!(pod["metadata"]["labels"]["pod-template-hash"], hash);
    }
    assert_eq!(web["spec"]["selector"]["matchLabels"], json!({"app": "web"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_deployment_is_scaled_but_not_rolled_out() {
    let world = World::start().await;
    world.make_spec(DEPLOYMENT, "web", web(2, json!({}))).await;
    complete(&world, "web").await;
    world.merge(DEPLOYMENT, "web", json!({"spec": {"paused": true}})).await;
    world.merge(DEPLOYMENT, "web", to_image("two")).await;
    world.merge(DEPLOYMENT, "web", json!({"spec": {"replicas": 4}})).await;
    sizes(&world, &[("one", 4)]).await;
    let web = counted(&world, [4, 0, 2, 2, 2, 0]).await;
    assert!(says(&web, "Progressing", "Unknown", "DeploymentPaused"), "{web:#}");
    // Neither is anything new when only the notes change.
    world.merge(DEPLOYMENT, "web", json!({"spec": {"replicas": 0}})).await;
    sizes(&world, &[("one", 0)]).await;
    world.merge(DEPLOYMENT, "web", json!({"spec": {"paused": false, "replicas": 1}})).await;
    sizes(&world, &[("one", 0), ("two", 1)]).await;
    let web = complete(&world, "web").await;
    assert_eq!(text(&web, REVISION), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hash_that_is_taken_is_counted_and_another_used() {
    let world = World::start().await;
    world.make_spec(DEPLOYMENT, "web", web(1, json!({}))).await;
    complete(&world, "web").await;
    let first = sizes(&world, &[("one", 1)]).await.remove(0);
    // Somebody changes the set under its name: the template's hash leads to it, but it is another's now.
    let other = json!([{"name": "c", "image": "other"}]);
    world
        .merge(RS, name(&first), json!({"spec": {"template": {"spec": {"containers": other}}}}))
        .await;
    world
        .until(DEPLOYMENT, "web", "the collision is counted", |web| {
            number(web, "/status/collisionCount") == 1
        })
        .await;
    let sets = world.until_all(RS, "another set is there", |sets| sets.len() == 2).await;
    let second = sets.iter().find(|set| uid(set) != uid(&first)).unwrap();
    assert_eq!((image(second), text(second, REVISION)), ("one", "2"));
    let web = complete(&world, "web").await;
    assert_eq!(text(&web, REVISION), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_that_select_the_same_keep_to_their_own_sets() {
    let world = World::start().await;
    for name in ["web", "also"] {
        world.make_spec(DEPLOYMENT, name, web(1, json!({}))).await;
        complete(&world, name).await;
    }
    world.merge(DEPLOYMENT, "web", json!({"spec": {"replicas": 3}})).await;
    complete(&world, "web").await;
    let sets = world.list(RS).await;
    assert_eq!(sets.len(), 2);
    for (name, wanted) in [("web", 3), ("also", 1)] {
        let deployment = world.get(DEPLOYMENT, name).await;
        let own: Vec<_> = sets.iter().filter(|set| is_of(set, &deployment)).collect();
        assert_eq!(own.len(), 1, "{name}");
        assert_eq!(number(own[0], "/spec/replicas"), wanted, "{name}");
        assert_eq!(pods_of(&world, own[0]).await.len(), usize::try_from(wanted).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_under_way_is_scaled_in_proportion() {
    let world = World::start().await;
    world.make_spec(DEPLOYMENT, "web", web(10, json!({"strategy": rolling(3, 2)}))).await;
    complete(&world, "web").await;
    world.merge(DEPLOYMENT, "web", to_image("two")).await;
    // The new pods never become ready: two old ones may be missing, three may be too many.
    sizes(&world, &[("one", 8), ("two", 5)]).await;
    counted(&world, [13, 5, 8, 8, 5, 0]).await;
    world.merge(DEPLOYMENT, "web", json!({"spec": {"replicas": 30}})).await;
    let sets = sizes(&world, &[("one", 20), ("two", 13)]).await;
    for set in &sets {
        assert_eq!((text(set, DESIRED), text(set, MAX)), ("30", "33"));
    }
    world.merge(DEPLOYMENT, "web", json!({"spec": {"replicas": 5}})).await;
    let check = async || {
        let sets = world.list(RS).await;
        let of = |set: &Value| number(set, "/spec/replicas");
        let all: i64 = sets.iter().map(of).sum();
        if all <= 8 { Ok(()) } else { Err(format!("{all}")) }
    };
    world.eventually("there are no more than allowed", check).await;
    complete(&world, "web").await;
    sizes(&world, &[("one", 0), ("two", 5)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_size_is_followed_and_every_generation_is_observed() {
    let world = World::start().await;
    world.make_spec(DEPLOYMENT, "web", web(1, json!({}))).await;
    for size in [2, 0, 1] {
        world.merge(DEPLOYMENT, "web", json!({"spec": {"replicas": size}})).await;
        sizes(&world, &[("one", size)]).await;
        complete(&world, "web").await;
    }
    let old = world.get(DEPLOYMENT, "web").await;
    let new = world.merge(DEPLOYMENT, "web", json!({"spec": {"revisionHistoryLimit": 4}})).await;
    assert!(number(&new, "/metadata/generation") > number(&old, "/metadata/generation"));
    let generation = number(&new, "/metadata/generation");
    world
        .until(DEPLOYMENT, "web", "it is observed", |web| {
            number(web, "/status/observedGeneration") == generation
        })
        .await;
    // By the scale of each kind that has one.
    for size in [3, 0] {
        let scale = json!({"spec": {"replicas": size}});
        let api = world.api(DEPLOYMENT);
        let before = api.get_scale("web").await.unwrap();
        let wanted = number(&world.get(DEPLOYMENT, "web").await, "/spec/replicas");
        assert_eq!(before.spec.unwrap().replicas.map(i64::from).unwrap_or_default(), wanted);
        api.patch_scale("web", &PatchParams::default(), &Patch::Merge(scale)).await.unwrap();
        sizes(&world, &[("one", size)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_available_when_they_were_ready_for_long_enough() {
    let world = World::start().await;
    let slow = json!({"minReadySeconds": 3600, "progressDeadlineSeconds": 7200});
    world.make_spec(DEPLOYMENT, "web", web(10, slow)).await;
    let web = counted(&world, [10, 10, 0, 0, 10, 0]).await;
    assert!(says(&web, "Available", "False", "MinimumReplicasUnavailable"), "{web:#}");
    world.ready(&world.list(POD).await).await;
    let web = counted(&world, [10, 10, 10, 0, 10, 0]).await;
    assert!(says(&web, "Available", "False", "MinimumReplicasUnavailable"), "{web:#}");
    world.merge(DEPLOYMENT, "web", json!({"spec": {"minReadySeconds": 1}})).await;
    world.pass(2);
    let web = counted(&world, [10, 10, 10, 10, 0, 0]).await;
    assert!(says(&web, "Available", "True", "MinimumReplicasAvailable"), "{web:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_taken_whatever_else_owns_it() {
    let world = World::start().await;
    world.make_spec(DEPLOYMENT, "web", web(1, json!({}))).await;
    let web = complete(&world, "web").await;
    let set = sizes(&world, &[("one", 1)]).await.remove(0);
    let other = world.make(CONFIG_MAP, json!({"metadata": {"name": "other"}})).await;
    for (reference, count) in [(owner(&other, false), 2), (owner(&web, false), 1)] {
        world.merge(RS, name(&set), json!({"metadata": {"ownerReferences": [reference]}})).await;
        world
            .until(RS, name(&set), "it is controlled", |set| {
                is_of(set, &web) && items(set, "/metadata/ownerReferences").len() == count
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_with_other_labels_is_released_and_taken_back() {
    let world = World::start().await;
    world.make_spec(DEPLOYMENT, "web", web(1, json!({}))).await;
    let web = complete(&world, "web").await;
    let set = sizes(&world, &[("one", 1)]).await.remove(0);
    let labels = set["metadata"]["labels"].clone();
    let strange =
        json!({"metadata": {"labels": {"app": null, "pod-template-hash": null, "is": "strange"}}});
    world.merge(RS, name(&set), strange).await;
    world.until(RS, name(&set), "it is released", |set| controller(set).is_none()).await;
    world
        .until_all(RS, "another is made, under another name", |sets| {
            sets.iter().any(|new| uid(new) != uid(&set) && is_of(new, &web))
        })
        .await;
    world.merge(RS, name(&set), json!({"metadata": {"labels": labels}})).await;
    world.until(RS, name(&set), "it is taken back", |set| is_of(set, &web)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreation_waits_for_pods_that_still_end() {
    let world = World::start().await;
    busy_node(&world).await;
    let recreate = json!({"strategy": {"type": "Recreate"}});
    world.make_spec(DEPLOYMENT, "web", lingering(recreate)).await;
    complete(&world, "web").await;
    let first = sizes(&world, &[("one", 6)]).await.remove(0);
    // What is too much is counted as long as it is there.
    world.merge(DEPLOYMENT, "web", json!({"spec": {"replicas": 4}})).await;
    counted(&world, [4, 4, 4, 4, 0, 2]).await;
    world.merge(DEPLOYMENT, "web", json!({"spec": {"replicas": 6}})).await;
    end_going(&world, &first).await;
    complete(&world, "web").await;
    counted(&world, [6, 6, 6, 6, 0, 0]).await;

    world.merge(DEPLOYMENT, "web", to_image("two")).await;
    counted(&world, [0, 0, 0, 0, 0, 6]).await;
    assert_eq!(sizes(&world, &[("one", 0)]).await.len(), 1, "nothing new while the old ones end");
    end_going(&world, &first).await;
    counted(&world, [6, 6, 0, 0, 6, 0]).await;
    let second = sizes(&world, &[("one", 0), ("two", 6)]).await.remove(1);
    let pods = pods_of(&world, &second).await;
    world.delete(POD, name(&pods[0])).await;
    counted(&world, [6, 6, 0, 0, 6, 1]).await;
    world.merge(DEPLOYMENT, "web", json!({"spec": {"replicas": 7}})).await;
    counted(&world, [7, 7, 0, 0, 7, 1]).await;
    world.merge(DEPLOYMENT, "web", json!({"spec": {"replicas": 5}})).await;
    counted(&world, [5, 5, 0, 0, 5, 3]).await;
    world.ready(&world.pods(5).await).await;
    counted(&world, [5, 5, 5, 5, 0, 3]).await;
    end_going(&world, &second).await;
    counted(&world, [5, 5, 5, 5, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_updates_and_scaling_do_not_wait_for_pods_that_end() {
    let world = World::start().await;
    busy_node(&world).await;
    let mut spec = lingering(json!({"strategy": rolling(10, 0)}));
    spec["replicas"] = json!(50);
    world.make_spec(DEPLOYMENT, "web", spec).await;
    complete(&world, "web").await;
    let first = sizes(&world, &[("one", 50)]).await.remove(0);
    for pod in pods_of(&world, &first).await.iter().take(7) {
        world.delete(POD, name(pod)).await;
    }
    let check = async || {
        let active = world.list(POD).await.into_iter().filter(is_active);
        let unready = active.filter(|pod| condition(pod, "Ready").is_none());
        world.ready(&unready.collect::<Vec<_>>()).await;
        let web = world.get(DEPLOYMENT, "web").await;
        let found = counts(&web);
        if found == [50, 50, 50, 50, 0, 7] { Ok(()) } else { Err(format!("{found:?}")) }
    };
    world.eventually("those that went are replaced", check).await;
    world.merge(DEPLOYMENT, "web", to_image("two")).await;
    counted(&world, [60, 10, 50, 50, 10, 7]).await;
    let second = sizes(&world, &[("one", 50), ("two", 10)]).await.remove(1);
    world.delete(POD, name(&pods_of(&world, &second).await[0])).await;
    counted(&world, [60, 10, 50, 50, 10, 8]).await;
    world.merge(DEPLOYMENT, "web", json!({"spec": {"replicas": 60}})).await;
    let sets = sizes(&world, &[("one", 58), ("two", 12)]).await;
    for (set, revision) in sets.iter().zip(["1", "2"]) {
        let notes = [text(set, DESIRED), text(set, MAX), text(set, REVISION)];
        assert_eq!(notes, ["60", "70", revision]);
    }
    let check = async || {
        for set in &sets {
            end_going(&world, set).await;
        }
        let active: Vec<_> = world.list(POD).await.into_iter().filter(is_active).collect();
        let unready = active.into_iter().filter(|pod| condition(pod, "Ready").is_none());
        world.ready(&unready.collect::<Vec<_>>()).await;
        let web = world.get(DEPLOYMENT, "web").await;
        let found = counts(&web);
        if found == [60, 60, 60, 60, 0, 0] { Ok(()) } else { Err(format!("{found:?}")) }
    };
    world.eventually("all is as wished", check).await;
    let sets = sizes(&world, &[("one", 0), ("two", 60)]).await;
    assert_eq!(names(&sets).len(), 2);
    for set in &sets {
        assert_eq!((text(set, DESIRED), text(set, MAX)), ("60", "70"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selectors_of_workloads_never_change() {
    let world = World::bare().await;
    let spec = || json!({"selector": {"matchLabels": {"app": "web"}}, "template": template("web")});
    for kind in [DEPLOYMENT, RS, crate::world::DAEMON_SET] {
        world.make_spec(kind, "web", spec()).await;
        let other = json!({"spec": {"selector": {"matchLabels": {"app": "web", "also": "b"}},
            "template": {"metadata": {"labels": {"also": "b"}}}}});
        let error = world.try_merge(kind, "web", other).await.unwrap_err().to_string();
        assert!(error.contains("field is immutable"), "{error}");
    }
}
