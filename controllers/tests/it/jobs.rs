use crate::cluster::{Cluster, eventually};
use k8s_openapi::api::{
    batch::v1::{Job, JobStatus},
    core::v1::{Event, Pod},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use kubeplane_clock::{Clock, PausedClock};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

struct Jobs {
    cluster: Cluster,
    clock: PausedClock,
}

const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

impl Jobs {
    /// Controllers whose time stands still but for what waiting takes.
    async fn start() -> Self {
        let clock = PausedClock::starting_at(kubeplane_clock::real().now());
        let cluster = Cluster::with_clock(Arc::new(clock.clone())).await;
        Self { cluster, clock }
    }

    async fn create(&self, spec: Value) -> Job {
        let mut spec = spec;
        let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
        spec["template"] = template;
        self.cluster.create::<Job>(json!({"metadata": {"name": "work"}, "spec": spec})).await
    }

    async fn eventually<T>(&self, what: &str, check: impl AsyncFn() -> Result<T, String>) -> T {
        eventually(what, || async {
            self.clock.advance(Duration::from_millis(20));
            check().await
        })
        .await
    }

    async fn job(&self) -> Job {
        self.cluster.api::<Job>().get("work").await.unwrap()
    }

    /// Waits until the status is as wanted.
    async fn status(&self, what: &str, check: impl Fn(&JobStatus) -> bool) -> JobStatus {
        let check = async || {
            let status = self.job().await.status.unwrap_or_default();
            if check(&status) { Ok(status) } else { Err(format!("{status:?}")) }
        };
        self.eventually(what, check).await
    }

    async fn active(&self) -> Vec<Pod> {
        let pods = self.cluster.list::<Pod>().await;
        pods.into_iter().filter(kubeplane_workload::is_active).collect()
    }

    /// Waits for this many active pods.
    async fn pods(&self, count: usize) -> Vec<Pod> {
        let check = async || {
            let pods = self.active().await;
            let settled = self.job().await.status.and_then(|status| status.active).unwrap_or(0);
            if pods.len() == count && settled == count as i32 {
                Ok(pods)
            } else {
                Err(format!("{} pods, {settled} active", pods.len()))
            }
        };
        self.eventually(&format!("{count} pods"), check).await
    }

    /// Plays the kubelet: ends a pod with this exit code.
    async fn end(&self, pod: &Pod, code: i32) {
        let now = self.clock.now();
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        let state = json!({"terminated": {"exitCode": code, "finishedAt": now.to_string()}});
        let status = json!({"status": {"phase": phase, "containerStatuses": [{"name": "c", "image": "i",
            "imageID": "", "ready": false, "restartCount": 0, "state": state}]}});
        let api = self.cluster.api::<Pod>();
        api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }

    async fn event(&self, reason: &str) -> String {
        let check = async || {
            let events = self.cluster.list::<Event>().await;
            let found = events.iter().find(|event| event.reason.as_deref() == Some(reason));
            let all = || events.iter().filter_map(|event| event.reason.clone()).collect::<Vec<_>>();
            found
                .and_then(|event| event.message.clone())
                .ok_or_else(|| format!("{reason} among {:?}", all()))
        };
        self.eventually("an event", check).await
    }

    async fn patch(&self, patch: Value) {
        let patch = Patch::Merge(patch);
        self.cluster.api::<Job>().patch("work", &PatchParams::default(), &patch).await.unwrap();
    }
}

/// The types and reasons of the conditions that are true.
fn met(status: &JobStatus) -> Vec<(String, String)> {
    let met = status.conditions.iter().flatten().filter(|condition| condition.status == "True");
    met.map(|condition| (condition.type_.clone(), condition.reason.clone().unwrap())).collect()
}

fn is(status: &JobStatus, kind: &str) -> bool {
    met(status).iter().any(|(met, _)| met == kind)
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_counts_each_pod_once_and_completes() {
    let jobs = Jobs::start().await;
    jobs.create(json!({"completions": 3, "parallelism": 2})).await;
    let pods = jobs.pods(2).await;
    assert!(pods.iter().all(|pod| pod.finalizers().contains(&FINALIZER.to_owned())));
    jobs.end(&pods[0], 0).await;
    jobs.end(&pods[1], 1).await;
    let counted = jobs.status("both are counted", |status| {
        status.succeeded == Some(1) && status.failed == Some(1)
    });
    counted.await;
    jobs.clock.advance(Duration::from_secs(11));
    let pods = jobs.pods(2).await;
    for pod in &pods {
        jobs.end(pod, 0).await;
    }
    let status = jobs.status("it completes", |status| is(status, "Complete")).await;
    let reason = "CompletionsReached";
    assert_eq!(met(&status), pairs(&[("SuccessCriteriaMet", reason), ("Complete", reason)]));
    assert_eq!((status.succeeded, status.failed, status.active), (Some(3), Some(1), None));
    assert!(status.completion_time.is_some() && status.start_time.is_some());
    let left = status.uncounted_terminated_pods.unwrap_or_default();
    assert_eq!((left.succeeded, left.failed), (None, None));
    let pods = jobs.cluster.list::<Pod>().await;
    assert!(pods.len() == 4 && pods.iter().all(|pod| pod.finalizers().is_empty()));
    assert_eq!(jobs.event("Completed").await, "Job completed");
    assert!(jobs.event("SuccessfulCreate").await.starts_with("Created pod: work-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_too_often_has_failed() {
    let jobs = Jobs::start().await;
    jobs.create(json!({"backoffLimit": 1, "completions": 4, "parallelism": 2})).await;
    for round in 0..2 {
        let pods = jobs.pods(2).await;
        jobs.end(&pods[0], 1).await;
        let counted = |status: &JobStatus| status.failed >= Some(round + 1);
        jobs.status("the failure is counted", counted).await;
        jobs.clock.advance(Duration::from_secs(60));
    }
    let status = jobs.status("it fails", |status| is(status, "Failed")).await;
    let reason = "BackoffLimitExceeded";
    assert_eq!(met(&status), pairs(&[("FailureTarget", reason), ("Failed", reason)]));
    let message = "Job has reached the specified backoff limit";
    assert_eq!(jobs.event(reason).await, message);
    // The one that still ran was ended, and counts as failed too.
    assert_eq!((status.failed, status.active, status.terminating), (Some(3), None, Some(0)));
    assert!(jobs.active().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_fail_and_succeed_by_themselves() {
    let jobs = Jobs::start().await;
    jobs.create(json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3,
        "backoffLimitPerIndex": 1, "maxFailedIndexes": 2}))
        .await;
    let of = |pods: &[Pod], index: &str| {
        let named = |pod: &&Pod| pod.labels()["batch.kubernetes.io/job-completion-index"] == index;
        pods.iter().find(named).cloned().unwrap()
    };
    let pods = jobs.pods(3).await;
    let two = of(&pods, "2");
    assert!(two.name_any().starts_with("work-2-"));
    let spec = two.spec.clone().unwrap();
    assert_eq!(spec.hostname.as_deref(), Some("work-2"));
    assert_eq!(spec.containers[0].env.as_ref().unwrap()[0].name, "JOB_COMPLETION_INDEX");
    jobs.end(&of(&pods, "0"), 0).await;
    jobs.end(&two, 0).await;
    jobs.end(&of(&pods, "1"), 1).await;
    let done = |status: &JobStatus| status.completed_indexes.as_deref() == Some("0,2");
    jobs.status("two are done", done).await;
    jobs.clock.advance(Duration::from_secs(11));
    let again = jobs.pods(1).await;
    let told = |name: &str| again[0].annotations()[&format!("batch.kubernetes.io/{name}")].as_str();
    assert_eq!(["job-completion-index", "job-index-failure-count"].map(told), ["1", "1"]);
    jobs.end(&again[0], 1).await;
    let status = jobs.status("it fails", |status| is(status, "Failed")).await;
    assert_eq!(status.failed_indexes.as_deref(), Some("1"));
    assert_eq!((status.succeeded, status.failed), (Some(2), Some(2)));
    assert_eq!(met(&status)[0].1, "FailedIndexes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_end_a_job_early() {
    let jobs = Jobs::start().await;
    // Processes of Windows end with negative codes, too.
    for code in [42, -1_073_741_510] {
        jobs.create(json!({"podFailurePolicy": {"rules": [
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [code]}}]}}))
            .await;
        let pods = jobs.pods(1).await;
        jobs.end(&pods[0], code).await;
        let status = jobs.status("it fails", |status| is(status, "Failed")).await;
        let message = status.conditions.unwrap().pop().unwrap().message.unwrap();
        let expected = format!(
            "Container c for pod default/{} failed with exit code {code} matching FailJob rule at index 0",
            pods[0].name_any()
        );
        assert_eq!(message, expected);
        let api = jobs.cluster.api::<Job>();
        api.delete("work", &DeleteParams::background()).await.unwrap();
        jobs.gone().await;
        jobs.pods_gone().await;
    }

    jobs.create(json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3,
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]}}))
        .await;
    let pods = jobs.pods(3).await;
    let first = pods.iter().find(|pod| pod.name_any().starts_with("work-0-")).unwrap();
    jobs.end(first, 0).await;
    let status = jobs.status("it completes", |status| is(status, "Complete")).await;
    assert_eq!(met(&status)[0], ("SuccessCriteriaMet".to_owned(), "SuccessPolicy".to_owned()));
    assert_eq!((status.succeeded, status.failed), (Some(1), None));
    assert!(jobs.active().await.is_empty());
}

