use super::{is_core, list_mut, refuse, toleration::merge};
use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Operation, Request},
    status::ApiResult,
};
use kubeplane_workload::quota::amounts;
use serde_json::Value;
use std::sync::Arc;

const DIFFERS: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// Gives pods the overhead of their RuntimeClass, and where it lets them run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuntimeClass;

async fn class_of(request: &Request<'_>) -> ApiResult<Option<Arc<Object>>> {
    let pod = request.object.as_deref();
    let name = pod.and_then(|pod| pod.at(&["spec", "runtimeClassName"])?.as_str());
    let Some(name) = name else { return Ok(None) };
    let classes = GroupResource::new("node.k8s.io", "runtimeclasses");
    let found = match request.reader.get(&classes, "", name).await? {
        Some(class) => Some(class),
        None => request.reader.get_fresh(&classes, "", name).await?,
    };
    match found {
        Some(class) => Ok(Some(class)),
        None => Err(refuse(request, format!("pod rejected: RuntimeClass {name:?} not found"))),
    }
}

/// Labels of nodes that both want, or which of them contradict.
fn node_selector(pod: &Object, scheduling: &Value) -> Result<Option<Value>, String> {
    let Some(wanted) = scheduling["nodeSelector"].as_object() else { return Ok(None) };
    let own = pod.at(&["spec", "nodeSelector"]).and_then(Value::as_object);
    let mut all = own.cloned().unwrap_or_default();
    for (key, value) in wanted {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(other) = all.get(key).filter(|other| *other != value) {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(other)
            ));
        }
        all.insert(key.clone(), value.clone());
    }
    Ok(Some(Value::Object(all)))
}

#[async_trait]
impl Admission for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create && subresource.is_empty() && is_core(definition, "pods")
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        let Some(class) = class_of(request).await? else { return Ok(()) };
        let Some(pod) = request.object.as_deref() else { return Ok(()) };
        let own = amounts(pod, &["spec", "overhead"]);
        let overhead = class.at(&["overhead"]).filter(|overhead| overhead.is_object());
        let fixed = overhead.map(|overhead| overhead.get("podFixed").cloned().unwrap_or_default());
        if fixed.is_some() && !own.is_empty() && own != amounts(&class, &["overhead", "podFixed"]) {
            return Err(refuse(request, DIFFERS));
        }
        let scheduling = class.at(&["scheduling"]).filter(|scheduling| scheduling.is_object());
        let selector = match scheduling.map(|scheduling| node_selector(pod, scheduling)) {
            Some(Err(why)) => return Err(refuse(request, why)),
            Some(Ok(selector)) => selector,
            None => None,
        };
        let Some(pod) = request.object.as_deref_mut() else { return Ok(()) };
        if let Some(fixed) = fixed.filter(Value::is_object) {
            pod.set(&["spec", "overhead"], fixed);
        }
        if let Some(selector) = selector {
            pod.set(&["spec", "nodeSelector"], selector);
        }
        let more = scheduling.and_then(|scheduling| scheduling["tolerations"].as_array());
        if let Some(more) = more.filter(|more| !more.is_empty()) {
            let own = list_mut(pod, &["spec"], "tolerations");
            *own = merge(own, more);
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let class = class_of(request).await?;
        let Some(pod) = request.object.as_deref() else { return Ok(()) };
        let class = class.filter(|class| class.at(&["overhead"]).is_some_and(Value::is_object));
        match class {
            Some(class) => {
                let fixed = amounts(&class, &["overhead", "podFixed"]);
                if fixed == amounts(pod, &["spec", "overhead"]) {
                    return Ok(());
                }
                Err(refuse(request, DIFFERS))
            }
            None if pod.at(&["spec", "overhead"]).is_some_and(|own| !own.is_null()) => {
                let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                Err(refuse(request, why))
            }
            None => Ok(()),
        }
    }
}
