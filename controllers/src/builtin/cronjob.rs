mod start;
mod times;

use super::{
    figures::{Place, growing},
    job,
    written::{LAGGING, Written},
};
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::api::{
    batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job},
    core::v1::ObjectReference,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use kubeplane_client::{Change, EventType, ObjectKey, controller_of};
use kubeplane_clock::SharedClock;
use kubeplane_telemetry::Metrics;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::Arc;

/// Starts Jobs at the times of a schedule.
pub(super) struct CronJobs {
    clock: SharedClock,
    written: Written,
    /// How much later than its time a Job was made, in seconds.
    skew: Histogram,
}

impl CronJobs {
    pub(super) fn new(clock: SharedClock, metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "cronjob_controller");
        let help = "Seconds from when Jobs were to start to when they were made";
        let skew = growing(1.0, 2.0, 10);
        let skew = place.show_this("job_creation_skew_duration_seconds", help, skew);
        Self { written: Written::new(clock.clone()), clock, skew }
    }
}

#[async_trait]
impl Controller for CronJobs {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "cronjob-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let clock = self.clock.clone();
        let recorder = sources.context().recorder().clone();
        sources.handle::<CronJob>(move |change, queue| {
            let cron = change.object();
            let key = ObjectKey::of(&**cron);
            // A new schedule says nothing about the time before it.
            match change {
                Change::Updated { old, new } if is_rescheduled(old, new) => {
                    if let Ok(schedule) = times::schedule(new) {
                        queue.add_after(key, times::until_next(new, &schedule, clock.now()));
                    } else {
                        let text =
                            format!("unparseable schedule for cronjob: {}", new.spec.schedule);
                        let reason = "UnParseableCronJobSchedule";
                        recorder.event_for(&**cron, EventType::Warning, reason, text);
                    }
                }
                _ => queue.add(key),
            }
        });
        sources.for_owner::<CronJob, Job>();
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let all = informers.of::<CronJob>();
        let seen = self.written.is_seen(key, &all);
        let Some(cron) = all.get(&key.namespace, &key.name) else {
            self.written.forget(key);
            return Ok(Action::Done);
        };
        if !seen {
            return Ok(LAGGING);
        }
        let uid = cron.metadata.uid.as_deref();
        let jobs = informers.of::<Job>().list_in(&key.namespace).into_iter();
        let jobs = jobs.filter(|job| controller_of(&**job).map(|owner| owner.uid.as_str()) == uid);
        let (cron, skew) = ((*cron).clone(), &self.skew);
        let mut sync = Sync { context, key, cron, skew, dirty: false };
        let jobs: Vec<_> = jobs.collect();
        sync.clean_up(&jobs).await;
        let result = sync.run(&jobs).await;
        if sync.dirty {
            let api: Api<CronJob> = Api::namespaced(context.client(), &key.namespace);
            let written = api.replace_status(&key.name, &PostParams::default(), &sync.cron).await?;
            self.written.updated(key, &written);
        }
        result
    }
}

fn is_rescheduled(old: &CronJob, new: &CronJob) -> bool {
    old.spec.schedule != new.spec.schedule || old.spec.time_zone != new.spec.time_zone
}

struct Sync<'a> {
    context: &'a Context,
    key: &'a ObjectKey,
    cron: CronJob,
    skew: &'a Histogram,
    /// Whether the status must be written.
    dirty: bool,
}

