//! Events older than the ring, read from the store's own history.

use crate::{
    api::Api,
    cache::{Event, Row},
    registry::Resource,
};
use futures::StreamExt;
use kubeplane_core::status::{ApiError, ApiResult};
use kubeplane_store_trait::{self as store, BoxWatcher, Entry, Revision, WatchBatch};
use std::{fmt, sync::Arc};

/// A watch of the store that runs until the ring can take over.
pub(super) struct Backfill {
    resource: Arc<Resource>,
    watcher: BoxWatcher,
    /// The ring holds everything after this.
    through: Revision,
    at: Revision,
    asked: bool,
    /// What was read and is not passed on yet.
    pending: Option<WatchBatch>,
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
        Ok(Self {
            resource: resource.clone(),
            watcher,
            through,
            at: after,
            asked: false,
            pending: None,
        })
    }

    /// Waits for what comes next.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Fill {
        loop {
            if let Some(batch) = &self.pending {
                let events = match events_of(&self.resource, batch).await {
                    Ok(events) => events,
                    Err(error) => return Fill::Failed(error),
                };
                self.at = self.at.max(batch.through);
                self.pending = None;
                if let Some(last) = events.last() {
                    self.at = self.at.max(last.revision);
                    return Fill::Events(events);
                }
            }
            if self.at >= self.through {
                return Fill::Caught(self.at);
            }
            if !self.asked {
                self.asked = true;
                self.watcher.as_mut().request_progress();
            }
            match self.watcher.next().await {
                Some(Ok(batch)) => self.pending = Some(batch),
                Some(Err(error)) => return Fill::Failed(too_old(&error, self.at)),
                None => return Fill::Failed(ApiError::unavailable("the store ended the watch")),
            }
        }
    }
}

/// The events of a batch, with objects in the form of the resource's version.
async fn events_of(resource: &Resource, batch: &WatchBatch) -> ApiResult<Vec<Arc<Event>>> {
    let shape = resource.cache().shape();
    let parts: Vec<_> = batch.events.iter().filter_map(parts).collect();
    let entries = parts.iter().flat_map(|(_, row, previous)| [row, previous]);
    let entries: Vec<&Entry> = entries.filter_map(|entry| *entry).collect();
    let values = entries.iter().map(|entry| entry.value.clone()).collect();
    let adopted = shape.adopt_all(values).await?;
    let mut rows = entries.into_iter().zip(adopted).map(|(entry, value)| {
        let key = entry.key.as_bytes().clone();
        Row::new(shape, resource.prefix(), key, value.ok()?, entry.revision).ok().map(Arc::new)
    });
    let mut next = |entry: Option<&Entry>| entry.and_then(|_| rows.next().flatten());
    let events = parts.iter().map(|(revision, row, previous)| {
        let (row, previous) = (next(*row), next(*previous));
        Arc::new(Event::new(*revision, row, previous))
    });
    Ok(events.collect())
}

/// When an event was, what is there now, and what was before.
fn parts(event: &store::Event) -> Option<(Revision, Option<&Entry>, Option<&Entry>)> {
    let (row, previous) = match event {
        store::Event::Put { entry, previous } => (Some(entry), previous.as_ref()),
        store::Event::Delete { previous, .. } => (None, previous.as_ref()),
        _ => return None,
    };
    Some((event.revision(), row, previous))
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
