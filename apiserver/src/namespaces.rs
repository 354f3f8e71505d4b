//! What is special about deleting a namespace: it stays, terminating, until its content is gone.

use crate::handler::WriteHook;
use async_trait::async_trait;
use kubeplane_core::Object;
use serde_json::Value;

/// Keeps a namespace while `spec.finalizers` has entries, and shows it as terminating.
#[derive(Debug)]
pub struct NamespaceDeletion;

#[async_trait]
impl WriteHook for NamespaceDeletion {
    fn mark_deleting(&self, object: &mut Object) {
        object.set(&["status", "phase"], "Terminating");
        object.remove(&["metadata", "deletionGracePeriodSeconds"]);
    }

    fn holds(&self, object: &Object) -> bool {
        let finalizers = object.at(&["spec", "finalizers"]).and_then(Value::as_array);
        finalizers.is_some_and(|finalizers| !finalizers.is_empty())
    }
}
