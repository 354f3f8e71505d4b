use async_trait::async_trait;
use kubeplane_core::{
    Definition,
    admission::{Admission, Does, Operation, Request},
    status::ApiResult,
};
use serde_json::Value;

const FINALIZER: &str = "scheduling.k8s.io/podgroup-protection";

/// Holds new PodGroups with a finalizer, so that they outlive their pods.
#[derive(Debug, Clone, Copy)]
pub(super) struct PodGroupProtection;

#[async_trait]
impl Admission for PodGroupProtection {
    fn name(&self) -> &'static str {
        "PodGroupProtection"
    }

    fn does(&self) -> Does {
        Does::Mutates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create
            && subresource.is_empty()
            && definition.kind.group == "scheduling.k8s.io"
            && definition.plural == "podgroups"
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        let Some(object) = request.object.as_deref_mut() else { return Ok(()) };
        if !object.finalizers().contains(&FINALIZER) {
            super::list_mut(object, &["metadata"], "finalizers").push(Value::from(FINALIZER));
        }
        Ok(())
    }
}
