//! One look at one Job: what its pods say, whether it has ended, what is to be done.

use super::{
    Jobs, TRACKING,
    backoff::{Record, absolute_failures, failures, finished_at},
    conditions::{self, FAILED, FAILURE_TARGET, SUCCESS_CRITERIA_MET},
    figures::Action as Done,
    gang::Group,
    indexes::{Indexes, index_of},
    policy::{self, Verdict},
};
use crate::{Action, Context, Error};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobSpec, JobStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kubeplane_client::{EventType, ObjectKey, finalizers};
use kubeplane_workload::{
    is_active, is_ready, is_terminal,
    phase::{is_deleting, phase},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

pub(super) struct Sync<'a> {
    pub(super) controller: &'a Jobs,
    pub(super) context: &'a Context,
    pub(super) key: &'a ObjectKey,
    pub(super) job: Job,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) active: Vec<Arc<Pod>>,
    pub(super) now: Timestamp,
    pub(super) uncounted: Uncounted,
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) previous: Indexes,
    pub(super) done: Indexes,
    pub(super) failed_indexes: Option<Indexes>,
    /// The condition by which the Job ends, once it is known.
    pub(super) finish: Option<JobCondition>,
    pub(super) terminating: i32,
    pub(super) ready: i32,
    /// Failed pods that are kept until their index gets a new one, since they tell how often it failed.
    pub(super) delayed: BTreeMap<i32, Arc<Pod>>,
    pub(super) backoff: Record,
    /// When to look again although nothing changed.
    pub(super) again: Option<Duration>,
    pub(super) action: Done,
    /// What new pods are to be scheduled together in.
    pub(super) group: Option<Group>,
    /// What the failure policy says of pods that are about to be counted.
    pub(super) judged: Vec<String>,
    /// The status that was written last.
    pub(super) told: JobStatus,
}

/// The uids of pods that have ended and are not in the counters yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Uncounted {
    pub(super) succeeded: BTreeSet<String>,
    pub(super) failed: BTreeSet<String>,
}

impl Uncounted {
    fn of(status: &JobStatus) -> Self {
        let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        Self {
            succeeded: uncounted.succeeded.into_iter().flatten().collect(),
            failed: uncounted.failed.into_iter().flatten().collect(),
        }
    }
}

pub(super) fn count<T>(items: impl IntoIterator<Item = T>) -> i32 {
    i32::try_from(items.into_iter().count()).unwrap_or(i32::MAX)
}

pub(super) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub(super) fn is_suspended(spec: &JobSpec) -> bool {
    spec.suspend == Some(true)
}

pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Whether a new pod is only made when the old one has ended, not already when it is going away.
pub(super) fn only_replaces_failed(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// Whether a pod counts as failed.
pub(super) fn is_failed(spec: &JobSpec, pod: &Pod) -> bool {
    match phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => !only_replaces_failed(spec) && is_deleting(pod),
    }
}

impl<'a> Sync<'a> {
    pub(super) fn new(
        controller: &'a Jobs,
        context: &'a Context,
        key: &'a ObjectKey,
        mut job: Job,
        pods: Vec<Arc<Pod>>,
    ) -> Self {
        let active: Vec<_> = pods.iter().filter(|pod| is_active(pod)).cloned().collect();
        let status = job.status.get_or_insert_default();
        let (uncounted, told) = (Uncounted::of(status), status.clone());
        Self {
            controller,
            context,
            key,
            now: context.now(),
            uncounted,
            succeeded: 0,
            failed: 0,
            previous: Indexes::default(),
            done: Indexes::default(),
            failed_indexes: None,
            finish: None,
            terminating: count(pods.iter().filter(|pod| is_deleting(pod) && !is_terminal(pod))),
            ready: count(active.iter().filter(|pod| is_ready(pod))),
            delayed: BTreeMap::new(),
            backoff: controller.backoffs.of(key),
            again: None,
            action: Done::default(),
            group: None,
            judged: Vec::new(),
            told,
            job,
            pods,
            active,
        }
    }

    /// With the PodGroup that new pods are put into.
    pub(super) fn of_group(self, group: Option<Group>) -> Self {
        Self { group, ..self }
    }

    pub(super) fn spec(&self) -> &JobSpec {
        static NONE: std::sync::LazyLock<JobSpec> = std::sync::LazyLock::new(JobSpec::default);
        self.job.spec.as_ref().unwrap_or(&NONE)
    }

    pub(super) fn status(&mut self) -> &mut JobStatus {
        self.job.status.get_or_insert_default()
    }

    pub(super) fn completions(&self) -> i32 {
        self.spec().completions.unwrap_or_default()
    }

    /// The index of a pod, when it is one the Job has.
    pub(super) fn valid_index(&self, pod: &Pod) -> Option<i32> {
        index_of(pod).filter(|index| *index < self.completions())
    }

