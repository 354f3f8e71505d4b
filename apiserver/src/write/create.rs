use super::{Writer, Written, fields, metadata};
use crate::handler::Finish;
use bytes::Bytes;
use http::StatusCode;
use kubeplane_core::{
    Object,
    admission::Operation,
    status::{ApiError, ApiResult, Details},
};
use kubeplane_store_trait::{Entry, Error, ReadAt, Revision};

/// How many generated names are tried.
const NAME_TRIES: usize = 8;

/// Why an object was not created.
pub(super) enum Refused {
    /// The key is taken.
    Exists(Entry),
    /// Anything else.
    Other(ApiError),
}

impl Refused {
    /// Whether the write may have been made all the same.
    fn is_open(&self) -> bool {
        matches!(self, Self::Other(error) if error.code() == StatusCode::GATEWAY_TIMEOUT)
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

impl Writer<'_> {
    /// Creates an object; a generated name that is taken is generated again.
    pub(crate) async fn create(&self, object: Object) -> ApiResult<Written> {
        let generated =
            object.name().is_empty() && !object.text(&["metadata", "generateName"]).is_empty();
        if generated {
            return self.create_generated(object).await;
        }
        match self.create_once(object).await {
            Ok(written) => Ok(written),
            Err((name, Refused::Exists(entry))) => Err(self.taken(&name, entry).await),
            Err((_, Refused::Other(error))) => Err(error),
        }
    }

    async fn create_generated(&self, object: Object) -> ApiResult<Written> {
        let mut taken = String::new();
        for _ in 0..NAME_TRIES {
            match self.create_once(object.clone()).await {
                Ok(written) => return Ok(written),
                Err((_, Refused::Other(error))) => return Err(error),
                Err((name, Refused::Exists(_))) => taken = name,
            }
        }
        Err(self.no_name(&taken))
    }

    /// One try: the name it was for, and why it failed.
    pub(super) async fn create_once(
        &self,
        mut object: Object,
    ) -> Result<Written, (String, Refused)> {
        let sent_name = object.name().to_owned();
        let versioned = object.resource_version().parse::<u64>().is_ok_and(|version| version > 0);
        object.remove(&["metadata", "resourceVersion"]);
        self.note_new(&mut object).await.map_err(|error| (sent_name.clone(), error.into()))?;
        metadata::begin(&mut object, self.now, self.api.seed());
        self.create_named(object, &sent_name, versioned).await
    }

    async fn create_named(
        &self,
        mut object: Object,
        sent_name: &str,
        versioned: bool,
    ) -> Result<Written, (String, Refused)> {
        let mut finish = Finish::nothing();
        let prepared = self.prepare_create(&mut object, sent_name, &mut finish).await;
        let name = object.name().to_owned();
        let encoded = match prepared {
            // What was there before is not made again, and nothing looks at that but the store.
            Ok(()) if versioned && !self.dry_run => Err(ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "",
                "resourceVersion should not be set on objects to be created",
            )),
            Ok(()) => self.encode(&object).await,
            Err(error) => Err(error),
        };
        let value = match encoded {
            Ok(value) => value,
            Err(error) => {
                finish.run(false).await;
                return Err((name, Refused::Other(error)));
            }
        };
        let object = self.kept(object);
        let stored = self.store_new(&name, value.clone()).await;
        // A write that may have been made keeps what was claimed for it.
        if !matches!(&stored, Err(refused) if refused.is_open()) {
            finish.run(stored.is_ok() && !self.dry_run).await;
        }
        match stored {
            Ok(revision) => self
                .written(object, value, revision, true)
                .await
                .map_err(|error| (name, error.into())),
            Err(refused) => Err((name, refused)),
        }
    }

    /// What was sent, with its defaults, is the manager's; what comes later is not.
    async fn note_new(&self, object: &mut Object) -> ApiResult<()> {
        metadata::wipe(object);
        metadata::ensure_namespace(object, self.namespace)?;
        metadata::dedupe_owners(object, self.warnings, false);
        self.fill_defaults(object);
        self.track(None, object).await;
        Ok(())
    }

    async fn prepare_create(
        &self,
        object: &mut Object,
        sent_name: &str,
        finish: &mut Finish,
    ) -> ApiResult<()> {
        let definition = self.definition();
        let managed = fields::managed(object);
        self.admit_mutate(Operation::Create, object, None, sent_name).await?;
        self.check_managed(object, managed);
        metadata::dedupe_owners(object, self.warnings, true);
        self.fill_defaults(object);
        for hook in self.hooks {
            finish.join(hook.before_create(self.api, object, self.dry_run).await?);
        }
        metadata::ensure_namespace(object, self.namespace)?;
        definition.strategy.prepare_create(&self.context(), object);
        tracing::debug_span!("validation").in_scope(|| self.check_new(object))?;
        let name = object.name().to_owned();
        self.admit_validate(Operation::Create, object, None, &name).await
    }

    /// Stores a new value; without a revision for a dry run.
    async fn store_new(&self, name: &str, value: Bytes) -> Result<Option<Revision>, Refused> {
        let key = self.key(name)?;
        let store = &self.api.0.store;
        if self.dry_run {
            let read = store.get(&key, ReadAt::Latest).await;
            return match read.map_err(|error| self.store_error(&error, name))?.entry {
                Some(entry) => Err(Refused::Exists(entry)),
                None => Ok(None),
            };
        }
        match store.create(&key, value, self.write_options()).await {
            Ok(revision) => Ok(Some(revision)),
            Err(Error::Exists { current, .. }) => Err(Refused::Exists(current)),
            Err(error) => Err(self.store_error(&error, name).into()),
        }
    }

    /// Defaults of the kind; those of the schema were filled in by decoding.
    pub(super) fn fill_defaults(&self, object: &mut Object) {
        self.definition().strategy.default(object);
    }

    async fn taken(&self, name: &str, entry: Entry) -> ApiError {
        let resource = self.group_resource();
        let error = ApiError::already_exists(&resource, name);
        let deleting = self.current(entry).await.is_ok_and(|current| current.object.is_deleting());
        if !deleting {
            return error;
        }
        let details = error.details().cloned().unwrap_or_default();
        let message = format!("object is being deleted: {}", error.message());
        ApiError::new(StatusCode::CONFLICT, "AlreadyExists", message).with_details(details)
    }

    fn no_name(&self, name: &str) -> ApiError {
        let resource = self.group_resource();
        let message = format!(
            "{resource} {name:?} already exists, the server was not able to generate a unique name for the object"
        );
        let details = Details {
            name: name.to_owned(),
            group: resource.group.to_string(),
            kind: resource.resource.to_string(),
            retry_after_seconds: 1,
            ..Details::default()
        };
        ApiError::new(StatusCode::CONFLICT, "AlreadyExists", message).with_details(details)
    }
}
