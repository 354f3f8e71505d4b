//! The server's metrics, under the original's names.

mod access;
mod audit;
mod features;
mod flow;
mod labels;
mod stored;

pub(crate) use access::{AccessMetrics, AdmissionTimes, Phase};
pub(crate) use audit::AuditMetrics;
pub(crate) use features::show;
pub(crate) use flow::{FlowMetrics, Seats};
pub(crate) use labels::Labels;
pub(crate) use stored::{Calls, Operation, StoreMetrics};

use crate::info::RequestInfo;
use http::StatusCode;
use kubeplane_telemetry::Metrics;
use labels::{BodyLabels, KindLabel, Outcome, WatchLabels};
use parking_lot::RwLock;
use prometheus_client::metrics::{
    counter::Counter,
    family::Family,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets, linear_buckets},
};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

type Histograms<L> = Family<L, Histogram>;

/// Requests by kind: reads and writes.
#[derive(Debug, Clone, Default)]
struct Kinds {
    family: Family<KindLabel, Gauge>,
    found: Arc<[OnceLock<Gauge>; 2]>,
}

impl Kinds {
    fn of(&self, mutating: bool) -> Gauge {
        let make = || self.family.get_or_create(&KindLabel::of(mutating)).clone();
        self.found[usize::from(mutating)].get_or_init(make).clone()
    }
}

/// What an answer is counted as; the last says whether the request was long-running.
type Answer = (Labels, Outcome, bool);

/// What is counted of answers that are counted as the same. Each is looked up once: every request has one.
#[derive(Debug)]
struct Answers {
    count: Counter,
    times: Vec<Histogram>,
}

impl Answers {
    fn count(&self, took: Duration) {
        self.count.inc();
        self.times.iter().for_each(|times| times.observe(took.as_secs_f64()));
    }
}

/// What the server counts.
#[derive(Debug, Clone)]
pub(crate) struct ApiMetrics {
    answers: Arc<RwLock<HashMap<Answer, Answers>>>,
    requests: Family<(Labels, Outcome), Counter>,
    durations: Histograms<(Labels, Outcome)>,
    service_levels: Histograms<Labels>,
    response_sizes: Histograms<Labels>,
    body_sizes: Histograms<BodyLabels>,
    terminations: Family<(Labels, Outcome), Counter>,
    inflight: Kinds,
    waiting: Kinds,
    long_running: Family<Labels, Gauge>,
    watch_events: Family<WatchLabels, Counter>,
    handshakes: Counter,
    pub(crate) access: AccessMetrics,
    pub(crate) store: StoreMetrics,
}

/// Bounds of durations of requests and of calls of the store.
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// Of durations without what webhooks and waiting take; nobody cares below 50 ms.
fn service_level() -> Histogram {
    Histogram::new(SECONDS.into_iter().skip(2))
}

fn answers() -> Histogram {
    Histogram::new(exponential_buckets(1000.0, 10.0, 7))
}

fn bodies() -> Histogram {
    Histogram::new(linear_buckets(50_000.0, 100_000.0, 31))
}

