use super::StatefulSets;
use crate::{Context, Error};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use kube::{Api, api::PostParams};
use kubeplane_client::ObjectKey;

/// Writes the status where it differs; a rolling update that is over makes its revision the current one.
pub(super) async fn write(
    controller: &StatefulSets,
    context: &Context,
    key: &ObjectKey,
    set: &StatefulSet,
    mut status: StatefulSetStatus,
) -> Result<(), Error> {
    let spec = set.spec.as_ref();
    let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let strategy = spec.and_then(|spec| spec.update_strategy.as_ref()?.type_.as_deref());
    if strategy != Some("OnDelete")
        && status.updated_replicas == Some(replicas)
        && status.ready_replicas == Some(replicas)
        && status.replicas == replicas
    {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
    let before = set.status.clone().unwrap_or_default();
    status.conditions.clone_from(&before.conditions);
    // Counters of zero are left out of statuses.
    for counter in
        [&mut status.ready_replicas, &mut status.current_replicas, &mut status.updated_replicas]
    {
        *counter = counter.filter(|count| *count != 0);
    }
    if before == status {
        return Ok(());
    }
    let mut next = set.clone();
    next.status = Some(status);
    let api: Api<StatefulSet> = Api::namespaced(context.client(), &key.namespace);
    let written = api.replace_status(&key.name, &PostParams::default(), &next).await?;
    controller.sets.updated(key, &written);
    Ok(())
}
