//! How long a Job waits after failures before it makes new pods.

use super::indexes::annotation;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kubeplane_client::ObjectKey;
use kubeplane_workload::{condition, is_sidecar};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};

const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LONGEST: SignedDuration = SignedDuration::from_mins(10);

/// The annotation that counts the failures of the index before this pod.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The annotation that counts those that the failure policy ignored.
pub(super) const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// The failures since the last success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Record {
    failures: i32,
    last: Option<Timestamp>,
}

impl Record {
    /// The record after these pods have ended too.
    pub(super) fn after(self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let last_success = succeeded.iter().map(|pod| finished_at(pod)).max();
        let start = if last_success.is_some() { Self::default() } else { self };
        let times = failed.iter().map(|pod| finished_at(pod));
        let later: Vec<_> =
            times.filter(|time| last_success.is_none_or(|last| *time > last)).collect();
        let count = i32::try_from(later.len()).unwrap_or(i32::MAX);
        Self {
            failures: start.failures.saturating_add(count),
            last: later.into_iter().max().or(start.last),
        }
    }

    /// How long no pod is to be made.
    pub(super) fn remaining(self, now: Timestamp) -> Duration {
        self.last.map_or(Duration::ZERO, |last| remaining(self.failures, last, now))
    }
}

/// The records of all Jobs.
#[derive(Debug, Clone, Default)]
pub(super) struct Records(Arc<Mutex<HashMap<ObjectKey, Record>>>);

impl Records {
    pub(super) fn of(&self, job: &ObjectKey) -> Record {
        self.0.lock().get(job).copied().unwrap_or_default()
    }

    pub(super) fn set(&self, job: &ObjectKey, record: Record) {
        self.0.lock().insert(job.clone(), record);
    }

    pub(super) fn forget(&self, job: &ObjectKey) {
        self.0.lock().remove(job);
    }
}

/// How long an index waits whose last pod failed.
pub(super) fn remaining_for_index(last: Option<&Pod>, now: Timestamp) -> Duration {
    last.map_or(Duration::ZERO, |pod| {
        remaining(absolute_failures(pod).saturating_add(1), finished_at(pod), now)
    })
}

fn remaining(failures: i32, last: Timestamp, now: Timestamp) -> Duration {
    if failures <= 0 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(failures - 1).unwrap_or_default().min(10);
    let wait = LONGEST.min(FIRST * 2_i32.pow(doublings));
    Duration::try_from(wait - now.duration_since(last)).unwrap_or_default()
}

/// How often the index failed before this pod, in ways that count.
pub(super) fn failures(pod: &Pod) -> i32 {
    number(pod, FAILURES)
}

/// How often the failures of the index before this pod were ignored.
pub(super) fn ignored(pod: &Pod) -> i32 {
    number(pod, IGNORED)
}

/// How often the index failed before this pod in any way.
pub(super) fn absolute_failures(pod: &Pod) -> i32 {
    failures(pod).saturating_add(ignored(pod))
}

fn number(pod: &Pod, name: &str) -> i32 {
    annotation(pod, name).and_then(|text| text.parse().ok()).unwrap_or(0).max(0)
}

