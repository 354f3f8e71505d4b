//! What is told of CronJobs that do not go as they should.

use crate::world::{CRON_JOB, JOB, World, items, name, owner};
use async_trait::async_trait;
use kube::api::PropagationPolicy;
use kubeplane_apiserver::Builder;
use kubeplane_core::{
    Definition,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};

const KEY: &str = "/registry/cronjobs/default/tick";

/// Refuses this to be done to Jobs.
#[derive(Debug)]
struct NoJobs(Operation);

#[async_trait]
impl Admission for NoJobs {
    fn name(&self) -> &'static str {
        "NoJobs"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == self.0 && definition.plural == "jobs" && subresource.is_empty()
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        Err(ApiError::forbidden(&request.definition.resource(), request.name, "not today"))
    }
}

async fn start(change: impl FnOnce(Builder) -> Builder) -> World {
    World::selected_with("cronjob-controller", change).await
}

fn pod() -> Value {
    json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}})
}

/// One that starts a Job each minute, if none is there.
fn spec(more: Value) -> Value {
    let mut spec = json!({"schedule": "* * * * *", "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": {"template": pod()}}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

/// A CronJob that no server of today would have taken.
async fn found(world: &World, more: Value) -> Value {
    let metadata = json!({"namespace": "default", "name": "tick", "uid": "u-1", "generation": 1,
        "creationTimestamp": world.now()});
    let mut spec = spec(more);
    spec["suspend"] = json!(false);
    let cron =
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec});
    world.cluster.store(KEY, &cron).await;
    cron
}

/// Lets a minute begin, and waits for the Job that starts with it.
async fn started(world: &World) -> String {
    // The server's clock may be in the next minute already.
    world.pass(120);
    let active = |cron: &Value| items(cron, "/status/active").len() == 1;
    let cron = world.until(CRON_JOB, "tick", "a job starts", active).await;
    items(&cron, "/status/active")[0]["name"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_zone_that_nobody_knows_is_told_of_and_nothing_starts() {
    let world = start(|builder| builder).await;
    found(&world, json!({"timeZone": "Mars/Phobos"})).await;
    let said = world.told("tick", "UnknownTimeZone").await;
    assert_eq!(said, "invalid timeZone: \"Mars/Phobos\": unknown time zone Mars/Phobos");
    world.pass(120);
    // Once another of its kind has started, this one would have.
    world.make_spec(CRON_JOB, "other", spec(json!({}))).await;
    world.pass(120);
    let jobs = world.until_all(JOB, "a job starts", |all| !all.is_empty()).await;
    assert!(jobs.iter().all(|job| name(job).starts_with("other-")), "{jobs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_cannot_be_read_is_told_of() {
    let world = start(|builder| builder).await;
    let mut cron = found(&world, json!({"schedule": "now and then"})).await;
    let why = "expected exactly 5 fields, found 3: [now and then]";
    let said = world.told("tick", "UnparseableSchedule").await;
    assert_eq!(said, format!("unparseable schedule: \"now and then\" : {why}"));
    cron["spec"]["schedule"] = json!("never ever");
    cron["metadata"]["generation"] = json!(2);
    world.cluster.store(KEY, &cron).await;
    let said = world.told("tick", "UnParseableCronJobSchedule").await;
    assert_eq!(said, "unparseable schedule for cronjob: never ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_within_the_schedule_is_gone_by_and_told_of() {
    let world = start(|builder| builder).await;
    found(&world, json!({"schedule": "CRON_TZ=Asia/Kolkata * * * * *"})).await;
    let said = world.told("tick", "UnsupportedSchedule").await;
    assert_eq!(
        said,
        "CRON_TZ or TZ used in schedule \"CRON_TZ=Asia/Kolkata * * * * *\" is not officially supported, see \
         https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
    );
    started(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_vanish_and_jobs_that_nobody_started_are_told_of() {
    let world = start(|builder| builder).await;
    let cron = world.make_spec(CRON_JOB, "tick", spec(json!({}))).await;
    let job = started(&world).await;
    let stray = json!({"metadata": {"name": "stray", "ownerReferences": [owner(&cron, true)]},
        "spec": {"template": pod()}});
    world.make(JOB, stray).await;
    let said = world.told("tick", "UnexpectedJob").await;
    assert_eq!(said, "Saw a job that the controller did not create or forgot: stray");
    world.delete_with(JOB, &job, PropagationPolicy::Background).await;
    let said = world.told("tick", "MissingJob").await;
    assert_eq!(said, format!("Active job went missing: {job}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_may_not_be_made_is_told_of() {
    let world = start(|builder| builder.admit(NoJobs(Operation::Create))).await;
    world.make_spec(CRON_JOB, "tick", spec(json!({}))).await;
    world.pass(120);
    let said = world.told("tick", "FailedCreate").await;
    assert!(said.starts_with("Error creating job: jobs.batch "), "{said}");
    assert!(said.ends_with("forbidden: not today"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_may_not_be_deleted_is_told_of() {
    let world = start(|builder| builder.admit(NoJobs(Operation::Delete))).await;
    world.make_spec(CRON_JOB, "tick", spec(json!({"successfulJobsHistoryLimit": 0}))).await;
    let job = started(&world).await;
    let now = world.now();
    let conditions = ["SuccessCriteriaMet", "Complete"].map(
        |kind| json!({"type": kind, "status": "True", "reason": "r", "lastTransitionTime": now}),
    );
    let status = json!({"startTime": now, "completionTime": now, "conditions": conditions});
    world.merge_status(JOB, &job, status).await;
    let said = world.told("tick", "FailedDelete").await;
    assert_eq!(said, format!("Deleted job: jobs.batch \"{job}\" is forbidden: not today"));
}
