use crate::Context;
use futures::{
    FutureExt, Stream, StreamExt,
    future::{BoxFuture, join_all},
};
use kubeplane_client::{Change, Informer, ObjectKey, Watchable, WorkQueue, controller_of};
use std::{fmt, fmt::Debug, future::Future, hash::Hash, time::Duration};
use tokio::sync::oneshot;

/// Puts requests into a controller's queue.
pub struct Enqueue<R> {
    queue: WorkQueue<R>,
}

impl<R> Clone for Enqueue<R> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<R> Debug for Enqueue<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enqueue").finish_non_exhaustive()
    }
}

impl<R: Clone + Eq + Hash> Enqueue<R> {
    /// Asks for a reconciliation.
    pub fn add(&self, request: R) {
        self.queue.add(request);
    }

    /// Asks for a reconciliation before those of a lower priority; others have 0.
    pub fn add_prioritized(&self, request: R, priority: i32) {
        self.queue.add_prioritized(request, priority);
    }

    /// Asks for a reconciliation after `delay`.
    pub fn add_after(&self, request: R, delay: Duration) {
        self.queue.add_after(request, delay);
    }
}

/// Behind a pointer, so that there is one pump for a kind and not one for each handler of it.
type Handler<K, R> = Box<dyn FnMut(&Change<K>, &Enqueue<R>) + Send>;

type Pump<R> = Box<dyn FnOnce(Enqueue<R>, oneshot::Sender<()>) -> BoxFuture<'static, ()> + Send>;

/// Where a controller's requests come from.
///
/// A handler sees each informer's present objects as added first; workers start when every handler has seen
/// them. Handlers are called by whoever keeps the informer, one after the other: they must be quick and never wait.
pub struct Sources<R> {
    context: Context,
    synced: Vec<BoxFuture<'static, ()>>,
    pumps: Vec<Pump<R>>,
    first: Vec<R>,
}

impl<R> Debug for Sources<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("handlers", &self.pumps.len()).finish_non_exhaustive()
    }
}

impl<R: Clone + Eq + Hash + Send + Sync + 'static> Sources<R> {
    pub(crate) fn new(context: Context) -> Self {
        Self { context, synced: Vec::new(), pumps: Vec::new(), first: Vec::new() }
    }

    /// What the controller will work with.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// A kind that is only read; work starts when it is there.
    pub fn informer<K: Watchable>(&mut self) -> Informer<K> {
        let informer = self.context.informers.of::<K>();
        let waiting = informer.clone();
        self.synced.push(async move { waiting.synced().await }.boxed());
        informer
    }

    /// Maps every change of a kind to requests.
    pub fn watch<K: Watchable>(
        &mut self,
        mut requests: impl FnMut(&Change<K>) -> Vec<R> + Send + 'static,
    ) {
        self.handle(move |change, queue| {
            requests(change).into_iter().for_each(|request| queue.add(request))
        });
    }

    /// As [`watch`](Self::watch), and every object there is is mapped once more each `period` (above zero), as one that was
    /// updated to the same: for what depends on things that cannot be watched.
    pub fn watch_resynced<K: Watchable>(
        &mut self,
        period: Duration,
        mut requests: impl FnMut(&Change<K>) -> Vec<R> + Send + 'static,
    ) {
        let (informer, clock) = (self.informer::<K>(), self.context.clock.clone());
        let pump = move |queue: Enqueue<R>, caught_up: oneshot::Sender<()>| {
            let changes = informer.subscribe_resynced(clock, period);
            let handle = move |change: Change<K>| {
                requests(&change).into_iter().for_each(|request| queue.add(request));
            };
            pump(changes, caught_up, handle).boxed()
        };
        self.pumps.push(Box::new(pump));
    }

    /// Lets `handler` see every change of a kind and ask for reconciliations, now or later.
    pub fn handle<K: Watchable>(
        &mut self,
        handler: impl FnMut(&Change<K>, &Enqueue<R>) + Send + 'static,
    ) {
        self.handle_with::<K>(Box::new(handler));
    }

    fn handle_with<K: Watchable>(&mut self, mut handler: Handler<K, R>) {
        let informer = self.informer::<K>();
        let pump = move |queue: Enqueue<R>, caught_up: oneshot::Sender<()>| {
            let told = async move {
                let handling = informer.add_handler(move |change| handler(change, &queue));
                // The controller may have stopped meanwhile.
                let _ = caught_up.send(());
                handling.ended().await;
            };
            told.boxed()
        };
        self.pumps.push(Box::new(pump));
    }

    /// Takes requests from any stream.
    pub fn stream(&mut self, requests: impl Stream<Item = R> + Send + 'static) {
        let pump = move |queue: Enqueue<R>, caught_up: oneshot::Sender<()>| {
            pump(requests.boxed(), caught_up, move |request| queue.add(request)).boxed()
        };
        self.pumps.push(Box::new(pump));
    }

    /// Runs a task of the controller's own beside its workers; it is dropped when the controller stops.
    pub fn background<F, Fut>(&mut self, task: F)
    where
        F: FnOnce(Enqueue<R>, Context) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let context = self.context.clone();
        self.pumps.push(Box::new(move |queue, caught_up| {
            // Nobody waits for a background task to catch up.
            let _ = caught_up.send(());
            task(queue, context).boxed()
        }));
    }

    /// A request that is there from the start; with [`Action::RequeueAfter`](crate::Action) it makes a
    /// periodic controller.
    pub fn at_start(&mut self, request: R) {
        self.first.push(request);
    }

    /// Waits for all informers, then runs every handler until it has seen the present state; the futures go on
    /// with what changes after that.
    pub(crate) async fn start(
        self,
        queue: WorkQueue<R>,
    ) -> (Vec<BoxFuture<'static, ()>>, BoxFuture<'static, ()>) {
        join_all(self.synced).await;
        let mut pumps = Vec::new();
        let mut caught_up = Vec::new();
        for pump in self.pumps {
            let (sender, receiver) = oneshot::channel();
            pumps.push(pump(Enqueue { queue: queue.clone() }, sender));
            caught_up.push(receiver);
        }
        self.first.into_iter().for_each(|request| queue.add(request));
        (pumps, join_all(caught_up).map(drop).boxed())
    }
}

