//! Jobs whose pods fail, and policies that say what follows.

use crate::{
    job_scenes::{
        INDEX, active, counted, counts, end, end_all, ends_as, exit, job, no_finalizers, of_index,
    },
    world::{JOB, NODES, POD, World, condition, is_active, is_going, name, number, says, text},
};
use kubeplane_clock::Clock;
use serde_json::{Value, json};

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
        let first = of_index(&world, 0).await;
        let ended = world.clock.elapsed();
        end(&world, &first, 1).await;
        let check = async || {
            let all = world.list(POD).await;
            let running =
                all.iter().filter(|pod| is_active(pod) && text(pod, INDEX) == "0").count();
            if running == 0 { Ok(()) } else { Err(format!("{running}")) }
        };
        world.eventually("it has ended", check).await;
        world.pass_to(ended, wait - 2);
        assert_eq!(active(&world).await.len(), 1, "round {round}: it is too early");
        world.pass_to(ended, wait + 1);
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
        let ended = world.clock.elapsed();
        end_all(&world, 1, 1).await;
        counted(&world, [0, 0, failures, 0]).await;
        world.pass_to(ended, wait - 2);
        assert!(active(&world).await.is_empty(), "after {failures} it is too early");
        world.pass_to(ended, wait + 1);
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
