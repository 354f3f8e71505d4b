use super::{
    figures::{Place, growing},
    job,
};
use crate::{Action, Context, Controller, Error, Sources, error::unless_gone};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use kubeplane_client::ObjectKey;
use kubeplane_telemetry::Metrics;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Duration;

/// Deletes Jobs some time after they have ended.
pub(super) struct JobTtl {
    durations: Histogram,
}

impl JobTtl {
    pub(super) fn new(metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "ttl_after_finished_controller");
        let help = "Seconds from when Jobs were to be deleted to their deletion";
        let durations = growing(0.1, 2.0, 14);
        Self { durations: place.show_this("job_deletion_duration_seconds", help, durations) }
    }
}

#[async_trait]
impl Controller for JobTtl {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "ttl-after-finished-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.watch::<Job>(|change| {
            let job = change.object();
            let due = !change.is_deleted() && expires_at(job).is_some();
            due.then(|| ObjectKey::of(&**job)).into_iter().collect()
        });
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let cached = context.informers().of::<Job>().get(&key.namespace, &key.name);
        let Some(at) = cached.as_deref().and_then(expires_at) else { return Ok(Action::Done) };
        if let Some(left) = until(at, context.now()) {
            return Ok(Action::RequeueAfter(left));
        }
        // Its time may have been changed, and nothing brings a deleted Job back.
        let api: Api<Job> = Api::namespaced(context.client(), &key.namespace);
        let Some(fresh) = api.get_opt(&key.name).await? else { return Ok(Action::Done) };
        let Some(at) = expires_at(&fresh) else { return Ok(Action::Done) };
        if let Some(left) = until(at, context.now()) {
            return Ok(Action::RequeueAfter(left));
        }
        let preconditions =
            Preconditions { uid: fresh.metadata.uid.clone(), resource_version: None };
        let params =
            DeleteParams { preconditions: Some(preconditions), ..DeleteParams::foreground() };
        unless_gone(api.delete(&key.name, &params).await)?;
        let late = Duration::try_from(context.now().duration_since(at)).unwrap_or_default();
        self.durations.observe(late.as_secs_f64());
        Ok(Action::Done)
    }
}

/// When the Job is to go, if it has ended and is to go at all.
fn expires_at(job: &Job) -> Option<Timestamp> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let ended = job::finished(job)?.last_transition_time.as_ref()?.0;
    let going = job.metadata.deletion_timestamp.is_some();
    let at = ended.saturating_add(SignedDuration::from_secs(i64::from(ttl))).ok()?;
    (!going).then_some(at)
}

fn until(at: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(at.duration_since(now)).ok().filter(|left| !left.is_zero())
}
