use super::{
    Occurrence,
    correlate::{Correlator, Plan, Written},
};
use k8s_openapi::{
    api::core::v1::{Event, EventSource},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use kubeplane_clock::SharedClock;
use serde_json::json;
use std::time::Duration;

/// How many events about one object may have the same instant.
const SAME_INSTANT: i128 = 256;
const ATTEMPTS: u32 = 4;
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);

/// Writes what the correlator lets through.
pub(super) struct Recorder {
    client: kube::Client,
    clock: SharedClock,
    correlator: Correlator,
    component: String,
    host: String,
}

impl Recorder {
    pub(super) fn new(
        client: kube::Client,
        clock: SharedClock,
        correlator: Correlator,
        component: String,
        host: String,
    ) -> Self {
        Self { client, clock, correlator, component, host }
    }

    pub(super) async fn record(&mut self, occurrence: Occurrence) {
        let Some(plan) = self.correlator.plan(&occurrence) else {
            return;
        };
        for attempt in 1..=ATTEMPTS {
            match self.write(&occurrence, &plan).await {
                Ok(written) => return self.correlator.wrote(plan.identity, written),
                // The server understood and refused: trying again would change nothing.
                Err(kube::Error::Api(status)) if status.code != 429 && status.code < 500 => {
                    tracing::debug!(reason = occurrence.reason, %status, "event refused");
                    return self.correlator.forget(&plan.identity);
                }
                Err(error) if attempt == ATTEMPTS => {
                    tracing::warn!(reason = occurrence.reason, %error, "event lost");
                }
                Err(_) => self.clock.sleep(BETWEEN_ATTEMPTS).await,
            }
        }
    }

    async fn write(&self, occurrence: &Occurrence, plan: &Plan) -> Result<Written, kube::Error> {
        if let Some(written) = &plan.written {
            match self.count(written, &plan.message).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                other => return other,
            }
        }
        self.create(occurrence, &plan.message).await
    }

    async fn count(&self, written: &Written, message: &str) -> Result<Written, kube::Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &written.namespace);
        let count = written.count.saturating_add(1);
        let patch =
            json!({"count": count, "lastTimestamp": Time(self.clock.now()), "message": message});
        api.patch(&written.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(Written { count, ..written.clone() })
    }

    async fn create(&self, occurrence: &Occurrence, message: &str) -> Result<Written, kube::Error> {
        let object = &occurrence.object;
        let namespace = object.namespace.clone().filter(|namespace| !namespace.is_empty());
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        let now = self.clock.now();
        let component = occurrence.component.as_deref().unwrap_or(&self.component);
        let mut event = Event {
            metadata: ObjectMeta { namespace: Some(namespace.clone()), ..ObjectMeta::default() },
            involved_object: object.clone(),
            reason: Some(occurrence.reason.clone()),
            message: Some(message.to_owned()),
            type_: Some(occurrence.kind.as_str().to_owned()),
            source: Some(EventSource {
                component: Some(component.to_owned()),
                host: Some(self.host.clone()).filter(|host| !host.is_empty()),
            }),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            reporting_component: Some(component.to_owned()),
            reporting_instance: Some(self.host.clone()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let about = object.name.as_deref().unwrap_or_default();
        let mut number = now.as_nanosecond();
        loop {
            let name = format!("{about}.{number:x}");
            event.metadata.name = Some(name.clone());
            match api.create(&PostParams::default(), &event).await {
                Ok(_) => return Ok(Written { namespace, name, count: 1 }),
                // Clocks are coarse, and a paused one stands still: the instant may be taken.
                Err(kube::Error::Api(status))
                    if status.is_already_exists()
                        && number - now.as_nanosecond() < SAME_INSTANT =>
                {
                    number += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
