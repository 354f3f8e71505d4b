//! What all controllers that own pods do with them.

use super::unread;
use crate::{Context, Error, error::unless_gone};
use k8s_openapi::{
    api::core::v1::{Pod, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time},
};
use kube::{
    Api, Resource as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::{NamespaceResourceScope, Request, Selector, SelectorExt},
};
use kubeplane_client::{Class, EventType, Informer, Watchable, controller_of, controller_ref};
use kubeplane_workload::{condition, is_ready, is_terminal};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashSet},
    hash::Hash,
    sync::Arc,
};

/// The index of what others make (pods, ReplicaSets) by the uid of who manages it; orphans are under `orphan/<namespace>`.
const BY_CONTROLLER: &str = "controller-uid";

fn orphans(namespace: Option<&str>) -> String {
    format!("orphan/{}", namespace.unwrap_or_default())
}

fn under<K: Watchable>(object: &K) -> Vec<String> {
    let key = controller_of(object).map(|owner| owner.uid.clone());
    vec![key.unwrap_or_else(|| orphans(object.meta().namespace.as_deref()))]
}

/// Makes [`managed`], [`managed_or_orphaned`] and [`classes`] work.
pub(super) fn index(pods: &Informer<Pod>) {
    pods.add_classed_index(BY_CONTROLLER, under, |pod, hasher| {
        let gone = (is_terminal(pod), pod.metadata.deletion_timestamp.is_some());
        (gone, is_ready(pod), &pod.metadata.labels).hash(hasher);
    });
}

/// Makes [`managed_or_orphaned`] work for what is no pod.
pub(super) fn index_other<K: Watchable>(objects: &Informer<K>) {
    objects.add_index(BY_CONTROLLER, under);
}

/// The pods that the owner of this uid manages, and those of the namespace that nobody manages. Those are alike that have
/// the same labels and are equally far on the way from pending to ready, to an end, or to their deletion.
pub(super) fn classes(
    pods: &Informer<Pod>,
    uid: &str,
    namespace: &str,
) -> (Vec<Class<Pod>>, Vec<Class<Pod>>) {
    let of = |key: &str| pods.classes(BY_CONTROLLER, key);
    // As with single pods.
    let orphans = of(&orphans(Some(namespace)));
    (of(uid), orphans)
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
    // These first: one that is adopted meanwhile is then seen twice, and not nowhere.
    let orphans = objects.by_index(BY_CONTROLLER, &orphans(Some(namespace)));
    let mut found = managed(objects, uid);
    if !orphans.is_empty() {
        let own: HashSet<_> = found.iter().filter_map(|own| own.meta().uid.clone()).collect();
        let is_own =
            |orphan: &Arc<K>| orphan.meta().uid.as_ref().is_some_and(|uid| own.contains(uid));
        found.extend(orphans.into_iter().filter(|orphan| !is_own(orphan)));
    }
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
    create_as::<_, Named>(context, owner, &from_template(template, owner)).await.map(drop)
}

/// Creates this pod for an owner, and tells of it.
pub(super) async fn create_pod<O>(context: &Context, owner: &O, pod: &Pod) -> Result<Pod, Error>
where
    O: Watchable + kube::Resource<Scope = NamespaceResourceScope>,
{
    create_as(context, owner, pod).await
}

/// As much of an answer as is needed where a watch shows the rest.
#[derive(Deserialize)]
struct Named {
    metadata: Name,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

/// What tells the name of the pod it is the answer about.
trait Answer: DeserializeOwned {
    fn name(&self) -> &str;
}

impl Answer for Named {
    fn name(&self) -> &str {
        &self.metadata.name
    }
}

impl Answer for Pod {
    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

/// Creates this pod for an owner, tells of it, and reads so much of the answer.
async fn create_as<O, A>(context: &Context, owner: &O, pod: &Pod) -> Result<A, Error>
where
    O: Watchable + kube::Resource<Scope = NamespaceResourceScope>,
    A: Answer,
{
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    if pod.metadata.labels.as_ref().is_none_or(BTreeMap::is_empty) {
        return Err(Error::Invalid("unable to create pods, no labels".to_owned()));
    }
    let body = serde_json::to_vec(pod).map_err(kube::Error::SerdeError)?;
    let request = Request::new(Pod::url_path(&(), Some(namespace)))
        .create(&PostParams::default(), body)
        .map_err(kube::Error::BuildRequest)?;
    match context.client().request::<A>(request).await.map_err(Error::from) {
        Ok(created) => {
            let message = format!("Created pod: {}", created.name());
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
    let (client, url) = (context.client(), Pod::url_path(&(), Some(namespace)));
    match unread::delete(&client, &url, pod, &DeleteParams::default()).await.map_err(Error::from) {
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

/// The condition of a pod that goes for what is not its owner's wish; one that was to go already has been since then.
pub(super) fn disruption_target(
    context: &Context,
    pod: &Pod,
    reason: &str,
    message: &str,
) -> Value {
    const KIND: &str = "DisruptionTarget";
    let known = condition(pod, KIND).filter(|own| own.status == "True");
    let since = known.and_then(|own| own.last_transition_time.clone());
    json!({
        "type": KIND, "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| Time(context.now())),
        "observedGeneration": pod.metadata.generation,
    })
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
    let target = disruption_target(context, pod, reason, message);
    let patch = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [target]}});
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
