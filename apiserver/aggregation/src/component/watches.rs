//! What the store says has changed.

use futures::StreamExt;
use kubeplane_apiserver::Api;
use kubeplane_core::{GroupResource, status::ApiResult};
use kubeplane_store_trait::{BoxWatcher, Event, ListOptions, Revision};
use std::collections::BTreeSet;

/// What may have changed.
pub(super) enum Changed {
    Services,
    Backends,
    Ended,
}

/// Watches of the store: of APIServices, and while any has a Service, of Services and their endpoints.
pub(super) struct Watches {
    services: BoxWatcher,
    pub(super) backends: Option<[BoxWatcher; 2]>,
}

impl Watches {
    pub(super) async fn open(api: &Api, resource: &GroupResource) -> ApiResult<Self> {
        Ok(Self { services: watch(api, resource).await?, backends: None })
    }

    pub(super) async fn open_backends(&mut self, api: &Api) -> ApiResult<()> {
        let services = watch(api, &GroupResource::new("", "services")).await?;
        let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
        self.backends = Some([services, watch(api, &slices).await?]);
        Ok(())
    }

    async fn services_changed(&mut self) -> Changed {
        loop {
            match self.services.next().await {
                Some(Ok(batch)) if batch.events.is_empty() => {}
                Some(Ok(_)) => return Changed::Services,
                _ => return Changed::Ended,
            }
        }
    }

    /// Waits for the next change; of backends only those in these namespaces count.
    pub(super) async fn next(&mut self, namespaces: &BTreeSet<String>) -> Changed {
        loop {
            let Some([services, slices]) = &mut self.backends else {
                return self.services_changed().await;
            };
            let batch = tokio::select! {
                biased;
                batch = self.services.next() => match batch {
                    Some(Ok(batch)) if batch.events.is_empty() => continue,
                    Some(Ok(_)) => return Changed::Services,
                    _ => return Changed::Ended,
                },
                batch = services.next() => batch,
                batch = slices.next() => batch,
            };
            let Some(Ok(batch)) = batch else { return Changed::Ended };
            let concerns = |event: &Event| {
                let key = String::from_utf8_lossy(event.key().as_bytes());
                let mut parts = key.rsplit('/');
                parts.nth(1).is_some_and(|namespace| namespaces.contains(namespace))
            };
            if batch.events.iter().any(concerns) {
                return Changed::Backends;
            }
        }
    }
}

async fn watch(api: &Api, resource: &GroupResource) -> ApiResult<BoxWatcher> {
    let range = api.resource(resource)?.range("");
    let failed = |error| kubeplane_core::ApiError::internal(error);
    let options = ListOptions { limit: Some(1), ..ListOptions::default() };
    let Revision(now) = api.store().list(&range, options).await.map_err(failed)?.revision;
    api.store().watch(&range, Revision(now)).await.map_err(failed)
}
