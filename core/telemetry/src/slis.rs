use crate::{Metrics, Report};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

/// What single health checks say, counted each time all of a probe are asked.
#[derive(Debug, Clone)]
pub(crate) struct Slis {
    pub(crate) metrics: Metrics,
    last: Family<Asked, Gauge>,
    results: Family<Answered, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    name: String,
    r#type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    name: String,
    status: &'static str,
    r#type: String,
}

impl Default for Slis {
    fn default() -> Self {
        let metrics = Metrics::new();
        let last = "[STABLE] What a single health check said last: 1 that all is well";
        let results = "[STABLE] How often single health checks said what";
        Self {
            last: metrics.show("kubernetes_healthcheck", last, Family::default()),
            results: metrics.show("kubernetes_healthchecks", results, Family::default()),
            metrics,
        }
    }
}

impl Slis {
    /// Takes in what was said to a probe of this name.
    pub(crate) fn observe(&self, probe: &str, report: &Report) {
        for (name, passed) in report.asked() {
            let (name, r#type) = (name.to_owned(), probe.to_owned());
            let asked = Asked { name: name.clone(), r#type: r#type.clone() };
            self.last.get_or_create(&asked).set(i64::from(passed));
            let status = if passed { "success" } else { "error" };
            self.results.get_or_create(&Answered { name, status, r#type }).inc();
        }
    }
}
