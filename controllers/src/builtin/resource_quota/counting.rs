use super::super::discovery::Served;
use crate::{Context, Error};
use k8s_openapi::api::{
    core::v1::{ContainerStatus, PersistentVolumeClaim, Pod, Service},
    resource::v1::ResourceClaim,
};
use kube::discovery::ApiResource;
use kubeplane_client::{Informer, Watchable};
use kubeplane_core::{GroupResource, Object};
use kubeplane_workload::{is_terminal, quota::Evaluator, resources::Resources};
use parking_lot::RwLock;
use serde::Serialize;
use serde_json::Value;

/// A resource whose objects are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    resource: ApiResource,
    pub(super) evaluator: Evaluator,
}

impl Counted {
    pub(super) fn of(served: Served) -> Option<Self> {
        let resource = served.resource;
        let name = GroupResource::new(resource.group.clone(), resource.plural.clone());
        Some(Self { evaluator: Evaluator::of(&name)?, resource })
    }
}

/// Whether objects of a resource can be counted at all.
pub(super) fn is_counted(served: &Served) -> bool {
    served.namespaced
        && ["create", "list", "watch", "delete"].iter().all(|verb| served.supports(verb))
        && Counted::of(served.clone()).is_some()
}

/// Whether the resource's metadata tells of what goes; the kinds that are followed whole tell it themselves.
pub(super) fn is_followed(served: &Served) -> bool {
    let resource = (served.resource.group.as_str(), served.resource.plural.as_str());
    is_counted(served) && !matches!(resource, ("", "pods" | "services" | "persistentvolumeclaims"))
}

/// What there is to count; nothing until it is known.
#[derive(Default)]
pub(super) struct Shared(RwLock<Option<Vec<Counted>>>);

impl Shared {
    /// Takes what there is to count now; whether that is new.
    pub(super) fn set(&self, mut now: Vec<Counted>) -> bool {
        let key =
            |counted: &Counted| (counted.resource.group.clone(), counted.resource.plural.clone());
        now.sort_by_key(key);
        let mut known = self.0.write();
        let new = known.as_ref() != Some(&now);
        *known = Some(now);
        new
    }

    pub(super) fn counted(&self, resource: &ApiResource) -> Option<Counted> {
        let known = self.0.read();
        known.iter().flatten().find(|counted| counted.resource == *resource).cloned()
    }

    /// What the quota's namespace takes of what it limits.
    pub(super) fn count(&self, context: &Context, quota: &Object) -> Result<Resources, Error> {
        let unknown = || Error::Incomplete("what there is to count is not known yet".to_owned());
        let known = self.0.read().clone().ok_or_else(unknown)?;
        let hard = quota.at(&["spec", "hard"]).and_then(Value::as_object);
        let limited = |counted: &&Counted| {
            hard.into_iter().flatten().any(|(name, _)| counted.evaluator.counts(name))
        };
        let mut total = Resources::new();
        for counted in known.iter().filter(limited) {
            let objects = objects(context, &counted.resource, quota.namespace())?;
            total.extend(counted.evaluator.total(quota, &objects, context.now()));
        }
        Ok(total)
    }
}

/// The objects of a namespace: whole where it matters what they say, else empty ones of the same number.
fn objects(
    context: &Context,
    resource: &ApiResource,
    namespace: &str,
) -> Result<Vec<Object>, Error> {
    let informers = context.informers();
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => whole(&informers.of::<Pod>(), namespace),
        ("", "services") => whole(&informers.of::<Service>(), namespace),
        ("", "persistentvolumeclaims") => {
            whole(&informers.of::<PersistentVolumeClaim>(), namespace)
        }
        ("resource.k8s.io", "resourceclaims") => whole(&informers.of::<ResourceClaim>(), namespace),
        _ => {
            let informer = informers.metadata(resource.clone());
            synced(informer.has_synced(), &resource.plural)?;
            Ok(vec![Object::default(); informer.len_in(namespace)])
        }
    }
}

fn whole<K: Watchable + Serialize>(
    informer: &Informer<K>,
    namespace: &str,
) -> Result<Vec<Object>, Error> {
    synced(informer.has_synced(), &K::plural(&()))?;
    let encode =
        |object: &K| Object::encode(object).map_err(|error| Error::Invalid(error.to_string()));
    informer.list_in(namespace).iter().map(|object| encode(object)).collect()
}

fn synced(synced: bool, plural: &str) -> Result<(), Error> {
    let missing = || Error::Incomplete(format!("{plural} are not all known yet"));
    synced.then_some(()).ok_or_else(missing)
}

/// Whether a pod may take less than before.
pub(super) fn may_free(old: &Pod, new: &Pod) -> bool {
    let deadline = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
    let resources = |pod: &Pod| -> Vec<_> {
        let status = pod.status.iter();
        let statuses = status.flat_map(|status| {
            let own = status.container_statuses.iter().flatten();
            own.chain(status.init_container_statuses.iter().flatten())
        });
        statuses.map(|status: &ContainerStatus| status.resources.clone()).collect()
    };
    (is_terminal(new) && !is_terminal(old))
        || deadline(old).is_some() != deadline(new).is_some()
        || resources(old) != resources(new)
}
