mod desired;
mod diff;

use super::{
    services::{self, TriggerTimes},
    written::Written,
};
use crate::{Action, Context, Controller, Error, Sources, error::unless_gone};
use async_trait::async_trait;
use desired::Desired;
use diff::Plan;
use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_clock::SharedClock;
use std::time::Duration;

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// The most endpoints in one slice.
const LARGEST: usize = 100;
const MAX_RETRIES: u32 = 15;

/// Keeps EndpointSlices equal to the pods that Services select.
pub(super) struct EndpointSlices {
    triggers: TriggerTimes,
    written: Written,
}

impl EndpointSlices {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { triggers: TriggerTimes::default(), written: Written::new(clock) }
    }

    async fn carry_out(
        &self,
        context: &Context,
        key: &ObjectKey,
        service: &Service,
        plan: Plan,
    ) -> Result<(), Error> {
        let api: Api<EndpointSlice> = Api::namespaced(context.client(), &key.namespace);
        // The garbage collector deletes slices of a Service that is going away, and would find new ones.
        if service.metadata.deletion_timestamp.is_none() {
            for slice in plan.create {
                match api.create(&PostParams::default(), &slice).await.map_err(Error::from) {
                    Ok(created) => self.written.wrote(key, &created),
                    Err(error) if error.is_namespace_terminating() => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
        for slice in plan.update {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            let updated = api.replace(name, &PostParams::default(), &slice).await?;
            self.written.wrote(key, &updated);
        }
        for slice in plan.delete {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            unless_gone(api.delete(name, &DeleteParams::default()).await)?;
            self.written.deleted(key, &slice);
        }
        Ok(())
    }
}

/// The Service a slice of this controller belongs to.
fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = slice.metadata.labels.as_ref()?;
    let managed = labels.get(MANAGED_BY).is_some_and(|manager| manager == CONTROLLER);
    let name = labels.get(SERVICE_NAME).filter(|_| managed)?;
    Some(ObjectKey::new(slice.metadata.namespace.clone().unwrap_or_default(), name))
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
        sources.informer::<Node>();
        sources.objects::<Service>();
        sources.watch::<Pod>(move |change| services::touched(&all, change));
        sources.watch::<EndpointSlice>(|change| {
            let old = change.old().and_then(|old| service_of(old));
            let mut keys: Vec<_> = old.into_iter().chain(service_of(change.object())).collect();
            keys.dedup();
            keys
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let Some(service) = informers.of::<Service>().get(&request.namespace, &request.name) else {
            self.triggers.forget(request);
            self.written.forget(request);
            return Ok(Action::Done);
        };
        let Some(spec) = services::selecting(&service) else { return Ok(Action::Done) };
        let slices = informers.of::<EndpointSlice>();
        if !self.written.is_seen(request, &slices) {
            return Err(Error::Stale(format!(
                "endpoint slices of {request} are not up to date in the cache"
            )));
        }
        let pods = services::pods_of(context, &request.namespace, spec);
        let trigger = self.triggers.next(request, &service, &pods);
        let present: Vec<_> = slices
            .list_in(&request.namespace)
            .into_iter()
            .filter(|slice| {
                slice.metadata.deletion_timestamp.is_none()
                    && service_of(slice).as_ref() == Some(request)
            })
            .collect();
        let nodes = informers.of::<Node>();
        let desired = Desired::new(&service, spec, &pods, &nodes);
        let mut plan = diff::plan(&service, spec, &desired, &present);
        for slice in plan.create.iter_mut().chain(&mut plan.update) {
            services::note_trigger(&mut slice.metadata.annotations, trigger);
        }
        if let Err(error) = self.carry_out(context, request, &service, plan).await {
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

    fn on_error(&self, _: &ObjectKey, error: &Error, failures: u32) -> crate::Retry {
        match error {
            Error::Stale(_) => crate::Retry::After(Duration::from_millis(50)),
            _ if failures > MAX_RETRIES => crate::Retry::Drop,
            _ => crate::Retry::Backoff,
        }
    }
}
