//! StatefulSets, step by step: nobody makes pods ready but the test.

use crate::world::{
    CLAIM, Kind, POD, REVISION, STATEFUL_SET, World, is_active, is_going, is_of, items, name,
    names, number, template, text, uid,
};
use async_trait::async_trait;
use kubeplane_core::{
    Definition,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

const SETS: Kind = STATEFUL_SET;

fn set(replicas: i64, more: Value) -> Value {
    let mut spec = json!({"replicas": replicas, "serviceName": "db", "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {"app": "db"}}, "template": template("db")});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn claims() -> Value {
    json!([{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}])
}

async fn counted(world: &World, expected: [i64; 3]) -> Value {
    world
        .until(SETS, "db", &format!("{expected:?} are counted"), |set| {
            let of = |name: &str| number(set, &format!("/status/{name}"));
            [of("replicas"), of("readyReplicas"), of("availableReplicas")] == expected
                && set["status"]["observedGeneration"] == set["metadata"]["generation"]
        })
        .await
}

fn to_image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

fn image(pod: &Value) -> &str {
    text(pod, "/spec/containers/0/image")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_size_is_followed_and_what_is_written_again_changes_nothing() {
    let world = World::start().await;
    let spec = set(2, json!({"volumeClaimTemplates": claims()}));
    let first = world.make_spec(SETS, "db", spec.clone()).await;
    counted(&world, [2, 0, 0]).await;
    // The specification as it was sent, without what was filled in.
    let mut again = world.get(SETS, "db").await;
    again["spec"] = spec;
    let object = serde_json::from_value(again).unwrap();
    let written = world.api(SETS).replace("db", &Default::default(), &object).await.unwrap();
    assert_eq!(written.metadata.generation, Some(number(&first, "/metadata/generation")));
    for size in [3, 0, 2] {
        world.merge(SETS, "db", json!({"spec": {"replicas": size}})).await;
        world.pods(usize::try_from(size).unwrap()).await;
        counted(&world, [size, 0, 0]).await;
    }
    let note = json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}});
    let changed = world.merge(SETS, "db", note).await;
    let generation = number(&changed, "/metadata/generation");
    world
        .until(SETS, "db", "it is observed", |set| {
            number(set, "/status/observedGeneration") == generation
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_end_are_made_again_under_their_names_and_those_that_go_waited_for() {
    let world = World::start().await;
    world.make_spec(SETS, "db", set(3, json!({}))).await;
    let pods = world.pods(3).await;
    world.merge(POD, "db-0", json!({"metadata": {"finalizers": ["example.com/held"]}})).await;
    world.delete(POD, "db-0").await;
    world.merge_status(POD, "db-1", json!({"phase": "Failed"})).await;
    world.merge_status(POD, "db-2", json!({"phase": "Succeeded"})).await;
    let there = |all: &[Value], old: &Value| all.iter().any(|pod| uid(pod) == uid(old));
    let all = world.until_all(POD, "two are made again, one is waited for", |all| {
        all.len() == 3 && there(all, &pods[0]) && !there(all, &pods[1]) && !there(all, &pods[2])
    });
    assert_eq!(names(&all.await), ["db-0", "db-1", "db-2"]);
    world.merge(POD, "db-0", json!({"metadata": {"finalizers": null}})).await;
    world
        .until_all(POD, "it is made again too", |all| all.len() == 3 && !there(all, &pods[0]))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_and_available_pods_are_counted() {
    let world = World::start().await;
    world.make_spec(SETS, "db", set(4, json!({"minReadySeconds": 3600}))).await;
    let pods = world.pods(4).await;
    counted(&world, [4, 0, 0]).await;
    world.ready(&pods[..2]).await;
    counted(&world, [4, 2, 0]).await;
    world.pass(3601);
    world.ready(&pods[2..3]).await;
    counted(&world, [4, 3, 2]).await;
}

/// Lets so many pods through.
#[derive(Debug, Clone)]
pub(crate) struct Few(Arc<AtomicUsize>);

impl Few {
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(count)))
    }
}

#[async_trait]
impl Admission for Few {
    fn name(&self) -> &'static str {
        "Few"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create && definition.plural == "pods" && subresource.is_empty()
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let more = |left: usize| left.checked_sub(1);
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more) {
            Ok(_) => Ok(()),
            Err(_) => Err(ApiError::forbidden(
                &request.definition.resource(),
                request.name,
                "no more pods today",
            )),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_the_pods_there_are_when_others_are_refused() {
    let world = World::with(|builder| builder.admit(Few::new(2))).await;
    world.make_spec(SETS, "db", set(4, json!({}))).await;
    world.until(SETS, "db", "two are counted", |set| number(set, "/status/replicas") == 2).await;
    let message = world.told("db", "FailedCreate").await;
    assert!(message.starts_with("Create Pod db-"), "{message}");
    assert!(message.contains("no more pods today"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_of_a_set_that_cannot_go_on_do_not_pile_up() {
    let world = World::with(|builder| builder.admit(Few::new(0))).await;
    world.make_spec(SETS, "db", set(1, json!({"revisionHistoryLimit": 0}))).await;
    counted(&world, [0, 0, 0]).await;
    for image in ["two", "three"] {
        world.merge(SETS, "db", to_image(image)).await;
        counted(&world, [0, 0, 0]).await;
    }
    let ends = |all: &[Value]| {
        let numbers: BTreeSet<_> = all.iter().map(|one| number(one, "/revision")).collect();
        numbers == BTreeSet::from([1, 3])
    };
    world.until_all(REVISION, "those in use are left", ends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_are_owned_as_the_retention_policy_says() {
    for (deleted, scaled) in
        [("Retain", "Retain"), ("Retain", "Delete"), ("Delete", "Retain"), ("Delete", "Delete")]
    {
        let world = World::start().await;
        let policy = json!({"whenDeleted": deleted, "whenScaled": scaled});
        let more = json!({"volumeClaimTemplates": claims(), "persistentVolumeClaimRetentionPolicy": policy});
        world.make_spec(SETS, "db", set(3, more)).await;
        let owned_by = |claim: &Value, kind: &str| {
            items(claim, "/metadata/ownerReferences").iter().any(|owner| owner["kind"] == kind)
        };
        let by_set = deleted == "Delete";
        let right = |all: &[Value]| {
            all.len() == 3
                && all
                    .iter()
                    .all(|own| owned_by(own, "StatefulSet") == by_set && !owned_by(own, "Pod"))
        };
        world.until_all(CLAIM, "the set owns them or not", right).await;
        world.until_all(POD, "all are there", |all| all.len() == 3).await;
        // A pod that goes holds its claim for as long as it is there.
        for pod in ["db-1", "db-2"] {
            let held = json!({"metadata": {"finalizers": ["example.com/held"]}});
            world.merge(POD, pod, held).await;
        }
        world.merge(SETS, "db", json!({"spec": {"replicas": 1}})).await;
        world
            .until_all(POD, "two go", |all| all.iter().filter(|pod| is_going(pod)).count() == 2)
            .await;
        world
            .until_all(CLAIM, "pods that go own theirs or not", |all| {
                all.iter().all(|own| {
                    let goes = name(own) != "data-db-0" && scaled == "Delete";
                    owned_by(own, "Pod") == goes && (goes || owned_by(own, "StatefulSet") == by_set)
                })
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_whose_claims_get_another_owner_is_told_of() {
    let world = World::selected("statefulset-controller").await;
    let made = world.make_spec(SETS, "db", set(1, json!({"volumeClaimTemplates": claims()}))).await;
    let pods = world.pods(1).await;
    world.ready(&pods).await;
    counted(&world, [1, 1, 1]).await;
    assert!(!is_of(&world.get(CLAIM, "data-db-0").await, &made));
    let policy = json!({"whenDeleted": "Delete", "whenScaled": "Retain"});
    let policy = json!({"spec": {"persistentVolumeClaimRetentionPolicy": policy}});
    world.merge(SETS, "db", policy).await;
    world.until(CLAIM, "data-db-0", "the set owns it", |claim| is_of(claim, &made)).await;
    let told = world.told("db", "SuccessfulUpdate").await;
    assert_eq!(told, "Update Pod db-0 in StatefulSet db successful");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_go_with_their_set_though_it_never_had_a_pod() {
    let world = World::with(|builder| builder.admit(Few::new(0))).await;
    let policy = json!({"whenDeleted": "Delete", "whenScaled": "Retain"});
    let more =
        json!({"volumeClaimTemplates": claims(), "persistentVolumeClaimRetentionPolicy": policy});
    let made = world.make_spec(SETS, "db", set(1, more)).await;
    let owned = |all: &[Value]| all.len() == 1 && all.iter().all(|claim| is_of(claim, &made));
    world.until_all(CLAIM, "the set owns its claim", owned).await;
    world.told("db", "FailedCreate").await;
    world.delete(SETS, "db").await;
    world.until_all(CLAIM, "it goes with the set", <[Value]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_another_controls_is_left_to_it() {
    let world = World::selected("statefulset-controller").await;
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "u",
        "controller": true});
    let mut taken = claims()[0].clone();
    taken["metadata"] = json!({"name": "data-db-0", "ownerReferences": [other]});
    world.make(CLAIM, taken).await;
    let policy = json!({"whenDeleted": "Delete", "whenScaled": "Retain"});
    let more =
        json!({"volumeClaimTemplates": claims(), "persistentVolumeClaimRetentionPolicy": policy});
    world.make_spec(SETS, "db", set(1, more)).await;
    assert_eq!(
        world.told("db", "ConflictingController").await,
        "PersistentVolumeClaim data-db-0 has a conflicting OwnerReference that acts as a manging \
         controller, the retention policy is ignored for this claim"
    );
    let pods = world.pods(1).await;
    world.ready(&pods).await;
    counted(&world, [1, 1, 1]).await;
    let claim = world.get(CLAIM, "data-db-0").await;
    let owners = items(&claim, "/metadata/ownerReferences");
    assert!(owners.len() == 1 && owners[0]["uid"] == "u", "{owners:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_waits_for_the_claim_of_the_one_before_it_to_go() {
    let world = World::selected("statefulset-controller").await;
    let mut left = claims()[0].clone();
    let before = json!({"apiVersion": "v1", "kind": "Pod", "name": "db-0", "uid": "before"});
    left["metadata"] = json!({"name": "data-db-0", "ownerReferences": [before]});
    world.make(CLAIM, left).await;
    let policy = json!({"whenDeleted": "Retain", "whenScaled": "Delete"});
    let more =
        json!({"volumeClaimTemplates": claims(), "persistentVolumeClaimRetentionPolicy": policy});
    world.make_spec(SETS, "db", set(1, more)).await;
    counted(&world, [0, 0, 0]).await;
    assert!(world.list(POD).await.is_empty());
    world.delete(CLAIM, "data-db-0").await;
    world.pods(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_below_the_partition_comes_back_as_it_was() {
    let world = World::start().await;
    let partition = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}});
    let more = json!({"updateStrategy": partition, "podManagementPolicy": "OrderedReady"});
    world.make_spec(SETS, "db", set(2, more)).await;
    let ready = async |image_of_last: &str| {
        let check = async || {
            let fresh: Vec<_> = world.list(POD).await;
            let fresh: Vec<_> =
                fresh.into_iter().filter(|pod| text(pod, "/status/phase") == "Pending").collect();
            world.ready(&fresh).await;
            let set = world.get(SETS, "db").await;
            let pods = world.list(POD).await;
            let last = pods.last().map(image).unwrap_or_default();
            // The set may not have noticed yet that a pod is new.
            let running = pods.iter().all(|pod| text(pod, "/status/phase") == "Running");
            let ready = number(&set, "/status/readyReplicas") == 2;
            if running && ready && last == image_of_last {
                Ok(())
            } else {
                Err(format!("{:#}", set["status"]))
            }
        };
        world.eventually("both are ready", check).await;
    };
    ready("one").await;
    world.merge(POD, "db-0", json!({"metadata": {"finalizers": ["example.com/held"]}})).await;
    world.merge(SETS, "db", to_image("two")).await;
    ready("two").await;
    world
        .until(SETS, "db", "one is updated", |set| {
            number(set, "/status/updatedReplicas") == 1 && number(set, "/status/replicas") == 2
        })
        .await;
    world.merge_status(POD, "db-0", json!({"phase": "Failed", "conditions": null})).await;
    world.delete(POD, "db-0").await;
    world
        .until(SETS, "db", "it is not ready", |set| number(set, "/status/readyReplicas") == 1)
        .await;
    world.merge(POD, "db-0", json!({"metadata": {"finalizers": null}})).await;
    ready("two").await;
    let pods = world.list(POD).await;
    assert_eq!(pods.iter().map(image).collect::<Vec<_>>(), ["one", "two"]);
}

/// Waits until the pods have these images, by their ordinals.
async fn images(world: &World, expected: &[&str]) -> Vec<Value> {
    let right = |all: &[Value]| {
        all.iter().all(is_active) && all.iter().map(image).eq(expected.iter().copied())
    };
    world.until_all(POD, &format!("{expected:?} are there"), right).await
}

/// Waits until the status counts so many pods of the new revision: what followed from them has been done by then.
async fn updated(world: &World, count: i64) {
    let what = format!("{count} are updated");
    let wish = |set: &Value| number(set, "/status/updatedReplicas") == count;
    world.until(SETS, "db", &what, wish).await;
}

const MOST_AWAY: &str = "statefulset_controller_statefulset_max_unavailable{\
    statefulset_namespace=\"default\",statefulset_name=\"db\",pod_management_policy=\"Parallel\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_begins_with_the_last_pod_however_the_others_are() {
    let world = World::selected("statefulset-controller").await;
    world.make_spec(SETS, "db", set(3, json!({}))).await;
    world.pods(3).await;
    // None is ever ready with the first image.
    world.merge(SETS, "db", to_image("two")).await;
    let pods = images(&world, &["one", "one", "two"]).await;
    updated(&world, 1).await;
    images(&world, &["one", "one", "two"]).await;
    world.ready(&pods[2..]).await;
    let pods = images(&world, &["one", "two", "two"]).await;
    world.ready(&pods[1..2]).await;
    images(&world, &["two", "two", "two"]).await;
    assert!(!world.cluster.metrics.encode_plain().contains(MOST_AWAY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_pods_are_updated_at_once_as_may_be_away() {
    let world = World::gated("MaxUnavailableStatefulSet=true").await;
    let rolling =
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 2}});
    world.make_spec(SETS, "db", set(4, json!({"updateStrategy": rolling}))).await;
    let pods = world.pods(4).await;
    world.ready(&pods).await;
    counted(&world, [4, 4, 4]).await;
    world.merge(SETS, "db", to_image("two")).await;
    let pods = images(&world, &["one", "one", "two", "two"]).await;
    updated(&world, 2).await;
    images(&world, &["one", "one", "two", "two"]).await;
    world.ready(&pods[2..]).await;
    images(&world, &["two"; 4]).await;
    let told = world.cluster.metrics.encode_plain();
    assert!(told.contains(&format!("{MOST_AWAY} 2")), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinals_start_where_they_are_told_to() {
    for (ordinals, replicas, first) in [
        (Value::Null, 3, 0),
        (json!({}), 3, 0),
        (json!({"start": 4}), 4, 4),
        (json!({"start": 2}), 7, 2),
    ] {
        let world = World::start().await;
        let mut spec = set(replicas, json!({}));
        spec["ordinals"] = ordinals;
        world.make_spec(SETS, "db", spec).await;
        let pods = world.pods(usize::try_from(replicas).unwrap()).await;
        let wanted: Vec<_> = (first..first + replicas).map(|index| format!("db-{index}")).collect();
        assert_eq!(names(&pods), wanted);
        for pod in &pods {
            assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], name(pod)[3..]);
            assert_eq!(pod["spec"]["subdomain"], "db");
        }
        world.merge(SETS, "db", json!({"spec": {"replicas": 1}})).await;
        let left = world.pods(1).await;
        assert_eq!(name(&left[0]), wanted[0]);
    }
}
