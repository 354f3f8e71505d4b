use super::name;
use crate::events::{line::Message, memory::Memory};
use k8s_openapi::{
    api::events::v1::{Event, EventSeries},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    core::Request,
};
use kubeplane_clock::SharedClock;
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;

/// A series is over when nothing was added for so long; that is looked for as often.
const OVER: Duration = Duration::from_secs(360);
/// With every so many of these looks all series are written: half an hour, and events last one.
const RENEWING: u32 = 5;
/// How many events that differ are remembered.
const REMEMBERED: usize = 8192;
/// How many events about one object may have the same instant.
const SAME_INSTANT: i128 = 256;
const ATTEMPTS: u32 = 4;
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);

/// An event as it was written, or with a later count.
#[derive(Debug)]
struct Known {
    event: Event,
    /// When it was last told of.
    seen: Duration,
}

/// Writes events and counts those that repeat.
pub(super) struct Writer {
    client: kube::Client,
    clock: SharedClock,
    known: Memory<String, Known>,
}

pub(super) async fn run(mut writer: Writer, mut waiting: mpsc::Receiver<Message<Event>>) {
    let mut looks = 0;
    loop {
        let mut look = writer.clock.sleep(OVER);
        loop {
            tokio::select! {
                biased;
                () = &mut look => break,
                message = waiting.recv() => match message {
                    Some(Message::Event(event)) => writer.record(*event).await,
                    Some(Message::Flush(done)) => {
                        // Whoever waited may have gone away.
                        let _ = done.send(());
                    }
                    None => return,
                },
            }
        }
        looks = (looks + 1) % RENEWING;
        writer.look(looks == 0).await;
    }
}

impl Writer {
    pub(super) fn new(client: kube::Client, clock: SharedClock) -> Self {
        Self { client, clock, known: Memory::new(REMEMBERED) }
    }

    async fn record(&mut self, event: Event) {
        let (key, seen) = (key(&event), self.clock.elapsed());
        let Some(known) = self.known.touch(&key) else {
            if let Some(event) = self.write(event).await {
                self.known.insert(key, Known { event, seen });
            }
            return;
        };
        known.seen = seen;
        let before = known.event.series.take();
        let count = before.as_ref().map_or(2, |own| own.count.saturating_add(1));
        let last_observed_time = MicroTime(self.clock.now());
        known.event.series = Some(EventSeries { count, last_observed_time });
        if before.is_some() {
            return;
        }
        let event = known.event.clone();
        match self.write(event).await {
            Some(event) => self.known.insert(key, Known { event, seen }),
            None => {
                self.known.remove(&key);
            }
        }
    }

    /// Ends series that are over and forgets them; with `renewing` those that go on are written too.
    async fn look(&mut self, renewing: bool) {
        let now = self.clock.elapsed();
        let is_over = |own: &Known| now.saturating_sub(own.seen) > OVER;
        let due = |own: &Known| is_over(own) || renewing && own.event.series.is_some();
        for key in self.known.keys(due) {
            let Some(known) = self.known.remove(&key) else { continue };
            let (is_over, seen) = (is_over(&known), known.seen);
            if known.event.series.is_none() {
                continue;
            }
            let written = self.write(known.event).await;
            if let (Some(event), false) = (written, is_over) {
                self.known.insert(key, Known { event, seen });
            }
        }
    }

    /// The event as it was written; `None` when it was refused or is lost.
    async fn write(&self, mut event: Event) -> Option<Event> {
        for attempt in 1..=ATTEMPTS {
            match self.attempt(&mut event).await {
                Ok(()) => return Some(event),
                // The server understood and refused: trying again would change nothing.
                Err(kube::Error::Api(status)) if status.code != 429 && status.code < 500 => {
                    tracing::debug!(reason = reason(&event), %status, "event refused");
                    return None;
                }
                Err(error) if attempt == ATTEMPTS => {
                    tracing::warn!(reason = reason(&event), %error, "event lost");
                }
                Err(_) => self.clock.sleep(BETWEEN_ATTEMPTS).await,
            }
        }
        None
    }

    async fn attempt(&self, event: &mut Event) -> Result<(), kube::Error> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        if let Some(series) = &event.series {
            let name = event.metadata.name.as_deref().unwrap_or_default();
            let patch = Patch::Strategic(json!({"series": series}));
            match api.patch(name, &PatchParams::default(), &patch).await {
                // It was dropped meanwhile.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                other => return other.map(|_| ()),
            }
        }
        create(&api, event).await
    }
}

/// Creates an event. What the server answers is not read: one is written for each pod that gets a node.
async fn create(api: &Api<Event>, event: &mut Event) -> Result<(), kube::Error> {
    let (place, client) = (Request::new(api.resource_url()), api.clone().into_client());
    let mut more = 0;
    loop {
        let body = serde_json::to_vec(event).map_err(kube::Error::SerdeError)?;
        let request = place.create(&PostParams::default(), body);
        match client.request_text(request.map_err(kube::Error::BuildRequest)?).await {
            // Clocks are coarse, and a paused one stands still: the instant may be taken.
            Err(kube::Error::Api(status)) if status.is_already_exists() && more < SAME_INSTANT => {
                more += 1;
                let (regarding, time) = (event.regarding.as_ref(), event.event_time.as_ref());
                event.metadata.name = regarding.zip(time).map(|(about, at)| name(about, at, more));
            }
            other => return other.map(|_| ()),
        }
    }
}

fn reason(event: &Event) -> &str {
    event.reason.as_deref().unwrap_or_default()
}

/// What events of one series have in common.
fn key(event: &Event) -> String {
    let own = [
        &event.type_,
        &event.action,
        &event.reason,
        &event.reporting_controller,
        &event.reporting_instance,
    ];
    let objects = event.regarding.iter().chain(&event.related).flat_map(|object| {
        [
            &object.kind,
            &object.namespace,
            &object.name,
            &object.uid,
            &object.api_version,
            &object.resource_version,
            &object.field_path,
        ]
    });
    let parts = own.into_iter().chain(objects).map(|part| part.as_deref().unwrap_or_default());
    parts.collect::<Vec<_>>().join("\n")
}
