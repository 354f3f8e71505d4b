//! Jobs that are suspended.

use crate::{
    job_scenes::{HELD, NO_POD_GC, active, counted, held, job, restart},
    world::{CONFIG_MAP, JOB, POD, World, items, name, says, text},
};
use serde_json::{Value, json};

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
    // Where they run may change with the very update that resumes it.
    let mut resumed = template(json!({"nodeSelector": {"a": "c"}}));
    resumed["spec"]["suspend"] = json!(false);
    world.merge(JOB, "work", resumed).await;
    counted(&world, [2, 0, 0, 0]).await;
    for pod in active(&world).await {
        assert_eq!(pod["spec"]["nodeSelector"], json!({"a": "c"}));
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["cpu"], "2");
    }
    world.told("work", "Suspended").await;
}
