//! What is told of the client certificate, under the original's names.

use super::ClientCertificate;
use kubeplane_telemetry::Metrics;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::Counter, gauge::ConstGauge},
};
use std::fmt;

const TTL: &str = "kubelet_certificate_manager_client_ttl_seconds";
const FAILURES: &str = "kubelet_certificate_manager_client_expiration_renew_errors";

/// Counts; clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    failures: Counter,
}

impl Figures {
    /// Another certificate could not be had.
    pub(super) fn failed(&self) {
        self.failures.inc();
    }

    pub(super) fn show(&self, metrics: &Metrics, certificate: ClientCertificate) {
        let shown = Shown { certificate, failures: self.failures.clone() };
        metrics.with_registry(|registry| registry.register_collector(Box::new(shown)));
    }
}

#[derive(Debug)]
struct Shown {
    certificate: ClientCertificate,
    failures: Counter,
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = self.certificate.clock.now();
        let left = self.certificate.valid().map(|info| info.not_after.duration_since(now));
        let left = left.map_or(f64::INFINITY, |left| left.as_secs_f64().trunc());
        let help = "Seconds for which the client certificate is still good";
        let ttl = encoder.encode_descriptor(TTL, help, None, MetricType::Gauge)?;
        ConstGauge::new(left).encode(ttl)?;
        // As a counter its name would end in `_total`, which the original's does not.
        let help = "How often no other client certificate could be had";
        let failures = encoder.encode_descriptor(FAILURES, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(self.failures.get()).unwrap_or(i64::MAX)).encode(failures)
    }
}
