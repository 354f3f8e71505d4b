//! Counters of webhooks and policies, under the original's names.

use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    name: String,
    operation: &'static str,
    rejected: &'static str,
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    code: u16,
    name: String,
    operation: &'static str,
    rejected: &'static str,
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rejection {
    error_type: &'static str,
    name: String,
    operation: &'static str,
    rejection_code: u16,
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Opened {
    name: String,
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Condition {
    kind: &'static str,
    name: String,
    operation: &'static str,
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Checked {
    enforcement_action: &'static str,
    error_type: &'static str,
    policy: String,
    policy_binding: String,
}

fn seconds() -> Histogram {
    Histogram::new([0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0])
}

/// How a call of a webhook ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) rejected: bool,
    pub(crate) code: u16,
    /// `no_error`, `calling_webhook_error` or `apiserver_internal_error`; empty when nothing was refused.
    pub(crate) error: &'static str,
}

/// Of what, in counters of match conditions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
    pub(crate) operation: &'static str,
    /// `admit` or `validate`; of webhooks `admit` or `validating`.
    pub(crate) phase: &'static str,
}

impl About<'_> {
    fn labels(self) -> Condition {
        Condition {
            kind: self.kind,
            name: self.name.to_owned(),
            operation: self.operation,
            r#type: self.phase,
        }
    }
}

/// All counters.
#[derive(Debug)]
pub(crate) struct Counters {
    durations: Family<Call, Histogram>,
    requests: Family<Answered, Counter>,
    // Their names do not end as those of counters must in the text form.
    rejections: Family<Rejection, Gauge>,
    opened: Family<Opened, Gauge>,
    exclusions: Family<Condition, Counter>,
    condition_errors: Family<Condition, Counter>,
    validating: Family<Checked, Counter>,
    mutating: Family<Checked, Counter>,
}

impl Counters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            durations: metrics.show(
                "apiserver_admission_webhook_admission_duration_seconds",
                "Seconds in one webhook",
                Family::new_with_constructor(seconds),
            ),
            requests: metrics.show(
                "apiserver_admission_webhook_request",
                "Calls of webhooks",
                Family::default(),
            ),
            rejections: metrics.show(
                "apiserver_admission_webhook_rejection_count",
                "Writes refused by webhooks",
                Family::default(),
            ),
            opened: metrics.show(
                "apiserver_admission_webhook_fail_open_count",
                "Failed calls of webhooks that were ignored",
                Family::default(),
            ),
            exclusions: metrics.show(
                "apiserver_admission_match_condition_exclusions",
                "Webhooks and policies that match conditions left out",
                Family::default(),
            ),
            condition_errors: metrics.show(
                "apiserver_admission_match_condition_evaluation_errors",
                "Match conditions that failed to evaluate",
                Family::default(),
            ),
            validating: metrics.show(
                "apiserver_validating_admission_policy_check",
                "Decisions of validating policies",
                Family::default(),
            ),
            mutating: metrics.show(
                "apiserver_mutating_admission_policy_check",
                "Decisions of mutating policies",
                Family::default(),
            ),
        }
    }

    /// A call of a webhook has ended.
    pub(crate) fn called(
        &self,
        name: &str,
        operation: &'static str,
        phase: &'static str,
        ended: Ended,
        took: Duration,
    ) {
        let rejected = if ended.rejected { "true" } else { "false" };
        // Whatever a webhook answers, there are not more labels than that.
        let code = ended.code.min(600);
        let name = name.to_owned();
        let call = Call { name: name.clone(), operation, rejected, r#type: phase };
        self.durations.get_or_create(&call).observe(took.as_secs_f64());
        let answered = Answered { code, name: name.clone(), operation, rejected, r#type: phase };
        self.requests.get_or_create(&answered).inc();
        if ended.rejected {
            let error_type = ended.error;
            let rejection =
                Rejection { error_type, name, operation, rejection_code: code, r#type: phase };
            self.rejections.get_or_create(&rejection).inc();
        }
    }

    /// A failed call was ignored.
    pub(crate) fn opened(&self, name: &str, phase: &'static str) {
        let labels = Opened { name: name.to_owned(), r#type: phase };
        self.opened.get_or_create(&labels).inc();
    }

    /// A match condition did not hold.
    pub(crate) fn excluded(&self, about: About<'_>) {
        self.exclusions.get_or_create(&about.labels()).inc();
    }

    /// A match condition failed.
    pub(crate) fn condition_failed(&self, about: About<'_>) {
        self.condition_errors.get_or_create(&about.labels()).inc();
    }

    /// A validating policy has decided.
    pub(crate) fn validated(&self, policy: &str, binding: &str, action: &'static str, error: bool) {
        self.validating.get_or_create(&checked(policy, binding, action, error)).inc();
    }

    /// A mutating policy has decided.
    pub(crate) fn mutated(&self, policy: &str, binding: &str, action: &'static str, error: bool) {
        self.mutating.get_or_create(&checked(policy, binding, action, error)).inc();
    }
}

fn checked(policy: &str, binding: &str, enforcement_action: &'static str, error: bool) -> Checked {
    Checked {
        enforcement_action,
        error_type: if error { "invalid_error" } else { "no_error" },
        policy: policy.to_owned(),
        policy_binding: binding.to_owned(),
    }
}
