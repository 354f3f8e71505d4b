use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::discovery::ApiResource;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

pub(super) const ORPHAN: &str = "orphan";
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// What the collector is to look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// Whether the object of this uid must go.
    Delete(String),
    /// The object of this uid is to leave its dependents behind.
    Orphan(String),
}

/// The name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Identity {
    /// What a dependent in this namespace names as its owner.
    pub(super) fn named(owner: &OwnerReference, namespace: &str) -> Self {
        Self {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            namespace: namespace.to_owned(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        }
    }
}

#[derive(Debug)]
struct Node {
    identity: Identity,
    owners: Vec<OwnerReference>,
    dependents: BTreeSet<String>,
    /// Seen itself, not only named as an owner.
    observed: bool,
    /// It was seen, and is gone as far as the API server is concerned, or may be.
    doubted: bool,
    deleting: bool,
    foreground: bool,
}

impl Node {
    /// Whether this state of it says nothing new, as most do.
    fn is_still(&self, resource: &ApiResource, meta: &ObjectMeta) -> bool {
        self.observed
            && !self.doubted
            && !self.deleting
            && meta.deletion_timestamp.is_none()
            && self.owners == meta.owner_references.as_deref().unwrap_or_default()
            && self.identity.api_version == resource.api_version
    }
}

/// A node as it was at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) identity: Identity,
    pub(super) deleting: bool,
    pub(super) foreground: bool,
    pub(super) dependents: Vec<Dependent>,
}

/// What depends on a node.
#[derive(Debug, Clone)]
pub(super) struct Dependent {
    pub(super) identity: Identity,
    pub(super) blocks: bool,
    pub(super) foreground: bool,
}

/// Who owns whom, by uid.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
    /// The uids of the last owners that were seen to go, and in which order they went.
    absent: HashSet<String>,
    absent_order: VecDeque<String>,
}

/// How many owners that went are remembered.
const MOST_ABSENT: usize = 500;

