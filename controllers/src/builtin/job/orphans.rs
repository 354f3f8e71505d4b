use super::{TRACKING, conditions::is_finished, managed_elsewhere};
use crate::{Action, Context, Error, error::unless_gone};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_client::{ObjectKey, controller_of, finalizers};
use serde_json::{Value, json};

/// Takes the finalizer off a pod that no unfinished Job manages.
pub(super) async fn release(context: &Context, key: &ObjectKey) -> Result<Action, Error> {
    let Some(pod) = context.informers().of::<Pod>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    if !finalizers::has(&*pod, TRACKING) {
        return Ok(Action::Done);
    }
    if let Some(owner) = controller_of(&*pod) {
        if owner.kind != "Job" || owner.api_version != "batch/v1" {
            return Ok(Action::Done);
        }
        // The cache of Jobs may be older than that of pods, and a pod once let go is never counted.
        let jobs: Api<Job> = Api::namespaced(context.client(), &key.namespace);
        let job = jobs.get_opt(&owner.name).await?;
        let job = job.filter(|job| job.metadata.uid.as_ref() == Some(&owner.uid));
        if job.is_some_and(|job| managed_elsewhere(&job) || !is_finished(&job)) {
            return Ok(Action::Done);
        }
    }
    let pods: Api<Pod> = Api::namespaced(context.client(), &key.namespace);
    let patch = Patch::Strategic(without_finalizer(&pod));
    unless_gone(pods.patch(&key.name, &PatchParams::default(), &patch).await)?;
    Ok(Action::Done)
}

/// The patch that takes the finalizer off exactly this pod.
pub(super) fn without_finalizer(pod: &Pod) -> Value {
    json!({"metadata": {
        "uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [TRACKING],
    }})
}