impl ApiMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let made = Self {
            answers: Arc::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            service_levels: Family::new_with_constructor(service_level),
            response_sizes: Family::new_with_constructor(answers),
            body_sizes: Family::new_with_constructor(bodies),
            terminations: Family::default(),
            inflight: Kinds::default(),
            waiting: Kinds::default(),
            long_running: Family::default(),
            watch_events: Family::default(),
            handshakes: Counter::default(),
            access: AccessMetrics::new(metrics),
            store: StoreMetrics::new(metrics),
        };
        made.register(metrics);
        made
    }

    fn register(&self, metrics: &Metrics) {
        metrics.with_registry(|registry| {
            let help = "Requests by verb, resource and code";
            registry.register("apiserver_request", help, self.requests.clone());
            let help = "Seconds until the answer, watches and connections left out";
            registry.register("apiserver_request_duration_seconds", help, self.durations.clone());
            let help = "Seconds until the answer, without those of other servers";
            let name = "apiserver_request_sli_duration_seconds";
            registry.register(name, help, self.service_levels.clone());
            let help = "Bytes of the answers to reads";
            registry.register("apiserver_response_sizes", help, self.response_sizes.clone());
            let help = "Bytes of the bodies of writes";
            registry.register("apiserver_request_body_size_bytes", help, self.body_sizes.clone());
            let help = "Requests the server gave up to protect itself";
            registry.register("apiserver_request_terminations", help, self.terminations.clone());
            let help = "Requests being served";
            registry.register(
                "apiserver_current_inflight_requests",
                help,
                self.inflight.family.clone(),
            );
            let help = "Requests waiting for their turn";
            registry.register(
                "apiserver_current_inqueue_requests",
                help,
                self.waiting.family.clone(),
            );
            let help = "Watches and streams being served";
            registry.register("apiserver_longrunning_requests", help, self.long_running.clone());
            let help = "Events sent to watchers";
            registry.register("apiserver_watch_events", help, self.watch_events.clone());
            let help = "Connections that failed to agree on TLS";
            registry.register("apiserver_tls_handshake_errors", help, self.handshakes.clone());
        });
    }

    /// Counts an answer.
    pub(crate) fn answered(
        &self,
        info: &RequestInfo,
        labels: &Labels,
        dry_run: &'static str,
        code: StatusCode,
        took: Duration,
    ) {
        let refused = matches!(code, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        // Whoever may do nothing shall not fill the registry either.
        let labels = if refused { &labels.of_no_resource() } else { labels };
        let outcome = Outcome { dry_run: Some(dry_run), code: Some(code.as_u16()) };
        let answer = (labels.clone(), outcome, info.is_long_running());
        if let Some(answers) = self.answers.read().get(&answer) {
            return answers.count(took);
        }
        let answers = self.answers(&answer);
        answers.count(took);
        self.answers.write().insert(answer, answers);
    }

    fn answers(&self, (labels, outcome, is_long_running): &Answer) -> Answers {
        let count = self.requests.get_or_create(&(labels.clone(), *outcome)).clone();
        let mut times = Vec::new();
        if !is_long_running {
            let outcome = Outcome { code: None, ..*outcome };
            times.push(self.durations.get_or_create(&(labels.clone(), outcome)).clone());
            if outcome.dry_run == Some("") {
                times.push(self.service_levels.get_or_create(labels).clone());
            }
        }
        Answers { count, times }
    }

    /// Where the sizes of answers to such requests go.
    pub(crate) fn response_size(&self, labels: &Labels) -> Histogram {
        self.response_sizes.get_or_create(labels).clone()
    }

    /// Notes the size of a body that was read.
    pub(crate) fn body_read(&self, info: &RequestInfo, bytes: usize) {
        let labels = BodyLabels {
            resource: info.resource.clone(),
            group: info.group.clone(),
            verb: info.verb.clone(),
        };
        let bytes = u32::try_from(bytes).map_or(f64::INFINITY, f64::from);
        self.body_sizes.get_or_create(&labels).observe(bytes);
    }

    /// Counts a request that was given up.
    pub(crate) fn terminated(&self, labels: &Labels, code: StatusCode) {
        let outcome = Outcome { dry_run: None, code: Some(code.as_u16()) };
        self.terminations.get_or_create(&(labels.clone(), outcome)).inc();
    }

    /// Counts a request as waiting until the guard is dropped.
    pub(crate) fn waiting(&self, mutating: bool) -> Counted {
        Counted::of(self.waiting.of(mutating))
    }

    /// Counts a request as being served until the guard is dropped.
    pub(crate) fn inflight(&self, mutating: bool) -> Counted {
        Counted::of(self.inflight.of(mutating))
    }

    /// Counts a watch or stream until the guard is dropped.
    pub(crate) fn long_running(&self, labels: &Labels) -> Counted {
        Counted::of(self.long_running.get_or_create(labels).clone())
    }

    /// A watcher's counter of events. The resource must be one that is served.
    pub(crate) fn watch_events(&self, info: &RequestInfo) -> Counter {
        let labels = WatchLabels {
            group: info.group.clone(),
            resource: info.resource.clone(),
            version: info.version.clone(),
        };
        self.watch_events.get_or_create(&labels).clone()
    }

    /// Counts a connection that did not come to be.
    pub(crate) fn handshake_failed(&self) {
        self.handshakes.inc();
    }
}

/// Something counted as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    fn of(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
