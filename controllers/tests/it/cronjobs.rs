use crate::cluster::{Cluster, eventually};
use jiff::{Timestamp, tz};
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::Event,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use kubeplane_clock::{Clock, PausedClock};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

struct Cron {
    cluster: Cluster,
    clock: PausedClock,
}

impl Cron {
    /// Some seconds after a full minute, so that what waiting takes does not lead into the next.
    async fn start(spec: Value) -> Self {
        let now = kubeplane_clock::real().now().as_second();
        let start = Timestamp::from_second(now - now.rem_euclid(60) + 5).unwrap();
        let clock = PausedClock::starting_at(start);
        let cluster = Cluster::with_clock(Arc::new(clock.clone())).await;
        let mut spec = spec;
        if spec["schedule"].is_null() {
            spec["schedule"] = json!("* * * * *");
        }
        spec["jobTemplate"] = json!({"metadata": {"labels": {"of": "cron"}}, "spec": {"template": {"spec":
            {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
        let cron = json!({"metadata": {"name": "tick"}, "spec": spec});
        let cron = cluster.create::<CronJob>(cron).await;
        // The server has the machine's clock, which may be in the next minute by now.
        let made = cron.metadata.creation_timestamp.unwrap().0.as_second();
        let late = made - made.rem_euclid(60) + 5 - clock.now().as_second();
        clock.advance(Duration::from_secs(u64::try_from(late).unwrap_or_default()));
        Self { cluster, clock }
    }

    async fn eventually<T>(&self, what: &str, check: impl AsyncFn() -> Result<T, String>) -> T {
        eventually(what, || async {
            self.clock.advance(Duration::from_millis(20));
            check().await
        })
        .await
    }

    /// Waits until the names of active Jobs are as wanted.
    async fn active(&self, what: &str, check: impl Fn(&[String]) -> bool) -> Vec<String> {
        let check = async || {
            let cron = self.cluster.api::<CronJob>().get("tick").await.unwrap();
            let active = cron.status.and_then(|status| status.active).unwrap_or_default();
            let names: Vec<_> = active.into_iter().filter_map(|active| active.name).collect();
            if check(&names) { Ok(names) } else { Err(format!("{names:?}")) }
        };
        self.eventually(what, check).await
    }

    /// Plays the pods' part: the Job is over. The Job controller may note its start in between.
    async fn end(&self, job: &str, kind: &str) {
        let api: Api<Job> = self.cluster.api();
        let other = if kind == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
        let write = async || {
            let now = self.clock.now().to_string();
            let started = api.get(job).await.unwrap().status.and_then(|status| status.start_time);
            let started = started.map_or_else(|| now.clone(), |time| time.0.to_string());
            let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "r", "lastTransitionTime": now});
            let mut status = json!({"startTime": started, "active": 0, "ready": 0, "conditions": [condition(other), condition(kind)]});
            if kind == "Complete" {
                status["completionTime"] = json!(now);
            }
            let patch = Patch::Merge(json!({"status": status}));
            let written = api.patch_status(job, &PatchParams::default(), &patch).await;
            written.map(drop).map_err(|error| error.to_string())
        };
        self.eventually("the job ends", write).await;
    }

    async fn event(&self, reason: &str) -> String {
        let check = async || {
            let events = self.cluster.list::<Event>().await;
            let found = events.iter().find(|event| {
                event.reason.as_deref() == Some(reason)
                    && event.involved_object.kind.as_deref() == Some("CronJob")
            });
            found.and_then(|event| event.message.clone()).ok_or_else(|| reason.to_owned())
        };
        self.eventually("an event", check).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_start_on_time_and_old_ones_go() {
    let cron = Cron::start(json!({"successfulJobsHistoryLimit": 1})).await;
    cron.active("nothing starts early", <[String]>::is_empty).await;
    let mut started = Vec::new();
    for _ in 0..3 {
        cron.clock.advance(MINUTE);
        let fresh = |names: &[String]| names.len() == 1 && !started.contains(&names[0]);
        let names = cron.active("a job starts", fresh).await;
        let job = cron.cluster.api::<Job>().get(&names[0]).await.unwrap();
        let minute = cron.clock.now().as_second() / 60;
        assert_eq!(job.name_any(), format!("tick-{minute}"));
        assert_eq!(job.labels()["of"], "cron");
        assert!(job.annotations().contains_key("batch.kubernetes.io/cronjob-scheduled-timestamp"));
        let end = "the end is seen";
        cron.end(&names[0], "Complete").await;
        cron.active(end, <[String]>::is_empty).await;
        started.extend(names);
    }
    let check = async || {
        let names: Vec<_> =
            cron.cluster.list::<Job>().await.iter().map(ResourceExt::name_any).collect();
        if names == started[2..] { Ok(()) } else { Err(format!("{names:?} of {started:?}")) }
    };
    cron.eventually("one is kept", check).await;
    let status = cron.cluster.api::<CronJob>().get("tick").await.unwrap().status.unwrap();
    assert!(status.last_schedule_time.is_some() && status.last_successful_time.is_some());
    assert_eq!(cron.event("SuccessfulCreate").await, format!("Created job {}", started[0]));
    let seen = format!("Saw completed job: {}, condition: Complete", started[0]);
    assert_eq!(cron.event("SawCompletedJob").await, seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_goes_on_forbids_or_is_replaced() {
    let cron = Cron::start(json!({"concurrencyPolicy": "Forbid"})).await;
    cron.clock.advance(MINUTE);
    let first = cron.active("a job starts", |names| names.len() == 1).await;
    cron.clock.advance(MINUTE);
    let message =
        "Not starting job because prior execution is running and concurrency policy is Forbid";
    assert_eq!(cron.event("JobAlreadyActive").await, message);
    assert_eq!(cron.active("it is the only one", |names| names.len() == 1).await, first);
    let patch = Patch::Merge(json!({"spec": {"concurrencyPolicy": "Replace"}}));
    cron.cluster.api::<CronJob>().patch("tick", &PatchParams::default(), &patch).await.unwrap();
    cron.clock.advance(MINUTE);
    cron.active("another takes its place", |names| names.len() == 1 && names != first).await;
    assert_eq!(cron.event("SuccessfulDelete").await, format!("Deleted job {}", first[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_missed_starts_lead_to_one_job_and_a_warning() {
    let cron = Cron::start(json!({"suspend": true})).await;
    cron.clock.advance(MINUTE * 200);
    cron.active("nothing starts", <[String]>::is_empty).await;
    let patch = Patch::Merge(json!({"spec": {"suspend": false}}));
    cron.cluster.api::<CronJob>().patch("tick", &PatchParams::default(), &patch).await.unwrap();
    cron.active("one job starts", |names| names.len() == 1).await;
    let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
    assert_eq!(cron.event("TooManyMissedTimes").await, message);
    assert_eq!(cron.cluster.list::<Job>().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_means_the_time_of_its_zone() {
    let now = kubeplane_clock::real().now().as_second();
    let start = Timestamp::from_second(now - now.rem_euclid(60) + 2 * 3600).unwrap();
    let there = start.to_zoned(tz::Offset::from_seconds(19_800).unwrap().to_time_zone());
    let schedule = format!("{} {} * * *", there.minute(), there.hour());
    let cron = Cron::start(json!({"schedule": schedule, "timeZone": "Asia/Kolkata"})).await;
    let left = start.as_second() - cron.clock.now().as_second();
    cron.clock.advance(Duration::from_secs(u64::try_from(left).unwrap()));
    // So much time may have passed while it was thought about how long to wait: that it is looked at now is for this.
    let note = json!({"metadata": {"annotations": {"hours": "later"}}});
    let api = cron.cluster.api::<CronJob>();
    api.patch("tick", &PatchParams::default(), &Patch::Merge(note)).await.unwrap();
    let names = cron.active("a job starts", |names| names.len() == 1).await;
    assert_eq!(names, [format!("tick-{}", start.as_second() / 60)]);
    let job = cron.cluster.api::<Job>().get(&names[0]).await.unwrap();
    assert_eq!(
        job.annotations()["batch.kubernetes.io/cronjob-scheduled-timestamp"],
        there.strftime("%Y-%m-%dT%H:%M:00+05:30").to_string()
    );
}
