use super::sets::{self, replicas};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::{sync::Arc, time::Duration};

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
/// The reason of a condition and of an event.
pub(super) const CREATE_ERROR: &str = "ReplicaSetCreateError";

fn new_condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != kind);
        if conditions.is_empty() {
            status.conditions = None;
        }
    }
}

/// Sets a condition unless it is there with the same status and reason.
fn set(status: &mut DeploymentStatus, mut next: DeploymentCondition) {
    let current =
        condition(status, &next.type_).filter(|current| current.status == next.status).cloned();
    if let Some(current) = current {
        if current.reason == next.reason {
            return;
        }
        next.last_transition_time = current.last_transition_time;
    }
    remove(status, &next.type_);
    status.conditions.get_or_insert_default().push(next);
}

fn reason_is(condition: Option<&DeploymentCondition>, reason: &str) -> bool {
    condition.is_some_and(|condition| condition.reason.as_deref() == Some(reason))
}

/// The deadline for progress, when there is one.
fn deadline(deployment: &Deployment) -> Option<SignedDuration> {
    let seconds = deployment
        .spec
        .as_ref()?
        .progress_deadline_seconds
        .filter(|seconds| *seconds != i32::MAX)?;
    Some(SignedDuration::from_secs(i64::from(seconds)))
}

/// The status as it is, with zero counters left out as the API server leaves them out.
pub(super) fn present(deployment: &Deployment) -> DeploymentStatus {
    let mut status = deployment.status.clone().unwrap_or_default();
    for counter in [
        &mut status.replicas,
        &mut status.updated_replicas,
        &mut status.ready_replicas,
        &mut status.available_replicas,
        &mut status.unavailable_replicas,
    ] {
        *counter = counter.filter(|count| *count != 0);
    }
    status.conditions = status.conditions.filter(|conditions| !conditions.is_empty());
    status
}

/// Notes that the deployment was paused or resumed; whether anything changed.
pub(super) fn note_pause(deployment: &mut Deployment, now: Timestamp) -> bool {
    if deadline(deployment).is_none() {
        return false;
    }
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or_default();
    let status = deployment.status.get_or_insert_default();
    let current = condition(status, PROGRESSING);
    // A missed deadline stays visible.
    if reason_is(current, TIMED_OUT) || reason_is(current, PAUSED) == paused {
        return false;
    }
    let (reason, message) = if paused {
        (PAUSED, "Deployment is paused")
    } else {
        ("DeploymentResumed", "Deployment is resumed")
    };
    set(status, new_condition(PROGRESSING, "Unknown", reason, message, now));
    true
}

/// Notes that a set was found where no progress was noted yet; whether anything changed.
pub(super) fn note_found(deployment: &mut Deployment, name: &str, now: Timestamp) -> bool {
    let noted =
        deployment.status.as_ref().is_some_and(|status| condition(status, PROGRESSING).is_some());
    if noted || deadline(deployment).is_none() {
        return false;
    }
    let message = format!("Found new replica set {name:?}");
    let next = new_condition(PROGRESSING, "True", "FoundNewReplicaSet", &message, now);
    set(deployment.status.get_or_insert_default(), next);
    true
}

/// Notes that a set was created; whether anything changed.
pub(super) fn note_created(deployment: &mut Deployment, name: &str, now: Timestamp) -> bool {
    if deadline(deployment).is_none() {
        return false;
    }
    let message = format!("Created new replica set {name:?}");
    let next = new_condition(PROGRESSING, "True", "NewReplicaSetCreated", &message, now);
    set(deployment.status.get_or_insert_default(), next);
    true
}

/// Notes that a set could not be created; whether anything changed.
pub(super) fn note_create_error(
    deployment: &mut Deployment,
    message: &str,
    now: Timestamp,
) -> bool {
    if deadline(deployment).is_none() {
        return false;
    }
    let next = new_condition(PROGRESSING, "False", CREATE_ERROR, message, now);
    set(deployment.status.get_or_insert_default(), next);
    true
}

/// Whether all wanted pods are of the present template and available, and no others are left.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = replicas(deployment);
    [status.updated_replicas, status.replicas, status.available_replicas]
        .into_iter()
        .all(|count| count.unwrap_or_default() == wanted)
        && status.observed_generation >= deployment.metadata.generation
}