    pub(super) async fn run(mut self) -> Result<Action, Error> {
        let started = self.context.clock().elapsed();
        let result = self.step().await;
        let took = self.context.clock().elapsed().saturating_sub(started);
        let figures = &self.controller.figures;
        figures.synced(self.spec(), self.action, result.is_ok(), took);
        result
    }

    async fn step(&mut self) -> Result<Action, Error> {
        let before = self.job.status.clone().unwrap_or_default();
        let failed = self.count_ended(&before);
        self.failed = failed;
        if before.start_time.is_none() && !is_suspended(self.spec()) {
            let now = self.now;
            self.status().start_time = Some(Time(now));
        }
        self.look_for_failure(failed);
        if is_indexed(self.spec()) {
            self.look_at_indexes();
        }
        let mut active = count(&self.active);
        let mut suspension_changed = false;
        let managed = if self.finish.is_some() {
            let (deleted, result) = self.delete_active().await;
            if deleted != active {
                // It has not ended while there are pods that it could not end.
                self.finish = None;
            }
            active -= deleted;
            self.terminating += deleted;
            result
        } else {
            let result = match self.job.metadata.deletion_timestamp {
                None => self.manage(&mut active).await,
                Some(_) => Ok(()),
            };
            if self.is_complete(active) {
                let message = "Reached expected number of succeeded pods";
                let reason = "CompletionsReached";
                let met = conditions::new(SUCCESS_CRITERIA_MET, "True", reason, message, self.now);
                self.finish = Some(met);
            } else if self.job.metadata.deletion_timestamp.is_none() {
                suspension_changed = self.note_suspension();
            }
            result
        };
        let (ready, terminating) = (self.ready, self.terminating);
        let changed = suspension_changed
            || before.active.unwrap_or_default() != active
            || before.ready != Some(ready)
            || before.terminating != Some(terminating);
        let status = self.status();
        status.active = Some(active).filter(|active| *active != 0);
        status.ready = Some(ready);
        status.terminating = Some(terminating);
        let again = self.again;
        self.track(changed).await?;
        managed?;
        Ok(again.map_or(Action::Done, Action::RequeueAfter))
    }

    pub(super) fn look_again_in(&mut self, time: Duration) {
        self.again = Some(self.again.map_or(time, |again| again.min(time)));
    }

    /// Counts what has ended; gives the number of failures.
    fn count_ended(&mut self, before: &JobStatus) -> i32 {
        let fresh = |known: &BTreeSet<String>, ended: &dyn Fn(&Pod) -> bool| -> Vec<Arc<Pod>> {
            let valid = self.pods.iter().filter(|pod| {
                finalizers::has(&***pod, TRACKING)
                    && !known.contains(uid(pod))
                    && (!is_indexed(self.spec()) || self.valid_index(pod).is_some())
                    && ended(pod)
            });
            valid.cloned().collect()
        };
        let succeeded = fresh(&self.uncounted.succeeded, &|pod| phase(pod) == "Succeeded");
        let failed = fresh(&self.uncounted.failed, &|pod| is_failed(self.spec(), pod));
        let counted = failed.iter().filter(|pod| policy::judge(self.spec(), pod).counts());
        let failures =
            before.failed.unwrap_or_default() + count(counted) + count(&self.uncounted.failed);
        self.succeeded = before.succeeded.unwrap_or_default()
            + count(&succeeded)
            + count(&self.uncounted.succeeded);
        self.backoff = self.backoff.after(&succeeded, &failed);
        failures
    }

    /// Whether something has decided, or decides now, how the Job ends before all its pods have.
    fn look_for_failure(&mut self, failed: i32) {
        self.finish = conditions::met(&self.job, SUCCESS_CRITERIA_MET).cloned();
        if self.finish.is_some() {
            return;
        }
        if let Some(target) = conditions::met(&self.job, FAILURE_TARGET) {
            self.finish = Some(conditions::turned(target, FAILED, self.now));
            return;
        }
        if let Some(message) = self.failure_of_policy() {
            self.fail("PodFailurePolicy", &message);
        } else if failed > self.spec().backoff_limit.unwrap_or(6) || self.restarted_too_often() {
            self.fail("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        } else if let Some(left) = self.until_deadline() {
            if left.is_zero() {
                self.fail("DeadlineExceeded", "Job was active longer than specified deadline");
            } else {
                self.look_again_in(left);
            }
        }
    }

    fn fail(&mut self, reason: &str, message: &str) {
        self.finish = Some(conditions::new(FAILURE_TARGET, "True", reason, message, self.now));
    }

    fn failure_of_policy(&self) -> Option<String> {
        self.spec().pod_failure_policy.as_ref()?;
        let mut failed = self.pods.iter().filter(|pod| is_failed(self.spec(), pod));
        failed.find_map(|pod| match policy::judge(self.spec(), pod) {
            Verdict::FailJob(message) => Some(message),
            _ => None,
        })
    }

    /// Whether containers that are restarted in their pods have used up the limit.
    fn restarted_too_often(&self) -> bool {
        let template = self.spec().template.spec.as_ref();
        if template.and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
            return false;
        }
        let running = self.pods.iter().filter(|pod| matches!(phase(pod), "Running" | "Pending"));
        let restarts: i32 = running
            .filter_map(|pod| pod.status.as_ref())
            .flat_map(|status| {
                let init = status.init_container_statuses.iter().flatten();
                init.chain(status.container_statuses.iter().flatten())
            })
            .map(|container| container.restart_count)
            .sum();
        restarts >= self.spec().backoff_limit.unwrap_or(6).max(1)
    }

