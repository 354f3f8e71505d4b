//! Jobs, pod by pod.

use crate::world::{
    CONFIG_MAP, JOB, POD, World, condition, is_active, is_going, is_of, items, name, number, says,
    text, uid,
};
use kube::api::PropagationPolicy;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Pods that nobody scheduled are not ended by anybody else when they are told to go.
pub(crate) const NO_POD_GC: &str = "*,-pod-garbage-collector-controller";
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
pub(crate) const HELD: &str = "example.com/held";
pub(crate) const INDEX: &str = "/metadata/labels/batch.kubernetes.io~1job-completion-index";

pub(crate) fn job(more: Value) -> Value {
    let template =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let mut spec = json!({"template": template});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

pub(crate) fn held(more: Value) -> Value {
    let mut spec = job(more);
    spec["template"]["metadata"] = json!({"finalizers": [HELD]});
    spec
}

/// Active, succeeded, failed and terminating pods of the status.
pub(crate) fn counts(job: &Value) -> [i64; 4] {
    ["active", "succeeded", "failed", "terminating"].map(|of| number(job, &format!("/status/{of}")))
}

pub(crate) async fn counted(world: &World, expected: [i64; 4]) -> Value {
    world
        .until(JOB, "work", &format!("{expected:?} are counted"), |job| counts(job) == expected)
        .await
}

pub(crate) async fn ends_as(world: &World, kind: &str, reason: &str) -> Value {
    world.until(JOB, "work", &format!("it is {kind}"), |job| says(job, kind, "True", reason)).await
}

/// Active pods of the Job, by name.
pub(crate) async fn active(world: &World) -> Vec<Value> {
    let job = world.get(JOB, "work").await;
    world.list(POD).await.into_iter().filter(|pod| is_active(pod) && is_of(pod, &job)).collect()
}

pub(crate) async fn of_index(world: &World, index: i64) -> Value {
    let check = async || {
        let found =
            active(world).await.into_iter().find(|pod| text(pod, INDEX) == index.to_string());
        found.ok_or_else(|| format!("no pod of {index}"))
    };
    world.eventually("an index has a pod", check).await
}

pub(crate) fn exit(world: &World, code: i64) -> Value {
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    json!({"phase": phase, "containerStatuses": [{"name": "c", "image": "i", "imageID": "",
        "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "finishedAt": world.now()}}}]})
}

pub(crate) async fn end(world: &World, pod: &Value, code: i64) {
    world.merge_status(POD, name(pod), exit(world, code)).await;
}

/// Ends active pods as they come, until so many ended.
pub(crate) async fn end_all(world: &World, count: usize, code: i64) {
    let mut ended = BTreeSet::new();
    while ended.len() < count {
        let fresh = async || {
            let all = active(world).await;
            let fresh = all.into_iter().find(|pod| !ended.contains(uid(pod)));
            fresh.ok_or_else(|| "none is active".to_owned())
        };
        let pod = world.eventually("a pod to end", fresh).await;
        end(world, &pod, code).await;
        ended.insert(uid(&pod).to_owned());
    }
}

fn has_finalizer(pod: &Value, wanted: &str) -> bool {
    items(pod, "/metadata/finalizers").iter().any(|finalizer| finalizer == wanted)
}

pub(crate) async fn no_finalizers(world: &World) {
    world
        .until_all(POD, "no pod is tracked any more", |all| {
            all.iter().all(|pod| !has_finalizer(pod, TRACKING))
        })
        .await;
}

pub(crate) async fn restart(world: &World) {
    world.cluster.stop_controllers().await;
    world.cluster.start_controllers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_on_under_new_controllers() {
    let world = World::start().await;
    world.make_spec(JOB, "work", job(json!({}))).await;
    counted(&world, [1, 0, 0, 0]).await;
    restart(&world).await;
    end_all(&world, 1, 1).await;
    world.pass(10);
    counted(&world, [1, 0, 1, 0]).await;
    restart(&world).await;
    end_all(&world, 1, 0).await;
    ends_as(&world, "Complete", "CompletionsReached").await;
    counted(&world, [0, 1, 1, 0]).await;
    no_finalizers(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_completions_any_success_is_enough() {
    let world = World::start().await;
    world.make_spec(JOB, "work", job(json!({"parallelism": 5}))).await;
    counted(&world, [5, 0, 0, 0]).await;
    end_all(&world, 2, 1).await;
    world.pass(40);
    counted(&world, [5, 0, 2, 0]).await;
    // None is made once one succeeded, and those that run end it.
    end_all(&world, 1, 0).await;
    counted(&world, [4, 1, 2, 0]).await;
    end_all(&world, 2, 1).await;
    counted(&world, [2, 1, 4, 0]).await;
    end_all(&world, 2, 0).await;
    ends_as(&world, "Complete", "CompletionsReached").await;
    counted(&world, [0, 3, 4, 0]).await;
    no_finalizers(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallelism_may_change_while_it_runs() {
    let world = World::start().await;
    world.make_spec(JOB, "work", job(json!({"parallelism": 5, "completions": 9}))).await;
    counted(&world, [5, 0, 0, 0]).await;
    for parallelism in [2, 4, 0, 3] {
        world.merge(JOB, "work", json!({"spec": {"parallelism": parallelism}})).await;
        world
            .until(JOB, "work", "as many are active", |job| {
                number(job, "/status/active") == parallelism
            })
            .await;
        assert_eq!(active(&world).await.len(), usize::try_from(parallelism).unwrap());
    }
    end_all(&world, 9, 0).await;
    ends_as(&world, "Complete", "CompletionsReached").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_pods_run_than_successes_are_missing() {
    let world = World::start().await;
    world.make_spec(JOB, "work", job(json!({"parallelism": 3, "completions": 5}))).await;
    counted(&world, [3, 0, 0, 0]).await;
    world.ready(&active(&world).await[..2]).await;
    world.until(JOB, "work", "two are ready", |job| number(job, "/status/ready") == 2).await;
    end_all(&world, 1, 1).await;
    world.pass(15);
    counted(&world, [3, 0, 1, 0]).await;
    end_all(&world, 3, 0).await;
    counted(&world, [2, 3, 1, 0]).await;
    end_all(&world, 2, 0).await;
    ends_as(&world, "Complete", "CompletionsReached").await;
    counted(&world, [0, 5, 1, 0]).await;
    no_finalizers(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_index_succeeds_once() {
    let world = World::start().await;
    let spec = json!({"parallelism": 3, "completions": 4, "completionMode": "Indexed"});
    world.make_spec(JOB, "work", job(spec)).await;
    counted(&world, [3, 0, 0, 0]).await;
    let indexes = async || {
        let mut all: Vec<_> =
            active(&world).await.iter().map(|pod| text(pod, INDEX).to_owned()).collect();
        all.sort();
        all
    };
    assert_eq!(indexes().await, ["0", "1", "2"]);
    end(&world, &of_index(&world, 1).await, 0).await;
    counted(&world, [3, 1, 0, 0]).await;
    assert_eq!(indexes().await, ["0", "2", "3"]);
    // A second pod of an index that is there already is one too many: one of the two goes.
    let double = of_index(&world, 0).await;
    let mut copy = json!({"metadata": {"name": "double", "labels": double["metadata"]["labels"],
        "annotations": double["metadata"]["annotations"], "finalizers": [TRACKING],
        "ownerReferences": double["metadata"]["ownerReferences"]}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    copy["spec"]["restartPolicy"] = json!("Never");
    world.make(POD, copy).await;
    world
        .until_all(POD, "one of index 0 is left", |all| {
            all.iter().filter(|pod| is_active(pod) && text(pod, INDEX) == "0").count() == 1
        })
        .await;
    end(&world, &of_index(&world, 2).await, 1).await;
    world.pass(15);
    end(&world, &of_index(&world, 2).await, 0).await;
    for index in [0, 3] {
        end(&world, &of_index(&world, index).await, 0).await;
    }
    let done = ends_as(&world, "Complete", "CompletionsReached").await;
    assert_eq!(
        (text(&done, "/status/completedIndexes"), number(&done, "/status/succeeded")),
        ("0-3", 4)
    );
    no_finalizers(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_successes_than_were_asked_for_are_told_of() {
    let world = World::start().await;
    world.make_spec(JOB, "work", job(json!({}))).await;
    counted(&world, [1, 0, 0, 0]).await;
    let first = active(&world).await.remove(0);
    world.cluster.stop_controllers().await;
    let metadata = json!({"name": "second", "labels": first["metadata"]["labels"],
        "finalizers": [TRACKING], "ownerReferences": first["metadata"]["ownerReferences"]});
    let containers = json!([{"name": "c", "image": "i"}]);
    let spec = json!({"restartPolicy": "Never", "containers": containers});
    let second = world.make(POD, json!({"metadata": metadata, "spec": spec})).await;
    for pod in [&first, &second] {
        end(&world, pod, 0).await;
    }
    world.cluster.start_controllers().await;
    let done = ends_as(&world, "Complete", "CompletionsReached").await;
    assert_eq!(counts(&done), [0, 2, 0, 0]);
    let said = world.told("work", "TooManySucceededPods").await;
    assert_eq!(said, "Too many succeeded pods running after completion count reached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_indexed_job_grows_and_shrinks() {
    let world = World::start().await;
    let start = async || {
        let spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed"});
        world.make_spec(JOB, "work", job(spec)).await;
        counted(&world, [3, 0, 0, 0]).await;
    };
    let size = async |count: i64| {
        let patch = json!({"spec": {"completions": count, "parallelism": count}});
        world.merge(JOB, "work", patch).await;
    };
    let succeed = async |indexes: &[i64]| {
        for index in indexes {
            end(&world, &of_index(&world, *index).await, 0).await;
        }
    };
    let over = async |indexes: &str| {
        let done = ends_as(&world, "Complete", "CompletionsReached").await;
        assert_eq!(text(&done, "/status/completedIndexes"), indexes);
        world.delete_with(JOB, "work", PropagationPolicy::Background).await;
        world.gone(JOB, "work").await;
        world.pods(0).await;
    };
    start().await;
    size(4).await;
    succeed(&[0, 1, 2, 3]).await;
    over("0-3").await;

    start().await;
    succeed(&[1]).await;
    end(&world, &of_index(&world, 2).await, 1).await;
    world.pass(15);
    counted(&world, [2, 1, 1, 0]).await;
    size(1).await;
    succeed(&[0]).await;
    over("0").await;

    start().await;
    succeed(&[2]).await;
    counted(&world, [2, 1, 0, 0]).await;
    size(2).await;
    world
        .until(JOB, "work", "the last is out of range", |job| number(job, "/status/succeeded") == 0)
        .await;
    size(3).await;
    succeed(&[0, 1, 2]).await;
    over("0-2").await;

    start().await;
    size(0).await;
    over("").await;
    let error = {
        start().await;
        let only = json!({"spec": {"completions": 4}});
        world.try_merge(JOB, "work", only).await.unwrap_err().to_string()
    };
    assert!(error.contains("can only be modified in tandem with spec.parallelism"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_replaced_when_they_go_or_only_when_they_failed() {
    let fails =
        json!({"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [5]}}]});
    let cases = [
        (
            json!({"completionMode": "Indexed", "podReplacementPolicy": "TerminatingOrFailed"}),
            [2, 0, 2, 2],
            [2, 0, 2, 0],
        ),
        (json!({"podReplacementPolicy": "TerminatingOrFailed"}), [2, 0, 2, 2], [2, 0, 2, 0]),
        (
            json!({"completionMode": "Indexed", "podReplacementPolicy": "Failed"}),
            [0, 0, 0, 2],
            [2, 0, 2, 0],
        ),
        (json!({"podReplacementPolicy": "Failed"}), [0, 0, 0, 2], [2, 0, 2, 0]),
        (
            json!({"podReplacementPolicy": "Failed", "podFailurePolicy": fails}),
            [0, 0, 0, 2],
            [2, 0, 2, 0],
        ),
    ];
    for (more, when_going, when_failed) in cases {
        let world = World::selected(NO_POD_GC).await;
        let mut spec = held(more);
        spec["parallelism"] = json!(2);
        spec["completions"] = json!(2);
        world.make_spec(JOB, "work", spec).await;
        counted(&world, [2, 0, 0, 0]).await;
        let first = active(&world).await;
        for pod in &first {
            world.delete(POD, name(pod)).await;
        }
        world.pass(20);
        counted(&world, when_going).await;
        for pod in &first {
            world.merge_status(POD, name(pod), json!({"phase": "Failed"})).await;
        }
        world.pass(40);
        counted(&world, when_failed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_has_ended_when_its_last_pod_has() {
    let two = |more: Value| {
        let mut spec = held(more);
        spec["parallelism"] = json!(2);
        spec["completions"] = json!(2);
        spec
    };
    let policy = json!({"backoffLimit": 0, "podFailurePolicy": {"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}]}});
    let success =
        json!({"completionMode": "Indexed", "successPolicy": {"rules": [{"succeededCount": 1}]}});
    for (spec, code, reason) in [
        (two(json!({"backoffLimit": 0})), 1, "BackoffLimitExceeded"),
        (two(policy), 1, "PodFailurePolicy"),
        (two(success), 0, "SuccessPolicy"),
    ] {
        let world = World::selected(NO_POD_GC).await;
        world.make_spec(JOB, "work", spec).await;
        counted(&world, [2, 0, 0, 0]).await;
        let first = active(&world).await.remove(0);
        end(&world, &first, code).await;
        let (soon, then) = if code == 0 {
            ("SuccessCriteriaMet", "Complete")
        } else {
            ("FailureTarget", "Failed")
        };
        let status = world
            .until(JOB, "work", "it is to end", |job| {
                says(job, soon, "True", reason) && number(job, "/status/terminating") == 1
            })
            .await;
        assert!(condition(&status, then).is_none(), "{status:#}");
        assert!(status.pointer("/status/completionTime").is_none());
        let all = world.list(POD).await;
        let last = all.iter().find(|pod| is_going(pod)).unwrap();
        world.merge(POD, name(last), json!({"metadata": {"finalizers": null}})).await;
        ends_as(&world, then, reason).await;
        counted(&world, if code == 0 { [0, 1, 0, 0] } else { [0, 0, 2, 0] }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_job_that_is_gone_are_let_go() {
    for policy in
        [PropagationPolicy::Orphan, PropagationPolicy::Background, PropagationPolicy::Foreground]
    {
        let world = World::start().await;
        world.make_spec(JOB, "work", job(json!({"parallelism": 2}))).await;
        counted(&world, [2, 0, 0, 0]).await;
        let orphaned = matches!(policy, PropagationPolicy::Orphan);
        world.delete_with(JOB, "work", policy).await;
        world.gone(JOB, "work").await;
        let left = if orphaned { 2 } else { 0 };
        world
            .until_all(POD, "they are let go", |all| {
                all.len() == left && all.iter().all(|pod| !has_finalizer(pod, TRACKING))
            })
            .await;
    }
    // Also when it went while there were no controllers.
    let world = World::start().await;
    world.make_spec(JOB, "work", job(json!({"parallelism": 1}))).await;
    counted(&world, [1, 0, 0, 0]).await;
    world.cluster.stop_controllers().await;
    world.delete_with(JOB, "work", PropagationPolicy::Background).await;
    world.gone(JOB, "work").await;
    world.cluster.start_controllers().await;
    world.pods(0).await;
    no_finalizers(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_the_same_name_starts_clean() {
    let world = World::start().await;
    world.make_spec(JOB, "work", job(json!({}))).await;
    counted(&world, [1, 0, 0, 0]).await;
    end_all(&world, 1, 1).await;
    counted(&world, [0, 0, 1, 0]).await;
    world.delete_with(JOB, "work", PropagationPolicy::Background).await;
    world.make_spec(JOB, "work", job(json!({}))).await;
    // Time stands still but for what waiting takes: the first one's back-off would last longer.
    counted(&world, [1, 0, 0, 0]).await;

    // One that is another's, under the name of one that has something to do.
    end_all(&world, 1, 0).await;
    world.delete_with(JOB, "work", PropagationPolicy::Background).await;
    let foreign = job(json!({"managedBy": "example.com/other"}));
    world.make_spec(JOB, "work", foreign).await;
    world.pass(60);
    world.make(CONFIG_MAP, json!({"metadata": {"name": "later"}})).await;
    let left = world.get(JOB, "work").await;
    assert_eq!(left["status"], json!({}), "{left:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_others_jobs_keep_their_finalizers() {
    let world = World::start().await;
    let foreign =
        world.make_spec(JOB, "work", job(json!({"managedBy": "example.com/other"}))).await;
    let labels = foreign["spec"]["template"]["metadata"]["labels"].clone();
    let pod = json!({"metadata": {"name": "theirs", "labels": labels, "finalizers": [TRACKING],
            "ownerReferences": [crate::world::owner(&foreign, true)]},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    world.make(POD, pod).await;
    end(&world, &world.get(POD, "theirs").await, 0).await;
    let now = world.now();
    let met = json!([{"type": "SuccessCriteriaMet", "status": "True", "reason": "r", "lastTransitionTime": now}]);
    world.merge_status(JOB, "work", json!({"startTime": now, "conditions": met})).await;
    world.merge(POD, "theirs", json!({"metadata": {"labels": {"touched": "yes"}}})).await;
    // Ours, which comes later, is looked at.
    world.make_spec(JOB, "ours", job(json!({}))).await;
    world.until(JOB, "ours", "it runs", |job| number(job, "/status/active") == 1).await;
    assert!(has_finalizer(&world.get(POD, "theirs").await, TRACKING));
    // The name of the controller itself is no other's.
    let own = job(json!({"managedBy": "kubernetes.io/job-controller"}));
    world.make_spec(JOB, "own", own).await;
    world.until(JOB, "own", "it runs too", |job| number(job, "/status/active") == 1).await;
}
