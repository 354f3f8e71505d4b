use crate::{Error, Result};
use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
    core::{NamespaceResourceScope, Selector, SelectorExt},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::{fmt, fmt::Debug, sync::Arc};
use tokio::sync::OnceCell;

/// The owner reference that says who manages `object`, if anyone does.
#[must_use]
pub fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object.meta().owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether the owner of this uid manages `object`.
#[must_use]
pub fn is_controlled_by<K: Resource>(object: &K, uid: &str) -> bool {
    controller_of(object).is_some_and(|owner| owner.uid == uid)
}

/// The reference a managing `owner` puts into what it creates; it also blocks the owner's foreground deletion.
#[must_use]
pub fn controller_ref<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    let meta = owner.meta();
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

type LiveCheck<'a> = Box<dyn Fn() -> BoxFuture<'a, Result<()>> + Send + Sync + 'a>;

/// Brings the objects that an owner manages into line with its selector: adopts orphans that match,
/// releases managed objects that no longer do.
///
/// Before the first adoption it reads the owner anew, so that an owner that was deleted (and perhaps made
/// again under the same name) adopts nothing. Writes carry the object's uid as a precondition.
pub struct ControllerRefManager<'a> {
    client: kube::Client,
    owner: OwnerReference,
    owner_name: String,
    namespace: String,
    owner_deleted: bool,
    selector: Selector,
    finalizer: Option<&'static str>,
    live: LiveCheck<'a>,
    checked: OnceCell<std::result::Result<(), String>>,
}

impl Debug for ControllerRefManager<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControllerRefManager")
            .field("owner", &self.owner_name)
            .finish_non_exhaustive()
    }
}

impl<'a> ControllerRefManager<'a> {
    /// For `owner`, which selects its objects by `selector`.
    ///
    /// # Errors
    /// When the selector has no meaning.
    pub fn new<O>(client: kube::Client, owner: &O, selector: &LabelSelector) -> Result<Self>
    where
        O: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let meta = owner.meta();
        let namespace = meta.namespace.clone().unwrap_or_default();
        let name = meta.name.clone().unwrap_or_default();
        let uid = meta.uid.clone().unwrap_or_default();
        let api: Api<O> = Api::namespaced(client.clone(), &namespace);
        let live: LiveCheck<'a> = Box::new(move || {
            let (api, name, uid) = (api.clone(), name.clone(), uid.clone());
            Box::pin(async move { check_owner(&api, &name, &uid).await })
        });
        Ok(Self {
            client,
            owner: controller_ref(owner),
            owner_name: meta.name.clone().unwrap_or_default(),
            namespace,
            owner_deleted: meta.deletion_timestamp.is_some(),
            selector: parse(selector)?,
            finalizer: None,
            live,
            checked: OnceCell::new(),
        })
    }

    /// Puts this finalizer on what is adopted, in the same write.
    #[must_use]
    pub fn with_finalizer(self, finalizer: &'static str) -> Self {
        Self { finalizer: Some(finalizer), ..self }
    }

    /// Of `objects`, those the owner manages after adoption and release; `eligible` narrows what may be
    /// adopted beyond the selector.
    ///
    /// # Errors
    /// When some adoption or release failed; the others were carried out.
    pub async fn claim<K>(
        &self,
        objects: Vec<Arc<K>>,
        eligible: impl Fn(&K) -> bool,
    ) -> Result<Vec<Arc<K>>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut claimed = Vec::new();
        let mut errors = Vec::new();
        for object in objects {
            match self.claim_one(&api, &*object, &eligible).await {
                Ok(true) => claimed.push(object),
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
        Error::collect(errors).map(|()| claimed)
    }

    async fn claim_one<K>(
        &self,
        api: &Api<K>,
        object: &K,
        eligible: &impl Fn(&K) -> bool,
    ) -> Result<bool>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let labels = object.meta().labels.as_ref();
        let matches =
            self.selector.matches(labels.unwrap_or(&Default::default())) && eligible(object);
        if let Some(manager) = controller_of(object) {
            if manager.uid != self.owner.uid {
                return Ok(false);
            }
            if matches {
                return Ok(true);
            }
            if !self.owner_deleted {
                ignore_gone(self.release(api, object).await)?;
            }
            return Ok(false);
        }
        if self.owner_deleted || !matches || object.meta().deletion_timestamp.is_some() {
            return Ok(false);
        }
        match self.adopt(api, object).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn adopt<K>(&self, api: &Api<K>, object: &K) -> Result<()>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let live = async || (self.live)().await.map_err(|error| error.to_string());
        if let Err(reason) = self.checked.get_or_init(live).await {
            let (kind, name) = (&self.owner.kind, &self.owner_name);
            return Err(Error::CannotAdopt(format!("can't adopt for {kind} {name}: {reason}")));
        }
        let uid = object.meta().uid.as_deref();
        let mut patch = json!({"metadata": {"ownerReferences": [self.owner], "uid": uid}});
        if let Some(finalizer) = self.finalizer {
            patch["metadata"]["finalizers"] = json!([finalizer]);
        }
        self.patch(api, object, &patch).await
    }

    async fn release<K>(&self, api: &Api<K>, object: &K) -> Result<()>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let gone = json!({"$patch": "delete", "uid": self.owner.uid});
        let uid = object.meta().uid.as_deref();
        self.patch(api, object, &json!({"metadata": {"ownerReferences": [gone], "uid": uid}})).await
    }

    async fn patch<K>(&self, api: &Api<K>, object: &K, patch: &serde_json::Value) -> Result<()>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let name = object.meta().name.as_deref().unwrap_or_default();
        api.patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .map_err(Error::Api)
            .map(drop)
    }
}

async fn check_owner<O>(api: &Api<O>, name: &str, uid: &str) -> Result<()>
where
    O: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let fresh = api.get(name).await?;
    let meta = fresh.meta();
    if meta.uid.as_deref() != Some(uid) {
        let now = meta.uid.as_deref().unwrap_or_default();
        return Err(Error::CannotAdopt(format!(
            "original {name} is gone: got uid {now}, wanted {uid}"
        )));
    }
    match &meta.deletion_timestamp {
        Some(at) => Err(Error::CannotAdopt(format!("{name} has just been deleted at {}", at.0))),
        None => Ok(()),
    }
}

/// An object that is gone, or that another object of its name replaced, needs no release.
fn ignore_gone(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) if error.status().is_some_and(kube::core::Status::is_invalid) => Ok(()),
        other => other,
    }
}

fn parse(selector: &LabelSelector) -> Result<Selector> {
    Selector::try_from(selector.clone()).map_err(|error| Error::Selector(error.to_string()))
}
