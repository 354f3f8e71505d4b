//! Where controllers tell of themselves, under the original's names.

use kubeplane_client::Informer;
use kubeplane_telemetry::Metrics;
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Metric,
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Where the metrics of one controller are shown; nowhere, when nobody asked for them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    metrics: Option<&'a Metrics>,
    controller: &'static str,
}

impl<'a> Place<'a> {
    /// Of the controller whose metrics begin with this.
    pub(super) fn new(metrics: Option<&'a Metrics>, controller: &'static str) -> Self {
        Self { metrics, controller }
    }

    /// Shows a metric. The text form appends `_total` to the names of counters.
    pub(super) fn show<M: Metric + Clone + Default>(&self, name: &str, help: &str) -> M {
        self.show_this(name, help, M::default())
    }

    /// Shows this one, which has no default.
    pub(super) fn show_this<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        match self.metrics {
            Some(metrics) => metrics.show(&self.name(name), help, metric),
            None => metric,
        }
    }

    /// Shows how many there are, counted whenever somebody asks.
    pub(super) fn count<const N: usize>(
        &self,
        name: &str,
        help: &'static str,
        count: impl Fn() -> Counts<N> + Send + Sync + 'static,
    ) {
        let Some(metrics) = self.metrics else { return };
        let counted = Counted { name: self.name(name), help, count: Box::new(count) };
        metrics.with_registry(|registry| registry.register_collector(Box::new(counted)));
    }

    /// Shows how often work waited for a cache that was behind, by what was behind.
    pub(super) fn skips(&self) -> Skips {
        self.show("stale_sync_skips", "Looks put off as a cache did not show what was written")
    }

    fn name(&self, name: &str) -> String {
        format!("{}_{name}", self.controller)
    }
}

/// By group and resource.
pub(super) type Skips = Family<Labels<2>, Counter>;

/// How many there are, by labels.
pub(super) type Counts<const N: usize> = BTreeMap<Labels<N>, i64>;

/// Shown as gauges.
struct Counted<const N: usize> {
    name: String,
    help: &'static str,
    count: Box<dyn Fn() -> Counts<N> + Send + Sync>,
}

impl<const N: usize> fmt::Debug for Counted<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<const N: usize> Collector for Counted<N> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = (self.count)();
        if counts.is_empty() {
            return Ok(());
        }
        let mut family =
            encoder.encode_descriptor(&self.name, self.help, None, MetricType::Gauge)?;
        for (label, count) in &counts {
            ConstGauge::new(*count).encode(family.encode_family(label)?)?;
        }
        Ok(())
    }
}

/// A cache that is known once its controller runs.
pub(super) type Slot<K> = Arc<Mutex<Option<Informer<K>>>>;

/// The objects of a slot.
pub(super) fn listed<K>(slot: &Slot<K>) -> Vec<Arc<K>>
where
    K: kube::Resource + Send + Sync + 'static,
{
    let informer = slot.lock().clone();
    informer.map(|informer| informer.list()).unwrap_or_default()
}

/// A histogram with so many bounds from `first` on, each `factor` times the one before.
pub(super) fn growing(first: f64, factor: f64, count: u16) -> Histogram {
    Histogram::new(exponential_buckets(first, factor, count))
}

/// The bounds of the original's histograms of what is done to volumes, in seconds.
pub(super) const STORAGE: [f64; 13] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0];

/// Labels, as pairs of name and value.
pub(super) type Labels<const N: usize> = [(&'static str, String); N];

/// Labels with these values.
pub(super) fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels<N> {
    pairs.map(|(name, value)| (name, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_named_after_their_controller_and_shown_where_somebody_asks() {
        let metrics = Metrics::new();
        let place = Place::new(Some(&metrics), "job_controller");
        let counts: Family<Labels<1>, Counter> = place.show("job_syncs", "Looks at Jobs");
        counts.get_or_create(&labels([("result", "success")])).inc();
        let text = metrics.encode_plain();
        assert!(text.contains("job_controller_job_syncs_total{result=\"success\"} 1\n"), "{text}");
        let nowhere: Counter = Place::new(None, "job_controller").show("job_syncs", "Looks");
        nowhere.inc();
    }

    #[test]
    fn what_is_counted_when_somebody_asks_is_a_gauge_by_labels() {
        let metrics = Metrics::new();
        let place = Place::new(Some(&metrics), "pv_collector");
        place.count("none", "Nothing", Counts::<1>::new);
        place.count("bound_pv_count", "Bound volumes", || {
            Counts::from([(labels([("storage_class", "fast")]), 3)])
        });
        let text = metrics.encode_plain();
        assert!(text.contains("pv_collector_bound_pv_count{storage_class=\"fast\"} 3\n"), "{text}");
        assert!(!text.contains("pv_collector_none"), "{text}");
    }
}