/// When a pod ended: its last container, or as near to it as the pod tells.
pub(super) fn finished_at(pod: &Pod) -> Timestamp {
    let not_ready = condition(pod, "Ready").filter(|ready| ready.status == "False");
    let deleted = pod.metadata.deletion_timestamp.as_ref().map(|time| {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
        time.0.saturating_sub(SignedDuration::from_secs(grace)).unwrap_or(time.0)
    });
    containers_ended(pod)
        .or_else(|| Some(not_ready?.last_transition_time.as_ref()?.0))
        .or(deleted)
        .or_else(|| Some(pod.metadata.creation_timestamp.as_ref()?.0))
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// When the last of all containers and sidecars ended; `None` while one has not.
fn containers_ended(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars: Vec<_> =
        init.filter(|container| is_sidecar(container)).map(|container| &container.name).collect();
    let init = status.init_container_statuses.iter().flatten();
    let all = status.container_statuses.iter().flatten();
    let all = all.chain(init.filter(|status| sidecars.contains(&&status.name)));
    let ended = |status: &ContainerStatus| {
        Some(status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0)
    };
    all.map(ended).collect::<Option<Vec<_>>>()?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trim_pod;
    use serde_json::json;

    fn ended(second: i64) -> Arc<Pod> {
        let at = Timestamp::from_second(second).unwrap().to_string();
        let pod: Pod = serde_json::from_value(
            json!({"status": {"containerStatuses": [{"name": "c", "image": "",
            "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "finishedAt": at}}}]}}),
        )
        .unwrap();
        assert_eq!(finished_at(&kept(&pod)), finished_at(&pod));
        Arc::new(pod)
    }

    fn kept(pod: &Pod) -> Pod {
        let mut pod = pod.clone();
        trim_pod(&mut pod);
        pod
    }

    #[test]
    fn a_pod_has_ended_with_the_last_of_its_containers_also_by_what_is_kept_of_it() {
        let ended = |name: &str, second: i64, restarts: i32| {
            let at = Timestamp::from_second(second).unwrap().to_string();
            json!({"name": name, "image": "i", "imageID": "x", "ready": false, "restartCount": restarts,
                "state": {"terminated": {"exitCode": 0, "finishedAt": at}}})
        };
        let runs = json!({"name": "b", "image": "i", "imageID": "x", "ready": true, "restartCount": 0,
            "state": {"running": {}}});
        let table = [
            (vec![ended("a", 5, 0), ended("b", 9, 0)], vec![], 9),
            (vec![ended("a", 5, 0), runs.clone()], vec![], 1),
            (vec![runs], vec![], 1),
            (vec![ended("a", 5, 0)], vec![ended("sidecar", 8, 1), ended("init", 20, 0)], 8),
            (vec![], vec![], 1),
        ];
        for (regular, init, expected) in table {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": "p", "creationTimestamp": "1970-01-01T00:00:01Z"},
                "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [
                    {"name": "sidecar", "restartPolicy": "Always"}, {"name": "init"}]},
                "status": {"containerStatuses": regular, "initContainerStatuses": init},
            }))
            .unwrap();
            let expected = Timestamp::from_second(expected).unwrap();
            assert_eq!((finished_at(&pod), finished_at(&kept(&pod))), (expected, expected));
        }
    }

    #[test]
    fn the_pause_doubles_with_each_failure_and_ends_with_a_success() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let one = Record::default().after(&[], &[ended(100)]);
        assert_eq!(one.remaining(at(100)), Duration::from_secs(10));
        assert_eq!(one.remaining(at(111)), Duration::ZERO);
        let three = one.after(&[], &[ended(110), ended(105)]);
        assert_eq!(three.remaining(at(110)), Duration::from_secs(40));
        let many = (0..20).fold(three, |record, _| record.after(&[], &[ended(200)]));
        assert_eq!(many.remaining(at(200)), Duration::from_secs(600));
        let after = three.after(&[ended(120)], &[ended(119), ended(121)]);
        assert_eq!(after.remaining(at(121)), Duration::from_secs(10));
        assert_eq!(three.after(&[ended(120)], &[]).remaining(at(120)), Duration::ZERO);
    }

    #[test]
    fn an_index_that_says_it_failed_very_often_waits_longest() {
        let mut pod = (*ended(100)).clone();
        pod.metadata.annotations = Some([(FAILURES.to_owned(), i32::MAX.to_string())].into());
        let now = Timestamp::from_second(100).unwrap();
        assert_eq!(remaining_for_index(Some(&pod), now), Duration::from_secs(600));
    }

    #[test]
    fn a_pod_whose_containers_do_not_tell_ended_when_it_was_not_ready_or_deleted_or_else_made() {
        let made = "1970-01-01T00:00:01Z";
        let unready = |status: &str| {
            json!({"conditions": [{"type": "Ready", "status": status,
                "lastTransitionTime": "1970-01-01T00:00:07Z"}]})
        };
        let doomed = json!({"name": "p", "creationTimestamp": made,
            "deletionTimestamp": "1970-01-01T00:00:50Z", "deletionGracePeriodSeconds": 30});
        let kept_on = json!({"name": "p", "creationTimestamp": made});
        let table = [
            (&kept_on, unready("False"), 7),
            (&kept_on, unready("True"), 1),
            (&kept_on, json!({}), 1),
            (&doomed, unready("False"), 7),
            (&doomed, unready("True"), 20),
            (&doomed, json!({}), 20),
        ];
        for (metadata, status, expected) in table {
            let about = format!("{metadata} {status}");
            let pod = json!({"metadata": metadata, "status": status});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let expected = Timestamp::from_second(expected).unwrap();
            assert_eq!(
                (finished_at(&pod), finished_at(&kept(&pod))),
                (expected, expected),
                "{about}"
            );
        }
    }

    #[test]
    fn an_index_waits_by_all_its_failures_also_those_that_were_ignored() {
        let now = Timestamp::from_second(100).unwrap();
        assert_eq!(remaining_for_index(None, now), Duration::ZERO);
        for (failures, ignored, ended_at, wait) in [
            (0, 0, 100, 10),
            (0, 0, 95, 5),
            (0, 0, 80, 0),
            (1, 0, 100, 20),
            (1, 1, 100, 40),
            (2, 0, 97, 37),
        ] {
            let mut pod = (*ended(ended_at)).clone();
            let counts = [(FAILURES, failures), (IGNORED, ignored)];
            let counts =
                counts.map(|(name, count): (&str, i32)| (name.to_owned(), count.to_string()));
            pod.metadata.annotations = Some(counts.into());
            let about = format!("{failures} and {ignored}, the last at {ended_at}");
            assert_eq!(remaining_for_index(Some(&pod), now), Duration::from_secs(wait), "{about}");
        }
    }
}
