use crate::{
    ClientSource, Error, Informer, InformerSource, MetadataInformer, Query, Result,
    cache::{Cache, Phase},
    object::{Decode, Transform, decode},
    reflector::Reflector,
};
use kube::{
    core::{DynamicObject, PartialObjectMeta},
    discovery::ApiResource,
};
use kubeplane_clock::{Seed, SharedClock};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use std::{any::TypeId, borrow::Cow, collections::HashMap, fmt::Debug, sync::Arc};
use tokio::task::{AbortHandle, JoinSet};

/// The metadata of an object whose kind is known only at run time.
type PartialObjectMetadata = PartialObjectMeta<DynamicObject>;

/// A typed kind that informers can hold; every k8s-openapi kind and derived custom resource is one.
pub trait Watchable:
    kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}

impl<K> Watchable for K where
    K: kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}

/// All informers of a process: one list and watch per kind, started by its first user.
///
/// Clones share everything. The watches end when [`stop`](Self::stop) is called or the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Informers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: Arc<dyn InformerSource>,
    clock: SharedClock,
    seed: Seed,
    entries: Mutex<HashMap<(TypeId, Query), Entry>>,
    /// Read and written while the entries are locked.
    transforms: Mutex<HashMap<TypeId, Transform>>,
    /// Those of all objects of a kind by its type alone, which are asked for with every request that is worked on.
    whole: RwLock<HashMap<TypeId, Arc<Cache>>>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Entry {
    cache: Arc<Cache>,
    task: AbortHandle,
}

/// A kind without its type: what finds and reads its objects.
struct Kind {
    id: TypeId,
    group: Cow<'static, str>,
    version: Cow<'static, str>,
    api_version: Cow<'static, str>,
    kind: Cow<'static, str>,
    plural: Cow<'static, str>,
    decode: Decode,
}

impl Kind {
    fn of<K: Watchable>() -> Self {
        Self {
            id: TypeId::of::<K>(),
            group: K::group(&()),
            version: K::version(&()),
            api_version: K::api_version(&()),
            kind: K::kind(&()),
            plural: K::plural(&()),
            decode: decode::<K>,
        }
    }
}

impl Informers {
    /// Informers that list and watch over `client`.
    #[must_use]
    pub fn new(client: kube::Client, clock: SharedClock) -> Self {
        Self::from_source(Arc::new(ClientSource::new(client)), clock, Seed::random())
    }

