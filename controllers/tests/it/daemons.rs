//! DaemonSets on nodes of all kinds: nobody schedules pods or makes them ready but the test.

use crate::ordinals::Few;
use crate::world::{
    DAEMON_SET, NODES, POD, REVISION, World, is_active, is_of, items, name, number, template, text,
    uid,
};
use serde_json::{Value, json};

fn strategies() -> [Value; 2] {
    [
        json!({"type": "OnDelete"}),
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}),
    ]
}

fn set(strategy: &Value) -> Value {
    json!({"selector": {"matchLabels": {"app": "agent"}}, "updateStrategy": strategy,
        "template": template("agent")})
}

async fn node(world: &World, name: &str, labels: Value, more: Value) {
    let mut object = json!({"metadata": {"name": name, "labels": labels}});
    for (key, value) in more.as_object().unwrap() {
        object[key] = value.clone();
    }
    world.make(NODES, object).await;
}

/// The node a pod is for.
fn target(pod: &Value) -> &str {
    let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let field = &items(pod, terms)[0]["matchFields"][0];
    assert_eq!(field["key"], "metadata.name");
    field["values"][0].as_str().unwrap()
}

/// Makes pods ready until there is one on each of these nodes, and all are counted.
async fn settled(world: &World, nodes: &[&str]) -> Vec<Value> {
    let check = async || {
        let pods: Vec<_> = world.list(POD).await.into_iter().filter(is_active).collect();
        let fresh: Vec<_> =
            pods.iter().filter(|pod| text(pod, "/status/phase") == "Pending").cloned().collect();
        world.ready(&fresh).await;
        let mut on: Vec<_> = pods.iter().map(target).collect();
        on.sort_unstable();
        let set = world.get(DAEMON_SET, "agent").await;
        let count = i64::try_from(nodes.len()).unwrap();
        let counted = ["desiredNumberScheduled", "currentNumberScheduled", "numberReady"]
            .iter()
            .all(|field| number(&set, &format!("/status/{field}")) == count);
        if on == nodes && counted {
            Ok(pods.clone())
        } else {
            Err(format!("{on:?} {:#}", set["status"]))
        }
    };
    world.eventually("every node has its pod", check).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_have_one_pod_each_whatever_state_they_are_in() {
    for strategy in strategies() {
        // A node that is not ready would be tainted.
        let world = World::selected("*,-node-lifecycle-controller").await;
        world.make_spec(DAEMON_SET, "agent", set(&strategy)).await;
        node(&world, "a", json!({}), json!({})).await;
        settled(&world, &["a"]).await;
        let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        node(&world, "b", json!({}), not_ready).await;
        let cordoned = json!({"spec": {"unschedulable": true,
            "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}});
        node(&world, "c", json!({}), cordoned).await;
        // One that is kept for others has none, until that is over.
        let taints = json!([{"key": "example.com/own", "value": "x", "effect": "NoSchedule"}]);
        node(&world, "d", json!({}), json!({"spec": {"taints": taints}})).await;
        settled(&world, &["a", "b", "c"]).await;
        world.merge(NODES, "d", json!({"spec": {"taints": null}})).await;
        settled(&world, &["a", "b", "c", "d"]).await;
        node(&world, "e", json!({}), json!({"spec": {"taints": taints}})).await;
        let tolerations = json!([{"key": "example.com/own", "operator": "Exists"}]);
        let patch = json!({"spec": {"template": {"spec": {"tolerations": tolerations}}}});
        world.merge(DAEMON_SET, "agent", patch).await;
        settled(&world, &["a", "b", "c", "d", "e"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_end_are_made_again() {
    for (phase, held) in [("Succeeded", false), ("Failed", false), ("Succeeded", true)] {
        for strategy in strategies() {
            let world = World::start().await;
            let mut spec = set(&strategy);
            if held {
                spec["template"]["metadata"]["finalizers"] = json!(["example.com/held"]);
            }
            world.make_spec(DAEMON_SET, "agent", spec).await;
            for name in ["a", "b", "c"] {
                node(&world, name, json!({}), json!({})).await;
            }
            let first = settled(&world, &["a", "b", "c"]).await.remove(0);
            world.merge_status(POD, name(&first), json!({"phase": phase})).await;
            let pods = settled(&world, &["a", "b", "c"]).await;
            assert!(pods.iter().all(|pod| uid(pod) != uid(&first)), "{phase}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn affinity_chooses_nodes_by_label_or_name() {
    for strategy in strategies() {
        let world = World::start().await;
        let mut spec = set(&strategy);
        let by_label =
            json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["test"]}]});
        let by_name =
            json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]});
        let terms = json!({"nodeSelectorTerms": [by_label, by_name]});
        spec["template"]["spec"]["affinity"] =
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
        world.make_spec(DAEMON_SET, "agent", spec).await;
        for (name, zone) in [("a", ""), ("b", ""), ("c", "test"), ("d", "test"), ("e", "other")] {
            node(&world, name, json!({"zone": zone}), json!({})).await;
        }
        settled(&world, &["b", "c", "d"]).await;
    }
}

fn hash(revision: &Value) -> &str {
    text(revision, "/metadata/labels/controller-revision-hash")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_whose_name_is_taken_gets_another() {
    let world = World::start().await;
    node(&world, "a", json!({}), json!({})).await;
    world.make_spec(DAEMON_SET, "agent", set(&strategies()[1])).await;
    settled(&world, &["a"]).await;
    let to = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    world.merge(DAEMON_SET, "agent", to("two")).await;
    let all = world.until_all(REVISION, "there are two", |all| all.len() == 2).await;
    let second = all.iter().find(|own| own["revision"] == 2).unwrap().clone();
    world.merge(DAEMON_SET, "agent", to("one")).await;
    world
        .until_all(REVISION, "the first is used again", |all| {
            all.iter().any(|own| own["revision"] == 3)
        })
        .await;
    settled(&world, &["a"]).await;
    // Another's revision under the name that the second template's hash leads to.
    world.cluster.stop_controllers().await;
    world.delete(REVISION, name(&second)).await;
    world.gone(REVISION, name(&second)).await;
    let foreign = json!({"metadata": {"name": name(&second)}, "revision": 9, "data": {"a": "b"}});
    world.make(REVISION, foreign).await;
    world.merge(DAEMON_SET, "agent", to("two")).await;
    world.cluster.start_controllers().await;
    world
        .until(DAEMON_SET, "agent", "the collision is counted", |set| {
            number(set, "/status/collisionCount") == 1
        })
        .await;
    let check = async || {
        let pods = settled(&world, &["a"]).await;
        let image = text(&pods[0], "/spec/containers/0/image");
        if image == "two" { Ok(()) } else { Err(image.to_owned()) }
    };
    world.eventually("it is rolled out all the same", check).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_equal_revisions_one_is_kept_and_pods_say_which() {
    let world = World::start().await;
    node(&world, "a", json!({}), json!({})).await;
    let own = world.make_spec(DAEMON_SET, "agent", set(&strategies()[1])).await;
    settled(&world, &["a"]).await;
    let first = world.list(REVISION).await.remove(0);
    world.cluster.stop_controllers().await;
    let mut second = first.clone();
    second["metadata"] = json!({"name": "agent-other", "ownerReferences": first["metadata"]["ownerReferences"],
        "labels": {"app": "agent", "controller-revision-hash": "other"}});
    second["revision"] = json!(number(&first, "/revision") + 1);
    world.make(REVISION, second).await;
    world.cluster.start_controllers().await;
    let left = world.until_all(REVISION, "one is left", |all| all.len() == 1).await;
    assert_eq!(name(&left[0]), "agent-other");
    world
        .until_all(POD, "its pods say so", |all| {
            all.iter().all(|pod| {
                is_of(pod, &own)
                    && text(pod, "/metadata/labels/controller-revision-hash") == hash(&left[0])
            })
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_is_told_though_pods_are_refused() {
    for strategy in strategies() {
        let world = World::with(|builder| builder.admit(Few::new(2))).await;
        world.make_spec(DAEMON_SET, "agent", set(&strategy)).await;
        for name in ["a", "b", "c", "d", "e"] {
            node(&world, name, json!({}), json!({})).await;
        }
        world.ready(&world.pods(2).await).await;
        world
            .until(DAEMON_SET, "agent", "two are ready", |set| {
                number(set, "/status/numberReady") == 2
                    && number(set, "/status/desiredNumberScheduled") == 5
            })
            .await;
        world.told("agent", "FailedCreate").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surging_updates_follow_the_tolerations_they_bring() {
    let world = World::start().await;
    for (name, key) in [
        ("a", "zone-y"),
        ("b", "zone-y"),
        ("c", "zone-z"),
        ("d", "zone-z"),
        ("e", "common"),
        ("f", "common"),
    ] {
        let taints = json!([{"key": key, "effect": "NoSchedule"}]);
        node(&world, name, json!({}), json!({"spec": {"taints": taints}})).await;
    }
    let tolerates = |keys: &[&str]| {
        let all: Vec<_> =
            keys.iter().map(|key| json!({"key": key, "operator": "Exists"})).collect();
        json!(all)
    };
    let surge =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    let mut spec = set(&surge);
    spec["template"]["spec"]["tolerations"] = tolerates(&["zone-y", "common"]);
    world.make_spec(DAEMON_SET, "agent", spec).await;
    settled(&world, &["a", "b", "e", "f"]).await;
    let to =
        |keys: &[&str]| json!({"spec": {"template": {"spec": {"tolerations": tolerates(keys)}}}});
    world.merge(DAEMON_SET, "agent", to(&["zone-z", "common"])).await;
    // Two where there were none, one beside an old one, and the old ones stay until others are ready.
    world.pods(7).await;
    let updated = async |nodes: &[&str]| {
        let count = i64::try_from(nodes.len()).unwrap();
        let check = async || {
            settled(&world, nodes).await;
            let set = world.get(DAEMON_SET, "agent").await;
            let updated = number(&set, "/status/updatedNumberScheduled");
            if updated == count { Ok(()) } else { Err(format!("{updated}")) }
        };
        world.eventually("all are of the new template", check).await;
    };
    updated(&["c", "d", "e", "f"]).await;
    world.merge(DAEMON_SET, "agent", to(&["zone-y", "zone-z", "common"])).await;
    updated(&["a", "b", "c", "d", "e", "f"]).await;
    world.merge(DAEMON_SET, "agent", to(&[])).await;
    updated(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_no_fit_node_a_share_is_none() {
    let world = World::start().await;
    node(&world, "a", json!({}), json!({})).await;
    let half = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}});
    world.make_spec(DAEMON_SET, "agent", set(&half)).await;
    let before = settled(&world, &["a"]).await.remove(0);
    let taints = json!([{"key": "example.com/own", "effect": "NoSchedule"}]);
    world.merge(NODES, "a", json!({"spec": {"taints": taints}})).await;
    let misplaced = |set: &Value| number(set, "/status/numberMisscheduled") == 1;
    world.until(DAEMON_SET, "agent", "the node is not fit", misplaced).await;
    let containers = json!([{"name": "c", "image": "two"}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    world.merge(DAEMON_SET, "agent", patch).await;
    let seen = |set: &Value| number(set, "/status/observedGeneration") == 2;
    world.until(DAEMON_SET, "agent", "the new template is seen", seen).await;
    // A new pod would not come where the old one went.
    let after = world.pods(1).await.remove(0);
    assert_eq!(uid(&after), uid(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_without_its_label_loses_its_pod() {
    let world = World::selected("daemonset-controller").await;
    let zone = json!({"zone": "test"});
    node(&world, "a", zone.clone(), json!({})).await;
    let mut spec = set(&strategies()[0]);
    spec["template"]["spec"]["nodeName"] = json!("a");
    spec["template"]["spec"]["nodeSelector"] = zone;
    world.make_spec(DAEMON_SET, "agent", spec).await;
    settled(&world, &["a"]).await;
    world.delete(NODES, "a").await;
    let none = |set: &Value| number(set, "/status/desiredNumberScheduled") == 0;
    world.until(DAEMON_SET, "agent", "there is no node", none).await;
    world.pods(1).await;
    node(&world, "a", json!({}), json!({})).await;
    world.pods(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_pod_goes_when_the_new_one_beside_it_was_ready_for_long_enough() {
    let world = World::selected("daemonset-controller").await;
    node(&world, "a", json!({}), json!({})).await;
    let surge =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    let mut spec = set(&surge);
    spec["minReadySeconds"] = json!(5);
    world.make_spec(DAEMON_SET, "agent", spec).await;
    settled(&world, &["a"]).await;
    world.pass(6);
    let available = |set: &Value| number(set, "/status/numberAvailable") == 1;
    world.until(DAEMON_SET, "agent", "its pod is available", available).await;
    let containers = json!([{"name": "c", "image": "two"}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    world.merge(DAEMON_SET, "agent", patch).await;
    let is_new = |pod: &Value| text(pod, "/spec/containers/0/image") == "two";
    let both = world.pods(2).await;
    let new: Vec<_> = both.into_iter().filter(is_new).collect();
    world.ready(&new).await;
    // The set is looked at once more while the pod is not yet available, and nothing happens after that.
    world.merge(DAEMON_SET, "agent", json!({"spec": {"revisionHistoryLimit": 5}})).await;
    let seen = |set: &Value| number(set, "/status/observedGeneration") == 3;
    world.until(DAEMON_SET, "agent", "the change is seen", seen).await;
    world.pass(6);
    assert!(is_new(&world.pods(1).await[0]));
}