impl Jobs {
    async fn gone(&self) {
        let api = self.cluster.api::<Job>();
        let check = async || match api.get_opt("work").await.unwrap() {
            None => Ok(()),
            Some(job) => Err(format!("{job:?}")),
        };
        self.eventually("the job goes", check).await;
    }

    async fn pods_gone(&self) {
        let check = async || {
            let pods = self.cluster.list::<Pod>().await;
            if pods.is_empty() { Ok(()) } else { Err(format!("{pods:?}")) }
        };
        self.eventually("the pods go", check).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_suspended_resumed_and_runs_out_of_time() {
    let jobs = Jobs::start().await;
    jobs.create(json!({"parallelism": 2, "completions": 2, "activeDeadlineSeconds": 100})).await;
    jobs.pods(2).await;
    jobs.patch(json!({"spec": {"suspend": true}})).await;
    let status = jobs.status("it is suspended", |status| is(status, "Suspended")).await;
    assert_eq!((status.active, status.failed), (None, None));
    jobs.pods_gone().await;
    assert_eq!(jobs.event("Suspended").await, "Job suspended");
    // Time that it is suspended does not count.
    jobs.clock.advance(Duration::from_secs(500));
    jobs.patch(json!({"spec": {"suspend": false}})).await;
    jobs.pods(2).await;
    jobs.clock.advance(Duration::from_secs(101));
    let status = jobs.status("its time is over", |status| is(status, "Failed")).await;
    assert_eq!(met(&status)[1], ("Failed".to_owned(), "DeadlineExceeded".to_owned()));
    assert_eq!(status.failed, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_go_some_time_after_their_end_and_others_are_left_alone() {
    let jobs = Jobs::start().await;
    let foreign = json!({"metadata": {"name": "foreign"}, "spec": {"managedBy": "example.com/other",
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    jobs.cluster.create::<Job>(foreign).await;
    jobs.create(json!({"ttlSecondsAfterFinished": 60})).await;
    let pods = jobs.pods(1).await;
    assert!(pods[0].name_any().starts_with("work-"));
    jobs.end(&pods[0], 0).await;
    jobs.status("it completes", |status| is(status, "Complete")).await;
    jobs.clock.advance(Duration::from_secs(61));
    jobs.gone().await;
    jobs.pods_gone().await;
    let foreign = jobs.cluster.api::<Job>().get("foreign").await.unwrap();
    assert_eq!(foreign.status.unwrap_or_default(), JobStatus::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_outlive_their_job_are_let_go() {
    let jobs = Jobs::start().await;
    jobs.create(json!({"parallelism": 2, "completions": 2})).await;
    jobs.pods(2).await;
    let api = jobs.cluster.api::<Job>();
    api.delete("work", &DeleteParams::orphan()).await.unwrap();
    let check = async || {
        let pods = jobs.cluster.list::<Pod>().await;
        let free = |pod: &Pod| pod.finalizers().is_empty() && pod.owner_references().is_empty();
        if pods.len() == 2 && pods.iter().all(free) { Ok(()) } else { Err(format!("{pods:?}")) }
    };
    jobs.eventually("the finalizers go", check).await;
}
