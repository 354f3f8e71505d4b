//! Whether a change of a Job's status makes sense. Most is only looked at where it has changed, so that what was stored
//! before a rule was made can still be written.

use super::{has_condition, holds, indexes};
use crate::{
    check,
    look::{At, Look, sub},
};
use jiff::Timestamp;
use kubeplane_core::{
    Object,
    field::{Error, Errors, OMITTED},
};
use serde_json::Value;
use std::collections::BTreeSet;

struct Change<'a> {
    object: &'a Object,
    old: &'a Object,
    status: At<'a>,
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let change = Change { object, old, status: At::top(object.map(), "status") };
    let mut errors = Errors::new();
    counts(&change.status, &mut errors);
    change.conditions(&mut errors);
    change.times(&mut errors);
    change.finished(&mut errors);
    change.indexes(&mut errors);
    change.success(&mut errors);
    change.monotonic(&mut errors);
    errors
}

fn counts(status: &At<'_>, errors: &mut Errors) {
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        check::nonnegative(&status.get(field), errors);
    }
    let uncounted = status.get("uncountedTerminatedPods");
    let mut seen = BTreeSet::new();
    for list in ["succeeded", "failed"] {
        for uid in uncounted.get(list).items() {
            if uid.str().is_empty() {
                errors.push(uid.invalid("must not be empty"));
            } else if !seen.insert(uid.str()) {
                errors.push(uid.duplicate());
            }
        }
    }
}

fn is_finished(object: &Object) -> bool {
    holds(object, "Complete") || holds(object, "Failed")
}

