use crate::{
    Change, Changes, MetadataChanges, MetadataStep, Registration,
    cache::{Cache, Phase},
    changes::Handler,
    object::{Object, Sink, typed, typed_ref},
};
use futures::{
    StreamExt, future,
    stream::{self, BoxStream},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kubeplane_clock::SharedClock;
use std::{
    fmt,
    hash::{DefaultHasher, Hasher},
    marker::PhantomData,
    sync::Arc,
    time::Duration,
};

/// Objects that are alike, as an index says.
#[derive(Debug, Clone)]
pub struct Class<K> {
    /// One of them, as it is or was.
    pub sample: Arc<K>,
    /// How many there are; at least one.
    pub count: usize,
}

/// A live, shared, read-only copy of all objects of a kind (or those that a selector matches).
///
/// Reads never wait and may be a moment old. Objects come without `metadata.managedFields`, to save memory;
/// an object written back without them keeps those it has. The owner of the [`Informers`](crate::Informers) may have
/// said that even less is kept ([`transform`](crate::Informers::transform)). Clones share one copy. Handles outlive
/// their [`Informers`](crate::Informers), but then nothing changes any more.
pub struct Informer<K> {
    cache: Arc<Cache>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Informer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Informer").field(&self.cache).finish()
    }
}

impl<K: kube::Resource + Send + Sync + 'static> Informer<K> {
    pub(crate) fn new(cache: Arc<Cache>) -> Self {
        Self { cache, kind: PhantomData }
    }

    /// The reading side alone.
    #[must_use]
    pub fn lister(&self) -> Lister<K> {
        Lister { cache: self.cache.clone(), kind: PhantomData }
    }

    /// One object; `namespace` is empty for cluster-scoped kinds.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.cache.get(namespace, name).and_then(typed)
    }

    /// All objects, ordered by namespace and name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        collected(|sink| self.cache.list(sink))
    }

    /// All objects of a namespace, ordered by name.
    #[must_use]
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        collected(|sink| self.cache.list_in(namespace, sink))
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Whether there is no object (or no list yet).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps an index of what `keys_of` says of each object. The first index of a name stays.
    pub fn add_index(
        &self,
        name: &'static str,
        keys_of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static,
    ) {
        let keys_of =
            move |object: &dyn Object| typed_ref(object).map(&keys_of).unwrap_or_default();
        self.cache.add_index(name, Box::new(keys_of), None);
    }

    /// The same, and counts those objects as one [`Class`] of which `alike` says the same: what goes into the hash is all
    /// that [`classes`](Self::classes) may be asked for.
    pub fn add_classed_index(
        &self,
        name: &'static str,
        keys_of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static,
        alike: impl Fn(&K, &mut DefaultHasher) + Send + Sync + 'static,
    ) {
        let keys_of =
            move |object: &dyn Object| typed_ref(object).map(&keys_of).unwrap_or_default();
        let class_of = move |object: &dyn Object| {
            let mut hasher = DefaultHasher::new();
            if let Some(object) = typed_ref(object) {
                alike(object, &mut hasher);
            }
            hasher.finish()
        };
        self.cache.add_index(name, Box::new(keys_of), Some(Box::new(class_of)));
    }

    /// The objects under `key` in index `name`; none when there is no such index.
    #[must_use]
    pub fn by_index(&self, name: &str, key: &str) -> Vec<Arc<K>> {
        collected(|sink| self.cache.by_index(name, key, sink))
    }

    /// The classes of the objects under `key` in index `name`, which takes no longer for a thousand objects that are alike
    /// than for one; each object by itself when the index was not added by [`add_classed_index`](Self::add_classed_index).
    #[must_use]
    pub fn classes(&self, name: &str, key: &str) -> Vec<Class<K>> {
        let found = self.cache.classes(name, key).into_iter();
        found.filter_map(|(sample, count)| Some(Class { sample: typed(sample)?, count })).collect()
    }

    /// The keys of index `name` under which there are objects and for which `wanted` holds, in no order.
    #[must_use]
    pub fn index_keys(&self, name: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        self.cache.index_keys(name, &wanted)
    }

    /// The present objects as [`Change::Added`](crate::Change::Added), then every change.
    #[must_use]
    pub fn subscribe(&self) -> Changes<K> {
        Changes::of(&self.cache)
    }

    /// Calls `handler` with the present objects as [`Change::Added`](crate::Change::Added), before this returns, and then
    /// with every change as soon as it is made, until what is returned is dropped. Nothing is left out and nothing waits
    /// anywhere, so that it costs a fraction of [`subscribe`](Self::subscribe).
    ///
    /// The informer goes on when `handler` has returned, so it must be quick and never wait. It may read any informer, this
    /// one too, which shows the change; to add another handler to this one, or to subscribe to it, would wait for ever.
    pub fn add_handler(
        &self,
        mut handler: impl FnMut(&Change<K>) + Send + 'static,
    ) -> Registration {
        let (reader, registration) = Handler::new(move |change| {
            if let Some(change) = change.clone().typed() {
                handler(&change);
            }
        });
        self.cache.attach(&reader);
        registration
    }

    /// As [`subscribe`](Self::subscribe), and every object there is once more each `period` (above zero), as
    /// [`Change::Updated`] from its state to the same: for what depends on things that cannot be watched. The server is not
    /// asked for it. What is told again may be newer than what was told of it last.
    #[must_use]
    pub fn subscribe_resynced(
        &self,
        clock: SharedClock,
        period: Duration,
    ) -> BoxStream<'static, Change<K>> {
        let start = (clock, self.lister());
        let again = stream::unfold(start, move |(clock, lister)| async move {
            clock.sleep(period).await;
            Some((lister.list(), (clock, lister)))
        });
        let again = again.flat_map(|all| {
            stream::iter(all).map(|object| Change::Updated { old: object.clone(), new: object })
        });
        // The end of the informer is the end of both.
        let told = self.subscribe().map(Some).chain(stream::once(future::ready(None)));
        let both = stream::select(told, again.map(Some));
        both.take_while(|change| future::ready(change.is_some())).filter_map(future::ready).boxed()
    }

    /// Whether the first list has arrived.
    #[must_use]
    pub fn has_synced(&self) -> bool {
        *self.cache.phase().borrow() == Phase::Synced
    }

    /// Waits for the first list, or for the end of the informer.
    pub async fn synced(&self) {
        self.cache.settled().await;
    }
}

