use crate::{exposition, process::Process};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::text::encode,
    registry::{Metric, Registry},
};
use std::sync::Arc;

/// The metrics of one component. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// No metrics yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with the `process_` metrics: processor time, memory, open files. For whoever owns the
    /// process, once.
    #[must_use]
    pub fn with_process(self) -> Self {
        self.with_registry(|registry| registry.register_collector(Box::new(Process)));
        self
    }

    /// Registers metrics. Names get `_total` appended for counters by the text form itself.
    pub fn with_registry<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.0.lock())
    }

    /// Shows a metric under a name from now on, and gives it back to be counted with: clones of one count together.
    /// Names get `_total` appended for counters by the text form itself.
    pub fn show<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.with_registry(|registry| registry.register(name, help, metric.clone()));
        metric
    }

    /// All metrics as OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.0.lock());
        text
    }

    /// All metrics in the plain text form, version 0.0.4, which every reader of Prometheus' knows.
    #[must_use]
    pub fn encode_plain(&self) -> String {
        exposition::plain(&self.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_what_is_counted_with() {
        let metrics = Metrics::new();
        let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
        metrics.show("knocks", "Knocks at the door", counter).inc_by(2);
        assert!(metrics.encode_plain().contains("knocks_total 2\n"), "{}", metrics.encode_plain());
    }

    #[test]
    fn a_process_tells_of_itself() {
        let text = Metrics::new().with_process().encode_plain();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_default()
        };
        for name in [
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ] {
            assert!(value(name) > 0.0, "{name} in {text}");
        }
        assert!(text.contains("# TYPE process_cpu_seconds_total counter\n"), "{text}");
    }
}