impl Change<'_> {
    fn changed(&self, field: &str) -> bool {
        let zero = |value: &Value| matches!(value, Value::Null) || *value == 0 || *value == "";
        let (new, old) = (self.status.value().sub(field), sub(self.old.map(), "status").sub(field));
        new != old && !(matches!(field, "active" | "completedIndexes") && zero(new) && zero(old))
    }

    fn turned(&self, condition: &str) -> bool {
        holds(self.object, condition) != holds(self.old, condition)
    }

    fn finish_changed(&self) -> bool {
        is_finished(self.object) != is_finished(self.old)
    }

    fn refuse_conditions(&self, detail: impl Into<String>, errors: &mut Errors) {
        let path = self.status.get("conditions").path();
        errors.push(Error::invalid(&path, OMITTED, detail));
    }

    fn spec(&self) -> &Value {
        sub(self.object.map(), "spec")
    }

    fn is_indexed(&self) -> bool {
        self.spec().text("completionMode") == "Indexed"
    }

    fn conditions(&self, errors: &mut Errors) {
        let is = |condition| holds(self.object, condition);
        let pairs = [
            ("Failed", "cannot set Complete=True and Failed=true conditions"),
            ("FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
        ];
        for (other, detail) in pairs {
            let moved = self.turned("Complete") || self.turned(other);
            if moved && is("Complete") && is(other) {
                self.refuse_conditions(detail, errors);
            }
        }
    }

    fn times(&self, errors: &mut Errors) {
        let (end, start) = (self.status.get("completionTime"), self.status.get("startTime"));
        let complete = holds(self.object, "Complete");
        let (end_moved, start_moved) = (self.changed("completionTime"), self.changed("startTime"));
        if self.turned("Complete") || end_moved {
            if end.is_set() && !complete {
                let detail = "cannot set completionTime when there is no Complete=True condition";
                errors.push(end.invalid(detail));
            }
            if !end.is_set() && complete {
                errors.push(end.required("completionTime is required for Complete jobs"));
            }
        }
        let time = |at: &At<'_>| at.str().parse::<Timestamp>().ok();
        if (start_moved || end_moved)
            && let (Some(from), Some(to)) = (time(&start), time(&end))
            && to < from
        {
            errors.push(end.invalid("must be equal to or after `startTime`"));
        }
        if (self.turned("Failed") || self.changed("failedIndexes"))
            && holds(self.object, "Failed")
            && !holds(self.object, "FailureTarget")
        {
            let detail =
                "cannot set Failed=True condition without the FailureTarget=true condition";
            self.refuse_conditions(detail, errors);
        }
        if (self.turned("Complete") || self.turned("SuccessCriteriaMet"))
            && complete
            && !holds(self.object, "SuccessCriteriaMet")
        {
            let detail =
                "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
            self.refuse_conditions(detail, errors);
        }
    }

    fn finished(&self, errors: &mut Errors) {
        let (status, moved) = (&self.status, self.finish_changed());
        if !is_finished(self.object) {
            return;
        }
        let count = |field| status.get(field).int().unwrap_or_default();
        if (moved || self.changed("active")) && count("active") > 0 {
            errors.push(status.get("active").invalid("active>0 is invalid for finished job"));
        }
        let idle = self.spec().flag("suspend") && *self.spec().sub("completions") == 0;
        let start = status.get("startTime");
        if (moved || self.changed("startTime")) && !idle && !start.is_set() {
            errors.push(start.required("startTime is required for finished job"));
        }
        let uncounted = status.get("uncountedTerminatedPods");
        if (moved || self.changed("uncountedTerminatedPods"))
            && uncounted.get("failed").len() + uncounted.get("succeeded").len() > 0
        {
            errors.push(uncounted.invalid("must be empty for finished job"));
        }
    }

    fn indexes(&self, errors: &mut Errors) {
        let (completed, failed) =
            (self.status.get("completedIndexes"), self.status.get("failedIndexes"));
        let (completed_moved, failed_moved) =
            (self.changed("completedIndexes"), self.changed("failedIndexes"));
        let completions = self.spec().sub("completions").as_i64();
        let by_index = self.spec().has("backoffLimitPerIndex");
        if let Some(count) = completions.filter(|_| completed_moved)
            && let Err(why) = indexes::count(completed.str(), count)
        {
            errors.push(completed.invalid(format!("error parsing completedIndexes: {why}")));
        }
        if let Some(count) = completions.filter(|_| failed_moved && by_index && failed.is_set())
            && let Err(why) = indexes::count(failed.str(), count)
        {
            errors.push(failed.invalid(format!("error parsing failedIndexes: {why}")));
        }
        if completed_moved && !completed.str().is_empty() && !self.is_indexed() {
            let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.push(completed.invalid(detail));
        }
        if failed_moved && !by_index && failed.is_set() {
            let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            errors.push(failed.invalid(detail));
        }
        if let Some(count) = completions.filter(|_| completed_moved || failed_moved)
            && let Some(index) = indexes::overlap(completed.str(), failed.str(), count)
        {
            let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
            errors.push(failed.invalid(detail));
        }
        let (ready, terminating) = (self.status.get("ready"), self.status.get("terminating"));
        if (self.finish_changed() || self.changed("terminating"))
            && is_finished(self.object)
            && terminating.int().is_some_and(|count| count > 0)
        {
            errors.push(terminating.invalid("terminating>0 is invalid for finished job"));
        }
        let active = self.status.get("active").int().unwrap_or_default();
        if (self.changed("ready") || self.changed("active"))
            && ready.int().is_some_and(|count| count > active)
        {
            errors.push(ready.invalid("cannot set more ready pods than active"));
        }
    }

    fn success(&self, errors: &mut Errors) {
        let is = |condition| holds(self.object, condition);
        if is("SuccessCriteriaMet") {
            for other in ["Failed", "FailureTarget"].into_iter().filter(|other| is(other)) {
                let detail =
                    format!("cannot set SuccessCriteriaMet=True and {other}=true conditions");
                self.refuse_conditions(detail, errors);
            }
        } else if self.spec().has("successPolicy") && is("Complete") {
            let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
            self.refuse_conditions(detail, errors);
        }
    }

    /// What may only go one way.
    fn monotonic(&self, errors: &mut Errors) {
        let (status, before) = (&self.status, At::top(self.old.map(), "status"));
        for condition in ["Failed", "Complete", "FailureTarget"] {
            if holds(self.old, condition) && !holds(self.object, condition) {
                let detail = format!("cannot disable the terminal {condition}=True condition");
                self.refuse_conditions(detail, errors);
            }
        }
        let elastic =
            self.is_indexed() && self.spec().sub("completions") == self.spec().sub("parallelism");
        for (field, checked) in [("failed", true), ("succeeded", !elastic)] {
            let count = |status: &At<'_>| status.get(field).int().unwrap_or_default();
            if checked && count(status) < count(&before) {
                let detail = format!("cannot decrease the {field} counter");
                errors.push(status.get(field).invalid_as(count(status), detail));
            }
        }
        let end = status.get("completionTime");
        if end.is_set() && before.get("completionTime").is_set() && self.changed("completionTime") {
            errors.push(end.invalid(check::IMMUTABLE));
        }
        let resuming =
            holds(self.old, "Suspended") && has_condition(self.object, "Suspended", "False");
        if before.get("startTime").is_set()
            && self.changed("startTime")
            && !resuming
            && !self.spec().flag("suspend")
        {
            let detail = "field is immutable for unsuspended job once set";
            errors.push(status.get("startTime").invalid(detail));
        }
        let (met, was_met) =
            (holds(self.object, "SuccessCriteriaMet"), holds(self.old, "SuccessCriteriaMet"));
        if was_met && !met {
            self.refuse_conditions("cannot disable the SuccessCriteriaMet=True condition", errors);
        }
        if holds(self.old, "Complete") && !was_met && met {
            let detail =
                "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
            self.refuse_conditions(detail, errors);
        }
    }
}
