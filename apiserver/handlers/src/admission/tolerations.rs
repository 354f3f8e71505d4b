use super::{is_core, list_mut};
use async_trait::async_trait;
use kubeplane_core::{
    Definition,
    admission::{Admission, Does, Operation, Request},
    status::ApiResult,
};
use serde_json::json;

/// Lets pods stay five minutes on a node that is not ready or not reachable, unless they say otherwise.
#[derive(Debug, Clone, Copy)]
pub struct DefaultTolerationSeconds {
    seconds: i64,
}

impl Default for DefaultTolerationSeconds {
    fn default() -> Self {
        Self { seconds: 300 }
    }
}

#[async_trait]
impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn does(&self) -> Does {
        Does::Mutates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && subresource.is_empty()
            && is_core(definition, "pods")
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        let Some(pod) = request.object.as_deref_mut() else { return Ok(()) };
        let tolerations = list_mut(pod, &["spec"], "tolerations");
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let tolerated = tolerations.iter().any(|own| {
                let text = |name: &str| own[name].as_str().unwrap_or_default();
                matches!(text("key"), own if own == key || own.is_empty())
                    && matches!(text("effect"), "NoExecute" | "")
            });
            if !tolerated {
                tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": self.seconds}));
            }
        }
        Ok(())
    }
}
