//! Measures of extension API servers, under the original's names.

use crate::services::Condition;
use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    name: String,
    reason: &'static str,
}

/// All measures.
#[derive(Debug, Default)]
pub(crate) struct Measures {
    unavailable: Family<Name, Gauge>,
    became: Family<Reason, Counter>,
}

impl Measures {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        // The text form appends `_total` to the counter's.
        let name = "aggregator_unavailable_apiservice";
        let unavailable = "APIServices that are not available";
        Self {
            unavailable: metrics.show(name, unavailable, Family::default()),
            became: metrics.show(
                name,
                "How often APIServices became unavailable",
                Family::default(),
            ),
        }
    }

    /// What was found of an APIService; `changed` when that is not what its status said.
    pub(crate) fn found(&self, name: &str, condition: &Condition, changed: bool) {
        let unavailable = !condition.is_true();
        let labels = Name { name: name.to_owned() };
        self.unavailable.get_or_create(&labels).set(unavailable.into());
        if unavailable && changed {
            let labels = Reason { name: name.to_owned(), reason: condition.reason };
            self.became.get_or_create(&labels).inc();
        }
    }

    /// An APIService is gone.
    pub(crate) fn forget(&self, name: &str) {
        self.unavailable.remove(&Name { name: name.to_owned() });
    }
}
