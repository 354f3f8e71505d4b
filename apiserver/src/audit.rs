//! The audit log: who did what when, as far as a policy asks for it.
//!
//! ```text
//!   pipeline step ──> Policy: how closely? ──> Event at each stage ──> channel ──> AuditSink (its own thread)
//! ```
//!
//! Without [`Builder::audit`](crate::Builder::audit) there is no step, and nothing is computed.

mod event;
mod file;
mod policy;
mod record;

pub use event::{Event, Level, ObjectReference, Stage, User};
pub use file::{AuditFile, FileOptions};
pub use policy::{Policy, PolicyError, Rule, Verdict};

pub(crate) use record::Record;

use parking_lot::Mutex;
use std::{fmt::Debug, io, thread::JoinHandle};
use tokio::sync::mpsc;

/// How many events wait for the sink; requests wait when there are more.
const WAITING: usize = 4096;

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

impl AuditSink for Vec<Box<dyn AuditSink>> {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        // One that fails does not keep the others from theirs.
        self.iter_mut().map(|sink| sink.write(event)).fold(Ok(()), io::Result::and)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.iter_mut().map(|sink| sink.flush()).fold(Ok(()), io::Result::and)
    }
}

/// A policy, and where the events it asks for go. Dropping it writes what is still on its way.
#[derive(Debug)]
pub struct AuditLog {
    policy: Policy,
    sender: Option<mpsc::Sender<Event>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl AuditLog {
    /// Starts a thread that writes to `sink`.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn new(policy: Policy, sink: impl AuditSink) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || drain(receiver, sink))?;
        Ok(Self { policy, sender: Some(sender), thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    async fn send(&self, event: Event) {
        if let Some(sender) = &self.sender
            && sender.send(event).await.is_err()
        {
            tracing::error!("the audit log has ended; an event is lost");
        }
    }

    /// Sends from where nothing can wait.
    fn send_now(&self, event: Event) {
        if let Some(sender) = &self.sender
            && let Err(error) = sender.try_send(event)
        {
            tracing::error!(%error, "an audit event is lost");
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

fn drain(mut events: mpsc::Receiver<Event>, mut sink: impl AuditSink) {
    while let Some(event) = events.blocking_recv() {
        let mut next = Some(event);
        while let Some(event) = next {
            if let Err(error) = sink.write(&event) {
                tracing::error!(%error, "an audit event is lost");
            }
            next = events.try_recv().ok();
        }
        if let Err(error) = sink.flush() {
            tracing::error!(%error, "audit events may be lost");
        }
    }
}
