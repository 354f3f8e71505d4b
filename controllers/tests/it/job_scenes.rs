//! Jobs, pod by pod.

use crate::world::{
    CONFIG_MAP, EVENT, JOB, NODES, POD, World, condition, is_active, is_going, is_of, items, name,
    number, says, text, uid,
};
use kube::api::PropagationPolicy;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Pods that nobody scheduled are not ended by anybody else when they are told to go.
const NO_POD_GC: &str = "*,-pod-garbage-collector-controller";
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const HELD: &str = "example.com/held";
const INDEX: &str = "/metadata/labels/batch.kubernetes.io~1job-completion-index";

fn job(more: Value) -> Value {
    let template =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let mut spec = json!({"template": template});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn held(more: Value) -> Value {
    let mut spec = job(more);
    spec["template"]["metadata"] = json!({"finalizers": [HELD]});
    spec
}

/// Active, succeeded, failed and terminating pods of the status.
fn counts(job: &Value) -> [i64; 4] {
    ["active", "succeeded", "failed", "terminating"].map(|of| number(job, &format!("/status/{of}")))
}

async fn counted(world: &World, expected: [i64; 4]) -> Value {
    world
        .until(JOB, "work", &format!("{expected:?} are counted"), |job| counts(job) == expected)
        .await
}

async fn ends_as(world: &World, kind: &str, reason: &str) -> Value {
    world.until(JOB, "work", &format!("it is {kind}"), |job| says(job, kind, "True", reason)).await
}

/// Active pods of the Job, by name.
async fn active(world: &World) -> Vec<Value> {
    let job = world.get(JOB, "work").await;
    world.list(POD).await.into_iter().filter(|pod| is_active(pod) && is_of(pod, &job)).collect()
}

async fn of_index(world: &World, index: i64) -> Value {
    let check = async || {
        let found =
            active(world).await.into_iter().find(|pod| text(pod, INDEX) == index.to_string());
        found.ok_or_else(|| format!("no pod of {index}"))
    };
    world.eventually("an index has a pod", check).await
}

fn exit(world: &World, code: i64) -> Value {
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    json!({"phase": phase, "containerStatuses": [{"name": "c", "image": "i", "imageID": "",
        "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "finishedAt": world.now()}}}]})
}

async fn end(world: &World, pod: &Value, code: i64) {
    world.merge_status(POD, name(pod), exit(world, code)).await;
}

/// Ends active pods as they come, until so many ended.
async fn end_all(world: &World, count: usize, code: i64) {
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

async fn no_finalizers(world: &World) {
    world
        .until_all(POD, "no pod is tracked any more", |all| {
            all.iter().all(|pod| !has_finalizer(pod, TRACKING))
        })
        .await;
}

async fn restart(world: &World) {
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
async fn policies_ignore_count_or_fail() {
    let disrupted = json!({"onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    let rule = |action: &str| {
        let mut rule = disrupted.clone();
        rule["action"] = json!(action);
        json!({"backoffLimit": 0, "podFailurePolicy": {"rules": [rule]}})
    };
    let disrupt = |world: &World| {
        let mut status = exit(world, 137);
        status["conditions"] = json!([{"type": "DisruptionTarget", "status": "True"}]);
        status
    };
    // What is ignored counts nowhere, and is made again though nothing may fail.
    let world = World::start().await;
    world.make_spec(JOB, "work", job(rule("Ignore"))).await;
    counted(&world, [1, 0, 0, 0]).await;
    let first = active(&world).await.remove(0);
    world.merge_status(POD, name(&first), disrupt(&world)).await;
    world.until_all(POD, "another runs", |all| all.len() == 2).await;
    counted(&world, [1, 0, 0, 0]).await;
    end_all(&world, 1, 0).await;
    ends_as(&world, "Complete", "CompletionsReached").await;

    for (action, reason) in [("Count", "BackoffLimitExceeded"), ("FailJob", "PodFailurePolicy")] {
        let world = World::start().await;
        world.make_spec(JOB, "work", job(rule(action))).await;
        counted(&world, [1, 0, 0, 0]).await;
        let first = active(&world).await.remove(0);
        world.merge_status(POD, name(&first), disrupt(&world)).await;
        let failed = ends_as(&world, "Failed", reason).await;
        assert_eq!(counts(&failed), [0, 0, 1, 0]);
        if action == "FailJob" {
            let message = format!(
                "Pod default/{} has condition DisruptionTarget matching FailJob rule at index 0",
                name(&first)
            );
            assert_eq!(text(condition(&failed, "Failed").unwrap(), "/message"), message);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_pod_that_is_deleted_while_nobody_looks_still_decides() {
    let world = World::start().await;
    let policy = json!({"parallelism": 2, "completions": 2, "podFailurePolicy": {"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [5]}}]}});
    world.make_spec(JOB, "work", job(policy)).await;
    counted(&world, [2, 0, 0, 0]).await;
    let first = active(&world).await.remove(0);
    world.cluster.stop_controllers().await;
    end(&world, &first, 5).await;
    world.delete(POD, name(&first)).await;
    let left = world.get(POD, name(&first)).await;
    assert!(is_going(&left), "its finalizer keeps it");
    world.cluster.start_controllers().await;
    ends_as(&world, "Failed", "PodFailurePolicy").await;
    world.gone(POD, name(&first)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn successes_of_some_are_enough_when_a_policy_says_so() {
    let indexed = |rules: Value| {
        json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed",
            "successPolicy": {"rules": rules}})
    };
    for (rules, indexes) in [
        (json!([{"succeededIndexes": "1"}]), vec![1]),
        (json!([{"succeededCount": 2}]), vec![0, 2]),
        (json!([{"succeededIndexes": "0-1", "succeededCount": 1}]), vec![1]),
        (json!([{"succeededIndexes": "2"}, {"succeededIndexes": "0"}]), vec![0]),
    ] {
        let world = World::start().await;
        world.make_spec(JOB, "work", job(indexed(rules))).await;
        counted(&world, [3, 0, 0, 0]).await;
        for index in &indexes {
            end(&world, &of_index(&world, *index).await, 0).await;
        }
        let done = ends_as(&world, "Complete", "SuccessPolicy").await;
        assert!(says(&done, "SuccessCriteriaMet", "True", "SuccessPolicy"));
        assert_eq!(number(&done, "/status/succeeded"), i64::try_from(indexes.len()).unwrap());
        no_finalizers(&world).await;
    }
    // A failure comes before the success that would have been enough.
    let world = World::start().await;
    let mut spec = job(indexed(json!([{"succeededIndexes": "1"}])));
    spec["backoffLimit"] = json!(0);
    world.make_spec(JOB, "work", spec).await;
    counted(&world, [3, 0, 0, 0]).await;
    end(&world, &of_index(&world, 0).await, 1).await;
    ends_as(&world, "Failed", "BackoffLimitExceeded").await;
}

fn failures(pod: &Value) -> &str {
    text(pod, "/metadata/annotations/batch.kubernetes.io~1job-index-failure-count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_waits_longer_each_time_and_fails_for_itself() {
    let world = World::start().await;
    let spec = json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 2});
    world.make_spec(JOB, "work", job(spec)).await;
    counted(&world, [2, 0, 0, 0]).await;
    for (round, wait) in [(1, 10), (2, 20)] {
        end(&world, &of_index(&world, 0).await, 1).await;
        let check = async || {
            let all = world.list(POD).await;
            let running =
                all.iter().filter(|pod| is_active(pod) && text(pod, INDEX) == "0").count();
            if running == 0 { Ok(()) } else { Err(format!("{running}")) }
        };
        world.eventually("it has ended", check).await;
        world.pass(wait - 5);
        assert_eq!(active(&world).await.len(), 1, "round {round}: it is too early");
        world.pass(6);
        let next = of_index(&world, 0).await;
        assert_eq!(failures(&next), round.to_string());
    }
    end(&world, &of_index(&world, 0).await, 1).await;
    let status = counted(&world, [1, 0, 3, 0]).await;
    assert_eq!(text(&status, "/status/failedIndexes"), "0");
    end(&world, &of_index(&world, 1).await, 0).await;
    let failed = ends_as(&world, "Failed", "FailedIndexes").await;
    assert_eq!(text(&failed, "/status/completedIndexes"), "1");
    assert_eq!(text(condition(&failed, "Failed").unwrap(), "/message"), "Job has failed indexes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_may_fail_at_once_and_too_many_fail_the_job() {
    let world = World::start().await;
    let rules = json!([{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [13]}}]);
    let spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed",
        "backoffLimitPerIndex": 5, "maxFailedIndexes": 1, "podFailurePolicy": {"rules": rules}});
    world.make_spec(JOB, "work", job(spec)).await;
    counted(&world, [3, 0, 0, 0]).await;
    end(&world, &of_index(&world, 0).await, 13).await;
    let status = counted(&world, [2, 0, 1, 0]).await;
    assert_eq!(text(&status, "/status/failedIndexes"), "0");
    end(&world, &of_index(&world, 2).await, 13).await;
    let failed = ends_as(&world, "Failed", "MaxFailedIndexesExceeded").await;
    assert_eq!(text(&failed, "/status/failedIndexes"), "0,2");
    let message = "Job has exceeded the specified maximal number of failed indexes";
    assert_eq!(text(condition(&failed, "Failed").unwrap(), "/message"), message);
    no_finalizers(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_pod_tells_its_failures_though_it_is_deleted() {
    let world = World::start().await;
    let spec = json!({"parallelism": 1, "completions": 1, "completionMode": "Indexed", "backoffLimitPerIndex": 1});
    world.make_spec(JOB, "work", job(spec)).await;
    counted(&world, [1, 0, 0, 0]).await;
    let first = of_index(&world, 0).await;
    end(&world, &first, 1).await;
    world.delete(POD, name(&first)).await;
    world.pass(15);
    let next = of_index(&world, 0).await;
    assert_eq!(failures(&next), "1");
    counted(&world, [1, 0, 1, 0]).await;
    world.gone(POD, name(&first)).await;
    end(&world, &next, 0).await;
    ends_as(&world, "Complete", "CompletionsReached").await;
    counted(&world, [0, 1, 1, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_wait_longer_after_every_failure_in_a_row() {
    let world = World::start().await;
    world.make_spec(JOB, "work", job(json!({"backoffLimit": 10}))).await;
    for (failures, wait) in [(1, 10), (2, 20), (3, 40)] {
        counted(&world, [1, 0, failures - 1, 0]).await;
        end_all(&world, 1, 1).await;
        counted(&world, [0, 0, failures, 0]).await;
        world.pass(wait - 5);
        assert!(active(&world).await.is_empty(), "after {failures} it is too early");
        world.pass(6);
    }
    counted(&world, [1, 0, 3, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_failure_too_many_lets_all_pods_go() {
    let world = World::start().await;
    let spec = json!({"parallelism": 30, "completions": 30, "completionMode": "Indexed", "backoffLimit": 0});
    world.make_spec(JOB, "work", job(spec)).await;
    counted(&world, [30, 0, 0, 0]).await;
    end(&world, &of_index(&world, 7).await, 1).await;
    let failed = ends_as(&world, "Failed", "BackoffLimitExceeded").await;
    assert_eq!(counts(&failed), [0, 0, 30, 0]);
    no_finalizers(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_among_successes_is_found_by_new_controllers() {
    let world = World::start().await;
    world.make(NODES, json!({"metadata": {"name": "busy"}})).await;
    let mut spec = job(json!({"parallelism": 10, "completions": 10, "backoffLimit": 0}));
    spec["template"]["spec"]["nodeName"] = json!("busy");
    world.make_spec(JOB, "work", spec).await;
    counted(&world, [10, 0, 0, 0]).await;
    world.cluster.stop_controllers().await;
    let pods = active(&world).await;
    end(&world, &pods[0], 1).await;
    for pod in &pods[1..] {
        end(&world, pod, 0).await;
    }
    world.cluster.start_controllers().await;
    ends_as(&world, "Failed", "BackoffLimitExceeded").await;
    counted(&world, [0, 9, 1, 0]).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_job_has_no_pods_and_starts_anew() {
    let world = World::start().await;
    world
        .make_spec(JOB, "work", job(json!({"parallelism": 2, "completions": 4, "suspend": true})))
        .await;
    let suspended = |job: &Value| says(job, "Suspended", "True", "JobSuspended");
    let job_now = world.until(JOB, "work", "it is suspended", suspended).await;
    assert!(job_now.pointer("/status/startTime").is_none());
    restart(&world).await;
    world.make(CONFIG_MAP, json!({"metadata": {"name": "later"}})).await;
    assert!(active(&world).await.is_empty());
    world.merge(JOB, "work", json!({"spec": {"suspend": false}})).await;
    let first = counted(&world, [2, 0, 0, 0]).await;
    assert!(says(&first, "Suspended", "False", "JobResumed"));
    assert_eq!(world.told("work", "Resumed").await, "Job resumed");
    world.pass(60);
    world.merge(JOB, "work", json!({"spec": {"suspend": true}})).await;
    world.until(JOB, "work", "it is suspended again", suspended).await;
    counted(&world, [0, 0, 0, 0]).await;
    world.merge(JOB, "work", json!({"spec": {"suspend": false}})).await;
    let second = counted(&world, [2, 0, 0, 0]).await;
    assert!(text(&second, "/status/startTime") > text(&first, "/status/startTime"));
    // What wants nothing is done although it is suspended.
    world.make_spec(JOB, "none", job(json!({"completions": 0, "suspend": true}))).await;
    world
        .until(JOB, "none", "it is complete", |job| {
            says(job, "SuccessCriteriaMet", "True", "CompletionsReached")
                && says(job, "Complete", "True", "CompletionsReached")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_and_with_what_pods_run_may_change_while_none_runs() {
    let world = World::selected(NO_POD_GC).await;
    let template = |patch: Value| json!({"spec": {"template": {"spec": patch}}});
    let selector = || template(json!({"nodeSelector": {"a": "b"}}));
    let resources = |cpu: &str| {
        let wants = json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        template(json!({"containers": [{"name": "c", "image": "i", "resources": wants}]}))
    };
    let refused = async |patch: Value| {
        let error = world.try_merge(JOB, "work", patch).await.unwrap_err().to_string();
        assert!(error.contains("spec.template: Invalid value"), "{error}");
        assert!(error.contains("field is immutable"), "{error}");
    };
    // Before it ever started.
    world
        .make_spec(
            JOB,
            "work",
            held(json!({"parallelism": 2, "completions": 2, "suspend": true,
        "podReplacementPolicy": "Failed"})),
        )
        .await;
    world.merge(JOB, "work", selector()).await;
    world.merge(JOB, "work", resources("1")).await;
    world.merge(JOB, "work", json!({"spec": {"suspend": false}})).await;
    counted(&world, [2, 0, 0, 0]).await;
    for pod in active(&world).await {
        assert_eq!(pod["spec"]["nodeSelector"], json!({"a": "b"}));
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1");
    }
    refused(template(json!({"nodeSelector": {"a": "c"}}))).await;
    refused(resources("2")).await;
    // Suspended in the middle, while its pods still end.
    world.merge(JOB, "work", json!({"spec": {"suspend": true}})).await;
    let at = counted(&world, [0, 0, 0, 2]).await;
    assert!(says(&at, "Suspended", "True", "JobSuspended"), "{at:#}");
    world.merge(JOB, "work", resources("2")).await;
    counted(&world, [0, 0, 0, 2]).await;
    for pod in world.list(POD).await {
        let left: Vec<_> =
            items(&pod, "/metadata/finalizers").iter().filter(|own| *own != HELD).collect();
        world.merge(POD, name(&pod), json!({"metadata": {"finalizers": left}})).await;
    }
    counted(&world, [0, 0, 0, 0]).await;
    world.merge(JOB, "work", json!({"spec": {"suspend": false}})).await;
    counted(&world, [2, 0, 0, 0]).await;
    for pod in active(&world).await {
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["cpu"], "2");
    }
    assert!(world.list(EVENT).await.iter().any(|event| event["reason"] == "Suspended"));
}
