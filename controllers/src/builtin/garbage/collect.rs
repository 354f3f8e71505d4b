use super::{
    Shared,
    graph::{FOREGROUND, Identity, ORPHAN, Snapshot, Work},
};
use crate::{
    Context, Error,
    builtin::{discovery::Served, unread},
    error::unless_gone,
};
use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api,
    api::{
        DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
        PropagationPolicy,
    },
};
use kubeplane_client::EventType;
use serde_json::json;

/// Decides about one object at a time, on its live state.
pub(super) struct Collector<'a> {
    pub(super) shared: &'a Shared,
    pub(super) context: &'a Context,
}

/// An object's owners, by what becomes of them.
#[derive(Default)]
struct Owners {
    solid: Vec<String>,
    dangling: Vec<String>,
    /// Those that are deleted once their dependents are gone.
    waiting: Vec<String>,
}

impl Collector<'_> {
    /// Deletes the object when no owner is left; what must be looked at next.
    pub(super) async fn attempt_to_delete(&self, uid: &str) -> Result<Vec<Work>, Error> {
        let Some(item) = self.shared.graph.lock().snapshot(uid) else { return Ok(Vec::new()) };
        if item.deleting && !item.foreground {
            return Ok(Vec::new());
        }
        let Some(api) = self.api(&item.identity)? else {
            // Where an owner is that something outside of all namespaces names, only others can tell.
            return Ok(self.shared.graph.lock().unfindable(&item.identity));
        };
        if let Some(seen) = self.lost(&item) {
            match self.delete(&api, &seen).await {
                // It is another by now, or gone.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                done => return Ok(done.map(|()| Vec::new())?),
            }
        }
        let latest = self.find(&api, &item.identity.name).await?;
        let Some(latest) = latest.filter(|latest| latest.uid.as_deref() == Some(uid)) else {
            return Ok(self.shared.graph.lock().absent(&item.identity));
        };
        if item.foreground {
            // What came to depend on it while the server was asked holds it back, too.
            let Some(item) = self.shared.graph.lock().snapshot(uid) else { return Ok(Vec::new()) };
            return self.finish_foreground(&api, &item, latest).await;
        }
        let references = latest.owner_references.clone().unwrap_or_default();
        if references.is_empty() {
            return Ok(Vec::new());
        }
        let Some(owners) = self.classify(&item.identity, &references).await? else {
            return Ok(Vec::new());
        };
        if !owners.solid.is_empty() {
            let stale = [owners.dangling, owners.waiting].concat();
            if !stale.is_empty() {
                disown(&api, &latest, &stale).await?;
            }
        } else if !owners.waiting.is_empty() && !item.dependents.is_empty() {
            // Owners and dependents that wait for each other would wait for ever.
            let circle = item.dependents.iter().any(|dependent| dependent.foreground);
            if circle && unblock(&api, &latest).await? {
                return Err(Error::Incomplete(format!("owners of {uid} were unblocked")));
            }
            unless_gone(self.delete_as(&api, &latest, PropagationPolicy::Foreground).await)?;
        } else {
            unless_gone(self.delete(&api, &latest).await)?;
        }
        Ok(Vec::new())
    }

    /// What was last told of an object, if every owner it had then was seen to go. Who deletes it in exactly this state
    /// need not ask for it first.
    fn lost(&self, item: &Snapshot) -> Option<ObjectMeta> {
        let Identity { api_version, kind, namespace, name, uid } = &item.identity;
        let key = (api_version.clone(), kind.clone());
        let seen = self.shared.seen.read().get(&key)?.get(namespace, name)?;
        let owners = seen.owner_references.as_deref().unwrap_or_default();
        let is_same = seen.uid.as_ref() == Some(uid) && seen.deletion_timestamp.is_none();
        let graph = self.shared.graph.lock();
        let is_lost = !owners.is_empty() && owners.iter().all(|owner| graph.is_gone(&owner.uid));
        (is_same && !item.foreground && is_lost).then_some(seen)
    }

    async fn finish_foreground(
        &self,
        api: &Api<DynamicObject>,
        item: &Snapshot,
        latest: ObjectMeta,
    ) -> Result<Vec<Work>, Error> {
        let blocking: Vec<_> =
            item.dependents.iter().filter(|dependent| dependent.blocks).collect();
        if blocking.is_empty() {
            remove_finalizer(api, &latest, FOREGROUND).await?;
            return Ok(Vec::new());
        }
        let waiting = blocking.into_iter().filter(|dependent| !dependent.foreground);
        Ok(waiting.map(|dependent| Work::Delete(dependent.identity.uid.clone())).collect())
    }

    /// Takes the object out of its dependents' owners, then lets it go.
    pub(super) async fn orphan(&self, uid: &str) -> Result<Vec<Work>, Error> {
        let Some(owner) = self.shared.graph.lock().snapshot(uid) else { return Ok(Vec::new()) };
        // A dependent that the graph does not show yet would be deleted instead of left behind, so the API
        // server is asked for all there are.
        let resources = self.shared.resources.read().preferred.clone();
        let namespace = owner.identity.namespace.as_str();
        let listed = |served: &&Served| ["list", "patch"].iter().all(|verb| served.supports(verb));
        for served in resources
            .iter()
            .filter(listed)
            .filter(|served| served.namespaced || namespace.is_empty())
        {
            self.disown_all(served, namespace, uid).await?;
        }
        let Some(api) = self.api(&owner.identity)? else { return Ok(Vec::new()) };
        let latest = self.find(&api, &owner.identity.name).await?;
        if let Some(latest) = latest.filter(|latest| latest.uid.as_deref() == Some(uid)) {
            remove_finalizer(&api, &latest, ORPHAN).await?;
        }
        Ok(Vec::new())
    }

    async fn disown_all(&self, served: &Served, namespace: &str, uid: &str) -> Result<(), Error> {
        let client = self.context.client();
        let all: Api<DynamicObject> = if namespace.is_empty() {
            Api::all_with(client.clone(), &served.resource)
        } else {
            Api::namespaced_with(client.clone(), namespace, &served.resource)
        };
        let objects = match all.list_metadata(&ListParams::default()).await {
            Ok(list) => list.items,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for object in objects {
            let meta = object.metadata;
            if meta.owner_references.iter().flatten().any(|owner| owner.uid == uid) {
                let api = match meta.namespace.as_deref().filter(|_| served.namespaced) {
                    Some(namespace) => {
                        Api::namespaced_with(client.clone(), namespace, &served.resource)
                    }
                    None => Api::all_with(client.clone(), &served.resource),
                };
                disown(&api, &meta, &[uid.to_owned()]).await?;
            }
        }
        Ok(())
    }

    fn served(&self, api_version: &str, kind: &str) -> Result<Served, Error> {
        let key = (api_version.to_owned(), kind.to_owned());
        let served = self.shared.resources.read().by_kind.get(&key).cloned();
        served.ok_or_else(|| {
            self.shared.refresh.notify_one();
            Error::Incomplete(format!("no resource is known for {kind} of {api_version}"))
        })
    }

    /// An object's metadata, if it is there. That nothing is served where it would be says nothing of it.
    async fn find(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
    ) -> Result<Option<ObjectMeta>, Error> {
        match api.get_metadata(name).await {
            Ok(object) => Ok(Some(object.metadata)),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                if status.details.as_ref().is_some_and(|details| !details.name.is_empty()) {
                    return Ok(None);
                }
                self.shared.refresh.notify_one();
                Err(Error::Incomplete(format!("nothing is served where {name} would be")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where the object is; `None` when a namespaced object is named without a namespace.
    fn api(&self, identity: &Identity) -> Result<Option<Api<DynamicObject>>, Error> {
        let served = self.served(&identity.api_version, &identity.kind)?;
        let client = self.context.client();
        Ok(match (served.namespaced, identity.namespace.as_str()) {
            (false, _) => Some(Api::all_with(client, &served.resource)),
            (true, "") => None,
            (true, namespace) => Some(Api::namespaced_with(client, namespace, &served.resource)),
        })
    }

    /// `None` when the owners cannot be judged: a cluster-scoped object names a namespaced one.
    async fn classify(
        &self,
        item: &Identity,
        references: &[OwnerReference],
    ) -> Result<Option<Owners>, Error> {
        let mut owners = Owners::default();
        for reference in references {
            let (known, gone) = {
                let graph = self.shared.graph.lock();
                (graph.owner(reference, &item.namespace), graph.is_gone(&reference.uid))
            };
            if gone {
                owners.dangling.push(reference.uid.clone());
                continue;
            }
            let waits = match known {
                Some(waits) => Some(waits),
                None => {
                    let identity = Identity::named(reference, &item.namespace);
                    if self.shared.graph.lock().is_elsewhere(&reference.uid, &item.namespace) {
                        self.tell_of_foreign_owner(item, &identity);
                    }
                    let Some(api) = self.api(&identity)? else { return Ok(None) };
                    let live = self.find(&api, &reference.name).await?;
                    live.filter(|live| live.uid.as_ref() == Some(&reference.uid)).map(|live| {
                        let foreground = live
                            .finalizers
                            .iter()
                            .flatten()
                            .any(|finalizer| finalizer == FOREGROUND);
                        live.deletion_timestamp.is_some() && foreground
                    })
                }
            };
            let list = match waits {
                None => &mut owners.dangling,
                Some(true) => &mut owners.waiting,
                Some(false) => &mut owners.solid,
            };
            list.push(reference.uid.clone());
        }
        Ok(Some(owners))
    }

    fn tell_of_foreign_owner(&self, item: &Identity, owner: &Identity) {
        let Identity { api_version, kind, namespace, name, uid } = owner;
        let message = format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in \
             namespace {namespace:?}"
        );
        let about = ObjectReference {
            api_version: Some(item.api_version.clone()),
            kind: Some(item.kind.clone()),
            namespace: Some(item.namespace.clone()).filter(|own| !own.is_empty()),
            name: Some(item.name.clone()),
            uid: Some(item.uid.clone()),
            ..ObjectReference::default()
        };
        let reason = "OwnerRefInvalidNamespace";
        self.context.recorder().event(&about, EventType::Warning, reason, message);
    }

    /// Deletes an object if it is still as in `latest`, and its dependents in the way that was asked for before.
    async fn delete(
        &self,
        api: &Api<DynamicObject>,
        latest: &ObjectMeta,
    ) -> Result<(), kube::Error> {
        let has = |finalizer: &str| {
            latest.finalizers.iter().flatten().any(|present| present == finalizer)
        };
        let policy = if has(ORPHAN) {
            PropagationPolicy::Orphan
        } else if has(FOREGROUND) {
            PropagationPolicy::Foreground
        } else {
            PropagationPolicy::Background
        };
        self.delete_as(api, latest, policy).await
    }

    async fn delete_as(
        &self,
        api: &Api<DynamicObject>,
        latest: &ObjectMeta,
        policy: PropagationPolicy,
    ) -> Result<(), kube::Error> {
        // An object that was adopted in between must stay.
        let preconditions = Preconditions {
            uid: latest.uid.clone(),
            resource_version: latest.resource_version.clone(),
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let name = latest.name.as_deref().unwrap_or_default();
        unread::delete(&self.context.client(), api.resource_url(), name, &params).await
    }
}

async fn patch(
    api: &Api<DynamicObject>,
    latest: &ObjectMeta,
    mut metadata: serde_json::Value,
) -> Result<(), Error> {
    metadata["uid"] = json!(latest.uid);
    metadata["resourceVersion"] = json!(latest.resource_version);
    let patch = Patch::Merge(json!({"metadata": metadata}));
    let name = latest.name.as_deref().unwrap_or_default();
    unless_gone(api.patch_metadata(name, &PatchParams::default(), &patch).await)
}

/// Removes the owners of these uids.
async fn disown(
    api: &Api<DynamicObject>,
    latest: &ObjectMeta,
    uids: &[String],
) -> Result<(), Error> {
    let before = latest.owner_references.as_deref().unwrap_or_default();
    let rest: Vec<_> = before.iter().filter(|owner| !uids.contains(&owner.uid)).collect();
    if rest.len() == before.len() {
        return Ok(());
    }
    patch(api, latest, json!({"ownerReferences": rest})).await
}

/// Makes the object no longer hold back its owners; whether it did before.
async fn unblock(api: &Api<DynamicObject>, latest: &ObjectMeta) -> Result<bool, Error> {
    let mut owners = latest.owner_references.clone().unwrap_or_default();
    let mut blocked = false;
    for owner in &mut owners {
        blocked |= owner.block_owner_deletion == Some(true);
        owner.block_owner_deletion = owner.block_owner_deletion.map(|_| false);
    }
    if blocked {
        patch(api, latest, json!({"ownerReferences": owners})).await?;
    }
    Ok(blocked)
}

async fn remove_finalizer(
    api: &Api<DynamicObject>,
    latest: &ObjectMeta,
    finalizer: &str,
) -> Result<(), Error> {
    let before = latest.finalizers.as_deref().unwrap_or_default();
    let rest: Vec<_> = before.iter().filter(|present| *present != finalizer).collect();
    if rest.len() == before.len() {
        return Ok(());
    }
    patch(api, latest, json!({"finalizers": rest})).await
}
