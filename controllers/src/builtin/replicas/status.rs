use super::{owner::Owner, total};
use crate::{Context, Error};
use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::ReplicaSetCondition, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, api::PostParams, core::Request};
use kubeplane_client::Class;
use kubeplane_workload::{is_available, is_ready};
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The status of either kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Status {
    pub(super) replicas: i32,
    pub(super) fully_labeled_replicas: i32,
    pub(super) ready_replicas: i32,
    pub(super) available_replicas: i32,
    pub(super) terminating_replicas: Option<i32>,
    pub(super) observed_generation: i64,
    pub(super) conditions: Vec<ReplicaSetCondition>,
}

/// What the status should say.
pub(super) fn compute<O: Owner>(
    owner: &O,
    active: &[Class<Pod>],
    terminating: Option<i32>,
    failure: Option<&Error>,
    now: Timestamp,
) -> Status {
    let none = BTreeMap::new();
    let template = owner
        .template()
        .and_then(|template| template.metadata.as_ref()?.labels.as_ref())
        .unwrap_or(&none);
    let fully_labeled = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        template.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let min_ready = owner.min_ready_seconds();
    let [mut labeled, mut ready, mut available] = [0; 3];
    for class in active {
        let (pod, count) = (&class.sample, i32::try_from(class.count).unwrap_or(i32::MAX));
        labeled += if fully_labeled(pod) { count } else { 0 };
        if is_ready(pod) {
            ready += count;
            available += if is_available(pod, min_ready, now) { count } else { 0 };
        }
    }
    let old = owner.status();
    let replicas = total(active);
    Status {
        replicas,
        fully_labeled_replicas: labeled,
        ready_replicas: ready,
        available_replicas: available,
        terminating_replicas: terminating,
        observed_generation: owner.meta().generation.unwrap_or_default(),
        conditions: conditions(old.conditions, replicas - owner.replicas(), failure, now),
    }
}

fn conditions(
    mut conditions: Vec<ReplicaSetCondition>,
    surplus: i32,
    failure: Option<&Error>,
    now: Timestamp,
) -> Vec<ReplicaSetCondition> {
    let present = conditions.iter().any(|condition| condition.type_ == REPLICA_FAILURE);
    match failure {
        Some(failure) if !present => conditions.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(Time(now)),
            reason: Some(if surplus < 0 { "FailedCreate" } else { "FailedDelete" }.to_owned()),
            message: Some(failure.text()),
        }),
        Some(_) => {}
        None => conditions.retain(|condition| condition.type_ != REPLICA_FAILURE),
    }
    conditions
}

/// Writes the status where it differs; after a conflict once more on the newest state.
pub(super) async fn write<O: Owner>(
    context: &Context,
    owner: &O,
    status: Status,
) -> Result<(), Error> {
    if owner.status() == status {
        return Ok(());
    }
    let name = owner.meta().name.clone().unwrap_or_default();
    let api: Api<O> =
        Api::namespaced(context.client(), owner.meta().namespace.as_deref().unwrap_or_default());
    let mut next = owner.clone();
    next.set_status(status.clone());
    let body = serde_json::to_vec(&next).map_err(kube::Error::SerdeError)?;
    let request = Request::new(api.resource_url())
        .replace_subresource("status", &name, &PostParams::default(), body)
        .map_err(kube::Error::BuildRequest)?;
    match context.client().request::<IgnoredAny>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(refusal)) if refusal.is_conflict() => {
            let mut fresh = api.get(&name).await?;
            fresh.set_status(status);
            api.replace_status(&name, &PostParams::default(), &fresh).await?;
            Ok(())
        }
        // An owner that is gone has no status.
        Err(kube::Error::Api(refusal)) if refusal.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
