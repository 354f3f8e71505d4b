use super::{Shared, graph::Work};
use crate::{Context, Enqueue, builtin::discovery};
use futures::{
    FutureExt, StreamExt,
    future::join_all,
    stream::{BoxStream, SelectAll},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::discovery::ApiResource;
use kubeplane_client::{Change, PartialObjectMetadata};
use kubeplane_clock::timeout;
use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How often the API server is asked for new resources without a reason.
const RESYNC: Duration = Duration::from_secs(30);
/// Changes of custom resource definitions come in groups.
const SETTLING: Duration = Duration::from_millis(300);
/// A resource that cannot be listed must not keep all others from being collected.
const PATIENCE: Duration = Duration::from_secs(30);

type Monitor = BoxStream<'static, (Arc<ApiResource>, Change<PartialObjectMetadata>)>;

/// Keeps the graph equal to the metadata of everything that can be deleted.
pub(super) async fn run(shared: Arc<Shared>, queue: Enqueue<Work>, context: Context) {
    // A controller runs once, so the queue is set once.
    let _ = shared.queue.set(queue.clone());
    let mut builder =
        Builder { shared, queue, context, running: HashSet::new(), changes: SelectAll::new() };
    while !builder.sync().await {
        builder.context.clock().sleep(Duration::from_millis(200)).await;
    }
    builder.catch_up().await;
    builder.shared.ready.store(true, Ordering::Release);
    let clock = builder.context.clock().clone();
    let mut again = clock.sleep(RESYNC);
    let mut definitions = builder.context.informers().of::<CustomResourceDefinition>().subscribe();
    loop {
        tokio::select! {
            Some((resource, change)) = builder.changes.next() => builder.take(&resource, &change),
            Some(_) = definitions.next() => again = clock.sleep(SETTLING),
            () = builder.shared.refresh.notified() => again = clock.sleep(SETTLING),
            () = &mut again => {
                // The next look comes soon enough.
                let _ = builder.sync().await;
                again = clock.sleep(RESYNC);
            }
        }
    }
}

struct Builder {
    shared: Arc<Shared>,
    queue: Enqueue<Work>,
    context: Context,
    running: HashSet<ApiResource>,
    changes: SelectAll<Monitor>,
}

impl Builder {
    /// Follows what is served now; whether that is known.
    async fn sync(&mut self) -> bool {
        let resources = match discovery::discover(self.context.client()).await {
            Ok(resources) => resources,
            Err(error) => {
                tracing::warn!(%error, "cannot discover what to collect");
                return false;
            }
        };
        let is_event = |resource: &ApiResource| {
            resource.plural == "events" && matches!(resource.group.as_str(), "" | "events.k8s.io")
        };
        let wanted: HashSet<ApiResource> = resources
            .preferred
            .iter()
            .filter(|served| ["delete", "list", "watch"].iter().all(|verb| served.supports(verb)))
            .filter(|served| !is_event(&served.resource))
            .map(|served| served.resource.clone())
            .collect();
        *self.shared.resources.write() = resources;
        for gone in self.running.difference(&wanted) {
            self.context.informers().forget_metadata(gone.clone());
        }
        for new in wanted.difference(&self.running) {
            let resource = Arc::new(new.clone());
            let changes = self.context.informers().metadata(new.clone()).subscribe();
            self.changes.push(changes.map(move |change| (resource.clone(), change)).boxed());
        }
        self.running = wanted;
        true
    }

    /// Waits for the first lists and takes them in.
    async fn catch_up(&mut self) {
        let informers = self.context.informers();
        let waits = self.running.iter().map(|resource| {
            let informer = informers.metadata(resource.clone());
            async move { informer.synced().await }
        });
        // What comes later is taken in later.
        let _ = timeout(&**self.context.clock(), PATIENCE, join_all(waits)).await;
        while let Some(Some((resource, change))) = self.changes.next().now_or_never() {
            self.take(&resource, &change);
        }
    }

    fn take(&self, resource: &ApiResource, change: &Change<PartialObjectMetadata>) {
        let mut graph = self.shared.graph.lock();
        let work = match change {
            Change::Deleted(object) => {
                graph.forget(object.metadata.uid.as_deref().unwrap_or_default())
            }
            Change::Added(object) | Change::Updated { new: object, .. } => {
                graph.observe(resource, object)
            }
        };
        drop(graph);
        work.into_iter().for_each(|work| self.queue.add(work));
    }
}
