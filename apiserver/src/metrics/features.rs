//! Which feature gates are on.

use kubeplane_core::features::Features;
use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GateLabels {
    name: &'static str,
    stage: &'static str,
}

/// Tells every gate, once: they do not change while the server runs.
pub(crate) fn show(features: &Features, metrics: &Metrics) {
    let gates: Family<GateLabels, Gauge> = Family::default();
    for (gate, on) in features.all() {
        let labels = GateLabels { name: gate.name, stage: gate.stage.as_str() };
        gates.get_or_create(&labels).set(on.into());
    }
    metrics.with_registry(|registry| {
        registry.register("kubernetes_feature_enabled", "Feature gates, by stage", gates);
    });
}
