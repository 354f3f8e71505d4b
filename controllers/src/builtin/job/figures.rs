//! What is told of Jobs, under the original's names.

use super::TRACKING;
use crate::builtin::figures::{Labels, Place, growing, labels};
use k8s_openapi::api::{batch::v1::JobSpec, core::v1::Pod};
use kubeplane_client::{Change, finalizers};
use kubeplane_telemetry::Metrics;
use kubeplane_workload::is_terminal;
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};
use std::time::Duration;

type Counters<const N: usize> = Family<Labels<N>, Counter>;

/// What a look at a Job did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Action {
    /// It only took away or counted what is there.
    #[default]
    Reconciling,
    /// There were as many pods as there should be.
    Tracking,
    PodsCreated,
    PodsDeleted,
}

impl Action {
    fn label(self) -> &'static str {
        match self {
            Self::Reconciling => "reconciling",
            Self::Tracking => "tracking",
            Self::PodsCreated => "pods_created",
            Self::PodsDeleted => "pods_deleted",
        }
    }
}

/// How many pods and indexes a status counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) failed_indexes: i32,
}

/// The metrics; clones are the same ones.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    syncs: Counters<3>,
    durations: Family<Labels<3>, Histogram>,
    finished: Counters<3>,
    pods: Counters<2>,
    policy: Counters<1>,
    tracked: Counters<1>,
    indexes: Counters<2>,
    created: Counters<2>,
    external: Counters<1>,
}

fn mode(spec: &JobSpec) -> &str {
    spec.completion_mode.as_deref().unwrap_or("NonIndexed")
}

fn result(done: bool) -> &'static str {
    if done { "success" } else { "error" }
}

fn more(counters: &Counters<2>, label: Labels<2>, by: i32) {
    // What was counted may be less when a Job was made smaller.
    if let Ok(by @ 1..) = u64::try_from(by) {
        counters.get_or_create(&label).inc_by(by);
    }
}

impl Figures {
    pub(super) fn shown(metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "job_controller");
        let durations = Family::new_with_constructor((|| growing(0.004, 2.0, 15)) as fn() -> _);
        let help = "How long looks at Jobs took, in seconds";
        Self {
            syncs: place.show("job_syncs", "Looks at Jobs"),
            durations: place.show_this("job_sync_duration_seconds", help, durations),
            finished: place.show("jobs_finished", "Jobs that have ended"),
            pods: place.show("job_pods_finished", "Pods that have ended and are counted"),
            policy: place.show(
                "pod_failures_handled_by_failure_policy",
                "Failed pods by what the failure policy said of them",
            ),
            tracked: place.show(
                "terminated_pods_tracking_finalizer",
                "Pods that have ended and got or lost the finalizer of Jobs",
            ),
            indexes: place.show("job_finished_indexes", "Indexes that have ended"),
            created: place.show("job_pods_creation", "Pods made, by why they were"),
            external: place.show(
                "jobs_by_external_controller",
                "Jobs that others than this controller manage",
            ),
        }
    }

    pub(super) fn synced(&self, spec: &JobSpec, action: Action, done: bool, took: Duration) {
        let label = labels([
            ("completion_mode", mode(spec)),
            ("result", result(done)),
            ("action", action.label()),
        ]);
        self.syncs.get_or_create(&label).inc();
        self.durations.get_or_create(&label).observe(took.as_secs_f64());
    }

    pub(super) fn ended(&self, spec: &JobSpec, well: bool, reason: &str) {
        let result = if well { "succeeded" } else { "failed" };
        let label =
            labels([("completion_mode", mode(spec)), ("result", result), ("reason", reason)]);
        self.finished.get_or_create(&label).inc();
    }

    pub(super) fn counted(&self, spec: &JobSpec, before: Counts, now: Counts) {
        let of = |result: &str| labels([("completion_mode", mode(spec)), ("result", result)]);
        let succeeded = now.succeeded - before.succeeded;
        more(&self.pods, of("succeeded"), succeeded);
        more(&self.pods, of("failed"), now.failed - before.failed);
        if mode(spec) == "Indexed" {
            let limit = if spec.backoff_limit_per_index.is_some() { "perIndex" } else { "global" };
            let of = |status: &str| labels([("status", status), ("backoffLimit", limit)]);
            more(&self.indexes, of("succeeded"), succeeded);
            more(&self.indexes, of("failed"), now.failed_indexes - before.failed_indexes);
        }
    }

    pub(super) fn handled(&self, action: &str) {
        self.policy.get_or_create(&labels([("action", action)])).inc();
    }

    /// `failed` and `terminating` pods were there when others were made.
    pub(super) fn made(
        &self,
        spec: &JobSpec,
        (failed, terminating): (i32, i32),
        (done, refused): (usize, usize),
    ) {
        let replaced = spec.pod_replacement_policy.as_deref() == Some("Failed");
        let reason = match () {
            () if replaced && failed > 0 => "recreate_failed",
            () if failed > 0 || terminating > 0 => "recreate_terminating_or_failed",
            () => "new",
        };
        let of = |status: &str| labels([("reason", reason), ("status", status)]);
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        more(&self.created, of("succeeded"), number(done));
        more(&self.created, of("failed"), number(refused));
    }

    pub(super) fn managed_elsewhere(&self, controller: &str) {
        self.external.get_or_create(&labels([("controller_name", controller)])).inc();
    }

    /// Notes pods that have ended and got or lost the finalizer.
    pub(super) fn saw(&self, change: &Change<Pod>) {
        let held = |pod: &Pod| is_terminal(pod) && finalizers::has(pod, TRACKING);
        let before = change.old().is_some_and(|old| held(old))
            || (change.is_deleted() && held(change.object()));
        let now = !change.is_deleted() && held(change.object());
        if before != now {
            let event = if now { "add" } else { "delete" };
            self.tracked.get_or_create(&labels([("event", event)])).inc();
        }
    }
}
