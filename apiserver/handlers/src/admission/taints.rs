use super::{is_core, list_mut};
use async_trait::async_trait;
use kubeplane_core::{
    Definition,
    admission::{Admission, Does, Operation, Request},
    status::ApiResult,
};
use serde_json::json;

/// Taints every new node as not ready, so that nothing is scheduled on it before its kubelet says it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaintNodesByCondition;

#[async_trait]
impl Admission for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn does(&self) -> Does {
        Does::Mutates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create && subresource.is_empty() && is_core(definition, "nodes")
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        let Some(node) = request.object.as_deref_mut() else { return Ok(()) };
        let key = "node.kubernetes.io/not-ready";
        let taints = list_mut(node, &["spec"], "taints");
        if !taints.iter().any(|taint| taint["key"] == key && taint["effect"] == "NoSchedule") {
            taints.push(json!({"key": key, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}