    /// Informers over any source; `seed` spreads their retries.
    #[must_use]
    pub fn from_source(source: Arc<dyn InformerSource>, clock: SharedClock, seed: Seed) -> Self {
        let inner = Inner {
            source,
            clock,
            seed,
            entries: Mutex::default(),
            transforms: Mutex::default(),
            whole: RwLock::default(),
            tasks: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Says what is kept of each object of a kind: `change` is called once for every state of every object, when it was read
    /// and before anybody sees it, and takes away what none of those who share these informers reads. For kinds of which
    /// there are many, that decides how much memory a process needs. As `WithTransform` of client-go.
    ///
    /// It counts for all informers of `K`, filtered ones too, and for [`metadata`](Self::metadata) that is read from their
    /// copy. It must leave `metadata.name`, `namespace`, `uid` and `resourceVersion` as they are, be quick and never wait.
    ///
    /// Whoever writes must know of it: an object from such a cache is not to be written back whole, for the server would take
    /// what is missing for removed. Send a patch, or get the object first.
    ///
    /// # Errors
    /// [`Error::TransformTooLate`] when there is an informer of `K`, or another transform, already; nothing changes then.
    ///
    /// # Example
    /// ```
    /// # fn example(informers: &kubeplane_client::Informers) -> kubeplane_client::Result<()> {
    /// use k8s_openapi::api::core::v1::Secret;
    /// // Only their names and labels matter.
    /// informers.transform::<Secret>(|secret| secret.data = None)?;
    /// let secrets = informers.of::<Secret>();
    /// # Ok(())
    /// # }
    /// ```
    pub fn transform<K: Watchable>(
        &self,
        change: impl Fn(&mut K) + Send + Sync + 'static,
    ) -> Result<()> {
        let id = TypeId::of::<K>();
        let entries = self.inner.entries.lock();
        let mut transforms = self.inner.transforms.lock();
        let known = transforms.contains_key(&id) || entries.keys().any(|(kind, _)| *kind == id);
        if known {
            return Err(Error::TransformTooLate { kind: K::kind(&()) });
        }
        transforms.insert(id, Transform::of::<K>(change));
        Ok(())
    }

    /// All objects of a kind, in all namespaces.
    ///
    /// # Panics
    /// Outside of a tokio runtime, when this is the kind's first use.
    #[must_use]
    pub fn of<K: Watchable>(&self) -> Informer<K> {
        let id = TypeId::of::<K>();
        if let Some(cache) = self.inner.whole.read().get(&id) {
            return Informer::new(cache.clone());
        }
        let cache = self.inner.selected(Kind::of::<K>(), "", "");
        self.inner.whole.write().insert(id, cache.clone());
        Informer::new(cache)
    }

    /// The objects of a kind that match both selectors, by a list and watch of their own.
    ///
    /// # Panics
    /// As [`of`](Self::of).
    #[must_use]
    pub fn filtered<K: Watchable>(
        &self,
        field_selector: &str,
        label_selector: &str,
    ) -> Informer<K> {
        Informer::new(self.inner.selected(Kind::of::<K>(), field_selector, label_selector))
    }

    /// The metadata of all objects of any resource. Where an informer of all its objects runs already, it is that one's
    /// copy, and there is neither a list nor a watch beside it.
    ///
    /// # Panics
    /// As [`of`](Self::of).
    #[must_use]
    pub fn metadata(&self, resource: ApiResource) -> MetadataInformer {
        let all = Query::all(resource);
        MetadataInformer::new(self.inner.showing(&all).unwrap_or_else(|| {
            let query = Query { metadata_only: true, ..all };
            let id = TypeId::of::<PartialObjectMetadata>();
            self.inner.start(id, query, decode::<PartialObjectMetadata>)
        }))
    }

    /// Ends what follows nothing but the metadata of a resource that is no longer served; its readers' streams end.
    pub fn forget_metadata(&self, resource: ApiResource) {
        let query = Query { metadata_only: true, ..Query::all(resource) };
        self.inner.forget(TypeId::of::<PartialObjectMetadata>(), query);
    }

    /// All objects of any resource, whole, for kinds that are known only at run time. It is a list and watch beside that of
    /// [`of`](Self::of) the same kind. Objects of built-in kinds do not say their kind, as in any list.
    ///
    /// # Panics
    /// As [`of`](Self::of).
    #[must_use]
    pub fn dynamic(&self, resource: ApiResource) -> Informer<DynamicObject> {
        let id = TypeId::of::<DynamicObject>();
        Informer::new(self.inner.start(id, Query::all(resource), decode::<DynamicObject>))
    }

    /// Ends the [`dynamic`](Self::dynamic) informer of a resource that is no longer served; its readers' streams end.
    pub fn forget_dynamic(&self, resource: ApiResource) {
        self.inner.forget(TypeId::of::<DynamicObject>(), Query::all(resource));
    }

    /// Waits until every informer handed out so far has its first list.
    pub async fn synced(&self) {
        let mut phases: Vec<_> = {
            let entries = self.inner.entries.lock();
            entries.iter().map(|((_, query), own)| (query.to_string(), own.cache.phase())).collect()
        };
        // Who waits for what decides who is woken before whom.
        phases.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (_, mut phase) in phases {
            // A closed cache has nothing to wait for.
            let _ = phase.wait_for(|phase| *phase != Phase::Filling).await;
        }
    }

    /// The informers that have no list yet, for a health check to name.
    #[must_use]
    pub fn unsynced(&self) -> Vec<String> {
        let entries = self.inner.entries.lock();
        let waiting =
            entries.iter().filter(|(_, entry)| *entry.cache.phase().borrow() == Phase::Filling);
        let mut names: Vec<_> = waiting.map(|((_, query), _)| query.to_string()).collect();
        names.sort();
        names
    }

    /// Ends every watch and every reader's stream; what was read stays readable.
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl Inner {
    fn selected(&self, kind: Kind, field_selector: &str, label_selector: &str) -> Arc<Cache> {
        let resource = ApiResource {
            group: kind.group.into_owned(),
            version: kind.version.into_owned(),
            api_version: kind.api_version.into_owned(),
            kind: kind.kind.into_owned(),
            plural: kind.plural.into_owned(),
        };
        let query = Query {
            field_selector: field_selector.to_owned(),
            label_selector: label_selector.to_owned(),
            ..Query::all(resource)
        };
        self.start(kind.id, query, kind.decode)
    }

    /// The cache of what `query` finds, whose objects are of the type `id`, as `decode` makes them.
    fn start(&self, id: TypeId, query: Query, decode: Decode) -> Arc<Cache> {
        let mut entries = self.entries.lock();
        let id = (id, query);
        if let Some(entry) = entries.get(&id) {
            return entry.cache.clone();
        }
        let cache = Arc::new(Cache::new());
        let reflector = Reflector {
            source: self.source.clone(),
            query: id.1.clone(),
            decode,
            transform: self.transforms.lock().get(&id.0).cloned(),
            cache: cache.clone(),
            clock: self.clock.clone(),
            seed: self.seed.clone(),
        };
        let task = self.tasks.lock().spawn(reflector.run());
        entries.insert(id, Entry { cache: cache.clone(), task });
        cache
    }

    /// A cache that shows the metadata of all that `query` finds, if there is one.
    fn showing(&self, query: &Query) -> Option<Arc<Cache>> {
        let entries = self.entries.lock();
        let alone = Query { metadata_only: true, ..query.clone() };
        let entry = entries.get(&(TypeId::of::<PartialObjectMetadata>(), alone)).or_else(|| {
            let mut whole = entries.iter().filter(|((_, other), _)| other == query);
            whole.next().map(|(_, entry)| entry)
        });
        entry.map(|entry| entry.cache.clone())
    }

    fn forget(&self, id: TypeId, query: Query) {
        let entry = self.entries.lock().remove(&(id, query));
        if let Some(entry) = entry {
            entry.task.abort();
            entry.cache.close();
        }
    }

    fn stop(&self) {
        self.tasks.lock().abort_all();
        for entry in self.entries.lock().values() {
            entry.cache.close();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
