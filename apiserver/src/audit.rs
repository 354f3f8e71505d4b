//! The audit log: who did what when, as far as a policy asks for it.
//!
//! ```text
//!   pipeline step ──> Policy: how closely? ──> Event at each stage ─┬─> channel ──> AuditSink (its own thread)
//!                                                                  └─> channel ──> another
//! ```
//!
//! Without [`Builder::audit`](crate::Builder::audit) there is no step, and nothing is computed.

mod event;
mod file;
mod policy;
mod record;
mod truncation;
mod worker;

pub use event::{AuthenticationMetadata, Event, Level, ObjectReference, Stage, User};
pub use file::{AuditFile, FileOptions};
pub use policy::{Policy, PolicyError, Rule, Verdict};
pub use truncation::Truncation;
pub use worker::{Mode, SinkOptions};

pub(crate) use record::Record;

use crate::metrics::AuditMetrics;
use kubeplane_telemetry::Metrics;
use std::{fmt::Debug, io, sync::Arc};
use worker::Worker;

/// Where events go.
///
/// # Contract
/// Called from a thread of its own, one event after the other; it may block. An error is logged, the event is lost.
pub trait AuditSink: Debug + Send + 'static {
    /// Takes an event.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn write(&mut self, event: &Event) -> io::Result<()>;

    /// There is no more to write for now.
    ///
    /// # Errors
    /// When what was taken cannot be kept.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A policy, and where the events it asks for go. Dropping it writes what is still on its way.
///
/// Counted under the original's names: `apiserver_audit_event_total`, `apiserver_audit_error_total`,
/// `apiserver_audit_level_total` and `apiserver_audit_requests_rejected_total`.
#[derive(Debug)]
pub struct AuditLog {
    policy: Policy,
    workers: Vec<Worker>,
    metrics: AuditMetrics,
}

impl AuditLog {
    /// Writes to one sink, for which requests wait.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn new(policy: Policy, sink: impl AuditSink) -> io::Result<Self> {
        Self::of(policy).sink("log", sink, SinkOptions::default())
    }

    /// A log that is written nowhere yet.
    #[must_use]
    pub fn of(policy: Policy) -> Self {
        Self { policy, workers: Vec::new(), metrics: AuditMetrics::default() }
    }

    /// Starts a thread that writes to `sink`, whose failures are counted under `name`.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn sink(
        mut self,
        name: &'static str,
        sink: impl AuditSink,
        options: SinkOptions,
    ) -> io::Result<Self> {
        self.workers.push(Worker::start(name, sink, options, self.metrics.clone())?);
        Ok(self)
    }

    pub(crate) fn register(&self, metrics: &Metrics) {
        self.metrics.register(metrics);
    }

    fn judge(&self, attributes: &kubeplane_core::auth::Attributes) -> Verdict {
        let verdict = self.policy.judge(attributes);
        self.metrics.judged(verdict.level);
        verdict
    }

    /// Sends an event everywhere. False when a sink without which nothing may be done did not take it.
    async fn send(&self, event: Event) -> bool {
        self.metrics.event();
        let event = Arc::new(event);
        let mut kept = true;
        for worker in &self.workers {
            kept &= worker.send(&event).await;
        }
        kept
    }

    /// Sends from where nothing can wait.
    fn send_now(&self, event: Event) {
        self.metrics.event();
        let event = Arc::new(event);
        self.workers.iter().for_each(|worker| worker.send_now(&event));
    }

    /// Counts a request that was not served because it could not be recorded.
    pub(crate) fn rejected(&self) {
        self.metrics.rejected();
    }
}
