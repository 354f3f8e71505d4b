use super::{
    is_core, items, list_mut,
    toleration::{includes, merge},
};
use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};
use kubeplane_workload::{QosClass, pod_spec, qos_class};
use serde_json::{Value, json};
use std::sync::Arc;

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

/// Gives pods the tolerations their namespace has as default, and refuses those it does not allow.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodTolerationRestriction;

async fn namespace(request: &Request<'_>) -> ApiResult<Arc<Object>> {
    let namespaces = GroupResource::new("", "namespaces");
    let found = request.reader.get_fresh(&namespaces, "", request.namespace).await?;
    found.ok_or_else(|| ApiError::not_found(&namespaces, request.namespace))
}

fn listed(namespace: &Object, annotation: &str) -> ApiResult<Vec<Value>> {
    match namespace.annotation(annotation) {
        None | Some("") => Ok(Vec::new()),
        Some(text) => serde_json::from_str(text).map_err(ApiError::internal),
    }
}

fn check(request: &Request<'_>, namespace: &Object) -> ApiResult<()> {
    let Some(pod) = request.object.as_deref() else { return Ok(()) };
    let allowed = listed(namespace, ALLOWED)?;
    let own = items(pod, &["spec", "tolerations"]);
    let fine = |own: &Value| allowed.iter().any(|allowed| includes(allowed, own));
    if allowed.is_empty() || own.iter().all(fine) {
        return Ok(());
    }
    let why = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist";
    // The original says so without a reason of its own.
    Err(ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", why))
}

#[async_trait]
impl Admission for PodTolerationRestriction {
    fn name(&self) -> &'static str {
        "PodTolerationRestriction"
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
        let namespace = namespace(request).await?;
        let mut more = match request.operation {
            Operation::Create => listed(&namespace, DEFAULTS)?,
            _ => Vec::new(),
        };
        let Some(pod) = request.object.as_deref_mut() else { return Ok(()) };
        let spec = pod.at(&["spec"]).and_then(|spec| pod_spec(spec).ok()).unwrap_or_default();
        if qos_class(&spec) != QosClass::BestEffort {
            more.push(json!({"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}));
        }
        if !more.is_empty() {
            let own = list_mut(pod, &["spec"], "tolerations");
            *own = merge(own, &more);
        }
        check(request, &namespace)
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let namespace = namespace(request).await?;
        check(request, &namespace)
    }
}
