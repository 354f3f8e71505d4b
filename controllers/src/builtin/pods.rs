//! What all controllers that own pods do with them.

use crate::{Context, Error, error::unless_gone};
use k8s_openapi::{
    api::core::v1::{Pod, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::{NamespaceResourceScope, Selector, SelectorExt},
};
use kubeplane_client::{EventType, Informer, Watchable, controller_of, controller_ref};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// The index of what others make (pods, ReplicaSets) by the uid of who manages it; orphans are under `orphan/<namespace>`.
const BY_CONTROLLER: &str = "controller-uid";

fn orphans(namespace: Option<&str>) -> String {
    format!("orphan/{}", namespace.unwrap_or_default())
}

/// Makes [`managed`] and [`managed_or_orphaned`] work.
pub(super) fn index<K: Watchable>(objects: &Informer<K>) {
    objects.add_index(BY_CONTROLLER, |object| {
        let key = controller_of(object).map(|owner| owner.uid.clone());
        vec![key.unwrap_or_else(|| orphans(object.meta().namespace.as_deref()))]
    });
}

/// What the owner of this uid manages.
pub(super) fn managed<K: Watchable>(objects: &Informer<K>, uid: &str) -> Vec<Arc<K>> {
    objects.by_index(BY_CONTROLLER, uid)
}

/// The same, and what nobody manages in the namespace.
pub(super) fn managed_or_orphaned<K: Watchable>(
    objects: &Informer<K>,
    uid: &str,
    namespace: &str,
) -> Vec<Arc<K>> {
    let mut found = managed(objects, uid);
    found.extend(objects.by_index(BY_CONTROLLER, &orphans(Some(namespace))));
    found
}

/// Whether `selector` selects `labels`; a selector without meaning selects nothing.
pub(super) fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    Selector::try_from(selector.clone())
        .is_ok_and(|selector| selector.matches(labels.unwrap_or(&BTreeMap::new())))
}

/// Whether a selector selects everything.
pub(super) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// Creates a pod from a template for an owner, and tells of it.
pub(super) async fn create<O>(
    context: &Context,
    owner: &O,
    template: &PodTemplateSpec,
) -> Result<(), Error>
where
    O: Watchable + kube::Resource<Scope = NamespaceResourceScope>,
{
    create_pod(context, owner, &from_template(template, owner)).await.map(drop)
}

/// Creates this pod for an owner, and tells of it.
pub(super) async fn create_pod<O>(context: &Context, owner: &O, pod: &Pod) -> Result<Pod, Error>
where
    O: Watchable + kube::Resource<Scope = NamespaceResourceScope>,
{
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    if pod.metadata.labels.as_ref().is_none_or(BTreeMap::is_empty) {
        return Err(Error::Invalid("unable to create pods, no labels".to_owned()));
    }
    let api: Api<Pod> = Api::namespaced(context.client(), namespace);
    match api.create(&PostParams::default(), pod).await.map_err(Error::from) {
        Ok(created) => {
            let name = created.metadata.name.as_deref().unwrap_or_default();
            let message = format!("Created pod: {name}");
            context.recorder().event_for(owner, EventType::Normal, "SuccessfulCreate", message);
            Ok(created)
        }
        Err(error) => {
            if !error.is_namespace_terminating() {
                let message = format!("Error creating: {}", error.text());
                context.recorder().event_for(owner, EventType::Warning, "FailedCreate", message);
            }
            Err(error)
        }
    }
}

/// Deletes an owner's pod, and tells of it.
pub(super) async fn delete<O>(context: &Context, owner: &O, pod: &str) -> Result<(), Error>
where
    O: Watchable + kube::Resource<Scope = NamespaceResourceScope>,
{
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(context.client(), namespace);
    match api.delete(pod, &DeleteParams::default()).await.map_err(Error::from) {
        Ok(_) => {
            let message = format!("Deleted pod: {pod}");
            context.recorder().event_for(owner, EventType::Normal, "SuccessfulDelete", message);
            Ok(())
        }
        Err(error) => {
            if !error.is_not_found() {
                let message = format!("Error deleting: {}", error.text());
                context.recorder().event_for(owner, EventType::Warning, "FailedDelete", message);
            }
            Err(error)
        }
    }
}

/// Deletes this pod for what is not its owner's wish: its status first says why. One that is gone, or whose name
/// another has by now, is left alone.
pub(super) async fn disrupt(
    context: &Context,
    pod: &Pod,
    reason: &str,
    message: &str,
) -> Result<(), Error> {
    let meta = &pod.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    let api: Api<Pod> =
        Api::namespaced(context.client(), meta.namespace.as_deref().unwrap_or_default());
    let patch = json!({
        "metadata": {"uid": meta.uid},
        "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": Time(context.now()), "observedGeneration": meta.generation,
        }]},
    });
    unless_gone(api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await)?;
    let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    unless_gone(api.delete(name, &params).await)
}

/// The pod that a template describes, named after its owner and managed by it.
pub(super) fn from_template<O: kube::Resource<DynamicType = ()>>(
    template: &PodTemplateSpec,
    owner: &O,
) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owner.meta().name.as_deref().unwrap_or_default())),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller_ref(owner)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}
