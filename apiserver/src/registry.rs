//! The kinds served right now. Changes at run time, as CustomResourceDefinitions come and go.

use crate::{
    cache::{Cache, CacheOptions},
    delegation::{Delegated, Delegation, Standing},
};
use arc_swap::ArcSwap;
use kubeplane_core::{Definition, GroupResource, GroupVersion, schema::SchemaRef};
use kubeplane_store_trait::{Key, KeyRange};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tokio::sync::watch;

/// One served version of a resource: its definition and its watch cache.
#[derive(Debug)]
pub struct Resource {
    definition: Arc<Definition>,
    prefix: String,
    cache: Cache,
}

impl Resource {
    fn new(definition: Arc<Definition>, root: &str, options: &CacheOptions) -> Arc<Self> {
        let prefix = format!("{root}/{}/", definition.storage_path());
        let cache = Cache::new(definition.clone(), prefix.clone(), options.clone());
        Arc::new(Self { definition, prefix, cache })
    }

    /// The kind.
    #[must_use]
    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// Group and plural.
    #[must_use]
    pub fn group_resource(&self) -> GroupResource {
        self.definition.resource()
    }

    /// What all keys of the resource begin with, as in `/registry/pods/`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of an object; `None` when the names are empty or far too long.
    #[must_use]
    pub fn key(&self, namespace: &str, name: &str) -> Option<Key> {
        if name.is_empty() || name.contains('/') || namespace.contains('/') {
            return None;
        }
        match self.definition.is_namespaced() {
            true if namespace.is_empty() => None,
            true => Key::new(format!("{}{namespace}/{name}", self.prefix)),
            false => Key::new(format!("{}{name}", self.prefix)),
        }
    }

    /// The keys of a namespace, or of all with the empty one.
    #[must_use]
    pub fn range(&self, namespace: &str) -> KeyRange {
        if namespace.is_empty() || !self.definition.is_namespaced() {
            KeyRange::prefix(self.prefix.clone())
        } else {
            KeyRange::prefix(format!("{}{namespace}/", self.prefix))
        }
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }
}

type Versions = BTreeMap<GroupVersion, BTreeMap<String, Arc<Resource>>>;

#[derive(Debug, Default)]
struct Served {
    versions: Versions,
    /// Each resource in its storage version, or the first that is served.
    stored: HashMap<GroupResource, Arc<Resource>>,
}

impl Served {
    fn new(versions: Versions) -> Self {
        let mut stored: HashMap<GroupResource, Arc<Resource>> = HashMap::new();
        let is_stored =
            |found: &Resource| found.definition.storage_version == found.definition.kind.version;
        for found in versions.values().flat_map(BTreeMap::values) {
            let place = stored.entry(found.definition.resource()).or_insert_with(|| found.clone());
            if is_stored(found) && !is_stored(place) {
                place.clone_from(found);
            }
        }
        Self { versions, stored }
    }
}

/// All resources served right now; cheap to read, never blocks.
#[derive(Debug)]
pub struct Registry {
    served: ArcSwap<Served>,
    delegation: ArcSwap<Delegation>,
    root: String,
    options: CacheOptions,
    changes: watch::Sender<u64>,
}

impl Registry {
    pub(crate) fn new(root: String, options: CacheOptions) -> Arc<Self> {
        let changes = watch::Sender::new(0);
        let (served, delegation) = (ArcSwap::default(), ArcSwap::default());
        Arc::new(Self { served, delegation, root, options, changes })
    }

    /// What all keys begin with, as in `/registry`.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Serves a kind from now on, in place of what was served under its group, version and plural.
    pub fn install(&self, definition: Arc<Definition>) -> Arc<Resource> {
        let resource = Resource::new(definition, &self.root, &self.options);
        let definition = resource.definition();
        self.change(|served| {
            served
                .entry(definition.group_version())
                .or_default()
                .insert(definition.plural.to_string(), resource.clone())
        });
        resource
    }

    /// Serves a resource no more; watches of it end.
    pub fn remove(&self, version: &GroupVersion, plural: &str) {
        self.change(|served| {
            let resources = served.get_mut(version)?;
            let removed = resources.remove(plural);
            if resources.is_empty() {
                served.remove(version);
            }
            removed
        });
    }