/// The metadata of all objects of a resource: a copy of its own, or that of an [`Informer`] of the same kind.
pub struct MetadataInformer {
    cache: Arc<Cache>,
}

impl Clone for MetadataInformer {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone() }
    }
}

impl fmt::Debug for MetadataInformer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MetadataInformer").field(&self.cache).finish()
    }
}

impl MetadataInformer {
    pub(crate) fn new(cache: Arc<Cache>) -> Self {
        Self { cache }
    }

    /// How many objects there are in a namespace.
    #[must_use]
    pub fn len_in(&self, namespace: &str) -> usize {
        self.cache.len_in(namespace)
    }

    /// Those of one object as they were last told, without `managedFields`; the namespace is empty for objects outside of
    /// all namespaces.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<ObjectMeta> {
        self.cache.get(namespace, name).map(|object| object.metadata().clone())
    }

    /// As [`Informer::subscribe`].
    #[must_use]
    pub fn subscribe(&self) -> MetadataChanges {
        MetadataChanges::of(&self.cache)
    }

    /// The same, without the changes of which `wanted` says no: nobody is woken by them, and they cost next to nothing.
    /// It is asked where a change is made, so it must be quick and never wait. What is seen of an object may then be older
    /// than what it is, by steps that were not wanted.
    #[must_use]
    pub fn subscribe_to(
        &self,
        wanted: impl Fn(MetadataStep<'_>) -> bool + Send + Sync + 'static,
    ) -> MetadataChanges {
        MetadataChanges::only(&self.cache, wanted)
    }

    /// As [`Informer::has_synced`].
    #[must_use]
    pub fn has_synced(&self) -> bool {
        *self.cache.phase().borrow() == Phase::Synced
    }

    /// As [`Informer::synced`].
    pub async fn synced(&self) {
        self.cache.settled().await;
    }
}

fn collected<K: Send + Sync + 'static>(read: impl FnOnce(&mut dyn Sink)) -> Vec<Arc<K>> {
    let mut objects = Vec::new();
    read(&mut objects);
    objects
}

/// Reads the objects of an [`Informer`].
pub struct Lister<K> {
    cache: Arc<Cache>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Lister<K> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Lister<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lister").field(&self.cache).finish()
    }
}

impl<K: kube::Resource + Send + Sync + 'static> Lister<K> {
    /// As [`Informer::subscribe`]: no later than any other method here shows a change, the stream has it ready.
    #[must_use]
    pub fn subscribe(&self) -> Changes<K> {
        Changes::of(&self.cache)
    }

    /// One object; `namespace` is empty for cluster-scoped kinds.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.cache.get(namespace, name).and_then(typed)
    }

    /// All objects, ordered by namespace and name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        collected(|sink| self.cache.list(sink))
    }

    /// All objects of a namespace, ordered by name.
    #[must_use]
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        collected(|sink| self.cache.list_in(namespace, sink))
    }

    /// The objects under `key` in index `name`; none when there is no such index.
    #[must_use]
    pub fn by_index(&self, name: &str, key: &str) -> Vec<Arc<K>> {
        collected(|sink| self.cache.by_index(name, key, sink))
    }
}
