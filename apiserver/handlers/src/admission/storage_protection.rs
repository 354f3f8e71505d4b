use super::is_core;
use async_trait::async_trait;
use kubeplane_core::{
    Definition,
    admission::{Admission, Does, Operation, Request},
    status::ApiResult,
};
use serde_json::Value;

/// Holds new volumes and claims with a finalizer, so that they outlive their use.
#[derive(Debug, Clone, Copy, Default)]
pub struct StorageObjectInUseProtection;

#[async_trait]
impl Admission for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn does(&self) -> Does {
        Does::Mutates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        let storage = ["persistentvolumes", "persistentvolumeclaims"];
        let class = definition.kind.group == "storage.k8s.io"
            && definition.plural == "volumeattributesclasses";
        operation == Operation::Create
            && subresource.is_empty()
            && (class || storage.iter().any(|plural| is_core(definition, plural)))
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        let finalizer = match &*request.definition.plural {
            "persistentvolumes" => "kubernetes.io/pv-protection",
            "volumeattributesclasses" => "kubernetes.io/vac-protection",
            _ => "kubernetes.io/pvc-protection",
        };
        let Some(object) = request.object.as_deref_mut() else { return Ok(()) };
        if !object.finalizers().contains(&finalizer) {
            super::list_mut(object, &["metadata"], "finalizers").push(Value::from(finalizer));
        }
        Ok(())
    }
}
