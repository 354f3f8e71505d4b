use super::is_core;
use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Does, Operation, Request},
    features::Features,
    status::{ApiError, ApiResult},
};
use serde_json::Value;

/// Refuses changes of pods on nodes that do not say (`status.declaredFeatures`) that they can follow them.
#[derive(Debug, Clone, Default)]
pub struct NodeDeclaredFeatureValidator {
    features: Features,
}

impl NodeDeclaredFeatureValidator {
    /// Does something where the gate `NodeDeclaredFeatures` is on.
    #[must_use]
    pub fn new(features: Features) -> Self {
        Self { features }
    }
}

/// What a node must declare for a change, in the original's order.
fn required(new: &Object, old: &Object) -> Vec<&'static str> {
    let mut names = Vec::new();
    let whole = |pod: &Object| pod.at(&["spec", "resources"]).cloned().unwrap_or_default();
    if whole(new) != whole(old) {
        names.push("InPlacePodLevelResourcesVerticalScaling");
    }
    let list = |pod: &Object| pod.at(&["spec", "initContainers"]).cloned().unwrap_or_default();
    let (new, old) = (list(new), list(old));
    let pairs = old.as_array().into_iter().flatten().zip(new.as_array().into_iter().flatten());
    let resized = |(old, new): (&Value, &Value)| {
        old["restartPolicy"] != "Always" && old["resources"] != new["resources"]
    };
    if pairs.into_iter().any(resized) {
        names.push("InPlacePodVerticalScalingInitContainers");
    }
    names
}

#[async_trait]
impl Admission for NodeDeclaredFeatureValidator {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Update
            && matches!(subresource, "" | "resize")
            && is_core(definition, "pods")
            && self.features.is_on("NodeDeclaredFeatures")
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let (Some(pod), Some(old)) = (request.object.as_deref(), request.old) else {
            return Ok(());
        };
        let name = pod.text(&["spec", "nodeName"]);
        let required = required(pod, old);
        if name.is_empty() || required.is_empty() {
            return Ok(());
        }
        let refuse = |why: String| {
            Err(ApiError::forbidden(&request.definition.resource(), request.name, why))
        };
        let nodes = GroupResource::new("", "nodes");
        let Some(node) = request.reader.get(&nodes, "", name).await? else {
            return refuse(format!("node {name:?} not found"));
        };
        let declared = node.at(&["status", "declaredFeatures"]).and_then(Value::as_array);
        let has = |feature: &str| declared.is_some_and(|all| all.iter().any(|one| one == feature));
        let missing: Vec<_> = required.into_iter().filter(|feature| !has(feature)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        refuse(format!(
            "pod update requires features {} which are not available on node {name:?}",
            missing.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn resizes_need_nodes_that_can_do_them() {
        let pod = |whole: &str, init: &str, sidecar: &str| {
            let container = |name: &str, cpu: &str, policy: &str| json!({"name": name, "restartPolicy": policy, "resources": {"limits": {"cpu": cpu}}});
            Object::from_value(json!({"spec": {"resources": {"limits": {"cpu": whole}},
                "initContainers": [container("a", init, ""), container("b", sidecar, "Always")]}}))
            .unwrap()
        };
        let old = pod("1", "1", "1");
        assert!(required(&pod("1", "1", "2"), &old).is_empty());
        let whole = ["InPlacePodLevelResourcesVerticalScaling"];
        assert_eq!(required(&pod("2", "1", "1"), &old), whole);
        let init = ["InPlacePodVerticalScalingInitContainers"];
        assert_eq!(required(&pod("1", "2", "1"), &old), init);
    }
}
