use super::{Current, TRIES, Writer, metadata::stamp};
use crate::options::{DeleteOptions, Propagation};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use kubeplane_core::{
    GroupResource, Object,
    definition::Deletion,
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::{self as store, Key, Revision};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Resources whose dependents stay behind unless the client says otherwise, for the sake of old clients.
const ORPHANING: [(&str, &str); 2] = [("", "replicationcontrollers"), ("batch", "jobs")];

/// What a delete came to.
#[derive(Debug)]
pub(crate) struct Removed {
    /// The object as it was, or as it now waits.
    pub(crate) object: Object,
    /// The same in stored form.
    pub(crate) value: Bytes,
    pub(crate) revision: Revision,
    pub(crate) state: State,
}

/// Where the object is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Gone.
    Gone,
    /// Marked by this request, and waiting.
    Marked,
    /// Waiting since an earlier request.
    Waiting,
}

enum Plan {
    Wait,
    Mark(Object),
    /// With the object as it is marked before, so that those who watch see it end, if it is.
    Remove(Option<Object>),
}

impl Writer<'_> {
    /// Deletes an object, or marks it for whoever must end it or clean up first.
    pub(crate) async fn delete(&self, name: &str, options: DeleteOptions) -> ApiResult<Removed> {
        self.warn_of_orphans(&options);
        let key = self.key(name)?;
        let mut current = self.read(&key, name).await?;
        for _ in 0..TRIES {
            let old = current.ok_or_else(|| self.not_found(name))?;
            self.check_preconditions(&old.object, &options)?;
            self.admit_delete(&old.object).await?;
            for hook in self.hooks {
                hook.before_delete(self.api, &old.object).await?;
            }
            match self.delete_once(&key, old, &options).await? {
                Ok(removed) => return Ok(removed),
                Err(fresh) => current = fresh,
            }
        }
        Err(ApiError::modified(&self.group_resource(), name))
    }

    /// Pods of jobs stay behind unless the client says what is to become of them.
    pub(crate) fn warn_of_orphans(&self, options: &DeleteOptions) {
        let resource = self.group_resource();
        let jobs = resource.group == "batch" && resource.resource == "jobs";
        if jobs && options.propagation.is_none() && options.orphan_dependents.is_none() {
            self.warnings.add(
                "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove \
                 them or set propagationPolicy=Orphan to suppress this warning",
            );
        }
    }

    async fn delete_once(
        &self,
        key: &Key,
        old: Current,
        options: &DeleteOptions,
    ) -> ApiResult<Result<Removed, Option<Current>>> {
        let name = old.object.name().to_owned();
        let store = &self.api.0.store;
        let result = match self.plan(&old.object, options) {
            Plan::Wait => {
                let waiting = State::Waiting;
                return self.removed(old.object, old.value, old.revision, waiting).await.map(Ok);
            }
            Plan::Mark(object) => {
                let value = self.encode(&object).await?;
                if self.dry_run || value == old.value {
                    let marked = State::Marked;
                    return self.removed(object, value, old.revision, marked).await.map(Ok);
                }
                let result =
                    store.update(key, value.clone(), old.revision, self.write_options()).await;
                result.map(|revision| (object, value, revision, State::Marked))
            }
            Plan::Remove(marked) => return self.remove(key, old, marked, options).await,
        };
        match result {
            Ok((object, value, revision, state)) => {
                self.removed(object, value, revision, state).await.map(Ok)
            }
            Err(error) => self.again(error, &name).await.map(Err),
        }
    }

    /// What another write left, if that is why a write failed.
    async fn again(&self, error: store::Error, name: &str) -> ApiResult<Option<Current>> {
        match error {
            store::Error::Conflict { current, .. } => self.found(current).await,
            error => Err(self.store_error(&error, name)),
        }
    }

    /// Takes an object out of the store, marked before where it is to be: who watches sees both.
    async fn remove(
        &self,
        key: &Key,
        old: Current,
        marked: Option<Object>,
        options: &DeleteOptions,
    ) -> ApiResult<Result<Removed, Option<Current>>> {
        let store = &self.api.0.store;
        let name = old.object.name().to_owned();
        let is_marked = marked.is_some();
        let mut doomed = match marked {
            None => old,
            Some(object) => {
                let (value, mut revision) = (self.encode(&object).await?, old.revision);
                if !self.dry_run && value != old.value {
                    let write = self.write_options();
                    match store.update(key, value.clone(), revision, write).await {
                        Ok(updated) => revision = updated,
                        Err(error) => return self.again(error, &name).await.map(Err),
                    }
                }
                Current { object, value, revision }
            }
        };
        for _ in 0..TRIES {
            let result = match self.dry_run {
                true => Ok(doomed.revision),
                false => store.delete(key, doomed.revision).await.map(|deleted| deleted.revision),
            };
            let fresh = match result {
                Ok(revision) => {
                    let Current { object, value, .. } = doomed;
                    let removed = self.removed(object, value, revision, State::Gone).await?;
                    if !self.dry_run {
                        self.after_delete(&removed.object).await;
                    }
                    return Ok(Ok(removed));
                }
                Err(error) => self.again(error, &name).await?,
            };
            if !is_marked || fresh.is_some() && options.preconditions.resource_version.is_some() {
                return Ok(Err(fresh));
            }
            match fresh.filter(|fresh| fresh.object.uid() == doomed.object.uid()) {
                Some(fresh) => doomed = fresh,
                // Who saw the mark was faster.
                None => {
                    let Current { object, value, revision } = doomed;
                    return self.removed(object, value, revision, State::Gone).await.map(Ok);
                }
            }
        }
        Err(ApiError::modified(&self.group_resource(), &name))
    }

    async fn removed(
        &self,
        mut object: Object,
        value: Bytes,
        revision: Revision,
        state: State,
    ) -> ApiResult<Removed> {
        object.set(&["metadata", "resourceVersion"], revision.to_string());
        let value = self.resource.cache().shape().adopt(value).await?;
        Ok(Removed { object, value, revision, state })
    }

    pub(super) async fn after_delete(&self, object: &Object) {
        for hook in self.hooks {
            hook.after_delete(self.api, object).await;
        }
    }

    fn check_preconditions(&self, old: &Object, options: &DeleteOptions) -> ApiResult<()> {
        let wanted = &options.preconditions;
        let resource = self.group_resource();
        // These have a delete of their own there.
        let own = [("", "namespaces"), ("apiextensions.k8s.io", "customresourcedefinitions")];
        let own = own.contains(&(resource.group.as_ref(), resource.resource.as_ref()));
        let mismatch = |what: &str, wanted: &str, found: &str, why: &str| {
            let text = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {why}"
            );
            if own {
                let text = format!(
                    "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
                );
                return Err(ApiError::conflict(&resource, old.name(), text));
            }
            // The original names the kind where the resource stands elsewhere.
            let kind = self.stored_kind();
            let about = GroupResource { group: kind.group, resource: kind.kind };
            Err(ApiError::conflict(&about, old.name(), text))
        };
        if let Some(uid) = wanted.uid.as_ref().filter(|uid| *uid != old.uid()) {
            return mismatch("UID", uid, old.uid(), "deleted and then recreated");
        }
        let version = wanted.resource_version.as_ref();
        if let Some(version) = version.filter(|version| *version != old.resource_version()) {
            return mismatch("ResourceVersion", version, old.resource_version(), "modified");
        }
        Ok(())
    }

    fn plan(&self, old: &Object, options: &DeleteOptions) -> Plan {
        // What waits for something beside its finalizers goes on waiting.
        if old.is_deleting() && self.hooks.iter().any(|hook| hook.holds(old)) {
            return Plan::Wait;
        }
        let grace = options.grace_period.map(|grace| if grace < 0 { 1 } else { grace });
        let mut object = old.clone();
        let graceful = match self.grace(&mut object, grace) {
            Some(graceful) => graceful,
            None => return Plan::Wait,
        };
        self.set_finalizers(&mut object, options);
        let pending =
            !object.finalizers().is_empty() || self.hooks.iter().any(|hook| hook.holds(&object));
        if !pending && graceful.unwrap_or(0) == 0 {
            // Whoever is ended gracefully at once is marked all the same.
            return Plan::Remove(graceful.map(|_| object));
        }
        if graceful.is_none() {
            self.mark(&mut object);
        }
        for hook in self.hooks {
            hook.mark_deleting(&mut object);
        }
        Plan::Mark(object)
    }

    /// Sets the time of a graceful deletion. `None`: one is under way and not shortened; `Some(None)`: the
    /// deletion is not graceful.
    fn grace(&self, object: &mut Object, grace: Option<i64>) -> Option<Option<i64>> {
        let strategy = &self.definition().strategy;
        let Some(due) = object.deletion_timestamp() else {
            let Deletion::Graceful { seconds } = strategy.deletion(object, grace) else {
                return Some(None);
            };
            step_generation(object);
            set_deletion(object, after(self.now, seconds), seconds);
            return Some(Some(seconds));
        };
        let had = object.deletion_grace_period().unwrap_or(0);
        if had == 0 {
            return Some(None);
        }
        let mut seconds = grace.filter(|grace| *grace < had)?;
        let mut due = after(after(due, -had), seconds);
        if due < self.now {
            due = self.now;
            seconds = seconds.min(1);
        }
        set_deletion(object, due, seconds);
        Some(Some(seconds))
    }

    fn mark(&self, object: &mut Object) {
        let due = object.deletion_timestamp();
        if due.is_none() {
            step_generation(object);
        }
        let due = due.filter(|due| *due <= self.now).unwrap_or(self.now);
        set_deletion(object, due, 0);
    }

    /// Sets the garbage collector's finalizers as the options, the object or the kind say.
    fn set_finalizers(&self, object: &mut Object, options: &DeleteOptions) {
        let definition = self.definition();
        if definition.plural == "events" {
            return;
        }
        let (group, plural) = (definition.kind.group.as_ref(), definition.plural.as_ref());
        let has = |name: &str| object.finalizers().contains(&name);
        let chosen = match (options.orphan_dependents, options.propagation) {
            (Some(true), _) | (None, Some(Propagation::Orphan)) => Some(ORPHAN),
            (None, Some(Propagation::Foreground)) => Some(FOREGROUND),
            (Some(false), _) | (None, Some(Propagation::Background)) => None,
            (None, None) if has(ORPHAN) => Some(ORPHAN),
            (None, None) if has(FOREGROUND) => Some(FOREGROUND),
            (None, None) => ORPHANING.contains(&(group, plural)).then_some(ORPHAN),
        };
        let before: Vec<String> = object.finalizers().into_iter().map(str::to_owned).collect();
        let mut finalizers = before.clone();
        finalizers
            .retain(|name| (name != ORPHAN && name != FOREGROUND) || Some(name.as_str()) == chosen);
        if let Some(chosen) = chosen.filter(|chosen| !finalizers.iter().any(|name| name == chosen))
        {
            finalizers.push(chosen.to_owned());
        }
        if finalizers != before {
            object.set(&["metadata", "finalizers"], finalizers);
        }
    }
}

fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(time)
}

fn set_deletion(object: &mut Object, due: Timestamp, seconds: i64) {
    object.set(&["metadata", "deletionTimestamp"], stamp(due));
    object.set(&["metadata", "deletionGracePeriodSeconds"], seconds);
}

fn step_generation(object: &mut Object) {
    let generation = object.generation();
    if generation > 0 {
        object.set(&["metadata", "generation"], generation + 1);
    }
}