impl Sources<ObjectKey> {
    /// Every change of a kind is a request for the object itself.
    pub fn objects<K: Watchable>(&mut self) {
        self.watch::<K>(|change| vec![ObjectKey::of(&**change.object())]);
    }

    /// Every change of a `K` is a request for the `O` that manages it, and for the one that did.
    pub fn for_owner<O: Watchable, K: Watchable>(&mut self) {
        self.watch::<K>(|change| {
            let objects = change.old().into_iter().chain([change.object()]);
            let mut owners: Vec<_> =
                objects.filter_map(|object| owner_key::<O, K>(object)).collect();
            owners.dedup();
            owners
        });
    }
}

/// The key of the `O` that manages `object`: that of its owner reference with `controller: true`, if that is of `O`'s
/// kind. Kinds are compared by name alone, whatever group and version the reference says; whoever changes something
/// because of it compares the uid with that of the `O` that is there, for another of the same name may have come.
/// An owner is in the namespace of what it owns.
#[must_use]
pub fn owner_key<O, K>(object: &K) -> Option<ObjectKey>
where
    O: kube::Resource<DynamicType = ()>,
    K: kube::Resource,
{
    let owner = controller_of(object).filter(|owner| owner.kind == O::kind(&()))?;
    Some(ObjectKey::new(object.meta().namespace.clone().unwrap_or_default(), owner.name.clone()))
}

async fn pump<T>(
    mut items: impl Stream<Item = T> + Unpin + Send,
    caught_up: oneshot::Sender<()>,
    mut handle: impl FnMut(T) + Send,
) {
    // What is ready at once is the present state.
    while let Some(Some(item)) = items.next().now_or_never() {
        handle(item);
    }
    // The controller may have stopped meanwhile.
    let _ = caught_up.send(());
    while let Some(item) = items.next().await {
        handle(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::Pod,
    };
    use serde_json::json;

    #[test]
    fn an_owner_is_who_controls_and_is_of_the_kind_asked_for() {
        let pod = |controller: bool| -> Pod {
            let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1",
                "uid": "u", "controller": controller});
            serde_json::from_value(json!({"metadata": {"namespace": "shop", "name": "web-1-a",
                "ownerReferences": [owner]}}))
            .unwrap()
        };
        let key = ObjectKey::new("shop".to_owned(), "web-1".to_owned());
        assert_eq!(owner_key::<ReplicaSet, _>(&pod(true)), Some(key));
        assert_eq!(owner_key::<Deployment, _>(&pod(true)), None);
        assert_eq!(owner_key::<ReplicaSet, _>(&pod(false)), None);
    }
}
