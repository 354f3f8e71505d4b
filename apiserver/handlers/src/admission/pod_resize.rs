use super::{is_core, refuse};
use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Does, Operation, Request},
    quantity::Quantity,
    status::{ApiError, ApiResult, Cause},
};
use kubeplane_workload::{pod_spec, quota::amounts, requests};

/// Refuses to resize pods beyond what their node has.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodResizeValidator;

fn because(error: ApiError, reason: &str) -> ApiError {
    let mut details = error.details().cloned().unwrap_or_default();
    details.causes.push(Cause { reason: reason.to_owned(), ..Cause::default() });
    error.with_details(details)
}

fn too_much(pod: &Object, node: &Object) -> Option<String> {
    let spec = pod_spec(pod.at(&["spec"])?).ok()?;
    let (asked, has) = (requests(&spec), amounts(node, &["status", "allocatable"]));
    let mut parts = Vec::new();
    for (name, shown) in
        [("cpu", Quantity::milli_value as fn(&Quantity) -> i64), ("memory", Quantity::value)]
    {
        let of = |list: &kubeplane_workload::Resources| list.get(name).cloned().unwrap_or_default();
        let (asked, has) = (of(&asked), of(&has));
        if asked > has {
            parts.push(format!(
                "{name}, requested: {}, allocatable: {}",
                shown(&asked),
                shown(&has)
            ));
        }
    }
    let parts = (!parts.is_empty()).then(|| parts.join("; "))?;
    Some(format!("node didn't have enough allocatable resources: {parts}"))
}

#[async_trait]
impl Admission for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Update && subresource == "resize" && is_core(definition, "pods")
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let (Some(pod), Some(old)) = (request.object.as_deref(), request.old) else {
            return Ok(());
        };
        let name = pod.text(&["spec", "nodeName"]);
        if name.is_empty() || pod.generation() == old.generation() {
            return Ok(());
        }
        let node = request.reader.get(&GroupResource::new("", "nodes"), "", name).await?;
        let Some(node) = node else {
            return Err(refuse(request, format!("node {name:?} not found")));
        };
        if let Some(system) = node.label("kubernetes.io/os").filter(|system| *system != "linux") {
            let why =
                format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
            return Err(because(refuse(request, why), "UnsupportedPlatform"));
        }
        match too_much(pod, &node) {
            Some(why) => Err(because(refuse(request, why), "NodeCapacity")),
            None => Ok(()),
        }
    }
}
