//! The server's metrics, under the original's names.

use crate::info::RequestInfo;
use http::StatusCode;
use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    code: u16,
    group: String,
    resource: String,
    scope: &'static str,
    subresource: String,
    verb: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    group: String,
    resource: String,
    subresource: String,
    verb: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    request_kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabels {
    group: String,
    resource: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabel {
    resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabels {
    operation: &'static str,
}

/// What the server counts.
#[derive(Debug, Clone)]
pub(crate) struct ApiMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram>,
    inflight: Family<KindLabel, Gauge>,
    watch_events: Family<WatchLabels, Counter>,
    watchers: Family<WatchLabels, Gauge>,
    objects: Family<ResourceLabel, Gauge>,
    store: Family<StoreLabels, Histogram>,
}

const BUCKETS: [f64; 15] =
    [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 5.0, 10.0, 60.0];

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

/// The verbs shown by name; a client may send any method.
const VERBS: [&str; 11] = [
    "get",
    "list",
    "watch",
    "patch",
    "delete",
    "deletecollection",
    "post",
    "put",
    "head",
    "options",
    "proxy",
];

impl ApiMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let made = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram as fn() -> Histogram),
            inflight: Family::default(),
            watch_events: Family::default(),
            watchers: Family::default(),
            objects: Family::default(),
            store: Family::new_with_constructor(histogram as fn() -> Histogram),
        };
        metrics.with_registry(|registry| {
            registry.register(
                "apiserver_request",
                "Requests by verb, resource and code",
                made.requests.clone(),
            );
            let help = "Seconds until the answer, watches and connections left out";
            registry.register("apiserver_request_duration_seconds", help, made.durations.clone());
            registry.register(
                "apiserver_current_inflight_requests",
                "Requests being served",
                made.inflight.clone(),
            );
            registry.register(
                "apiserver_watch_events",
                "Events sent to watchers",
                made.watch_events.clone(),
            );
            registry.register(
                "apiserver_longrunning_requests",
                "Watches being served",
                made.watchers.clone(),
            );
            registry.register(
                "apiserver_storage_objects",
                "Objects stored by resource",
                made.objects.clone(),
            );
            registry.register(
                "etcd_request_duration_seconds",
                "Seconds a call of the store took",
                made.store.clone(),
            );
        });
        made
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, info: &RequestInfo, code: StatusCode, took: Duration) {
        let scope = match (info.is_resource(), info.name.is_empty(), info.namespace.is_empty()) {
            (false, ..) => "",
            (true, false, _) => "resource",
            (true, true, false) => "namespace",
            (true, true, true) => "cluster",
        };
        // Unknown resources are a client's invention and must not fill the registry.
        let refused = matches!(code, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let known = !refused && (code != StatusCode::NOT_FOUND || !info.name.is_empty());
        let text = |text: &str| if known { text.to_owned() } else { String::new() };
        let verb = match info.verb.as_str() {
            "create" => "POST".to_owned(),
            "update" => "PUT".to_owned(),
            verb if VERBS.contains(&verb) => verb.to_ascii_uppercase(),
            _ => "other".to_owned(),
        };
        self.requests
            .get_or_create(&RequestLabels {
                code: code.as_u16(),
                group: text(&info.group),
                resource: text(&info.resource),
                scope,
                subresource: text(&info.subresource),
                verb: verb.clone(),
                version: text(&info.version),
            })
            .inc();
        if !info.is_long_running() {
            self.durations
                .get_or_create(&DurationLabels {
                    group: text(&info.group),
                    resource: text(&info.resource),
                    subresource: text(&info.subresource),
                    verb,
                    version: text(&info.version),
                })
                .observe(took.as_secs_f64());
        }
    }

    /// Counts a request as being served until the guard is dropped.
    pub(crate) fn inflight(&self, mutating: bool) -> Counted {
        let kind = if mutating { "mutating" } else { "readOnly" };
        Counted::of(self.inflight.get_or_create(&KindLabel { request_kind: kind }).clone())
    }

    /// A watcher's counter of events and its place among the watchers.
    pub(crate) fn watcher(&self, info: &RequestInfo) -> (Counter, Counted) {
        let labels = WatchLabels {
            group: info.group.clone(),
            resource: info.resource.clone(),
            version: info.version.clone(),
        };
        let events = self.watch_events.get_or_create(&labels).clone();
        (events, Counted::of(self.watchers.get_or_create(&labels).clone()))
    }

    /// Notes how many objects a resource has.
    pub(crate) fn objects(&self, resource: &kubeplane_core::GroupResource, count: usize) {
        let label = ResourceLabel { resource: resource.to_string() };
        self.objects.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Times a call of the store.
    pub(crate) fn store(&self, operation: &'static str, took: Duration) {
        self.store.get_or_create(&StoreLabels { operation }).observe(took.as_secs_f64());
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
