//! Times what plugins do.

use crate::metrics::SchedulerMetrics;
use kubeplane_clock::SharedClock;
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// Single plugins are timed in one cycle of this many, as in the original: there are many, and fast ones.
const SAMPLED: usize = 10;

/// How it went at an extension point, in the original's words.
pub(super) mod status {
    pub(in crate::framework) const SUCCESS: &str = "Success";
    pub(in crate::framework) const ERROR: &str = "Error";
    pub(in crate::framework) const UNSCHEDULABLE: &str = "Unschedulable";
    pub(in crate::framework) const UNRESOLVABLE: &str = "UnschedulableAndUnresolvable";
    pub(in crate::framework) const WAIT: &str = "Wait";
    pub(in crate::framework) const SKIP: &str = "Skip";
}

/// Where a profile's times go.
#[derive(Debug)]
pub(super) struct Meter {
    clock: SharedClock,
    profile: String,
    pub(super) metrics: SchedulerMetrics,
    cycles: AtomicUsize,
}

impl Meter {
    pub(super) fn new(clock: SharedClock, profile: &str, metrics: SchedulerMetrics) -> Self {
        Self { clock, profile: profile.to_owned(), metrics, cycles: AtomicUsize::new(0) }
    }

    /// Whether single plugins are timed in the cycle that begins.
    pub(super) fn is_sampled(&self) -> bool {
        self.cycles.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLED)
    }

    pub(super) fn begin(&self) -> Duration {
        self.clock.elapsed()
    }

    /// All plugins of an extension point are done.
    pub(super) fn end(&self, point: &'static str, status: &'static str, began: Duration) {
        let took = self.clock.elapsed().saturating_sub(began);
        self.metrics.extension_point(point, status, &self.profile, took);
    }

    pub(super) fn begin_plugin(&self, sampled: bool) -> Option<Duration> {
        sampled.then(|| self.clock.elapsed())
    }

    /// One plugin is done; `began` is `None` where that is not timed.
    pub(super) fn end_plugin(
        &self,
        point: &'static str,
        plugin: &'static str,
        status: &'static str,
        began: Option<Duration>,
    ) {
        if let Some(began) = began {
            let took = self.clock.elapsed().saturating_sub(began);
            self.metrics.plugin(plugin, point, status, took);
        }
    }

    /// Counts how often a plugin was asked.
    pub(super) fn evaluated(&self, point: &'static str, plugin: &'static str, times: u64) {
        if times > 0 {
            self.metrics.evaluated(plugin, point, &self.profile, times);
        }
    }

    /// A pod waited that long for permission.
    pub(super) fn waited(&self, status: &'static str, began: Duration) {
        self.metrics.permitted(status, self.clock.elapsed().saturating_sub(began));
    }
}
