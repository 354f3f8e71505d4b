mod correlate;
mod line;
mod memory;
mod record;
mod series;

pub use series::SeriesRecorder;

use crate::Watchable;
use correlate::Correlator;
use k8s_openapi::api::core::v1::ObjectReference;
use kubeplane_clock::SharedClock;
use line::{Line, Message};
use record::Recorder;
use std::{fmt, sync::Arc};
use tokio::sync::mpsc;

/// Whether an event is worth attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// For information.
    Normal,
    /// Something is wrong.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// One thing to be told about an object.
#[derive(Debug, Clone)]
struct Occurrence {
    object: ObjectReference,
    /// Who tells it, if not who usually does.
    component: Option<Arc<str>>,
    kind: EventType,
    reason: String,
    message: String,
}

/// Writes core/v1 Events: equal ones are counted in one object, similar ones combined, floods cut off.
///
/// It never blocks its callers: what cannot be written in time is dropped. Clones share one writer, which
/// ends with the last of them. What writes events.k8s.io/v1 Events is [`SeriesRecorder`].
#[derive(Clone)]
pub struct EventRecorder {
    line: Arc<Line<Occurrence>>,
    component: Option<Arc<str>>,
}

impl fmt::Debug for EventRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRecorder").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

impl EventRecorder {
    /// A recorder that names `component` (as in `deployment-controller`) on `host` as its source.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(client: kube::Client, clock: SharedClock, component: &str, host: &str) -> Self {
        let correlator = Correlator::new(clock.clone());
        let recorder =
            Recorder::new(client, clock, correlator, component.to_owned(), host.to_owned());
        let line = Line::new(|waiting| run(recorder, waiting));
        Self { line: Arc::new(line), component: None }
    }

    /// The same writer for what another `component` tells, which is named as the source.
    #[must_use]
    pub fn named(&self, component: &str) -> Self {
        Self { line: self.line.clone(), component: Some(component.into()) }
    }

    /// Tells of `object`; the API server and readers see it soon after, or not at all under overload.
    pub fn event(
        &self,
        object: &ObjectReference,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.line.send(Occurrence {
            object: object.clone(),
            component: self.component.clone(),
            kind,
            reason: reason.to_owned(),
            message: message.into(),
        });
    }

    /// Tells of a typed object.
    pub fn event_for<K: Watchable>(
        &self,
        object: &K,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.event(&Self::reference(object), kind, reason, message);
    }

    /// The reference by which events name `object`.
    #[must_use]
    pub fn reference<K: kube::Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
        ObjectReference {
            resource_version: object.meta().resource_version.clone(),
            ..object.object_ref(&())
        }
    }

    /// How many events were dropped because too many waited.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.line.dropped()
    }

    /// Waits until every event told of before was written or given up.
    pub async fn flush(&self) {
        self.line.flush().await;
    }
}

async fn run(mut recorder: Recorder, mut waiting: mpsc::Receiver<Message<Occurrence>>) {
    while let Some(message) = waiting.recv().await {
        match message {
            Message::Event(occurrence) => recorder.record(*occurrence).await,
            Message::Flush(done) => {
                // Whoever waited may have gone away.
                let _ = done.send(());
            }
        }
    }
}
