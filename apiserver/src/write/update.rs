use super::{Conversions, Current, TRIES, Writer, Written, create::Refused, fields, metadata};
use crate::handler::Finish;
use http::StatusCode;
use kubeplane_core::{
    Object,
    admission::Operation,
    apply::unpack_managers,
    auth::{Attributes, Decision},
    field::{Error, Path},
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait as store;
use serde_json::Value;
use std::sync::Arc;

/// What one try of an update came to.
enum Outcome {
    Done(Box<Written>),
    /// Another write came between; this is what it left.
    Again(Option<Current>),
}

/// As the original, which takes a version that is no number for its own fault.
fn no_version(sent: &str) -> ApiError {
    let why = format!("strconv.ParseUint: parsing {sent:?}: invalid syntax");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", why)
}

impl Writer<'_> {
    /// Changes the object of a name, or creates it where `create` allows it. `make` gives the new object
    /// from the stored one, and is asked again whenever another write came between, or something was converted that
    /// it has to know in another version.
    pub(crate) async fn update(
        &self,
        name: &str,
        create: bool,
        mut make: impl FnMut(Option<&Object>, &Conversions<'_>) -> ApiResult<Object> + Send,
    ) -> ApiResult<Written> {
        let key = self.key(name)?;
        let versions = self.conversions();
        let mut current = self.read(&key, name).await?;
        for _ in 0..TRIES {
            let outcome = match current {
                None if !create => return Err(self.not_found(name)),
                None => {
                    let object = versions.settled(|| make(None, &versions)).await?;
                    self.create_by_update(name, object).await?
                }
                Some(current) => {
                    let live = Some(&current.object);
                    let object = versions.settled(|| make(live, &versions)).await?;
                    self.update_once(&key, object, current).await?
                }
            };
            match outcome {
                Outcome::Done(written) => return Ok(*written),
                Outcome::Again(fresh) => current = fresh,
            }
        }
        Err(ApiError::modified(&self.group_resource(), name))
    }

    async fn create_by_update(&self, name: &str, mut object: Object) -> ApiResult<Outcome> {
        if !object.uid().is_empty() {
            return Err(self.other_uid(name, object.uid(), "")?);
        }
        // What is created has a version of its own, whatever was sent.
        if let Some(Value::String(sent)) = object.remove(&["metadata", "resourceVersion"])
            && !sent.is_empty()
            && sent.parse::<u64>().is_err()
        {
            return Err(no_version(&sent));
        }
        self.authorize_create(name).await?;
        match self.create_once(object).await {
            Ok(written) => Ok(Outcome::Done(Box::new(written))),
            Err((_, Refused::Exists(entry))) => {
                Ok(Outcome::Again(Some(self.current(entry).await?)))
            }
            Err((_, Refused::Other(error))) => Err(error),
        }
    }

    /// A write that creates on the way needs the right to create.
    async fn authorize_create(&self, name: &str) -> ApiResult<()> {
        if self.options.is_none() {
            return Ok(());
        }
        let resource = self.group_resource();
        let attributes = Attributes {
            user: Arc::new(self.user.clone()),
            verb: "create".to_owned(),
            namespace: self.namespace.to_owned(),
            group: resource.group.to_string(),
            version: self.definition().kind.version.to_string(),
            resource: resource.resource.to_string(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        match self.api.authorizer().authorize(&attributes).await {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                Err(crate::pipeline::forbidden(&attributes, &reason))
            }
        }
    }

    async fn update_once(
        &self,
        key: &store::Key,
        mut object: Object,
        old: Current,
    ) -> ApiResult<Outcome> {
        self.check_version(&mut object, &old)?;
        let mut finish = Finish::nothing();
        if let Err(error) = self.prepare_update(&mut object, &old.object, &mut finish).await {
            finish.run(false).await;
            return Err(error);
        }
        let finished = is_due(&old.object) && self.is_let_go(&object);
        let outcome = self.store_changed(key, object, old, finished).await;
        // A write that may have been made keeps what was claimed for it.
        if !matches!(&outcome, Err(error) if error.code() == StatusCode::GATEWAY_TIMEOUT) {
            finish.run(matches!(outcome, Ok(Outcome::Done(_))) && !self.dry_run).await;
        }
        outcome
    }

    /// Holds the uid of an object that was sent whole against the stored one. In the outcome of a patch another uid is
    /// a change that validation refuses.
    pub(crate) fn check_uid(&self, object: &Object, live: Option<&Object>) -> ApiResult<()> {
        let (uid, stored) = (object.uid(), live.map_or("", Object::uid));
        if live.is_none() || uid.is_empty() || uid == stored {
            return Ok(());
        }
        Err(self.other_uid(object.name(), uid, stored)?)
    }

    /// The refusal of a uid that is not the stored one.
    fn other_uid(&self, name: &str, uid: &str, stored: &str) -> ApiResult<ApiError> {
        let key = self.key(name)?;
        let key = String::from_utf8_lossy(key.as_bytes()).into_owned();
        // What only looks as if it wrote does not come as far as the root in the original.
        let key = match self.dry_run {
            true => key.strip_prefix(self.api.registry().root()).unwrap_or(key.as_str()),
            false => key.as_str(),
        };
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}"
        );
        Ok(ApiError::conflict(&self.group_resource(), name, why))
    }

    /// Holds the resourceVersion sent against the stored one.
    fn check_version(&self, object: &mut Object, old: &Current) -> ApiResult<()> {
        let (resource, name) = (self.group_resource(), old.object.name());
        match object.resource_version() {
            sent if !sent.is_empty() && sent.parse::<u64>().is_err() => {
                return Err(no_version(sent));
            }
            "" | "0" if self.definition().unconditional_update => {}
            "" | "0" => {
                let path = Path::new("metadata.resourceVersion");
                let errors = [Error::invalid(&path, 0, "must be specified for an update")];
                let kind = kubeplane_core::GroupKind::new(
                    resource.group.clone(),
                    resource.resource.clone(),
                );
                return Err(ApiError::invalid(&kind, name, &errors));
            }
            sent if sent != old.object.resource_version() => {
                return Err(ApiError::modified(&resource, name));
            }
            _ => {}
        }
        object.set(&["metadata", "resourceVersion"], old.object.resource_version());
        Ok(())
    }

    async fn prepare_update(
        &self,
        object: &mut Object,
        old: &Object,
        finish: &mut Finish,
    ) -> ApiResult<()> {
        let definition = self.definition();
        metadata::ensure_namespace(object, self.namespace)?;
        metadata::dedupe_owners(object, self.warnings, false);
        self.fill_defaults(object);
        self.track(Some(old), object).await;
        let managed = fields::managed(object);
        self.admit_mutate(Operation::Update, object, Some(old), old.name()).await?;
        self.check_managed(object, managed);
        metadata::dedupe_owners(object, self.warnings, true);
        self.fill_defaults(object);
        if self.subresource.is_empty() {
            for hook in self.hooks {
                finish.join(hook.before_update(self.api, object, old, self.dry_run).await?);
            }
        }
        metadata::ensure_namespace(object, self.namespace)?;
        metadata::keep_generation(object, old);
        definition.strategy.prepare_update(&self.context(), object, old);
        self.keep_status_metadata(object, old);
        metadata::keep(object, old);
        tracing::debug_span!("validation").in_scope(|| self.check_changed(object, old))?;
        kubeplane_core::apply::settle_times(old, object);
        self.admit_validate(Operation::Update, object, Some(old), old.name()).await
    }

    async fn store_changed(
        &self,
        key: &store::Key,
        object: Object,
        old: Current,
        finished: bool,
    ) -> ApiResult<Outcome> {
        let name = object.name().to_owned();
        if finished {
            return self.remove_finished(key, object, old).await;
        }
        let value = self.encode(&object).await?;
        let same = value == old.value;
        let (object, revision) = (self.kept(object), old.revision);
        drop(old);
        if same || self.dry_run {
            let written = self.written(object, value, Some(revision), false).await?;
            return Ok(Outcome::Done(Box::new(written)));
        }
        let result =
            self.api.0.store.update(key, value.clone(), revision, self.write_options()).await;
        match result {
            Ok(revision) => {
                let written = self.written(object, value, Some(revision), false).await?;
                Ok(Outcome::Done(Box::new(written)))
            }
            Err(store::Error::Conflict { current, .. }) => {
                Ok(Outcome::Again(self.found(current).await?))
            }
            Err(error) => Err(self.store_error(&error, &name)),
        }
    }

    /// Whether nothing holds an object any more.
    fn is_let_go(&self, object: &Object) -> bool {
        object.finalizers().is_empty() && !self.hooks.iter().any(|hook| hook.holds(object))
    }

    async fn remove_finished(
        &self,
        key: &store::Key,
        object: Object,
        old: Current,
    ) -> ApiResult<Outcome> {
        let value = self.encode(&object).await?;
        if !self.dry_run {
            match self.api.0.store.delete(key, old.revision).await {
                Ok(_) => self.after_delete(&object).await,
                Err(store::Error::Conflict { current: None, .. }) => {}
                Err(store::Error::Conflict { current: Some(entry), .. }) => {
                    return Ok(Outcome::Again(Some(self.current(entry).await?)));
                }
                Err(error) => return Err(self.store_error(&error, object.name())),
            }
        }
        let written = self.written(self.kept(object), value, Some(old.revision), false).await?;
        Ok(Outcome::Done(Box::new(written)))
    }

    /// Changes a stored object from inside the server: no admission, no validation.
    pub(crate) async fn change(
        &self,
        name: &str,
        mut change: impl FnMut(&mut Object) -> ApiResult<()> + Send,
    ) -> ApiResult<Object> {
        let whole = |object: &mut Object| {
            unpack_managers(object);
            change(object)
        };
        self.amend(name, whole).await?.into_object()
    }

    /// The same for a change that has nothing to do with managed fields, which are in the form that is stored.
    pub(crate) async fn amend(
        &self,
        name: &str,
        mut change: impl FnMut(&mut Object) -> ApiResult<()> + Send,
    ) -> ApiResult<Written> {
        let key = self.key(name)?;
        let mut current = self.read(&key, name).await?;
        for _ in 0..TRIES {
            let mut old = current.ok_or_else(|| self.not_found(name))?;
            let due = is_due(&old.object);
            let mut object = std::mem::take(&mut old.object);
            change(&mut object)?;
            let finished = due && self.is_let_go(&object);
            match self.store_changed(&key, object, old, finished).await? {
                Outcome::Done(written) => return Ok(*written),
                Outcome::Again(fresh) => current = fresh,
            }
        }
        Err(ApiError::modified(&self.group_resource(), name))
    }
}

/// Whether an object is being deleted and goes as soon as nothing holds it.
fn is_due(old: &Object) -> bool {
    old.is_deleting() && old.deletion_grace_period().unwrap_or(0) == 0
}
