use super::refuse;
use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Does, Operation, Request},
    status::ApiResult,
};
use serde_json::Value;
use std::sync::Arc;

/// Lets nobody change how many pods a Job runs at once while they are scheduled all together: their PodGroup, which does
/// not change, says how many they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct JobValidation;

/// The PodGroups of a Job: the one its template names, or those made for it.
async fn groups(request: &Request<'_>, job: &Object) -> ApiResult<Vec<Arc<Object>>> {
    let (of, namespace) = (GroupResource::new("scheduling.k8s.io", "podgroups"), request.namespace);
    if request.reader.revision(&of).is_none() {
        return Ok(Vec::new());
    }
    let named = job.text(&["spec", "template", "spec", "schedulingGroup", "podGroupName"]);
    if !named.is_empty() {
        let group = request.reader.get(&of, namespace, named).await?;
        return Ok(group.into_iter().collect());
    }
    let mut all = request.reader.list(&of, namespace).await?.items;
    all.retain(|group| {
        let owners = group.owner_references();
        owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == job.uid())
    });
    Ok(all)
}

#[async_trait]
impl Admission for JobValidation {
    fn name(&self) -> &'static str {
        "JobValidation"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Update
            && subresource.is_empty()
            && definition.kind.group == "batch"
            && definition.plural == "jobs"
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let (Some(job), Some(old)) = (request.object.as_deref(), request.old) else {
            return Ok(());
        };
        let parallelism = |job: &Object| job.at(&["spec", "parallelism"]).and_then(Value::as_i64);
        if parallelism(job) == parallelism(old) {
            return Ok(());
        }
        let groups = groups(request, old).await?;
        let gang = |group: &&Arc<Object>| {
            group.at(&["spec", "schedulingPolicy", "gang"]).is_some_and(Value::is_object)
        };
        let Some(group) = groups.iter().find(gang) else { return Ok(()) };
        let what = "cannot change parallelism for a Job referencing gang-scheduled PodGroup";
        Err(refuse(request, format!("{what} {:?}", group.name())))
    }
}
