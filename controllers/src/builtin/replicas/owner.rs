use super::status::Status;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::{
            PodTemplateSpec, ReplicationController, ReplicationControllerCondition,
            ReplicationControllerStatus,
        },
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::core::NamespaceResourceScope;
use kubeplane_client::Watchable;
use serde::Serialize;

/// A kind that asks for a number of equal pods.
pub(super) trait Owner:
    Watchable + Serialize + kube::Resource<Scope = NamespaceResourceScope>
{
    const CONTROLLER: &'static str;
    const IDENTITY: &'static str;

    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn selector(&self) -> LabelSelector;
    fn template(&self) -> Option<&PodTemplateSpec>;
    fn status(&self) -> Status;
    fn set_status(&mut self, status: Status);
}

impl Owner for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";
    const IDENTITY: &'static str = "replicaset-controller";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
    }

    fn selector(&self) -> LabelSelector {
        self.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default()
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> Status {
        let status = self.status.clone().unwrap_or_default();
        Status {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas.unwrap_or_default(),
            ready_replicas: status.ready_replicas.unwrap_or_default(),
            available_replicas: status.available_replicas.unwrap_or_default(),
            terminating_replicas: status.terminating_replicas,
            observed_generation: status.observed_generation.unwrap_or_default(),
            conditions: status.conditions.unwrap_or_default(),
        }
    }

    fn set_status(&mut self, status: Status) {
        self.status = Some(ReplicaSetStatus {
            replicas: status.replicas,
            fully_labeled_replicas: nonzero(status.fully_labeled_replicas),
            ready_replicas: nonzero(status.ready_replicas),
            available_replicas: nonzero(status.available_replicas),
            terminating_replicas: status.terminating_replicas,
            observed_generation: Some(status.observed_generation),
            conditions: Some(status.conditions).filter(|conditions| !conditions.is_empty()),
        });
    }
}

impl Owner for ReplicationController {
    const CONTROLLER: &'static str = "replicationcontroller-controller";
    const IDENTITY: &'static str = "replication-controller";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
    }

    fn selector(&self) -> LabelSelector {
        let labels = self.spec.as_ref().and_then(|spec| spec.selector.clone());
        LabelSelector { match_labels: labels, match_expressions: None }
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> Status {
        let status = self.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default().into_iter().map(|condition| {
            ReplicaSetCondition {
                last_transition_time: condition.last_transition_time,
                message: condition.message,
                reason: condition.reason,
                status: condition.status,
                type_: condition.type_,
            }
        });
        Status {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas.unwrap_or_default(),
            ready_replicas: status.ready_replicas.unwrap_or_default(),
            available_replicas: status.available_replicas.unwrap_or_default(),
            terminating_replicas: None,
            observed_generation: status.observed_generation.unwrap_or_default(),
            conditions: conditions.collect(),
        }
    }

    fn set_status(&mut self, status: Status) {
        let conditions: Vec<_> = status
            .conditions
            .into_iter()
            .map(|condition| ReplicationControllerCondition {
                last_transition_time: condition.last_transition_time,
                message: condition.message,
                reason: condition.reason,
                status: condition.status,
                type_: condition.type_,
            })
            .collect();
        self.status = Some(ReplicationControllerStatus {
            replicas: status.replicas,
            fully_labeled_replicas: nonzero(status.fully_labeled_replicas),
            ready_replicas: nonzero(status.ready_replicas),
            available_replicas: nonzero(status.available_replicas),
            observed_generation: Some(status.observed_generation),
            conditions: Some(conditions).filter(|conditions| !conditions.is_empty()),
        });
    }
}

/// Counters of zero are left out of statuses.
fn nonzero(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}