    /// The time that is left for an active Job with a deadline.
    fn until_deadline(&self) -> Option<Duration> {
        let allowed = SignedDuration::from_secs(self.spec().active_deadline_seconds?);
        let start = self.job.status.as_ref()?.start_time.as_ref()?.0;
        if is_suspended(self.spec()) {
            return None;
        }
        Some(Duration::try_from(allowed - self.now.duration_since(start)).unwrap_or_default())
    }

    fn look_at_indexes(&mut self) {
        let status = self.job.status.clone().unwrap_or_default();
        let completions = self.completions();
        let tracked = || self.pods.iter().filter(|pod| finalizers::has(&***pod, TRACKING));
        let succeeded = tracked().filter(|pod| phase(pod) == "Succeeded");
        let succeeded: Vec<_> = succeeded.filter_map(|pod| self.valid_index(pod)).collect();
        self.previous =
            Indexes::parse(status.completed_indexes.as_deref().unwrap_or_default(), completions);
        self.done = self.previous.with(succeeded);
        self.succeeded = self.done.total();
        if let Some(limit) = self.spec().backoff_limit_per_index {
            let failed = tracked().filter(|pod| self.fails_index(pod, limit));
            let failed: Vec<_> = failed.filter_map(|pod| self.valid_index(pod)).collect();
            let before = status.failed_indexes.as_deref().unwrap_or_default();
            let failed = Indexes::parse(before, completions).with(failed);
            self.look_at_failed_indexes(failed.total());
            self.failed_indexes = Some(failed);
            self.delayed = self.delayed_pods();
        }
        if self.finish.is_none()
            && let Some(message) = policy::succeeded(self.spec(), &self.done)
        {
            let reason = "SuccessPolicy";
            let met = conditions::new(SUCCESS_CRITERIA_MET, "True", reason, &message, self.now);
            self.finish = Some(met);
        }
    }

    fn look_at_failed_indexes(&mut self, failed: i32) {
        if self.finish.is_some() {
            return;
        }
        if self.spec().max_failed_indexes.is_some_and(|most| failed > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            self.fail("MaxFailedIndexesExceeded", message);
        } else if failed > 0 && failed + self.done.total() >= self.completions() {
            self.fail("FailedIndexes", "Job has failed indexes");
        }
    }

    /// Whether the failure of this pod is the end of its index.
    fn fails_index(&self, pod: &Pod, limit: i32) -> bool {
        is_failed(self.spec(), pod)
            && match policy::judge(self.spec(), pod) {
                Verdict::FailIndex => true,
                verdict => verdict.counts() && failures(pod) >= limit,
            }
    }

    fn delayed_pods(&self) -> BTreeMap<i32, Arc<Pod>> {
        let none = Indexes::default();
        let failed = self.failed_indexes.as_ref().unwrap_or(&none);
        let active: BTreeSet<_> = self.active.iter().filter_map(|pod| index_of(pod)).collect();
        let mut delayed: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
        for pod in &self.pods {
            let Some(index) = self.valid_index(pod) else { continue };
            let over = self.done.has(index) || failed.has(index) || active.contains(&index);
            if over || !finalizers::has(&**pod, TRACKING) || !is_failed(self.spec(), pod) {
                continue;
            }
            let newer = delayed.get(&index).is_none_or(|last| {
                absolute_failures(last) <= absolute_failures(pod)
                    && finished_at(pod) >= finished_at(last)
            });
            if newer {
                delayed.insert(index, pod.clone());
            }
        }
        delayed
    }

    fn is_complete(&self, active: i32) -> bool {
        active == 0
            && match self.spec().completions {
                None => self.succeeded > 0,
                Some(completions) => self.succeeded >= completions,
            }
    }

    /// Tells of a suspension or its end; whether that is news.
    fn note_suspension(&mut self) -> bool {
        let suspended = is_suspended(self.spec());
        let (status, verb) = if suspended { ("True", "suspended") } else { ("False", "resumed") };
        let event = if suspended { "Suspended" } else { "Resumed" };
        let message = format!("Job {verb}");
        let condition =
            conditions::new("Suspended", status, &format!("Job{event}"), &message, self.now);
        if !conditions::ensure(&mut self.job, condition) {
            return false;
        }
        self.context.recorder().event_for(&self.job, EventType::Normal, event, message);
        // The deadline is about the time that the Job is active without a break.
        let start = (!suspended).then_some(Time(self.now));
        self.status().start_time = start;
        true
    }
}
