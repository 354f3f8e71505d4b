mod desired;
mod diff;
mod plan;
mod topology;

pub(super) use desired::port_key;
pub(super) use plan::{MANAGED_BY, Plan, SERVICE_NAME, service_of};

use super::{
    services::{self, TriggerTimes},
    written::{LAGGING, Written},
};
use crate::{Action, Context, Controller, Error, Retry, Sources};
use async_trait::async_trait;
use desired::Desired;
use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_clock::SharedClock;
use std::time::Duration;
use topology::Topology;

const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// The most endpoints in one slice.
const LARGEST: usize = 100;
const MAX_RETRIES: u32 = 15;

/// Keeps EndpointSlices equal to the pods that Services select.
pub(super) struct EndpointSlices {
    triggers: TriggerTimes,
    topology: Topology,
    written: Written,
}

impl EndpointSlices {
    pub(super) fn new(clock: SharedClock) -> Self {
        let (triggers, topology) = (TriggerTimes::default(), Topology::default());
        Self { triggers, topology, written: Written::new(clock) }
    }
}

#[async_trait]
impl Controller for EndpointSlices {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let all = sources.informer::<Service>();
        let asking = all.clone();
        sources.watch::<Node>(move |change| {
            if !topology::matters(change) {
                return Vec::new();
            }
            let services = asking.list();
            let asking = services.iter().filter(|service| topology::is_asked_for(service));
            asking.map(|service| ObjectKey::of(&**service)).collect()
        });
        sources.objects::<Service>();
        sources.watch::<Pod>(move |change| services::touched(&all, change));
        let written = self.written.clone();
        sources.watch::<EndpointSlice>(move |change| {
            let slice = change.object();
            if let Some(key) = service_of(slice, CONTROLLER).filter(|_| change.is_deleted()) {
                written.gone(&key, &**slice);
            }
            let old = change.old().and_then(|old| service_of(old, CONTROLLER));
            let mut keys: Vec<_> = old.into_iter().chain(service_of(slice, CONTROLLER)).collect();
            keys.dedup();
            keys
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let Some(service) = informers.of::<Service>().get(&request.namespace, &request.name) else {
            self.triggers.forget(request);
            self.topology.forget(request);
            self.written.forget(request);
            return Ok(Action::Done);
        };
        let Some(spec) = services::selecting(&service) else { return Ok(Action::Done) };
        let slices = informers.of::<EndpointSlice>();
        if !self.written.is_seen(request, &slices) {
            return Ok(LAGGING);
        }
        let pods = services::pods_of(context, &request.namespace, spec);
        let trigger = self.triggers.next(request, &service, &pods);
        let present: Vec<_> = slices
            .list_in(&request.namespace)
            .into_iter()
            .filter(|slice| {
                slice.metadata.deletion_timestamp.is_none()
                    && service_of(slice, CONTROLLER).as_ref() == Some(request)
            })
            .collect();
        let nodes = informers.of::<Node>();
        let mut desired = Desired::new(&service, spec, &pods, &nodes);
        self.topology.apply(context, request, &service, &mut desired, &present);
        let mut plan = diff::plan(&service, spec, &desired, &present);
        for slice in plan.create.iter_mut().chain(&mut plan.update) {
            services::note_trigger(&mut slice.metadata.annotations, trigger);
        }
        let alive = service.metadata.deletion_timestamp.is_none();
        if let Err(error) = plan.carry_out(context, request, &self.written, alive).await {
            let message =
                format!("Error updating Endpoint Slices for Service {request}: {}", error.text());
            context.recorder().event_for(
                &*service,
                EventType::Warning,
                "FailedToUpdateEndpointSlices",
                message,
            );
            return Err(error);
        }
        // A pod may be seen before its node.
        let wait = desired.missing_node.is_some();
        Ok(if wait { Action::RequeueAfter(Duration::from_secs(1)) } else { Action::Done })
    }

    fn on_error(&self, _: &ObjectKey, _: &Error, failures: u32) -> Retry {
        if failures > MAX_RETRIES { Retry::Drop } else { Retry::Backoff }
    }
}