fn blocks(owners: &[OwnerReference], uid: &str) -> bool {
    owners.iter().any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether `owner` means the object of this identity, as seen from `namespace`.
fn means(owner: &OwnerReference, identity: &Identity, namespace: &str) -> bool {
    owner.kind == identity.kind
        && owner.name == identity.name
        && group(&owner.api_version) == group(&identity.api_version)
        && (identity.namespace.is_empty() || identity.namespace == namespace)
}

impl Graph {
    /// Takes in the present state of an object; what must be looked at because of it.
    pub(super) fn observe(&mut self, resource: &ApiResource, meta: &ObjectMeta) -> Vec<Work> {
        let Some(uid) = &meta.uid else { return Vec::new() };
        if self.nodes.get(uid).is_some_and(|node| node.is_still(resource, meta)) {
            return Vec::new();
        }
        let uid = uid.clone();
        let identity = Identity {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: uid.clone(),
        };
        let owners = meta.owner_references.clone().unwrap_or_default();
        let deleting = meta.deletion_timestamp.is_some();
        let has =
            |finalizer: &str| meta.finalizers.iter().flatten().any(|present| present == finalizer);
        let foreground = deleting && has(FOREGROUND);

        let mut work = Vec::new();
        let old = self.nodes.remove(&uid);
        if let Some(old) = old.as_ref().filter(|old| !old.observed) {
            // Who named it when nobody had seen it may have meant another object.
            let others = old.dependents.iter().filter(|other| !self.names(other, &identity));
            work.extend(others.cloned().map(Work::Delete));
        }
        let (before, dependents) =
            old.map(|node| (node.owners, node.dependents)).unwrap_or_default();
        let waiting: Vec<_> =
            if foreground { dependents.iter().cloned().collect() } else { Vec::new() };
        let node = Node {
            identity,
            owners: owners.clone(),
            dependents,
            observed: true,
            doubted: false,
            deleting,
            foreground,
        };
        self.nodes.insert(uid.clone(), node);

        for gone in before.iter().filter(|old| !owners.iter().any(|owner| owner.uid == old.uid)) {
            self.unlink(&uid, &gone.uid, &mut work);
        }
        for owner in &owners {
            let known = before.iter().find(|old| old.uid == owner.uid);
            if known.is_none() {
                self.link(&uid, owner, &mut work);
            } else if known
                .is_some_and(|old| old.block_owner_deletion != owner.block_owner_deletion)
            {
                // An owner in foreground deletion may no longer be held back by this one.
                self.wake_waiting(&owner.uid, &mut work);
            }
        }
        if deleting && has(ORPHAN) {
            work.push(Work::Orphan(uid.clone()));
        }
        if foreground {
            work.extend(waiting.into_iter().map(Work::Delete));
            work.push(Work::Delete(uid));
        }
        work
    }

    fn link(&mut self, uid: &str, owner: &OwnerReference, work: &mut Vec<Work>) {
        let namespace =
            self.nodes.get(uid).map(|node| node.identity.namespace.clone()).unwrap_or_default();
        let node = self.nodes.entry(owner.uid.clone()).or_insert_with(|| {
            // Nobody has seen this owner: it comes later, or it is gone already.
            work.push(Work::Delete(owner.uid.clone()));
            Node {
                identity: Identity::named(owner, &namespace),
                owners: Vec::new(),
                dependents: BTreeSet::new(),
                observed: false,
                doubted: false,
                deleting: false,
                foreground: false,
            }
        });
        node.dependents.insert(uid.to_owned());
        // Of an owner that nobody has seen it is not known whether it is in a namespace, nor whether it is served in the
        // version by which it was named first.
        let guessed = !node.observed
            && ((node.identity.namespace.is_empty() && !namespace.is_empty())
                || node.identity.api_version != owner.api_version);
        if node.foreground || guessed || !means(owner, &node.identity, &namespace) {
            work.push(Work::Delete(uid.to_owned()));
        }
    }

    fn unlink(&mut self, uid: &str, owner: &str, work: &mut Vec<Work>) {
        let Some(node) = self.nodes.get_mut(owner) else { return };
        node.dependents.remove(uid);
        if !node.observed && node.dependents.is_empty() && node.owners.is_empty() {
            self.nodes.remove(owner);
            return;
        }
        self.wake_waiting(owner, work);
    }

    fn wake_waiting(&self, owner: &str, work: &mut Vec<Work>) {
        if self.nodes.get(owner).is_some_and(|node| node.foreground) {
            work.push(Work::Delete(owner.to_owned()));
        }
    }

    /// Whether an object names another as its owner by this identity, and by no other.
    fn names(&self, dependent: &str, identity: &Identity) -> bool {
        self.nodes.get(dependent).is_none_or(|node| {
            let mut references = node.owners.iter().filter(|owner| owner.uid == identity.uid);
            references.all(|owner| means(owner, identity, &node.identity.namespace))
        })
    }

    /// There is no object of this identity; what must be looked at because of it. When an owner that nobody has seen
    /// is named in another way, too, that is looked for next.
    pub(super) fn absent(&mut self, identity: &Identity) -> Vec<Work> {
        let Some(node) = self.nodes.get_mut(&identity.uid) else { return Vec::new() };
        let same = node.identity == *identity;
        if node.observed && same {
            // What tells of it is behind, and may tell of it once more before it tells of its end. It keeps its dependents
            // until then, so that they are looked at again.
            node.doubted = true;
            return node.dependents.iter().cloned().map(Work::Delete).collect();
        }
        if node.doubted && same {
            return self.gone(&identity.uid);
        }
        let Some(node) = self.nodes.get(&identity.uid) else { return Vec::new() };
        let (named, others): (Vec<String>, Vec<String>) =
            node.dependents.iter().cloned().partition(|other| self.names(other, identity));
        if !node.observed && others.is_empty() {
            return self.forget(&identity.uid);
        }
        let mut work: Vec<_> = named.into_iter().map(Work::Delete).collect();
        if same {
            work.extend(self.look_elsewhere(identity, &others));
        }
        work
    }

    /// An owner that nobody has seen is named in a way by which it cannot be found; what must be looked at because of it.
    pub(super) fn unfindable(&mut self, identity: &Identity) -> Vec<Work> {
        let Some(node) = self.nodes.get(&identity.uid) else { return Vec::new() };
        if node.observed || node.identity != *identity {
            return Vec::new();
        }
        let dependents: Vec<String> = node.dependents.iter().cloned().collect();
        self.look_elsewhere(identity, &dependents).into_iter().collect()
    }

    /// Has an owner looked for by another of the ways in which these dependents name it, if there is one.
    fn look_elsewhere(&mut self, identity: &Identity, dependents: &[String]) -> Option<Work> {
        let next = self.named_otherwise(dependents, identity)?;
        let node = self.nodes.get_mut(&identity.uid)?;
        node.identity = next;
        Some(Work::Delete(identity.uid.clone()))
    }

    /// What comes after this identity, in order and around, of all by which these dependents name it.
    fn named_otherwise(&self, dependents: &[String], identity: &Identity) -> Option<Identity> {
        let mut all: Vec<_> = dependents
            .iter()
            .filter_map(|dependent| self.nodes.get(dependent))
            .flat_map(|node| {
                let owners = node.owners.iter().filter(|owner| owner.uid == identity.uid);
                owners.map(|owner| Identity::named(owner, &node.identity.namespace))
            })
            .filter(|other| other != identity)
            .collect();
        all.sort();
        let next = all.partition_point(|other| other <= identity);
        let next = if next < all.len() { next } else { 0 };
        (next < all.len()).then(|| all.swap_remove(next))
    }

    /// The object of this uid is gone; what must be looked at because of it.
    fn forget(&mut self, uid: &str) -> Vec<Work> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let mut work = Vec::new();
        for owner in &node.owners {
            self.unlink(uid, &owner.uid, &mut work);
        }
        work.extend(node.dependents.into_iter().map(Work::Delete));
        work
    }

    /// An object was seen to go: whoever names it as an owner need not be asked about, even if its kind is gone, too. One
    /// that nobody names is not remembered: of ten thousand dependents that go each would push out the owner they have in
    /// common.
    pub(super) fn gone(&mut self, uid: &str) -> Vec<Work> {
        if self.nodes.get(uid).is_none_or(|node| node.dependents.is_empty()) {
            return self.forget(uid);
        }
        self.remember_absent(uid);
        if self.absent_order.len() > MOST_ABSENT
            && let Some(oldest) = self.absent_order.pop_front()
        {
            self.absent.remove(&oldest);
        }
        self.forget(uid)
    }

    fn remember_absent(&mut self, uid: &str) {
        if self.absent.insert(uid.to_owned()) {
            self.absent_order.push_back(uid.to_owned());
        }
    }

    /// There are no objects of this kind any more.
    pub(super) fn lose(&mut self, api_version: &str, kind: &str) -> Vec<Work> {
        let of =
            |node: &Node| node.identity.api_version == api_version && node.identity.kind == kind;
        let mut lost: Vec<String> =
            self.nodes.iter().filter(|(_, node)| of(node)).map(|(uid, _)| uid.clone()).collect();
        lost.sort();
        let mut work = Vec::new();
        for uid in lost {
            let first = work.len();
            work.extend(self.forget(&uid));
            // The API server has no answer any more about what others name, so that is remembered, however much it is.
            if work.len() > first {
                self.remember_absent(&uid);
            }
        }
        work
    }

    /// The objects of a kind, known from before, are told of anew: what must be looked at because some may have gone. Until
    /// they are seen again they are only named.
    pub(super) fn unsee(&mut self, resource: &ApiResource) -> Vec<Work> {
        let of = |node: &Node| {
            let identity = &node.identity;
            node.observed
                && identity.kind == resource.kind
                && group(&identity.api_version) == resource.group
        };
        let mut known: Vec<String> =
            self.nodes.iter().filter(|(_, node)| of(node)).map(|(uid, _)| uid.clone()).collect();
        known.sort();
        let mut work = Vec::new();
        for uid in known {
            let Some(node) = self.nodes.get_mut(&uid) else { continue };
            if node.owners.is_empty() && node.dependents.is_empty() {
                self.nodes.remove(&uid);
                continue;
            }
            (node.observed, node.doubted) = (false, true);
            node.identity.api_version.clone_from(&resource.api_version);
            work.push(Work::Delete(uid));
        }
        work
    }

    /// Whether the object of this uid is named, and was not seen.
    pub(super) fn is_unseen(&self, uid: &str) -> bool {
        self.nodes.get(uid).is_some_and(|node| !node.observed)
    }

    /// Whether the owner of this uid was seen to go, not long ago.
    pub(super) fn is_gone(&self, uid: &str) -> bool {
        self.absent.contains(uid)
    }

    /// A node and what depends on it.
    pub(super) fn snapshot(&self, uid: &str) -> Option<Snapshot> {
        let node = self.nodes.get(uid)?;
        let dependents = node.dependents.iter().filter_map(|dependent| {
            let other = self.nodes.get(dependent)?;
            let blocks = blocks(&other.owners, uid);
            Some(Dependent {
                identity: other.identity.clone(),
                blocks,
                foreground: other.foreground,
            })
        });
        Some(Snapshot {
            identity: node.identity.clone(),
            deleting: node.deleting,
            foreground: node.foreground,
            dependents: dependents.collect(),
        })
    }

    /// Whether the owner is known to be there, and if so whether it waits for its dependents to go.
    pub(super) fn owner(&self, owner: &OwnerReference, namespace: &str) -> Option<bool> {
        let node = self.nodes.get(&owner.uid)?;
        let known = node.observed && !node.doubted && means(owner, &node.identity, namespace);
        known.then_some(node.foreground)
    }

    /// Whether an object of this uid is known to be in a namespace other than this one.
    pub(super) fn is_elsewhere(&self, uid: &str, namespace: &str) -> bool {
        self.nodes.get(uid).is_some_and(|node| {
            let own = node.identity.namespace.as_str();
            node.observed && !own.is_empty() && own != namespace
        })
    }
}

#[cfg(test)]
mod tests;