impl Sync<'_> {
    fn event(&self, kind: EventType, reason: &str, message: String) {
        self.context.recorder().event_for(&self.cron, kind, reason, message);
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.context.client(), &self.key.namespace)
    }

    fn status(&mut self) -> &mut CronJobStatus {
        self.cron.status.get_or_insert_default()
    }

    fn active(&self) -> Vec<ObjectReference> {
        self.cron.status.as_ref().and_then(|status| status.active.clone()).unwrap_or_default()
    }

    fn is_active(&self, uid: Option<&String>) -> bool {
        self.active().iter().any(|active| active.uid.as_ref() == uid)
    }

    fn deactivate(&mut self, uid: Option<&String>) {
        if let Some(active) = &mut self.status().active {
            active.retain(|active| active.uid.as_ref() != uid);
        }
    }

    /// Deletes the oldest of more ended Jobs than are to be kept.
    async fn clean_up(&mut self, jobs: &[Arc<Job>]) {
        let CronJobSpec { successful_jobs_history_limit, failed_jobs_history_limit, .. } =
            self.cron.spec;
        let limits =
            [("Complete", successful_jobs_history_limit), ("Failed", failed_jobs_history_limit)];
        for (kind, limit) in limits {
            let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
            let ended = jobs.iter().filter(|job| {
                job::finished(job).is_some_and(|condition| condition.type_ == kind)
                    && job.metadata.deletion_timestamp.is_none()
            });
            let mut ended: Vec<_> = ended.collect();
            ended.sort_by_key(|job| {
                let start = job.status.as_ref().and_then(|status| status.start_time.as_ref());
                (start.is_none(), start.map(|time| time.0), job.metadata.name.clone())
            });
            for job in &ended[..ended.len().saturating_sub(limit)] {
                self.delete(job).await;
            }
        }
    }

    async fn delete(&mut self, job: &Job) -> bool {
        let name = job.metadata.name.clone().unwrap_or_default();
        match self.jobs().delete(&name, &DeleteParams::background()).await.map_err(Error::from) {
            Ok(_) => {
                self.deactivate(job.metadata.uid.as_ref());
                self.dirty = true;
                let message = format!("Deleted job {name}");
                self.event(EventType::Normal, "SuccessfulDelete", message);
                true
            }
            Err(error) => {
                let message = format!("Deleted job: {}", error.text());
                self.event(EventType::Warning, "FailedDelete", message);
                false
            }
        }
    }

    async fn run(&mut self, jobs: &[Arc<Job>]) -> Result<Action, Error> {
        for job in jobs {
            self.look_at(job).await?;
        }
        for active in self.active() {
            let name = active.name.clone().unwrap_or_default();
            if jobs.iter().any(|job| job.metadata.uid == active.uid) {
                continue;
            }
            let found = self.jobs().get_opt(&name).await?;
            if found.is_none() {
                let message = format!("Active job went missing: {name}");
                self.event(EventType::Normal, "MissingJob", message);
                self.deactivate(active.uid.as_ref());
                self.dirty = true;
            }
        }
        if self.cron.metadata.deletion_timestamp.is_some() {
            return Ok(Action::Done);
        }
        self.start_due().await
    }

    /// Takes note of how a Job goes.
    async fn look_at(&mut self, job: &Job) -> Result<(), Error> {
        let uid = job.metadata.uid.as_ref();
        let name = job.metadata.name.clone().unwrap_or_default();
        let active = self.is_active(uid);
        let Some(ended) = job::finished(job) else {
            if !active {
                let api: Api<CronJob> = Api::namespaced(self.context.client(), &self.key.namespace);
                let fresh = api.get(&self.key.name).await?;
                let known = fresh.status.iter().flat_map(|status| status.active.iter().flatten());
                if known.into_iter().any(|known| known.uid.as_ref() == uid) {
                    self.cron = fresh;
                } else {
                    let text = "Saw a job that the controller did not create or forgot";
                    let message = format!("{text}: {name}");
                    self.event(EventType::Warning, "UnexpectedJob", message);
                }
            }
            return Ok(());
        };
        if active {
            self.deactivate(uid);
            let message = format!("Saw completed job: {name}, condition: {}", ended.type_);
            self.event(EventType::Normal, "SawCompletedJob", message);
            self.dirty = true;
        }
        let at = job.status.as_ref().and_then(|status| status.completion_time.clone());
        let last = self.cron.status.as_ref().and_then(|status| status.last_successful_time.clone());
        let later = match (&at, &last) {
            (Some(at), Some(last)) => at.0 > last.0,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if ended.type_ == "Complete" && later {
            self.status().last_successful_time = at;
            self.dirty = true;
        }
        Ok(())
    }
}
