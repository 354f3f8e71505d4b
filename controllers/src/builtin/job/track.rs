//! Counting: a pod that has ended is noted by its uid, then loses its finalizer, then moves into the counters,
//! so that it is counted once wherever the process stops in between.

use super::{
    TRACKING,
    conditions::{self, COMPLETE, FAILED, FAILURE_TARGET, SUCCESS_CRITERIA_MET},
    figures::Counts,
    indexes::{Indexes, index_of},
    policy,
    sync::{Sync, count, is_failed, is_indexed, uid},
};
use crate::Error;
use futures::future::join_all;
use k8s_openapi::api::{
    batch::v1::{Job, JobStatus, UncountedTerminatedPods},
    core::v1::Pod,
};
use kube::{Api, api::PostParams};
use kubeplane_client::{EventType, finalizers};
use kubeplane_workload::phase::phase;
use std::{collections::BTreeSet, sync::Arc};

/// The most uids in a status.
const MOST_UNCOUNTED: usize = 500;

impl Sync<'_> {
    /// Counts what has ended and writes the status; `changed` when it must be written in any case.
    pub(super) async fn track(&mut self, changed: bool) -> Result<(), Error> {
        let mut dirty = changed;
        let tracked = self.pods.iter().filter(|pod| finalizers::has(&***pod, TRACKING));
        let mut tracked: BTreeSet<String> = tracked.map(|pod| uid(pod).to_owned()).collect();
        dirty |= self.settle(&tracked);
        let (countable, all) = self.note_ended(&mut dirty);
        dirty |= self.note_indexes();
        dirty |= self.note_target();
        if dirty {
            self.write().await?;
            self.controller.backoffs.set(self.key, self.backoff);
        }
        self.judged.iter().for_each(|action| self.controller.figures.handled(action));
        let removals = join_all(countable.iter().map(|pod| self.untrack(pod))).await;
        for (pod, _) in countable.iter().zip(&removals).filter(|(_, result)| result.is_ok()) {
            tracked.remove(uid(pod));
        }
        let mut dirty = self.settle(&tracked);
        let removed: Result<(), Error> = removals.into_iter().collect();
        if removed.is_err() && dirty {
            self.write().await?;
        }
        removed?;
        let finished = all && self.finish_now();
        dirty |= finished;
        if dirty {
            self.write().await?;
        }
        if finished {
            self.tell();
        }
        Ok(())
    }

    /// Moves noted pods that have no finalizer any more into the counters; whether there were any.
    fn settle(&mut self, tracked: &BTreeSet<String>) -> bool {
        let settled = |uids: &mut BTreeSet<String>| {
            let before = uids.len();
            uids.retain(|uid| tracked.contains(uid));
            count(uids.len()..before)
        };
        let succeeded = settled(&mut self.uncounted.succeeded);
        let failed = settled(&mut self.uncounted.failed);
        let add = |counter: &mut Option<i32>, more: i32| {
            *counter = Some(counter.unwrap_or_default() + more).filter(|count| *count != 0);
        };
        let status = self.status();
        add(&mut status.succeeded, succeeded);
        add(&mut status.failed, failed);
        succeeded + failed > 0
    }

    /// Notes pods that have ended; gives those that may lose their finalizer, and whether that is all of them.
    fn note_ended(&mut self, dirty: &mut bool) -> (Vec<Arc<Pod>>, bool) {
        let mut pods = self.pods.clone();
        if is_indexed(self.spec()) {
            pods.sort_by_key(|pod| index_of(pod));
        }
        let mut countable = Vec::new();
        let mut new_indexes = Vec::new();
        let noted_failed = self.uncounted.failed.clone();
        for pod in pods.iter().filter(|pod| finalizers::has(&***pod, TRACKING)) {
            if !self.may_untrack(pod) {
                continue;
            }
            countable.push(pod.clone());
            let id = uid(pod).to_owned();
            let index = self.valid_index(pod);
            let indexed = is_indexed(self.spec());
            if phase(pod) == "Succeeded" && !noted_failed.contains(&id) {
                match index.filter(|_| indexed) {
                    Some(index) if !self.previous.has(index) => {
                        new_indexes.push(index);
                        *dirty = true;
                    }
                    None if !indexed => *dirty |= self.uncounted.succeeded.insert(id),
                    _ => {}
                }
            } else if (is_failed(self.spec(), pod) || self.is_failing())
                && (!indexed || index.is_some())
                && !noted_failed.contains(&id)
            {
                let action = policy::action(self.spec(), pod).map(str::to_owned);
                self.judged.extend(action);
                if policy::judge(self.spec(), pod).counts() {
                    *dirty |= self.uncounted.failed.insert(id);
                }
            }
            let uncounted = self.uncounted.succeeded.len() + self.uncounted.failed.len();
            if new_indexes.len() + uncounted >= MOST_UNCOUNTED {
                self.limit_indexes(new_indexes);
                return (countable, false);
            }
        }
        self.limit_indexes(new_indexes);
        (countable, true)
    }

    /// The status tells no index whose pod still has its finalizer for another round.
    fn limit_indexes(&mut self, new: Vec<i32>) {
        self.done = self.previous.with(new);
    }

    fn is_failing(&self) -> bool {
        self.finish.as_ref().is_some_and(|finish| finish.type_ != SUCCESS_CRITERIA_MET)
    }

    fn may_untrack(&self, pod: &Pod) -> bool {
        if self.job.metadata.deletion_timestamp.is_some()
            || self.finish.is_some()
            || phase(pod) == "Succeeded"
        {
            return true;
        }
        let delayed = index_of(pod).and_then(|index| self.delayed.get(&index));
        is_failed(self.spec(), pod) && delayed.is_none_or(|delayed| uid(delayed) != uid(pod))
    }

    /// Puts the indexes into the status; whether they changed.
    fn note_indexes(&mut self) -> bool {
        if !is_indexed(self.spec()) {
            return false;
        }
        let done = Some(self.done.to_string()).filter(|text| !text.is_empty());
        let total = Some(self.done.total()).filter(|total| *total != 0);
        let failed = self.failed_indexes.as_ref().map(ToString::to_string);
        let status = self.status();
        let changed = status.completed_indexes != done || status.failed_indexes != failed;
        status.completed_indexes = done;
        status.failed_indexes = failed;
        status.succeeded = total;
        changed
    }

    /// Tells how the Job will end before its pods are let go; whether that is news.
    fn note_target(&mut self) -> bool {
        let Some(finish) = self.finish.clone() else { return false };
        let last = match finish.type_.as_str() {
            FAILURE_TARGET => FAILED,
            SUCCESS_CRITERIA_MET => COMPLETE,
            _ => return false,
        };
        self.finish = Some(conditions::turned(&finish, last, self.now));
        conditions::met(&self.job, &finish.type_).is_none()
            && conditions::ensure(&mut self.job, finish)
    }

    /// Ends the Job when all is counted and no pod is left; whether it has ended.
    fn finish_now(&mut self) -> bool {
        let Some(finish) = self.finish.clone() else { return false };
        let uncounted = self.uncounted.succeeded.len() + self.uncounted.failed.len();
        if uncounted > 0 || self.terminating > 0 {
            return false;
        }
        if finish.type_ == COMPLETE {
            self.status().completion_time.clone_from(&finish.last_transition_time);
        }
        conditions::ensure(&mut self.job, finish);
        true
    }

    fn tell(&self) {
        let Some(finish) = &self.finish else { return };
        let recorder = self.context.recorder();
        if finish.type_ != COMPLETE {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let (reason, message) = (text(&finish.reason), text(&finish.message));
            self.controller.figures.ended(self.spec(), false, &reason);
            recorder.event_for(&self.job, EventType::Warning, &reason, message);
            return;
        }
        let succeeded = self.job.status.as_ref().and_then(|status| status.succeeded);
        if self.spec().completions.is_some_and(|wanted| succeeded.unwrap_or_default() > wanted) {
            let message = "Too many succeeded pods running after completion count reached";
            let reason = "TooManySucceededPods";
            recorder.event_for(&self.job, EventType::Warning, reason, message);
        }
        recorder.event_for(&self.job, EventType::Normal, "Completed", "Job completed");
        let reason = finish.reason.as_deref().unwrap_or_default();
        self.controller.figures.ended(self.spec(), true, reason);
    }

    async fn write(&mut self) -> Result<(), Error> {
        let uids = |uids: &BTreeSet<String>| {
            Some(uids.iter().cloned().collect()).filter(|uids: &Vec<_>| !uids.is_empty())
        };
        let uncounted = UncountedTerminatedPods {
            succeeded: uids(&self.uncounted.succeeded),
            failed: uids(&self.uncounted.failed),
        };
        self.status().uncounted_terminated_pods = Some(uncounted);
        let api: Api<Job> = Api::namespaced(self.context.client(), &self.key.namespace);
        self.job = api.replace_status(&self.key.name, &PostParams::default(), &self.job).await?;
        self.controller.jobs.updated(self.key, &self.job);
        let now = self.job.status.clone().unwrap_or_default();
        let before = std::mem::replace(&mut self.told, now);
        let (before, now) = (self.counts(&before), self.counts(&self.told));
        self.controller.figures.counted(self.spec(), before, now);
        Ok(())
    }

    /// What a status counts of indexes that the Job has by now, or of pods where it has no indexes.
    fn counts(&self, status: &JobStatus) -> Counts {
        let number = |count: Option<i32>| count.unwrap_or_default();
        let indexes = |text: Option<&String>| {
            Indexes::parse(text.map_or("", String::as_str), self.completions()).total()
        };
        let succeeded = if is_indexed(self.spec()) {
            indexes(status.completed_indexes.as_ref())
        } else {
            number(status.succeeded)
        };
        let failed_indexes = indexes(status.failed_indexes.as_ref());
        Counts { succeeded, failed: number(status.failed), failed_indexes }
    }
}
