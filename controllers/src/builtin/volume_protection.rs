//! Keeps claims and volumes that are in use from going away under those who use them.

mod unused;

use super::claimed;
use crate::{Action, Context, Controller, Error, Sources, error::unless_gone};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use kubeplane_client::{ObjectKey, controller_of, finalizers};
use kubeplane_core::features::Features;
use kubeplane_workload::{phase::node_name, storage::claim_names};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";

/// Puts a finalizer on an object or takes it off, with an update: these controllers may not patch.
pub(super) async fn protect<K>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
    wanted: bool,
) -> Result<(), Error>
where
    K: kube::Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    if finalizers::has(object, finalizer) == wanted {
        return Ok(());
    }
    let mut next = object.clone();
    let all = next.finalizers_mut();
    all.retain(|present| present != finalizer);
    if wanted {
        all.push(finalizer.to_owned());
    }
    unless_gone(api.replace(&object.name_any(), &PostParams::default(), &next).await)
}

/// Holds a claim back until no pod on a node uses it.
pub(super) struct ClaimProtection {
    /// Whether claims say if a pod names them.
    tells: bool,
}

impl ClaimProtection {
    pub(super) fn new(features: &Features) -> Self {
        Self { tells: features.is_on("PersistentVolumeClaimUnusedSinceTime") }
    }
}

/// Whether no kubelet has anything to do with the pod any more.
fn is_shut_down(pod: &Pod) -> bool {
    let meta = &pod.metadata;
    meta.deletion_timestamp.is_some() && meta.deletion_grace_period_seconds == Some(0)
}

fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let theirs =
        || controller_of(claim).is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref());
    let mut named = claim_names(pod).filter(|own| own.name == claim.name_any());
    node_name(pod).is_some() && named.any(|own| !own.ephemeral || !is_shut_down(pod) && theirs())
}

#[async_trait]
impl Controller for ClaimProtection {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "persistentvolumeclaim-protection-controller"
    }

    fn identity(&self) -> &'static str {
        "pvc-protection-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        claimed::index(&sources.informer::<Pod>());
        sources.objects::<PersistentVolumeClaim>();
        let tells = self.tells;
        sources.watch::<Pod>(move |change| {
            let pod = change.object();
            let done =
                change.is_deleted() || kubeplane_workload::is_terminal(pod) || is_shut_down(pod);
            let is_news = |old: &Pod| claimed::is_over(old) != claimed::is_over(pod);
            let counts = tells && change.old().is_none_or(|old| is_news(old));
            if done || counts { claimed::keys(pod) } else { Vec::new() }
        });
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let found = informers.of::<PersistentVolumeClaim>().get(&key.namespace, &key.name);
        let Some(mut claim) = found else { return Ok(Action::Done) };
        let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client(), &key.namespace);
        if claim.metadata.deletion_timestamp.is_none() {
            if self.tells {
                let used = is_used(context, key, &claim, unused::names).await?;
                claim = unused::tell(context, claim, used).await?;
            }
            protect(&api, &claim, CLAIM, true).await?;
            return Ok(Action::Done);
        }
        if !finalizers::has(&*claim, CLAIM) {
            return Ok(Action::Done);
        }
        if !is_used(context, key, &claim, uses).await? {
            protect(&api, &claim, CLAIM, false).await?;
        }
        Ok(Action::Done)
    }
}

/// Whether a pod uses the claim in this way.
async fn is_used(
    context: &Context,
    key: &ObjectKey,
    claim: &PersistentVolumeClaim,
    uses: fn(&Pod, &PersistentVolumeClaim) -> bool,
) -> Result<bool, Error> {
    let cached = claimed::users(&context.informers().of::<Pod>(), key);
    if cached.iter().any(|pod| uses(pod, claim)) {
        return Ok(true);
    }
    // A pod that was bound a moment ago may be missing from the cache, and its data would be lost.
    let pods: Api<Pod> = Api::namespaced(context.client(), &key.namespace);
    let live = pods.list(&ListParams::default()).await?;
    Ok(live.items.iter().any(|pod| uses(pod, claim)))
}

/// Holds a volume back while it is bound to a claim.
pub(super) struct VolumeProtection;

#[async_trait]
impl Controller for VolumeProtection {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "persistentvolume-protection-controller"
    }

    fn identity(&self) -> &'static str {
        "pv-protection-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.objects::<PersistentVolume>();
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let found = context.informers().of::<PersistentVolume>().get("", &key.name);
        let Some(volume) = found else { return Ok(Action::Done) };
        let api: Api<PersistentVolume> = Api::all(context.client());
        if volume.metadata.deletion_timestamp.is_none() {
            protect(&api, &volume, VOLUME, true).await?;
            return Ok(Action::Done);
        }
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase != Some("Bound") {
            protect(&api, &volume, VOLUME, false).await?;
        }
        Ok(Action::Done)
    }
}
