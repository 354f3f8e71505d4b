use crate::{Error, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::{
    Resource,
    api::{GetParams, Patch, PatchParams},
    core::{NamespaceResourceScope, Request, Selector, SelectorExt},
};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::json;
use std::{fmt, fmt::Debug, marker::PhantomData, sync::Arc};
use tokio::sync::OnceCell;

/// The owner reference that says who manages `object`, if anyone does.
#[must_use]
pub fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    manager_of(object.meta())
}

fn manager_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
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

/// Brings the objects that an owner manages into line with its selector: adopts orphans that match,
/// releases managed objects that no longer do.
///
/// Before the first adoption it reads the owner anew, so that an owner that was deleted (and perhaps made
/// again under the same name) adopts nothing. Writes carry the object's uid as a precondition.
pub struct ControllerRefManager<'a> {
    client: kube::Client,
    owner: OwnerReference,
    /// The path of the collection that the owner is in.
    owners: String,
    namespace: String,
    owner_deleted: bool,
    selector: Selector,
    finalizer: Option<&'static str>,
    checked: OnceCell<std::result::Result<(), String>>,
    lifetime: PhantomData<&'a ()>,
}

/// What is read of an owner.
#[derive(Deserialize)]
struct Owner {
    metadata: ObjectMeta,
}

impl Debug for ControllerRefManager<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControllerRefManager")
            .field("owner", &self.owner.name)
            .finish_non_exhaustive()
    }
}

impl ControllerRefManager<'_> {
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
        Ok(Self {
            client,
            owner: controller_ref(owner),
            owners: O::url_path(&(), Some(&namespace)),
            namespace,
            owner_deleted: meta.deletion_timestamp.is_some(),
            selector: parse(selector)?,
            finalizer: None,
            checked: OnceCell::new(),
            lifetime: PhantomData,
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
        let path = K::url_path(&(), Some(&self.namespace));
        let mut claimed = Vec::with_capacity(objects.len());
        let mut errors = Vec::new();
        for object in objects {
            let manager = manager_of(object.meta());
            if manager.is_some_and(|own| own.uid != self.owner.uid) {
                // Whether it would match does not matter.
                continue;
            }
            let matches = self.selects(object.meta()) && eligible(&object);
            if matches && manager.is_some() {
                claimed.push(object);
                continue;
            }
            match self.claim_one(&path, object.meta(), matches).await {
                Ok(true) => claimed.push(object),
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
        Error::collect(errors).map(|()| claimed)
    }

    fn selects(&self, meta: &ObjectMeta) -> bool {
        self.selector.matches(meta.labels.as_ref().unwrap_or(&Default::default()))
    }

    /// Whether the owner manages it after all; so far it does, but it should not, or nobody does.
    async fn claim_one(&self, path: &str, meta: &ObjectMeta, matches: bool) -> Result<bool> {
        if manager_of(meta).is_some() {
            if !self.owner_deleted {
                ignore_gone(self.release(path, meta).await)?;
            }
            return Ok(false);
        }
        if self.owner_deleted || !matches || meta.deletion_timestamp.is_some() {
            return Ok(false);
        }
        match self.adopt(path, meta).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn adopt(&self, path: &str, meta: &ObjectMeta) -> Result<()> {
        let live = async || self.check_owner().await.map_err(|error| error.to_string());
        if let Err(reason) = self.checked.get_or_init(live).await {
            let OwnerReference { kind, name, .. } = &self.owner;
            return Err(Error::CannotAdopt(format!("can't adopt for {kind} {name}: {reason}")));
        }
        let mut patch = json!({"metadata": {"ownerReferences": [self.owner], "uid": meta.uid}});
        if let Some(finalizer) = self.finalizer {
            patch["metadata"]["finalizers"] = json!([finalizer]);
        }
        self.patch(path, meta, &patch).await
    }

    async fn release(&self, path: &str, meta: &ObjectMeta) -> Result<()> {
        let gone = json!({"$patch": "delete", "uid": self.owner.uid});
        let patch = json!({"metadata": {"ownerReferences": [gone], "uid": meta.uid}});
        self.patch(path, meta, &patch).await
    }

    async fn patch(&self, path: &str, meta: &ObjectMeta, patch: &serde_json::Value) -> Result<()> {
        let name = meta.name.as_deref().unwrap_or_default();
        let request = Request::new(path)
            .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .map_err(kube::Error::BuildRequest)?;
        self.client.request::<IgnoredAny>(request).await?;
        Ok(())
    }

    async fn check_owner(&self) -> Result<()> {
        let OwnerReference { name, uid, .. } = &self.owner;
        let request = Request::new(self.owners.as_str())
            .get(name, &GetParams::default())
            .map_err(kube::Error::BuildRequest)?;
        let meta = self.client.request::<Owner>(request).await?.metadata;
        if meta.uid.as_ref() != Some(uid) {
            let now = meta.uid.as_deref().unwrap_or_default();
            return Err(Error::CannotAdopt(format!(
                "original {name} is gone: got uid {now}, wanted {uid}"
            )));
        }
        match &meta.deletion_timestamp {
            Some(at) => {
                Err(Error::CannotAdopt(format!("{name} has just been deleted at {}", at.0)))
            }
            None => Ok(()),
        }
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
