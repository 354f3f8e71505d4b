use jiff::Timestamp;
use k8s_openapi::{
    api::batch::v1::{Job, JobCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};

pub(super) const COMPLETE: &str = "Complete";
pub(super) const FAILED: &str = "Failed";
pub(super) const FAILURE_TARGET: &str = "FailureTarget";
pub(super) const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";

/// A condition that turned now.
pub(super) fn new(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> JobCondition {
    JobCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
    }
}

/// The same with another type, as of now.
pub(super) fn turned(condition: &JobCondition, kind: &str, now: Timestamp) -> JobCondition {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    new(kind, "True", &text(&condition.reason), &text(&condition.message), now)
}

/// The condition of a type that is true.
pub(super) fn met<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let mut all = job.status.as_ref()?.conditions.iter().flatten();
    all.find(|condition| condition.type_ == kind && condition.status == "True")
}

/// The condition by which a Job has ended.
pub(in crate::builtin) fn finished(job: &Job) -> Option<&JobCondition> {
    met(job, COMPLETE).or_else(|| met(job, FAILED))
}

/// Whether the Job has ended, well or not.
pub(in crate::builtin) fn is_finished(job: &Job) -> bool {
    finished(job).is_some()
}

/// Puts a condition in; one that would be false is only put in the place of one that is there. Whether
/// anything changed.
pub(super) fn ensure(job: &mut Job, condition: JobCondition) -> bool {
    let conditions = job.status.get_or_insert_default().conditions.get_or_insert_default();
    match conditions.iter_mut().find(|present| present.type_ == condition.type_) {
        Some(present) => {
            let same = present.status == condition.status
                && present.reason == condition.reason
                && present.message == condition.message;
            if !same {
                *present = condition;
            }
            !same
        }
        None if condition.status != "False" => {
            conditions.push(condition);
            true
        }
        None => false,
    }
}
