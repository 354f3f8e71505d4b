//! The conditions of a pod.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};

/// The condition of a type.
#[must_use]
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Whether the condition of a type is there and true.
#[must_use]
pub fn is_true(pod: &Pod, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|condition| condition.status == "True")
}

/// Whether the pod says that it is ready.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    is_true(pod, "Ready")
}

/// Whether the pod has been ready for at least this many seconds.
#[must_use]
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    let Some(ready) = condition(pod, "Ready").filter(|condition| condition.status == "True") else {
        return false;
    };
    if min_ready_seconds == 0 {
        return true;
    }
    let wait = SignedDuration::from_secs(i64::from(min_ready_seconds));
    ready.last_transition_time.as_ref().is_some_and(|since| now.duration_since(since.0) >= wait)
}

/// Sets a condition; the time of its last transition only moves when its status changes. Whether anything
/// changed.
pub fn set_condition(status: &mut PodStatus, mut condition: PodCondition, now: Timestamp) -> bool {
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now);
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|present| present.type_ == condition.type_) {
        None => {
            condition.last_transition_time = Some(time);
            conditions.push(condition);
            true
        }
        Some(present) => {
            let same = present.status == condition.status;
            condition.last_transition_time =
                if same { present.last_transition_time.clone() } else { Some(time) };
            let changed = *present != condition;
            *present = condition;
            changed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: &str) -> PodCondition {
        PodCondition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            ..PodCondition::default()
        }
    }

    #[test]
    fn a_transition_moves_the_time_and_availability_waits_for_it() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let later = start + SignedDuration::from_secs(10);
        let mut status = PodStatus::default();
        assert!(set_condition(&mut status, ready("True"), start));
        assert!(!set_condition(&mut status, ready("True"), later));
        let mut pod = Pod { status: Some(status), ..Pod::default() };
        assert!(is_ready(&pod) && is_available(&pod, 10, later) && !is_available(&pod, 11, later));
        assert!(set_condition(pod.status.as_mut().unwrap(), ready("False"), later));
        assert!(!is_ready(&pod));
        let since = condition(&pod, "Ready").unwrap().last_transition_time.as_ref().unwrap().0;
        assert_eq!(since, later);
    }
}
