mod conditions;

use super::discovery::{self, Served};
use crate::{Action, Context, Controller, Enqueue, Error, Retry, Sources, error::unless_gone};
use async_trait::async_trait;
use conditions::Findings;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus, Pod};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, PostParams},
    core::{PartialObjectMeta, Request},
};
use kubeplane_client::{Change, Informer, ObjectKey};
use kubeplane_workload::is_terminal;
use std::time::Duration;

const FINALIZER: &str = "kubernetes";
/// What was admitted just before the namespace began to go away is stored by then.
const SETTLING: Duration = Duration::from_secs(1);
/// How long to wait for others' finalizers, and at most for pods, before looking again.
const AGAIN: Duration = Duration::from_secs(5);

/// How often namespaces are looked at without an occasion at most.
const OFTEN: Duration = Duration::from_secs(1);

/// Empties namespaces that are being deleted, then lets them go.
pub(super) struct Namespaces {
    /// How often they are looked at without an occasion; zero for never.
    period: Duration,
}

impl Namespaces {
    pub(super) fn new(period: Duration) -> Self {
        Self { period }
    }
}

#[async_trait]
impl Controller for Namespaces {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn workers(&self) -> usize {
        10
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let namespaces = sources.informer::<Namespace>();
        sources.handle::<Namespace>(|change, queue| {
            let namespace = change.object();
            if !change.is_deleted() && namespace.metadata.deletion_timestamp.is_some() {
                queue.add_after(ObjectKey::of(&**namespace), SETTLING);
            }
        });
        if !self.period.is_zero() {
            let (all, period) = (namespaces.clone(), self.period.max(OFTEN));
            sources.background(move |queue, context| revisit(all, period, queue, context));
        }
        // The last pod of a namespace is mostly what its deletion waits for.
        sources.watch::<Pod>(move |change| {
            let Change::Deleted(pod) = change else { return Vec::new() };
            let name = pod.metadata.namespace.as_deref().unwrap_or_default();
            let namespace = namespaces.get("", name);
            let going =
                namespace.filter(|namespace| namespace.metadata.deletion_timestamp.is_some());
            going.map(|namespace| ObjectKey::of(&*namespace)).into_iter().collect()
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let api: Api<Namespace> = Api::all(context.client());
        let Some(mut namespace) = api.get_opt(&request.name).await? else {
            return Ok(Action::Done);
        };
        if namespace.metadata.deletion_timestamp.is_none() {
            return Ok(Action::Done);
        }
        let status = namespace.status.get_or_insert_default();
        if status.phase.as_deref() != Some("Terminating") {
            status.phase = Some("Terminating".to_owned());
            namespace =
                api.replace_status(&request.name, &PostParams::default(), &namespace).await?;
        }
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
        if finalizers.is_none_or(Vec::is_empty) {
            return Ok(Action::Done);
        }
        let findings = empty(context, &namespace).await;
        let namespace = note(context, &api, namespace, &findings).await?;
        if let Some(error) = findings.into_error(&request.name) {
            return Err(error);
        }
        finalize(context, namespace).await?;
        Ok(Action::Done)
    }

    fn on_error(&self, _: &ObjectKey, error: &Error, _: u32) -> Retry {
        match error {
            Error::Incomplete(_) => Retry::After(AGAIN),
            _ => Retry::Backoff,
        }
    }
}

/// Asks for the namespaces that are being deleted again and again.
async fn revisit(
    namespaces: Informer<Namespace>,
    period: Duration,
    queue: Enqueue<ObjectKey>,
    context: Context,
) {
    loop {
        context.clock().sleep(period).await;
        for namespace in namespaces.list() {
            if namespace.metadata.deletion_timestamp.is_some() {
                queue.add(ObjectKey::of(&*namespace));
            }
        }
    }
}

async fn note(
    context: &Context,
    api: &Api<Namespace>,
    mut namespace: Namespace,
    findings: &Findings,
) -> Result<Namespace, Error> {
    let status: &mut NamespaceStatus = namespace.status.get_or_insert_default();
    if !findings.write(status, context.now()) {
        return Ok(namespace);
    }
    let name = namespace.metadata.name.clone().unwrap_or_default();
    Ok(api.replace_status(&name, &PostParams::default(), &namespace).await?)
}

/// Deletes everything in the namespace; pods first, so that what they use is there until they end.
async fn empty(context: &Context, namespace: &Namespace) -> Findings {
    let mut findings = Findings::default();
    let resources = match discovery::discover(context.client()).await {
        Ok(resources) => resources,
        Err(error) => {
            findings.discovery = Some(error.text());
            return findings;
        }
    };
    // What is known of others is emptied all the same, but the namespace stays.
    let stale = discovery::stale(&context.client()).await;
    findings.discovery = conditions::unknown(&stale);
    let deletable = |served: &&Served| {
        let known = !stale.contains(&served.resource.api_version);
        known && served.namespaced && served.supports("delete")
    };
    let (pods, others): (Vec<_>, Vec<_>) =
        resources.preferred.iter().filter(deletable).partition(|served| is_pods(served));
    for group in [pods, others] {
        for served in group {
            if let Err(error) = empty_of(context, namespace, served, &mut findings).await {
                findings.errors.push(error.text());
            }
        }
        // What pods use is there until they end; those that cannot be told to go hold up nothing else.
        if findings.anything_remains() {
            break;
        }
    }
    findings
}

fn is_pods(served: &Served) -> bool {
    served.resource.group.is_empty() && served.resource.plural == "pods"
}

/// Whether the namespace's pods may still be ending in the time that they have for it.
fn may_be_ending(context: &Context, namespace: &Namespace) -> bool {
    let name = namespace.metadata.name.as_deref().unwrap_or_default();
    let pods = context.informers().of::<Pod>().list_in(name);
    let graces = pods.iter().filter(|pod| !is_terminal(pod)).filter_map(|pod| {
        let spec = pod.spec.as_ref()?;
        spec.termination_grace_period_seconds
    });
    let longest = SignedDuration::from_secs(graces.max().unwrap_or_default());
    let deleted = namespace.metadata.deletion_timestamp.as_ref();
    deleted.is_some_and(|time| context.now().duration_since(time.0) < longest)
}

async fn empty_of(
    context: &Context,
    of: &Namespace,
    served: &Served,
    findings: &mut Findings,
) -> Result<(), Error> {
    let namespace = of.metadata.name.as_deref().unwrap_or_default();
    let ending = is_pods(served) && may_be_ending(context, of);
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client(), namespace, &served.resource);
    let listable = served.supports("list");
    if listable && list(context, namespace, served).await?.is_empty() {
        return Ok(());
    }
    let background = DeleteParams::background();
    let collection = served.supports("deletecollection");
    if collection
        && let Err(error) = api.delete_collection(&background, &ListParams::default()).await
    {
        match error {
            kube::Error::Api(status) if matches!(status.code, 404 | 405) => {}
            error => return Err(error.into()),
        }
    }
    if !listable {
        return Ok(());
    }
    let mut left = list(context, namespace, served).await?;
    if !collection {
        for item in &left {
            unless_gone(
                api.delete(item.metadata.name.as_deref().unwrap_or_default(), &background).await,
            )?;
        }
        left = list(context, namespace, served).await?;
    }
    if !left.is_empty() {
        let finalizers = left.iter().flat_map(|item| item.metadata.finalizers.iter().flatten());
        let mut finalizers = finalizers.peekable();
        let explained = ending || finalizers.peek().is_some();
        findings.remains(&served.resource, left.len(), finalizers);
        if !explained {
            findings.unexplained(namespace, &served.resource);
        }
    }
    Ok(())
}

async fn list(
    context: &Context,
    namespace: &str,
    served: &Served,
) -> Result<Vec<PartialObjectMeta<DynamicObject>>, Error> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client(), namespace, &served.resource);
    match api.list_metadata(&ListParams::default()).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

async fn finalize(context: &Context, mut namespace: Namespace) -> Result<(), Error> {
    let spec = namespace.spec.get_or_insert_default();
    spec.finalizers.get_or_insert_default().retain(|finalizer| finalizer != FINALIZER);
    let name = namespace.metadata.name.clone().unwrap_or_default();
    let body = serde_json::to_vec(&namespace)
        .map_err(|source| kubeplane_client::Error::Decode { what: "a namespace".into(), source })?;
    let request = Request::new("/api/v1/namespaces")
        .replace_subresource("finalize", &name, &PostParams::default(), body)
        .map_err(|error| kubeplane_client::Error::Request(Box::new(error)))?;
    unless_gone(context.client().request::<Namespace>(request).await)
}
