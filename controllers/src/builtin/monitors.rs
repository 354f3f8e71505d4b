//! The metadata of everything that is served, followed as resources come and go.

use super::discovery::{self, Resources, Served};
use crate::{Context, Error};
use futures::{
    FutureExt, Stream, StreamExt,
    future::{AbortHandle, join_all},
    stream::{BoxStream, SelectAll, abortable, once},
};
use kube::discovery::ApiResource;
use kubeplane_client::{MetadataChange, MetadataInformer, MetadataStep};
use kubeplane_clock::timeout;
use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

/// How often the API server is asked for new resources without a reason.
pub(super) const RESYNC: Duration = Duration::from_secs(30);
/// Changes of custom resource definitions come in groups.
pub(super) const SETTLING: Duration = Duration::from_millis(300);
/// A resource that cannot be listed must not keep all others waiting.
const PATIENCE: Duration = Duration::from_secs(30);

type Seen = (Arc<ApiResource>, MetadataChange);
/// No change: the resource is no longer followed.
type Monitor = BoxStream<'static, (Arc<ApiResource>, Option<MetadataChange>)>;

/// What is to be told of.
type Wanted = fn(MetadataStep<'_>) -> bool;

/// One resource that is followed.
#[derive(Clone)]
struct Followed {
    resource: Arc<ApiResource>,
    informer: MetadataInformer,
    reading: AbortHandle,
}

/// Follows the metadata of some resources; as a stream, what changes in them and is wanted.
pub(super) struct Monitors {
    context: Context,
    wanted: Wanted,
    running: Vec<Followed>,
    changes: SelectAll<Monitor>,
}

impl Monitors {
    pub(super) fn new(context: Context, wanted: Wanted) -> Self {
        Self { context, wanted, running: Vec::new(), changes: SelectAll::new() }
    }

    /// What is followed; one that is followed anew is another.
    pub(super) fn running(&self) -> impl Iterator<Item = &Arc<ApiResource>> {
        self.running.iter().map(|followed| &followed.resource)
    }

    /// The metadata of what is followed, by apiVersion and kind.
    pub(super) fn informers(&self) -> HashMap<(String, String), MetadataInformer> {
        let all = self.running.iter().map(|Followed { resource, informer, .. }| {
            ((resource.api_version.clone(), resource.kind.clone()), informer.clone())
        });
        all.collect()
    }

    fn is_running(&self, resource: &Arc<ApiResource>) -> bool {
        self.running().any(|running| Arc::ptr_eq(running, resource))
    }

    /// Follows what is served now and `wanted`.
    ///
    /// # Errors
    /// When the server does not tell what it serves; then nothing changes.
    pub(super) async fn sync(
        &mut self,
        wanted: impl Fn(&Served) -> bool,
    ) -> Result<Resources, Error> {
        let resources = discovery::discover(self.context.client()).await?;
        // In the order in which they are told, so that what follows is the same for the same answers.
        let wanted: Vec<ApiResource> = resources
            .preferred
            .iter()
            .filter(|served| wanted(served))
            .map(|served| served.resource.clone())
            .collect();
        for gone in self.running.iter().filter(|own| !wanted.contains(&own.resource)) {
            self.context.informers().forget_metadata(ApiResource::clone(&gone.resource));
            // An informer of whole objects goes on.
            gone.reading.abort();
        }
        let informers = self.context.informers();
        let mut running = Vec::new();
        for resource in wanted {
            if let Some(own) = self.running.iter().find(|own| *own.resource == resource) {
                running.push(own.clone());
                continue;
            }
            let informer = informers.metadata(resource.clone());
            let changes = informer.subscribe_to(self.wanted);
            let resource = Arc::new(resource);
            let (end, told) = ((resource.clone(), None), resource.clone());
            let (changes, reading) =
                abortable(changes.map(move |change| (told.clone(), Some(change))));
            self.changes.push(changes.chain(once(async move { end })).boxed());
            running.push(Followed { resource, informer, reading });
        }
        self.running = running;
        Ok(resources)
    }

    /// Waits for the first lists, not for ever.
    pub(super) async fn first_lists(&mut self) {
        let waits = self.running.iter().map(|followed| followed.informer.synced());
        // What comes later is taken in later.
        let _ = timeout(&**self.context.clock(), PATIENCE, join_all(waits)).await;
    }

    /// The changes that are there already.
    pub(super) fn ready(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(Some(change)) = self.next().now_or_never() {
            seen.push(change);
        }
        seen
    }
}

impl Stream for Monitors {
    type Item = Seen;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Option<Seen>> {
        loop {
            match self.changes.poll_next_unpin(context) {
                // What was followed until now may still have something to tell.
                Poll::Ready(Some((resource, Some(_)))) if !self.is_running(&resource) => {}
                Poll::Ready(Some((resource, Some(change)))) => {
                    return Poll::Ready(Some((resource, change)));
                }
                // Somebody else forgot it; if it is served again, it is followed again.
                Poll::Ready(Some((resource, None))) => {
                    self.running.retain(|own| !Arc::ptr_eq(&own.resource, &resource));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
