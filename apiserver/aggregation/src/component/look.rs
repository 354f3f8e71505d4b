//! One look at an extension: whether it is available, and what it says of itself.

use super::Known;
use crate::{
    availability,
    documents::{self, Documents},
    proxy::Extension,
    services::{Condition, Registered, Service},
};
use kubeplane_apiserver::Api;
use std::sync::Arc;

/// What one look at an extension found.
pub(super) struct Looked {
    pub(super) condition: Condition,
    pub(super) documents: Option<Documents>,
}

impl Looked {
    pub(super) fn is_well(&self) -> bool {
        self.condition.is_true() && self.documents.is_some()
    }
}

/// One look at an extension.
pub(super) struct Look {
    api: Api,
    registered: Arc<Registered>,
    service: Service,
    extension: Arc<Extension>,
    /// Its documents as of the last look, and whether they need not be fetched again.
    documents: Option<Documents>,
    keeps: bool,
}

impl Look {
    pub(super) fn of(api: &Api, registered: &Arc<Registered>, known: &Known) -> Self {
        let keeps = known.available && known.fetch_at > api.clock().elapsed();
        Self {
            api: api.clone(),
            registered: registered.clone(),
            service: known.service.clone(),
            extension: known.extension.clone(),
            documents: known.documents.clone(),
            keeps,
        }
    }

    pub(super) async fn run(self) -> Looked {
        let Self { api, registered, service, extension, documents, keeps } = self;
        let condition = availability::check(&api, &registered, &service, &extension).await;
        if !condition.is_true() {
            return Looked { condition, documents: None };
        }
        // Requests may come through while its documents are fetched.
        extension.set_available(true);
        if keeps && documents.is_some() {
            return Looked { condition, documents };
        }
        let fetched = documents::fetch(&api, &registered, &extension, documents.as_ref()).await;
        let documents = fetched.map_err(|why| {
            tracing::warn!(
                name = registered.name,
                why,
                "discovery of an extension API server failed"
            );
        });
        Looked { condition, documents: documents.ok() }
    }
}
