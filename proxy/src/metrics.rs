//! The proxy's metrics, named as the original's.

use crate::ruleset::Family;
use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family as Labelled,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};
use std::{sync::atomic::AtomicU64, time::Duration};

type Seconds = Gauge<f64, AtomicU64>;
type Histograms = Labelled<ByFamily, Histogram, fn() -> Histogram>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFamily {
    ip_family: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPolicy {
    traffic_policy: &'static str,
    ip_family: &'static str,
}

#[derive(Debug, Clone)]
pub(crate) struct ProxyMetrics {
    durations: Histograms,
    full: Histograms,
    partial: Histograms,
    last: Labelled<ByFamily, Seconds>,
    queued: Labelled<ByFamily, Seconds>,
    sync_failures: Labelled<ByFamily, Counter>,
    cleanup_failures: Labelled<ByFamily, Counter>,
    no_local: Labelled<ByPolicy, Gauge>,
    service_changes: Counter,
    endpoint_changes: Counter,
}

fn histograms() -> Histograms {
    Labelled::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 15)))
}

fn by_family(family: Family) -> ByFamily {
    ByFamily { ip_family: family.name() }
}

impl ProxyMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let all = Self {
            durations: histograms(),
            full: histograms(),
            partial: histograms(),
            last: Labelled::default(),
            queued: Labelled::default(),
            sync_failures: Labelled::default(),
            cleanup_failures: Labelled::default(),
            no_local: Labelled::default(),
            service_changes: Counter::default(),
            endpoint_changes: Counter::default(),
        };
        metrics.with_registry(|registry| {
            let registry = registry.sub_registry_with_prefix("kubeproxy");
            let mut sync = |name: &str, text: &str, metric: &Histograms| {
                registry.register(format!("sync_{name}duration_seconds"), text, metric.clone());
            };
            sync("proxy_rules_", "Time to bring the rules up to date", &all.durations);
            sync("full_proxy_rules_", "Time to write all rules", &all.full);
            sync("partial_proxy_rules_", "Time to write changed rules", &all.partial);
            let text = "When the rules were last brought up to date";
            registry.register("sync_proxy_rules_last_timestamp_seconds", text, all.last.clone());
            let text = "When a change last asked for new rules";
            registry.register(
                "sync_proxy_rules_last_queued_timestamp_seconds",
                text,
                all.queued.clone(),
            );
            let text = "Transactions that failed";
            let name = "sync_proxy_rules_nftables_sync_failures";
            registry.register(name, text, all.sync_failures.clone());
            let text = "Deletions of unused chains that failed";
            let name = "sync_proxy_rules_nftables_cleanup_failures";
            registry.register(name, text, all.cleanup_failures.clone());
            let text = "Service ports with a Local traffic policy and no local endpoints";
            registry.register(
                "sync_proxy_rules_no_local_endpoints_total",
                text,
                all.no_local.clone(),
            );
            let text = "Changes of Services";
            registry.register(
                "sync_proxy_rules_service_changes",
                text,
                all.service_changes.clone(),
            );
            let text = "Changes of endpoints";
            registry.register(
                "sync_proxy_rules_endpoint_changes",
                text,
                all.endpoint_changes.clone(),
            );
        });
        all
    }

    pub(crate) fn changed(&self, services: usize, endpoints: usize) {
        self.service_changes.inc_by(services as u64);
        self.endpoint_changes.inc_by(endpoints as u64);
    }

    pub(crate) fn queued(&self, now: f64) {
        for family in Family::ALL {
            self.queued.get_or_create(&by_family(family)).set(now);
        }
    }

    pub(crate) fn synced(&self, family: Family, took: Duration, full: bool, now: f64) {
        let label = by_family(family);
        let which = if full { &self.full } else { &self.partial };
        which.get_or_create(&label).observe(took.as_secs_f64());
        self.durations.get_or_create(&label).observe(took.as_secs_f64());
        self.last.get_or_create(&label).set(now);
    }

    pub(crate) fn failed(&self, family: Family) {
        self.sync_failures.get_or_create(&by_family(family)).inc();
    }

    pub(crate) fn cleanup_failed(&self, family: Family) {
        self.cleanup_failures.get_or_create(&by_family(family)).inc();
    }

    pub(crate) fn no_local(&self, family: Family, internal: usize, external: usize) {
        for (traffic_policy, count) in [("internal", internal), ("external", external)] {
            let label = ByPolicy { traffic_policy, ip_family: family.name() };
            self.no_local.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
