use super::{Shared, graph::Work};
use crate::{
    Context, Enqueue,
    builtin::{
        discovery::{Resources, Served},
        monitors::{Monitors, RESYNC, SETTLING},
    },
};
use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DynamicObject, ListParams},
    discovery::ApiResource,
};
use kubeplane_client::{MetadataChange, MetadataStep};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How soon the API server is asked again when it did not tell what it serves.
const UNTOLD: Duration = Duration::from_secs(2);

/// Keeps the graph equal to the metadata of everything that can be deleted.
pub(super) async fn run(shared: Arc<Shared>, queue: Enqueue<Work>, context: Context) {
    // A controller runs once, so the queue is set once.
    let _ = shared.queue.set(queue.clone());
    let clock = context.clock().clone();
    let monitors = Monitors::new(context.clone(), is_related);
    let mut builder =
        Builder { shared, queue, monitors, client: context.client(), missing: Vec::new() };
    while !builder.sync().await {
        clock.sleep(Duration::from_millis(200)).await;
    }
    builder.monitors.first_lists().await;
    for (resource, change) in builder.monitors.ready() {
        builder.take(&resource, &change);
    }
    builder.shared.ready.store(true, Ordering::Release);
    let mut again = clock.sleep(RESYNC);
    let mut definitions = context.informers().of::<CustomResourceDefinition>().subscribe();
    loop {
        tokio::select! {
            biased;
            Some((resource, change)) = builder.monitors.next() => builder.take(&resource, &change),
            Some(_) = definitions.next() => again = clock.sleep(SETTLING),
            () = builder.shared.refresh.notified() => again = clock.sleep(SETTLING),
            () = &mut again => {
                let told = builder.sync().await;
                again = clock.sleep(if told { RESYNC } else { UNTOLD });
            }
        }
    }
}

/// Whether a change has to do with who belongs to whom, or who is to go.
fn is_related(step: MetadataStep<'_>) -> bool {
    step.old.is_none_or(|old| {
        old.owner_references != step.new.owner_references
            || old.deletion_timestamp != step.new.deletion_timestamp
            || old.finalizers != step.new.finalizers
    })
}

/// Whether objects of a resource can be collected.
fn is_collected(served: &Served) -> bool {
    let resource = &served.resource;
    let is_event =
        resource.plural == "events" && matches!(resource.group.as_str(), "" | "events.k8s.io");
    !is_event && ["delete", "list", "watch"].iter().all(|verb| served.supports(verb))
}

struct Builder {
    shared: Arc<Shared>,
    queue: Enqueue<Work>,
    monitors: Monitors,
    client: kube::Client,
    /// Kinds that are no longer told of, and may be gone or only out of reach.
    missing: Vec<Served>,
}

impl Builder {
    /// Follows what is served now; whether that is known.
    async fn sync(&mut self) -> bool {
        let followed: Vec<_> = self.monitors.running().cloned().collect();
        match self.monitors.sync(is_collected).await {
            Ok(resources) => {
                let before = std::mem::replace(&mut *self.shared.resources.write(), resources);
                *self.shared.seen.write() = self.monitors.informers();
                self.look_again(&followed);
                self.look_for_missing(before).await;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "cannot discover what to collect");
                self.shared.untold.inc();
                false
            }
        }
    }

    /// Of what goes between two times that a kind is followed, and from one of its versions to another, nobody tells.
    fn look_again(&self, followed: &[Arc<ApiResource>]) {
        let known =
            |resource: &&Arc<ApiResource>| followed.iter().any(|own| Arc::ptr_eq(own, resource));
        for resource in self.monitors.running().filter(|own| !known(own)) {
            let work = self.shared.graph.lock().unsee(resource);
            work.into_iter().for_each(|work| self.queue.add(work));
        }
    }

    /// Of a kind that is gone nobody tells how its objects went; one that is out of reach answers something else.
    async fn look_for_missing(&mut self, before: Resources) {
        self.missing.extend(before.by_kind.into_values().filter(is_collected));
        // One that is served in another version has the same objects, of which that version tells.
        let told = |served: &Served| {
            let own = &served.resource;
            let same = |other: &Served| {
                other.resource.group == own.group && other.resource.kind == own.kind
            };
            self.shared.resources.read().preferred.iter().any(same)
        };
        let missing = std::mem::take(&mut self.missing);
        for served in missing.into_iter().filter(|served| !told(served)).collect::<Vec<_>>() {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &served.resource);
            match api.list_metadata(&ListParams::default().limit(1)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    let ApiResource { api_version, kind, .. } = &served.resource;
                    let work = self.shared.graph.lock().lose(api_version, kind);
                    work.into_iter().for_each(|work| self.queue.add(work));
                }
                _ => self.missing.push(served),
            }
        }
    }

    fn take(&self, resource: &ApiResource, change: &MetadataChange) {
        let (meta, mut graph) = (change.metadata(), self.shared.graph.lock());
        let work = if change.is_deleted() {
            graph.gone(meta.uid.as_deref().unwrap_or_default())
        } else {
            graph.observe(resource, meta)
        };
        drop(graph);
        work.into_iter().for_each(|work| self.queue.add(work));
    }
}
