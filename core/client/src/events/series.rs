//! Events of events.k8s.io/v1, where what repeats is a series.

#[cfg(test)]
mod tests;
mod write;

use super::{EventRecorder, EventType, line::Line};
use crate::Watchable;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kubeplane_clock::SharedClock;
use kubeplane_core::names::is_dns1123_subdomain;
use std::{fmt, sync::Arc};
use write::{Writer, run};

/// Writes events.k8s.io/v1 Events, as the scheduler of the original does (KEP-383).
///
/// Events alike in all but note and time are one object: the first is written at once, the second makes it a series of
/// two, and later ones are only counted. A series is written again after half an hour, so that it is not dropped while it
/// goes on, and with its last count when nothing was added for six minutes. An object in another resourceVersion is
/// another one. The last 8,192 that differ are remembered.
///
/// It never blocks its callers: what cannot be written in time is dropped. Clones share one writer, which
/// ends with the last of them.
#[derive(Clone)]
pub struct SeriesRecorder {
    line: Arc<Line<Event>>,
    clock: SharedClock,
    controller: Arc<str>,
    host: Arc<str>,
}

impl fmt::Debug for SeriesRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeriesRecorder")
            .field("controller", &self.controller)
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

impl SeriesRecorder {
    /// A recorder for what `controller` (as in `default-scheduler`) reports from `host`: its instance is
    /// `controller-host`, which the API takes up to 128 bytes long.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(client: kube::Client, clock: SharedClock, controller: &str, host: &str) -> Self {
        let writer = Writer::new(client, clock.clone());
        let line = Arc::new(Line::new(|waiting| run(writer, waiting)));
        Self { line, clock, controller: controller.into(), host: host.into() }
    }

    /// The same writer for what another `controller` reports from the same host.
    #[must_use]
    pub fn named(&self, controller: &str) -> Self {
        Self { controller: controller.into(), ..self.clone() }
    }

    /// Tells of `regarding` that by `action` (as in `Binding`) something happened for a `reason` (as in `Scheduled`), and
    /// which object that is `related` had to do with it. The API takes actions and reasons of 1 to 128 bytes and notes up
    /// to 1,024.
    pub fn event(
        &self,
        regarding: &ObjectReference,
        related: Option<&ObjectReference>,
        kind: EventType,
        reason: &str,
        action: &str,
        note: impl Into<String>,
    ) {
        let time = MicroTime(self.clock.now());
        let namespace = regarding.namespace.clone().filter(|namespace| !namespace.is_empty());
        self.line.send(Event {
            metadata: ObjectMeta {
                name: Some(name(regarding, &time, 0)),
                namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            event_time: Some(time),
            action: Some(action.to_owned()),
            note: Some(note.into()),
            reason: Some(reason.to_owned()),
            regarding: Some(regarding.clone()),
            related: related.cloned(),
            reporting_controller: Some(self.controller.to_string()),
            reporting_instance: Some(format!("{}-{}", self.controller, self.host)),
            type_: Some(kind.as_str().to_owned()),
            ..Event::default()
        });
    }

    /// Tells of a typed object, to which no other is related.
    pub fn event_for<K: Watchable>(
        &self,
        object: &K,
        kind: EventType,
        reason: &str,
        action: &str,
        note: impl Into<String>,
    ) {
        self.event(&Self::reference(object), None, kind, reason, action, note);
    }

    /// The reference by which events name `object`.
    #[must_use]
    pub fn reference<K: kube::Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
        EventRecorder::reference(object)
    }

    /// How many events were dropped because too many waited.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.line.dropped()
    }

    /// Waits until every event told of before was written, counted or given up.
    ///
    /// # Cancellation
    /// Without effect.
    pub async fn flush(&self) {
        self.line.flush().await;
    }
}

/// The object's name and the instant; `more` tells apart events of one instant.
fn name(regarding: &ObjectReference, time: &MicroTime, more: i128) -> String {
    let instant = time.0.as_nanosecond() + more;
    let name = format!("{}.{instant:x}", regarding.name.as_deref().unwrap_or_default());
    // Not every object is named as this API wants it.
    if is_dns1123_subdomain(&name).is_empty() { name } else { format!("{instant:x}") }
}
