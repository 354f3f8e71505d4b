mod desired;
mod diff;
mod figures;
mod plan;
mod topology;

pub(super) use desired::port_key;
pub(super) use figures::{Had, Sums, count, float};
pub(super) use plan::{Failure, MANAGED_BY, Plan, SERVICE_NAME, service_of};

use super::{
    Settings, patient,
    services::{self, TriggerTimes},
    written::{LAGGING, Written},
};
use crate::{Action, Context, Controller, Error, Retry, Sources};
use async_trait::async_trait;
use desired::Desired;
use figures::Figures;
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use kubeplane_client::{Change, EventType, ObjectKey};
use kubeplane_clock::SharedClock;
use kubeplane_telemetry::Metrics;
use parking_lot::Mutex;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use topology::Topology;

const CONTROLLER: &str = "endpointslice-controller.k8s.io";

/// Keeps EndpointSlices equal to the pods that Services select.
pub(super) struct EndpointSlices {
    triggers: TriggerTimes,
    topology: Topology,
    written: Written,
    /// Services with pods on nodes that are not known.
    waiting: Arc<Mutex<BTreeSet<ObjectKey>>>,
    /// The most endpoints in one slice.
    largest: usize,
    /// How long changes wait for more of them.
    batch: Duration,
    figures: Figures,
}

impl EndpointSlices {
    pub(super) fn new(clock: SharedClock, settings: &Settings, metrics: Option<&Metrics>) -> Self {
        let largest = settings.max_endpoints_per_slice.max(1);
        Self {
            triggers: TriggerTimes::default(),
            topology: Topology::default(),
            written: Written::new(clock),
            waiting: Arc::default(),
            largest,
            batch: settings.endpointslice_updates_batch_period,
            figures: Figures::shown(metrics, largest),
        }
    }
}

#[async_trait]
impl Controller for EndpointSlices {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn event_source(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let all = sources.informer::<Service>();
        let (asking, waiting) = (all.clone(), self.waiting.clone());
        sources.watch::<Node>(move |change| {
            if !topology::matters(change) {
                return Vec::new();
            }
            let services = asking.list();
            let asking = services.iter().filter(|service| topology::is_asked_for(service));
            let mut keys: BTreeSet<_> = asking.map(|service| ObjectKey::of(&**service)).collect();
            if matches!(change, Change::Added(_)) {
                keys.append(&mut waiting.lock());
            }
            keys.into_iter().collect()
        });
        sources.objects::<Service>();
        services::follow_pods(sources, all, self.batch);
        let (written, batch) = (self.written.clone(), self.batch);
        sources.handle::<EndpointSlice>(move |change, queue| {
            let slice = change.object();
            if let Some(key) = service_of(slice, CONTROLLER).filter(|_| change.is_deleted()) {
                written.gone(&key, &**slice);
            }
            let old = change.old().and_then(|old| service_of(old, CONTROLLER));
            let mut keys: Vec<_> = old.into_iter().chain(service_of(slice, CONTROLLER)).collect();
            keys.dedup();
            keys.into_iter().for_each(|key| services::add_later(queue, key, batch));
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let Some(service) = informers.of::<Service>().get(&request.namespace, &request.name) else {
            self.triggers.forget(request);
            self.topology.forget(request);
            self.written.forget(request);
            self.waiting.lock().remove(request);
            self.figures.forget(request);
            return Ok(Action::Done);
        };
        let Some(spec) = services::selecting(&service) else { return Ok(Action::Done) };
        let slices = informers.of::<EndpointSlice>();
        if !self.written.is_seen(request, &slices) {
            self.figures.synced("stale");
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
        let mut plan = diff::plan(&service, spec, &desired, &present, self.largest);
        for slice in plan.create.iter_mut().chain(&mut plan.update) {
            services::note_trigger(&mut slice.metadata.annotations, trigger);
        }
        if !desired.missing.is_empty() {
            // Whoever comes before this is noted comes before the next try, which is soon.
            self.waiting.lock().insert(request.clone());
        }
        let alive = service.metadata.deletion_timestamp.is_none();
        let asked = (topology::is_asked_for(&service), spec.traffic_distribution.as_deref());
        self.figures.planned(request, asked, &desired, (&plan, &present));
        let sizes = [plan.create.len(), plan.update.len(), plan.delete.len()];
        let written = plan.carry_out(context, ("Service", request), &self.written, alive).await;
        let mut failures = desired.missing;
        failures.extend(written.as_ref().err().map(Failure::text));
        let told = match failures.as_slice() {
            [] => {
                for (operation, slices) in ["create", "update", "delete"].into_iter().zip(sizes) {
                    self.figures.wrote(operation, slices);
                }
                self.figures.synced("success");
                return Ok(Action::Done);
            }
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        self.figures.synced("error");
        let message = format!("Error updating Endpoint Slices for Service {request}: {told}");
        let reason = "FailedToUpdateEndpointSlices";
        context.recorder().event_for(&*service, EventType::Warning, reason, message);
        written.map_err(|failure| failure.error)?;
        // A pod may be seen before its node.
        Err(Error::Incomplete(told))
    }

    fn on_error(&self, _: &ObjectKey, _: &Error, failures: u32) -> Retry {
        patient(failures)
    }
}
