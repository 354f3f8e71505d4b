//! Measures of conversion webhooks, under the original's names.

use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Conversion {
    crd_name: String,
    from_version: String,
    succeeded: &'static str,
    to_version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    failure_type: &'static str,
    result: &'static str,
}

/// Why a webhook's answer was no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It could not be called.
    Call,
    /// The answer is none.
    Malformed,
    /// There are fewer or more objects than were sent.
    Partial,
    /// An object is not what was asked for.
    Object,
    /// There are no objects.
    Nothing,
}

impl Failed {
    fn name(self) -> &'static str {
        match self {
            Self::Call => "conversion_webhook_call_failure",
            Self::Malformed => "conversion_webhook_malformed_response_failure",
            Self::Partial => "conversion_webhook_partial_response_failure",
            Self::Object => "conversion_webhook_invalid_converted_object_failure",
            Self::Nothing => "conversion_webhook_no_objects_returned_failure",
        }
    }
}

/// All measures.
#[derive(Debug)]
pub(crate) struct Measures {
    conversions: Family<Conversion, Histogram, fn() -> Histogram>,
    calls: Family<Called, Counter>,
    durations: Family<Called, Histogram, fn() -> Histogram>,
}

fn conversion_seconds() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(0.001, 2.0, 15))
}

fn call_seconds() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0,
    ])
}

impl Default for Measures {
    /// Measures that nobody reads.
    fn default() -> Self {
        Self::new(&Metrics::new())
    }
}

impl Measures {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            conversions: metrics.show(
                "apiserver_crd_conversion_webhook_duration_seconds",
                "Seconds in conversions of custom resources by webhooks",
                Family::new_with_constructor(conversion_seconds),
            ),
            calls: metrics.show(
                "apiserver_conversion_webhook_request",
                "Calls of conversion webhooks",
                Family::default(),
            ),
            durations: metrics.show(
                "apiserver_conversion_webhook_duration_seconds",
                "Seconds in one call of a webhook",
                Family::new_with_constructor(call_seconds),
            ),
        }
    }

    /// Objects of a definition were converted, or could not be.
    pub(crate) fn converted(
        &self,
        definition: &str,
        (from, to): (&str, &str),
        succeeded: bool,
        took: Duration,
    ) {
        let labels = Conversion {
            crd_name: definition.to_owned(),
            from_version: from.to_owned(),
            succeeded: if succeeded { "true" } else { "false" },
            to_version: to.to_owned(),
        };
        self.conversions.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A webhook was called.
    pub(crate) fn called(&self, failed: Option<Failed>, took: Duration) {
        let labels = Called {
            failure_type: failed.map_or("", Failed::name),
            result: if failed.is_none() { "success" } else { "failure" },
        };
        self.calls.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }
}
