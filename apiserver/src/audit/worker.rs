//! The thread of a sink, and how requests wait for it.

use super::{AuditSink, Event, Truncation};
use crate::metrics::AuditMetrics;
use parking_lot::Mutex;
use std::{io, sync::Arc, thread::JoinHandle};
use tokio::sync::{mpsc, oneshot};

/// How many events are written before those who wait for them are told.
const AT_ONCE: usize = 400;

/// How requests wait for a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// They do not; what the sink does not keep up with is lost.
    Batch,
    /// Until an event is written; what cannot be written is lost.
    #[default]
    Blocking,
    /// The same, and a request that cannot be recorded when it comes is refused.
    BlockingStrict,
}

impl Mode {
    /// From the original's name: `batch`, `blocking` or `blocking-strict`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "batch" => Some(Self::Batch),
            "blocking" => Some(Self::Blocking),
            "blocking-strict" => Some(Self::BlockingStrict),
            _ => None,
        }
    }
}

/// How events get to a sink.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// How requests wait for it.
    pub mode: Mode,
    /// How many events wait at most.
    pub buffer: usize,
    /// What becomes of large events; without it they are written as they are.
    pub truncation: Option<Truncation>,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self { mode: Mode::default(), buffer: 10_000, truncation: None }
    }
}

/// An event on its way; whoever waits for it is told whether it was written.
struct Job {
    event: Arc<Event>,
    done: Option<oneshot::Sender<bool>>,
}

#[derive(Debug)]
pub(super) struct Worker {
    name: &'static str,
    mode: Mode,
    sender: Option<mpsc::Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    metrics: AuditMetrics,
}

impl Worker {
    pub(super) fn start(
        name: &'static str,
        sink: impl AuditSink,
        options: SinkOptions,
        metrics: AuditMetrics,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(options.buffer.max(1));
        let writing =
            Writing { name, sink, truncation: options.truncation, metrics: metrics.clone() };
        let thread = std::thread::Builder::new()
            .name(format!("audit-{name}"))
            .spawn(move || writing.drain(receiver))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { name, mode: options.mode, sender: Some(sender), thread, metrics })
    }

    /// False when the event is not written and must be.
    pub(super) async fn send(&self, event: &Arc<Event>) -> bool {
        if self.mode == Mode::Batch {
            self.send_now(event);
            return true;
        }
        let Some(sender) = &self.sender else { return true };
        let (done, told) = oneshot::channel();
        let written = match sender.send(Job { event: event.clone(), done: Some(done) }).await {
            Ok(()) => told.await.unwrap_or_default(),
            Err(_) => {
                self.lost(&"the audit log has ended");
                false
            }
        };
        written || self.mode != Mode::BlockingStrict
    }

    pub(super) fn send_now(&self, event: &Arc<Event>) {
        if let Some(sender) = &self.sender
            && let Err(error) = sender.try_send(Job { event: event.clone(), done: None })
        {
            self.lost(&error);
        }
    }

    fn lost(&self, error: &dyn std::fmt::Display) {
        self.metrics.failed(self.name, 1);
        tracing::error!(sink = self.name, %error, "an audit event is lost");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Writing<S> {
    name: &'static str,
    sink: S,
    truncation: Option<Truncation>,
    metrics: AuditMetrics,
}

impl<S: AuditSink> Writing<S> {
    fn drain(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            let mut waiting = Vec::new();
            let mut next = Some(job);
            while let Some(job) = next {
                let written = self.write(&job.event);
                waiting.extend(job.done.map(|done| (done, written)));
                next = if waiting.len() < AT_ONCE { jobs.try_recv().ok() } else { None };
            }
            let flushed = self.sink.flush();
            if let Err(error) = &flushed {
                self.metrics.failed(self.name, 1);
                tracing::error!(sink = self.name, %error, "audit events may be lost");
            }
            for (done, written) in waiting {
                // Whoever stopped waiting needs no word.
                let _ = done.send(written && flushed.is_ok());
            }
        }
    }

    fn write(&mut self, event: &Event) -> bool {
        let fitting = self.truncation.as_ref().map(|truncation| truncation.fit(event));
        let written = match &fitting {
            None => self.sink.write(event),
            Some(Some(event)) => self.sink.write(event),
            Some(None) => Err(io::Error::other("it is too large even without its objects")),
        };
        if let Err(error) = &written {
            self.metrics.failed(self.name, 1);
            tracing::error!(sink = self.name, %error, "an audit event is lost");
        }
        written.is_ok()
    }
}
