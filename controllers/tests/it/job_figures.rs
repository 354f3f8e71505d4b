//! What is told of Jobs in metrics.

use crate::{
    job_scenes::{active, counted, end, ends_as, job, of_index},
    world::{JOB, World, number},
};
use async_trait::async_trait;
use kubeplane_apiserver::Builder;
use kubeplane_core::{
    Definition,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

async fn told(world: &World, begin: &str) {
    let check = async || {
        let told = world.cluster.metrics.encode_plain();
        if told.lines().any(|line| line.starts_with(begin)) { Ok(()) } else { Err(told) }
    };
    world.eventually(begin, check).await;
}

/// Takes no status of a Job for as long as it says so.
#[derive(Debug, Clone, Default)]
struct Shut(Arc<AtomicBool>);

impl Shut {
    async fn world() -> (World, Self) {
        let shut = Self::default();
        let own = shut.clone();
        let admitted = move |builder: Builder| builder.admit(own);
        (World::selected_with("job-controller", admitted).await, shut)
    }

    fn set(&self, shut: bool) {
        self.0.store(shut, Ordering::SeqCst);
    }
}

#[async_trait]
impl Admission for Shut {
    fn name(&self) -> &'static str {
        "Shut"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Update && definition.plural == "jobs" && subresource == "status"
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        if self.0.load(Ordering::SeqCst) {
            let resource = request.definition.resource();
            return Err(ApiError::forbidden(&resource, request.name, "not now"));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_counted_once_by_what_a_policy_says_of_it() {
    let (world, shut) = Shut::world().await;
    let rules = json!([{"action": "Count", "onExitCodes": {"operator": "In", "values": [1]}}]);
    world.make_spec(JOB, "work", job(json!({"podFailurePolicy": {"rules": rules}}))).await;
    counted(&world, [1, 0, 0, 0]).await;
    shut.set(true);
    end(&world, &active(&world).await[0], 1).await;
    let syncs = "job_controller_job_syncs_total{completion_mode=\"NonIndexed\",result=";
    told(&world, &format!("{syncs}\"error\"")).await;
    shut.set(false);
    world.until(JOB, "work", "it is counted", |job| number(job, "/status/failed") == 1).await;
    let handled = "job_controller_pod_failures_handled_by_failure_policy_total";
    told(&world, &format!("{handled}{{action=\"Count\"}} 1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looks_at_a_suspended_job_are_counted_as_deleting() {
    let world = World::selected("job-controller").await;
    world.make_spec(JOB, "work", job(json!({"suspend": true}))).await;
    let syncs = "job_controller_job_syncs_total{completion_mode=\"NonIndexed\",result=";
    told(&world, &format!("{syncs}\"success\",action=\"pods_deleted\"}}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_are_counted_that_a_smaller_job_still_has() {
    let (world, shut) = Shut::world().await;
    let spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed"});
    world.make_spec(JOB, "work", job(spec)).await;
    counted(&world, [3, 0, 0, 0]).await;
    end(&world, &of_index(&world, 2).await, 0).await;
    counted(&world, [2, 1, 0, 0]).await;
    shut.set(true);
    end(&world, &of_index(&world, 0).await, 0).await;
    let smaller = json!({"spec": {"parallelism": 1, "completions": 1}});
    world.merge(JOB, "work", smaller).await;
    shut.set(false);
    ends_as(&world, "Complete", "CompletionsReached").await;
    let finished = "job_controller_job_finished_indexes_total";
    told(&world, &format!("{finished}{{status=\"succeeded\",backoffLimit=\"global\"}} 2")).await;
}
