//! ReplicaSets and ReplicationControllers, which do the same by two names.

use crate::world::{
    Kind, NODES, POD, RC, RS, World, controller, is_active, is_going, is_of, items, name, names,
    number, owner, template, text,
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const BOTH: [Kind; 2] = [RS, RC];

fn set(kind: Kind, replicas: i64) -> Value {
    let selector =
        if kind == RC { json!({"app": "a"}) } else { json!({"matchLabels": {"app": "a"}}) };
    json!({"replicas": replicas, "selector": selector, "template": template("a")})
}

fn pod(name: &str, owners: Value) -> Value {
    let mut pod = template("a");
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["ownerReferences"] = owners;
    pod
}

async fn counted(world: &World, kind: Kind, expected: [i64; 3]) -> Value {
    world
        .until(kind, "set", &format!("{expected:?} are counted"), |set| {
            let of = |name: &str| number(set, &format!("/status/{name}"));
            [of("replicas"), of("readyReplicas"), of("availableReplicas")] == expected
                && set["status"]["observedGeneration"] == set["metadata"]["generation"]
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_owns_a_pod_decides_whether_it_is_taken() {
    for kind in BOTH {
        let world = World::start().await;
        let own = world.make_spec(kind, "set", set(kind, 0)).await;
        // What the other selects is selected by both.
        let labels = json!({"app": "a", "which": "b"});
        let mut other = set(kind, 1);
        other["selector"] =
            if kind == RC { labels.clone() } else { json!({"matchLabels": labels}) };
        other["template"]["metadata"]["labels"] = labels;
        let other = world.make_spec(kind, "other", other).await;
        let theirs = world.pods(1).await.remove(0);
        world.cluster.stop_controllers().await;
        for (name, owners) in [
            ("nobodys", json!([])),
            ("ours", json!([owner(&own, true)])),
            ("ours-not-controlled", json!([owner(&own, false)])),
            ("shared", json!([owner(&other, false)])),
        ] {
            world.make(POD, pod(name, owners)).await;
        }
        world.merge(kind, "set", json!({"spec": {"replicas": 5}})).await;
        world.cluster.start_controllers().await;
        let all = world
            .until_all(POD, "five are ours", |all| {
                all.iter().filter(|pod| is_of(pod, &own)).count() == 5 && all.len() == 6
            })
            .await;
        for pod in &all {
            let owners = items(pod, "/metadata/ownerReferences").len();
            match name(pod) {
                same if same == name(&theirs) => assert!(is_of(pod, &other)),
                "shared" => assert!(is_of(pod, &own) && owners == 2),
                _ => assert!(is_of(pod, &own) && owners == 1, "{pod:#}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_fail_or_go_are_replaced_and_the_size_is_followed() {
    for kind in BOTH {
        let world = World::start().await;
        world.make_spec(kind, "set", set(kind, 2)).await;
        let pods = world.pods(2).await;
        let held = json!({"metadata": {"finalizers": ["example.com/held"]}});
        world.merge(POD, name(&pods[0]), held).await;
        world.delete(POD, name(&pods[0])).await;
        world.merge_status(POD, name(&pods[1]), json!({"phase": "Failed"})).await;
        let all = world.until_all(POD, "both are replaced", |all| {
            all.len() == 4 && all.iter().filter(|pod| is_active(pod)).count() == 2
        });
        assert!(all.await.iter().any(is_going));
        for size in [3, 0, 1] {
            world.merge(kind, "set", json!({"spec": {"replicas": size}})).await;
            world.pods(usize::try_from(size).unwrap()).await;
            counted(&world, kind, [size, 0, 0]).await;
        }
        let touched = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 1}});
        world.merge(kind, "set", touched).await;
        let scale = Patch::Merge(json!({"spec": {"replicas": 2}}));
        let api = world.api(kind);
        assert_eq!(api.get_scale("set").await.unwrap().spec.unwrap().replicas, Some(1));
        api.patch_scale("set", &PatchParams::default(), &scale).await.unwrap();
        world.pods(2).await;
        counted(&world, kind, [2, 0, 0]).await;
    }
}

/// Waits until the controllers have seen what was written of pods: a pod made later is replaced when it fails.
async fn settle(world: &World) {
    let pods = world.list(POD).await;
    let mark = json!({"metadata": {"labels": {"seen": "yes"}}});
    for pod in &pods {
        world.merge(POD, name(pod), mark.clone()).await;
    }
    world.make(POD, json!({"metadata": {"name": "mark", "labels": {"app": "a"}}, "spec": template("a")["spec"]})).await;
    world.until_all(POD, "one too many goes", |all| all.len() == pods.len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_whose_deletion_costs_least_goes_first() {
    let cases =
        [(Some("-1"), None, false), (Some("3"), Some("5"), false), (Some("1"), Some("-1"), true)];
    for (first, second, second_goes) in cases {
        let world = World::start().await;
        world.make_spec(RS, "set", set(RS, 2)).await;
        let pods = world.pods(2).await;
        world.ready(&pods).await;
        for (pod, cost) in pods.iter().zip([first, second]) {
            let note = json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}}});
            world.merge(POD, name(pod), note).await;
        }
        counted(&world, RS, [2, 2, 2]).await;
        settle(&world).await;
        world.merge(RS, "set", json!({"spec": {"replicas": 1}})).await;
        let left = world.pods(1).await;
        let expected = if second_goes { &pods[0] } else { &pods[1] };
        assert_eq!(name(&left[0]), name(expected), "{first:?} {second:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_that_select_the_same_keep_to_their_own_pods() {
    for kind in BOTH {
        let world = World::start().await;
        for name in ["one", "two"] {
            world.make_spec(kind, name, set(kind, 1)).await;
            world.until(kind, name, "it has one", |set| number(set, "/status/replicas") == 1).await;
        }
        let pods = world.pods(2).await;
        for name in ["one", "two"] {
            let set = world.get(kind, name).await;
            assert_eq!(pods.iter().filter(|pod| is_of(pod, &set)).count(), 1, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_with_other_labels_is_released_and_taken_back_whoever_else_owns_it() {
    for kind in BOTH {
        let world = World::start().await;
        let own = world.make_spec(kind, "set", set(kind, 1)).await;
        let first = world.pods(1).await.remove(0);
        world.merge(POD, name(&first), json!({"metadata": {"labels": {"app": "strange"}}})).await;
        world.until(POD, name(&first), "it is released", |pod| controller(pod).is_none()).await;
        world.pods(2).await;
        world.cluster.stop_controllers().await;
        world.merge(POD, name(&first), json!({"metadata": {"labels": {"app": "a"}}})).await;
        world.merge(kind, "set", json!({"spec": {"replicas": 2}})).await;
        world.cluster.start_controllers().await;
        world
            .until_all(POD, "both are ours", |all| {
                all.len() == 2 && all.iter().all(|pod| is_of(pod, &own))
            })
            .await;
        // A reference that does not control is turned into one that does.
        let weak = json!({"metadata": {"ownerReferences": [owner(&own, false)]}});
        world.merge(POD, name(&first), weak).await;
        world
            .until(POD, name(&first), "it is ours again", |pod| {
                is_of(pod, &own) && items(pod, "/metadata/ownerReferences").len() == 1
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_available_and_fully_labeled_pods_are_counted() {
    for kind in BOTH {
        let world = World::start().await;
        let mut spec = set(kind, 3);
        spec["minReadySeconds"] = json!(3600);
        spec["template"]["metadata"]["labels"]["extra"] = json!("label");
        world.make_spec(kind, "set", spec).await;
        let pods = world.pods(3).await;
        counted(&world, kind, [3, 0, 0]).await;
        world.ready(&pods[..1]).await;
        counted(&world, kind, [3, 1, 0]).await;
        world.pass(3601);
        world.ready(&pods[1..2]).await;
        let own = counted(&world, kind, [3, 2, 1]).await;
        assert_eq!(number(&own, "/status/fullyLabeledReplicas"), 3);
        world.merge(POD, name(&pods[0]), json!({"metadata": {"labels": {"extra": null}}})).await;
        world
            .until(kind, "set", "one is not fully labelled", |set| {
                number(set, "/status/fullyLabeledReplicas") == 2
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_were_there_are_taken_and_those_too_many_go() {
    for kind in BOTH {
        let world = World::start().await;
        world.cluster.stop_controllers().await;
        for name in ["p1", "p2", "p3"] {
            world.make(POD, pod(name, json!([]))).await;
        }
        world.make_spec(kind, "set", set(kind, 2)).await;
        world.cluster.start_controllers().await;
        let own = world.get(kind, "set").await;
        let pods = world.until_all(POD, "two are left, both ours", |all| {
            all.len() == 2 && all.iter().all(|pod| is_of(pod, &own))
        });
        let pods = pods.await;
        assert!(names(&pods).iter().all(|name| name.starts_with('p')), "{pods:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_is_deleted_goes_before_its_pods() {
    let world = World::start().await;
    world.make_spec(RS, "set", set(RS, 1)).await;
    let pod = world.pods(1).await.remove(0);
    world.merge(POD, name(&pod), json!({"metadata": {"finalizers": ["example.com/held"]}})).await;
    world.delete(RS, "set").await;
    world.gone(RS, "set").await;
    world.until(POD, name(&pod), "the pod is told to go", is_going).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_still_end_are_counted_apart() {
    let world = World::start().await;
    world.make(NODES, json!({"metadata": {"name": "busy"}})).await;
    let mut spec = set(RS, 5);
    spec["template"]["spec"]["nodeName"] = json!("busy");
    spec["template"]["spec"]["terminationGracePeriodSeconds"] = json!(300);
    world.make_spec(RS, "set", spec).await;
    world.ready(&world.pods(5).await).await;
    let terminating = |count: i64| {
        move |set: &Value| {
            number(set, "/status/terminatingReplicas") == count
                && set.pointer("/status/terminatingReplicas").is_some()
        }
    };
    counted(&world, RS, [5, 5, 5]).await;
    world.merge(RS, "set", json!({"spec": {"replicas": 3}})).await;
    counted(&world, RS, [3, 3, 3]).await;
    world.until(RS, "set", "two end", terminating(2)).await;
    let pods = world.list(POD).await;
    world.end(pods.iter().find(|pod| is_going(pod)).unwrap()).await;
    world.until(RS, "set", "one ends", terminating(1)).await;
    // One that has failed has ended, though it is still there.
    let left = world.list(POD).await;
    let last = left.iter().find(|pod| is_going(pod)).unwrap();
    world.merge_status(POD, name(last), json!({"phase": "Failed"})).await;
    world.until(RS, "set", "none ends", terminating(0)).await;
    assert_eq!(text(&world.get(RS, "set").await, "/metadata/name"), "set");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_still_end_are_not_told_of_without_the_gate() {
    let gates = "DeploymentReplicaSetTerminatingReplicas=false";
    let world = World::with_gated_controllers(gates).await;
    world.make(NODES, json!({"metadata": {"name": "busy"}})).await;
    let mut spec = set(RS, 2);
    spec["template"]["spec"]["nodeName"] = json!("busy");
    spec["template"]["spec"]["terminationGracePeriodSeconds"] = json!(300);
    world.make_spec(RS, "set", spec).await;
    world.ready(&world.pods(2).await).await;
    counted(&world, RS, [2, 2, 2]).await;
    world.merge(RS, "set", json!({"spec": {"replicas": 1}})).await;
    let set = counted(&world, RS, [1, 1, 1]).await;
    assert_eq!(set.pointer("/status/terminatingReplicas"), None);
    assert_eq!(world.list(POD).await.iter().filter(|pod| is_going(pod)).count(), 1);
}
