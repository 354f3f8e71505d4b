//! How the audit log fares.

use crate::audit::Level;
use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabel {
    plugin: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabel {
    level: &'static str,
}

/// Counters of events.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditMetrics {
    events: Counter,
    errors: Family<PluginLabel, Counter>,
    levels: Family<LevelLabel, Counter>,
    rejected: Counter,
}

impl AuditMetrics {
    pub(crate) fn register(&self, metrics: &Metrics) {
        metrics.with_registry(|registry| {
            let help = "Events made for the audit log";
            registry.register("apiserver_audit_event", help, self.events.clone());
            let help = "Events of the audit log that were lost";
            registry.register("apiserver_audit_error", help, self.errors.clone());
            let help = "Requests by how closely they are audited";
            registry.register("apiserver_audit_level", help, self.levels.clone());
            let help = "Requests refused because they could not be recorded";
            registry.register("apiserver_audit_requests_rejected", help, self.rejected.clone());
        });
    }

    pub(crate) fn event(&self) {
        self.events.inc();
    }

    pub(crate) fn failed(&self, plugin: &'static str, events: u64) {
        self.errors.get_or_create(&PluginLabel { plugin }).inc_by(events);
    }

    pub(crate) fn judged(&self, level: Level) {
        self.levels.get_or_create(&LevelLabel { level: level.as_str() }).inc();
    }

    pub(crate) fn rejected(&self) {
        self.rejected.inc();
    }
}
