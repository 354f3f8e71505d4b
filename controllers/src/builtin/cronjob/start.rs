//! Starting the Job that is due.

use super::{Sync, times};
use crate::{Action, Error};
use jiff::{Timestamp, tz::TimeZone};
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{ResourceExt, api::PostParams};
use kubeplane_client::{EventType, controller_ref, is_controlled_by};
use kubeplane_workload::cron::{Schedule, time_zone};

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

impl Sync<'_> {
    /// Starts what is due, and comes back when the next is.
    pub(super) async fn start_due(&mut self) -> Result<Action, Error> {
        let now = self.context.now();
        let Some(schedule) = self.readable_schedule() else { return Ok(Action::Done) };
        let later = Action::RequeueAfter(times::until_next(&self.cron, &schedule, now));
        let (time, many) = match times::due(&self.cron, &schedule, now) {
            Ok(Some(due)) => due,
            Ok(None) => return Ok(later),
            Err(times::Never) => {
                let message = format!(
                    "invalid schedule: {} : time difference between two schedules is less than 1 second",
                    self.cron.spec.schedule
                );
                self.event(EventType::Warning, "InvalidSchedule", message);
                return Ok(Action::Done);
            }
        };
        if many {
            let message = "too many missed start times. Set or decrease \
                .spec.startingDeadlineSeconds or check clock skew";
            self.event(EventType::Warning, "TooManyMissedTimes", message.to_owned());
        }
        if times::is_too_late(&self.cron, time, now) {
            let time = time.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S %z");
            let message = format!("Missed scheduled time to start a job: {time}");
            self.event(EventType::Warning, "MissSchedule", message);
            return Ok(later);
        }
        if self.is_started(time) {
            return Ok(later);
        }
        let active = self.active();
        let policy = self.cron.spec.concurrency_policy.clone();
        match policy.as_deref() {
            Some("Forbid") if !active.is_empty() => {
                let message = "Not starting job because prior execution is running and \
                    concurrency policy is Forbid";
                self.event(EventType::Normal, "JobAlreadyActive", message.to_owned());
                return Ok(later);
            }
            Some("Replace") => self.replace(&active).await?,
            _ => {}
        }
        match self.create(time).await? {
            Some(job) => self.note(&job, time),
            // Another object has the name of the Job; those of later times have other names.
            None => return Ok(later),
        }
        Ok(Action::RequeueAfter(times::until_next(&self.cron, &schedule, now)))
    }

    /// The schedule, unless it is suspended or has no meaning.
    fn readable_schedule(&self) -> Option<Schedule> {
        let spec = &self.cron.spec;
        if let Some(zone) = &spec.time_zone
            && let Err(why) = time_zone(zone)
        {
            let message = format!("invalid timeZone: {zone:?}: {why}");
            self.event(EventType::Warning, "UnknownTimeZone", message);
            return None;
        }
        if spec.suspend == Some(true) {
            return None;
        }
        if spec.schedule.contains("TZ") {
            let message = format!(
                "CRON_TZ or TZ used in schedule {:?} is not officially supported, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                spec.schedule
            );
            self.event(EventType::Warning, "UnsupportedSchedule", message);
        }
        let schedule = times::schedule(&self.cron);
        if let Err(why) = &schedule {
            let message = format!("unparseable schedule: {:?} : {why}", spec.schedule);
            self.event(EventType::Warning, "UnparseableSchedule", message);
        }
        schedule.ok()
    }

    fn job_name(&self, time: Timestamp) -> String {
        format!("{}-{}", self.key.name, time.as_second() / 60)
    }

    fn is_started(&self, time: Timestamp) -> bool {
        let name = self.job_name(time);
        let last = self.cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
        self.active().iter().any(|active| active.name.as_ref() == Some(&name))
            || last.is_some_and(|last| last.0 == time)
    }

    async fn replace(&mut self, active: &[ObjectReference]) -> Result<(), Error> {
        for active in active {
            let name = active.name.clone().unwrap_or_default();
            let job = match self.jobs().get(&name).await.map_err(Error::from) {
                Ok(job) => job,
                Err(error) => {
                    let message = format!("Get job: {}", error.text());
                    self.event(EventType::Warning, "FailedGet", message);
                    return Err(error);
                }
            };
            if !self.delete(&job).await {
                let namespace = &self.key.namespace;
                return Err(Error::Incomplete(format!("could not replace job {namespace}/{name}")));
            }
        }
        Ok(())
    }

    /// The Job of this time, which may have been made by a run that did not get further.
    async fn create(&self, time: Timestamp) -> Result<Option<Job>, Error> {
        let Some(job) = self.job(time) else { return Ok(None) };
        match self.jobs().create(&PostParams::default(), &job).await.map_err(Error::from) {
            Ok(created) => {
                let message = format!("Created job {}", created.name_any());
                self.event(EventType::Normal, "SuccessfulCreate", message);
                let made = created.metadata.creation_timestamp.as_ref().map(|made| made.0);
                let late = made.map(|made| made.duration_since(time).as_secs_f64());
                self.skew.observe(late.unwrap_or_default());
                Ok(Some(created))
            }
            Err(error) if error.is_already_exists() => {
                let present = self.jobs().get(&self.job_name(time)).await?;
                let uid = self.cron.metadata.uid.as_deref().unwrap_or_default();
                let ours = is_controlled_by(&present, uid);
                let known = self.is_active(present.metadata.uid.as_ref());
                Ok(Some(present).filter(|_| ours && !known))
            }
            Err(error) => {
                if !error.is_namespace_terminating() {
                    let message = format!("Error creating job: {}", error.text());
                    self.event(EventType::Warning, "FailedCreate", message);
                }
                Err(error)
            }
        }
    }

    fn job(&self, time: Timestamp) -> Option<Job> {
        let spec = &self.cron.spec;
        let meta = spec.job_template.metadata.clone().unwrap_or_default();
        let zone = spec.time_zone.as_deref().unwrap_or_default();
        let zoned = time.to_zoned(time_zone(zone).ok()?);
        let format =
            if zoned.offset().is_zero() { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%:z" };
        let mut annotations = meta.annotations.unwrap_or_default();
        annotations.insert(SCHEDULED_AT.to_owned(), zoned.strftime(format).to_string());
        Some(Job {
            metadata: ObjectMeta {
                name: Some(self.job_name(time)),
                labels: meta.labels,
                annotations: Some(annotations),
                owner_references: Some(vec![controller_ref(&self.cron)]),
                ..ObjectMeta::default()
            },
            spec: spec.job_template.spec.clone(),
            status: None,
        })
    }

    fn note(&mut self, job: &Job, time: Timestamp) {
        let reference = ObjectReference {
            api_version: Some("batch/v1".to_owned()),
            kind: Some("Job".to_owned()),
            namespace: job.metadata.namespace.clone(),
            name: job.metadata.name.clone(),
            uid: job.metadata.uid.clone(),
            resource_version: job.metadata.resource_version.clone(),
            field_path: None,
        };
        let status = self.status();
        status.active.get_or_insert_default().push(reference);
        status.last_schedule_time = Some(Time(time));
        self.dirty = true;
    }
}
