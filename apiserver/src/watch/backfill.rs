//! Events older than the ring, read from the store's own history.

use crate::{
    api::Api,
    cache::{Event, Row},
    registry::Resource,
};
use futures::StreamExt;
use kubeplane_core::status::{ApiError, ApiResult};
use kubeplane_store_trait::{self as store, BoxWatcher, Entry, Revision};
use std::{fmt, sync::Arc};

/// A watch of the store that runs until the ring can take over.
pub(super) struct Backfill {
    resource: Arc<Resource>,
    watcher: BoxWatcher,
    /// The ring holds everything after this.
    through: Revision,
    at: Revision,
    asked: bool,
}

/// What the store still remembered.
pub(super) enum Fill {
    Events(Vec<Arc<Event>>),
    Caught(Revision),
    Failed(ApiError),
}

impl fmt::Debug for Backfill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backfill")
            .field("at", &self.at)
            .field("through", &self.through)
            .finish_non_exhaustive()
    }
}

impl Backfill {
    pub(super) async fn open(
        api: &Api,
        resource: &Arc<Resource>,
        after: Revision,
    ) -> ApiResult<Self> {
        let through = resource.cache().progress().through;
        Self::watch(api, resource, after, through).await
    }

    async fn watch(
        api: &Api,
        resource: &Arc<Resource>,
        after: Revision,
        through: Revision,
    ) -> ApiResult<Self> {
        let watcher = api.store().watch(&resource.range(""), after).await;
        let watcher = watcher.map_err(|error| too_old(&error, after))?;
        Ok(Self { resource: resource.clone(), watcher, through, at: after, asked: false })
    }

    /// Waits for what comes next.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Fill {
        loop {
            if self.at >= self.through {
                return Fill::Caught(self.at);
            }
            if !self.asked {
                self.asked = true;
                self.watcher.as_mut().request_progress();
            }
            match self.watcher.next().await {
                Some(Ok(batch)) => {
                    self.at = self.at.max(batch.through);
                    let events: Vec<_> =
                        batch.events.into_iter().filter_map(|event| self.event(event)).collect();
                    if let Some(last) = events.last() {
                        self.at = self.at.max(last.revision);
                        return Fill::Events(events);
                    }
                }
                Some(Err(error)) => return Fill::Failed(too_old(&error, self.at)),
                None => return Fill::Failed(ApiError::unavailable("the store ended the watch")),
            }
        }
    }

    fn event(&self, event: store::Event) -> Option<Arc<Event>> {
        let revision = event.revision();
        let (row, previous) = match event {
            store::Event::Put { entry, previous } => (Some(entry), previous),
            store::Event::Delete { previous, .. } => (None, previous),
            _ => return None,
        };
        let row = row.and_then(|entry| self.row(entry));
        let previous = previous.and_then(|entry| self.row(entry));
        Some(Arc::new(Event::new(revision, row, previous)))
    }

    fn row(&self, entry: Entry) -> Option<Arc<Row>> {
        let shape = self.resource.cache().shape();
        let key = entry.key.as_bytes().clone();
        Row::new(shape, self.resource.prefix(), key, entry.value, entry.revision).ok().map(Arc::new)
    }
}

fn too_old(error: &store::Error, after: Revision) -> ApiError {
    match error {
        store::Error::Compacted { oldest, .. } => {
            ApiError::expired(format!("too old resource version: {after} ({oldest})"))
        }
        store::Error::Lagged => ApiError::expired(format!("too old resource version: {after}")),
        error => crate::storage::plain_error(error),
    }
}