    fn change(&self, mut edit: impl FnMut(&mut Versions) -> Option<Arc<Resource>>) {
        let mut gone = None;
        self.served.rcu(|served| {
            let mut next = served.versions.clone();
            gone = edit(&mut next);
            Served::new(next)
        });
        if let Some(gone) = gone {
            gone.cache().close();
        }
        self.changes.send_modify(|generation| *generation += 1);
    }

    /// Lets another serve a group version from now on, whatever is served of it here; discovery and OpenAPI say what
    /// `delegated` says.
    pub fn delegate(&self, version: GroupVersion, delegated: Delegated) {
        self.redelegate(|delegation| {
            let same = delegation.delegated.get(&version).is_some_and(|own| own.same(&delegated));
            if !same {
                delegation.delegated.insert(version.clone(), delegated.clone());
            }
            !same
        });
    }

    /// Lets nobody else serve a group version.
    pub fn undelegate(&self, version: &GroupVersion) {
        self.redelegate(|delegation| delegation.delegated.remove(version).is_some());
    }

    /// Lists group versions in this order in discovery; those that it leaves out stand as the original places them.
    pub fn rank(&self, standings: BTreeMap<GroupVersion, Standing>) {
        self.redelegate(|delegation| {
            let changed = delegation.standings != standings;
            delegation.standings.clone_from(&standings);
            changed
        });
    }

    /// The group versions that others serve.
    #[must_use]
    pub fn delegated(&self) -> BTreeMap<GroupVersion, Delegated> {
        self.delegation.load().delegated.clone()
    }

    pub(crate) fn delegation(&self) -> Arc<Delegation> {
        self.delegation.load_full()
    }

    fn redelegate(&self, mut edit: impl FnMut(&mut Delegation) -> bool) {
        let mut changed = false;
        self.delegation.rcu(|delegation| {
            let mut next = Delegation::clone(delegation);
            changed = edit(&mut next);
            next
        });
        if changed {
            self.changes.send_modify(|generation| *generation += 1);
        }
    }

    /// A number that steps with every change, to be awaited or compared.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How often the kinds changed.
    pub(crate) fn generation(&self) -> u64 {
        *self.changes.borrow()
    }

    /// The resource served under exactly this version and plural.
    #[must_use]
    pub fn find(&self, version: &GroupVersion, plural: &str) -> Option<Arc<Resource>> {
        self.served.load().versions.get(version)?.get(plural).cloned()
    }

    /// The resource in its storage version, or any served one.
    #[must_use]
    pub fn resource(&self, resource: &GroupResource) -> Option<Arc<Resource>> {
        self.served.load().stored.get(resource).cloned()
    }

    /// The resource that serves a kind.
    #[must_use]
    pub fn of_kind(&self, version: &GroupVersion, kind: &str) -> Option<Arc<Resource>> {
        let served = self.served.load();
        let resources = served.versions.get(version)?;
        resources.values().find(|resource| resource.definition.kind.kind == kind).cloned()
    }

    /// Everything served, ordered by group, version and plural.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Resource>> {
        self.served.load().versions.values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Whether kinds of the server's own are served in this group. Of such a group a Status tells what is not there; what nobody
    /// knows, and what is not there of a group made at run time, has no more than a page.
    pub(crate) fn is_own(&self, group: &str) -> bool {
        let served = self.served.load();
        served
            .versions
            .range(GroupVersion::new(group.to_owned(), "")..)
            .take_while(|(version, _)| version.group == group)
            .flat_map(|(_, resources)| resources.values())
            .any(|resource| matches!(resource.definition.schema, SchemaRef::Static(_)))
    }

    /// Whether any resource of this version is served.
    #[must_use]
    pub fn has_version(&self, version: &GroupVersion) -> bool {
        self.served.load().versions.contains_key(version)
    }

    /// Everything served in a version, ordered by plural.
    #[must_use]
    pub fn of_version(&self, version: &GroupVersion) -> Vec<Arc<Resource>> {
        let served = self.served.load();
        served.versions.get(version).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }
}
