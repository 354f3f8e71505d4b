//! How authentication, authorization and admission fare.

use kubeplane_core::{admission::Operation, auth::Decision};
use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
};
use std::{
    array,
    sync::{Arc, OnceLock},
    time::Duration,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UserLabel {
    username: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    name: &'static str,
    operation: &'static str,
    rejected: &'static str,
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    operation: &'static str,
    rejected: &'static str,
    r#type: &'static str,
}

/// The phase of admission: changing or only judging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Admit,
    Validate,
}

/// Operations, phases, and whether something is refused.
const TIMES: usize = 4 * 2 * 2;

/// The histograms of one admission step (`Some`), or of all of a phase. Each is looked up once: every write asks every step.
#[derive(Debug)]
pub(crate) struct AdmissionTimes {
    step: Option<&'static str>,
    found: [OnceLock<Histogram>; TIMES],
}

impl AdmissionTimes {
    pub(crate) fn of(step: Option<&'static str>) -> Self {
        Self { step, found: array::from_fn(|_| OnceLock::new()) }
    }
}

/// Decisions by result. What is counted of each is looked up once: every request has some.
#[derive(Debug, Clone)]
struct Results<const N: usize> {
    results: [&'static str; N],
    counts: Family<ResultLabel, Counter>,
    times: Family<ResultLabel, Histogram>,
    found: Arc<[OnceLock<(Counter, Histogram)>; N]>,
}

impl<const N: usize> Results<N> {
    fn new(results: [&'static str; N]) -> Self {
        Self {
            results,
            counts: Family::default(),
            times: Family::new_with_constructor(seconds),
            found: Arc::new(array::from_fn(|_| OnceLock::new())),
        }
    }

    /// Counts and times the result of this index.
    fn count(&self, index: usize, took: Duration) {
        let (count, times) = self.found[index].get_or_init(|| {
            let label = ResultLabel { result: self.results[index] };
            (self.counts.get_or_create(&label).clone(), self.times.get_or_create(&label).clone())
        });
        count.inc();
        times.observe(took.as_secs_f64());
    }
}

/// Counters of who gets in and what is let through.
#[derive(Debug, Clone)]
pub(crate) struct AccessMetrics {
    authentications: Results<2>,
    users: Family<UserLabel, Counter>,
    authorizations: Results<3>,
    plugins: Family<PluginLabels, Histogram>,
    phases: Family<PhaseLabels, Histogram>,
    /// Those of [`phases`](Self::phases).
    pub(crate) whole: Arc<AdmissionTimes>,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

fn admission() -> Histogram {
    Histogram::new([0.005, 0.025, 0.1, 0.5, 1.0, 2.5])
}

impl AccessMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let made = Self {
            authentications: Results::new(["error", "success"]),
            users: Family::default(),
            authorizations: Results::new(["allowed", "denied", "no-opinion"]),
            plugins: Family::new_with_constructor(admission),
            phases: Family::new_with_constructor(admission),
            whole: Arc::new(AdmissionTimes::of(None)),
        };
        metrics.with_registry(|registry| {
            let help = "Attempts to authenticate, by result";
            registry.register("authentication_attempts", help, made.authentications.counts.clone());
            let help = "Seconds it took to authenticate";
            let name = "authentication_duration_seconds";
            registry.register(name, help, made.authentications.times.clone());
            let help = "Requests of authenticated users, by kind of name";
            registry.register("authenticated_user_requests", help, made.users.clone());
            let help = "Decisions about requests, by result";
            registry.register("authorization_attempts", help, made.authorizations.counts.clone());
            let help = "Seconds it took to decide about requests";
            let name = "authorization_duration_seconds";
            registry.register(name, help, made.authorizations.times.clone());
            let help = "Seconds in one admission step";
            let name = "apiserver_admission_controller_admission_duration_seconds";
            registry.register(name, help, made.plugins.clone());
            let help = "Seconds in all admission steps of a phase";
            let name = "apiserver_admission_step_admission_duration_seconds";
            registry.register(name, help, made.phases.clone());
        });
        made
    }

    /// Counts an attempt to find out who asks; `user` when somebody known does.
    pub(crate) fn authenticated(&self, user: Result<&str, ()>, took: Duration) {
        self.authentications.count(usize::from(user.is_ok()), took);
        if let Ok(name) = user {
            let username = match name {
                "admin" => "admin",
                "client" => "client",
                "kube_proxy" => "kube_proxy",
                "kubelet" => "kubelet",
                name if name.contains('@') => "email_id",
                _ => "other",
            };
            self.users.get_or_create(&UserLabel { username }).inc();
        }
    }

    pub(crate) fn authorized(&self, decision: &Decision, took: Duration) {
        let result = match decision {
            Decision::Allow(_) => 0,
            Decision::Deny(_) => 1,
            Decision::NoOpinion(_) => 2,
        };
        self.authorizations.count(result, took);
    }

    /// Times one admission step, or all of a phase.
    pub(crate) fn admitted(
        &self,
        times: &AdmissionTimes,
        phase: Phase,
        operation: Operation,
        rejected: bool,
        took: Duration,
    ) {
        let (index, operation) = match operation {
            Operation::Create => (0, "CREATE"),
            Operation::Update => (1, "UPDATE"),
            Operation::Delete => (2, "DELETE"),
            Operation::Connect => (3, "CONNECT"),
        };
        let r#type = match phase {
            Phase::Admit => "admit",
            Phase::Validate => "validate",
        };
        let place = index * 4 + usize::from(phase == Phase::Validate) * 2 + usize::from(rejected);
        let rejected = if rejected { "true" } else { "false" };
        let find = || match times.step {
            Some(name) => {
                let labels = PluginLabels { name, operation, rejected, r#type };
                self.plugins.get_or_create(&labels).clone()
            }
            None => {
                let labels = PhaseLabels { operation, rejected, r#type };
                self.phases.get_or_create(&labels).clone()
            }
        };
        times.found[place].get_or_init(find).observe(took.as_secs_f64());
    }
}
