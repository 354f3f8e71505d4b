use crate::{Context, Error, builtin::written::Written, error::unless_gone};
use k8s_openapi::{
    api::discovery::v1::EndpointSlice, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use kubeplane_client::ObjectKey;

/// On every slice: who keeps it up to date.
pub(in crate::builtin) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// On every slice: the Service it belongs to.
pub(in crate::builtin) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The Service a slice belongs to, when `manager` keeps it.
pub(in crate::builtin) fn service_of(slice: &EndpointSlice, manager: &str) -> Option<ObjectKey> {
    let labels = slice.metadata.labels.as_ref()?;
    let managed = labels.get(MANAGED_BY).is_some_and(|present| present == manager);
    let name = labels.get(SERVICE_NAME).filter(|_| managed)?;
    Some(ObjectKey::new(slice.metadata.namespace.clone().unwrap_or_default(), name))
}

/// A write that failed.
#[derive(Debug)]
pub(in crate::builtin) struct Failure {
    /// What was tried, as users are told.
    doing: String,
    pub(in crate::builtin) error: Error,
}

impl Failure {
    pub(in crate::builtin) fn text(&self) -> String {
        format!("{}: {}", self.doing, self.error.text())
    }
}

/// The writes that lead from the present slices to the desired ones.
#[derive(Debug, Default, PartialEq)]
pub(in crate::builtin) struct Plan {
    pub(in crate::builtin) create: Vec<EndpointSlice>,
    pub(in crate::builtin) update: Vec<EndpointSlice>,
    pub(in crate::builtin) delete: Vec<EndpointSlice>,
}

impl Plan {
    pub(super) fn append(&mut self, other: Self) {
        self.create.extend(other.create);
        self.update.extend(other.update);
        self.delete.extend(other.delete);
    }

    /// Turns pairs of a deletion and a creation into updates, of slices that `may` be.
    pub(super) fn reuse(&mut self, may: impl Fn(&EndpointSlice) -> bool) {
        let mut kept = Vec::new();
        for old in std::mem::take(&mut self.delete) {
            match if may(&old) { self.create.pop() } else { None } {
                Some(new) => {
                    let metadata =
                        ObjectMeta { labels: new.metadata.labels.clone(), ..old.metadata };
                    self.update.push(EndpointSlice { metadata, ..new });
                }
                None => kept.push(old),
            }
        }
        self.delete = kept;
    }

    /// Makes the writes for the object of this kind and name; without `may_create` nothing new, as the garbage collector
    /// would not know of it.
    pub(in crate::builtin) async fn carry_out(
        self,
        context: &Context,
        (kind, key): (&str, &ObjectKey),
        written: &Written,
        may_create: bool,
    ) -> Result<(), Failure> {
        let api: Api<EndpointSlice> = Api::namespaced(context.client(), &key.namespace);
        let failed = |what: String, error: Error| {
            let doing = format!("failed to {what} for {kind} {key}");
            Failure { doing, error }
        };
        let create = if may_create { self.create } else { Vec::new() };
        for slice in create {
            match api.create(&PostParams::default(), &slice).await.map_err(Error::from) {
                Ok(created) => written.created(key, &created),
                Err(error) if error.is_namespace_terminating() => return Ok(()),
                Err(error) => return Err(failed("create EndpointSlice".to_owned(), error)),
            }
        }
        for slice in self.update {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            let updated = api.replace(name, &PostParams::default(), &slice).await;
            let doing = || format!("update {name} EndpointSlice");
            let updated = updated.map_err(|error| failed(doing(), error.into()))?;
            written.updated(key, &updated);
        }
        for slice in self.delete {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            let deleted = unless_gone(api.delete(name, &DeleteParams::default()).await);
            let doing = || format!("delete {name} EndpointSlice");
            deleted.map_err(|error| failed(doing(), error))?;
            written.deleted(key, &slice);
        }
        Ok(())
    }
}