/// The status that follows from the sets, without any judgement of progress.
pub(super) fn compute(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |count: &dyn Fn(&ReplicaSet) -> i32| sets.iter().map(|set| count(set)).sum::<i32>();
    let of = |set: &ReplicaSet| set.status.clone().unwrap_or_default();
    let available = sum(&|set| of(set).available_replicas.unwrap_or_default());
    let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
    let old = present(deployment);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(sum(&|set| of(set).replicas)),
        updated_replicas: nonzero(new.map(|new| of(new).replicas).unwrap_or_default()),
        ready_replicas: nonzero(sum(&|set| of(set).ready_replicas.unwrap_or_default())),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((sum(&sets::set_replicas) - available).max(0)),
        terminating_replicas: terminating(sets),
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let wanted = replicas(deployment);
    let unavailable = if wanted == 0 { 0 } else { sets::fence(deployment).unavailable };
    let next = if available >= wanted - unavailable {
        let message = "Deployment has minimum availability.";
        new_condition(AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
    } else {
        let message = "Deployment does not have minimum availability.";
        new_condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    };
    set(&mut status, next);
    status
}

/// The pods that are going away; unknown when a set that was seen does not say.
fn terminating(sets: &[Arc<ReplicaSet>]) -> Option<i32> {
    sets.iter().try_fold(0, |total, set| {
        let status = set.status.clone().unwrap_or_default();
        match status.terminating_replicas {
            Some(count) => Some(total + count),
            None if status.observed_generation.unwrap_or_default() == 0 => Some(total),
            None => None,
        }
    })
}

/// The status during a rollout: with progress, completion, a missed deadline, and failures of the sets.
pub(super) fn progress(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let old = present(deployment);
    let mut status = compute(deployment, sets, new, now);
    let current = condition(&old, PROGRESSING);
    let settled = status.replicas == status.updated_replicas && reason_is(current, COMPLETE);
    match deadline(deployment) {
        None => remove(&mut status, PROGRESSING),
        Some(deadline) if !settled => judge(deployment, &mut status, &old, new, deadline, now),
        Some(_) => {}
    }
    let failing = |set: &ReplicaSet| {
        set.status
            .as_ref()?
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == REPLICA_FAILURE)
            .cloned()
    };
    let failure = new.and_then(failing).or_else(|| sets.iter().find_map(|set| failing(set)));
    match failure {
        None => remove(&mut status, REPLICA_FAILURE),
        Some(failure) => set(
            &mut status,
            DeploymentCondition {
                type_: REPLICA_FAILURE.to_owned(),
                status: failure.status,
                reason: failure.reason,
                message: failure.message,
                last_update_time: failure.last_transition_time.clone(),
                last_transition_time: failure.last_transition_time,
            },
        ),
    }
    status
}

fn judge(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    old: &DeploymentStatus,
    new: Option<&ReplicaSet>,
    deadline: SignedDuration,
    now: Timestamp,
) {
    let named = |meta: &Option<String>| meta.clone().unwrap_or_default();
    let subject = new.map_or_else(
        || format!("Deployment {:?}", named(&deployment.metadata.name)),
        |new| format!("ReplicaSet {:?}", named(&new.metadata.name)),
    );
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set(status, new_condition(PROGRESSING, "True", COMPLETE, &message, now));
    } else if has_progressed(old, status) {
        let message = format!("{subject} is progressing.");
        let mut next = new_condition(PROGRESSING, "True", "ReplicaSetUpdated", &message, now);
        if let Some(current) = condition(old, PROGRESSING) {
            if current.status == "True" {
                next.last_transition_time.clone_from(&current.last_transition_time);
            }
            // The same reason again moves the time of the last update: that is the progress.
            remove(status, PROGRESSING);
        }
        set(status, next);
    } else if timed_out(status, deadline, now) {
        let message = format!("{subject} has timed out progressing.");
        set(status, new_condition(PROGRESSING, "False", TIMED_OUT, &message, now));
    }
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or_default();
    let outdated =
        |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    new.updated_replicas > old.updated_replicas
        || outdated(new) < outdated(old)
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

fn timed_out(status: &DeploymentStatus, deadline: SignedDuration, now: Timestamp) -> bool {
    let current = condition(status, PROGRESSING);
    if reason_is(current, COMPLETE) {
        return false;
    }
    if reason_is(current, TIMED_OUT) {
        return true;
    }
    let since = current.and_then(|current| current.last_update_time.as_ref());
    since.is_some_and(|since| now.duration_since(since.0) > deadline)
}

/// When the deadline must be checked although nothing changed.
pub(super) fn check_again_in(deployment: &Deployment, now: Timestamp) -> Option<Duration> {
    let deadline = deadline(deployment)?;
    let status = present(deployment);
    let current = condition(&status, PROGRESSING)?;
    if is_complete(deployment, &status) || reason_is(Some(current), TIMED_OUT) {
        return None;
    }
    let since = current.last_update_time.as_ref()?.0;
    let left = deadline - now.duration_since(since);
    Some(Duration::try_from(left).unwrap_or_default())
}
