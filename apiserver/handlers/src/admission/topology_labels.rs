use super::is_core;
use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource,
    admission::{Admission, Does, Operation, Request},
    status::ApiResult,
};

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Tells pods by labels in which zone and region their node is, when they are put on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodTopologyLabels;

#[async_trait]
impl Admission for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn does(&self) -> Does {
        Does::Mutates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create
            && matches!(subresource, "" | "binding")
            && is_core(definition, "pods")
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        let node = match request.subresource {
            "" => object.text(&["spec", "nodeName"]),
            _ if object.text(&["target", "kind"]) == "Node" => object.text(&["target", "name"]),
            _ => "",
        };
        let nodes = GroupResource::new("", "nodes");
        if node.is_empty() || request.reader.revision(&nodes).is_none() {
            return Ok(());
        }
        let Some(node) = request.reader.get(&nodes, "", node).await? else { return Ok(()) };
        let Some(object) = request.object.as_deref_mut() else { return Ok(()) };
        for (key, value) in node.labels().filter(|(key, _)| LABELS.contains(key)) {
            object.set(&["metadata", "labels", key], value);
        }
        Ok(())
    }
}
