//! What goes over the wire (`k8s.io/kube-scheduler/extender/v1`): field names are Go's own.

use k8s_openapi::api::core::v1::{Node, Pod};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Question {
    pub(super) pod: Pod,
    pub(super) nodes: Option<NodeList>,
    pub(super) node_names: Option<Vec<String>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct NodeList {
    pub(super) items: Vec<Node>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct FilterResult {
    #[serde(alias = "nodes")]
    pub(super) nodes: Option<NodeList>,
    #[serde(alias = "nodeNames", alias = "nodenames")]
    pub(super) node_names: Option<Vec<String>>,
    #[serde(alias = "failedNodes", deserialize_with = "or_default")]
    pub(super) failed_nodes: BTreeMap<String, String>,
    #[serde(alias = "failedAndUnresolvableNodes", deserialize_with = "or_default")]
    pub(super) failed_and_unresolvable_nodes: BTreeMap<String, String>,
    #[serde(alias = "error")]
    pub(super) error: String,
}

fn or_default<'de, D, T>(source: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(source).map(Option::unwrap_or_default)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HostPriority {
    #[serde(alias = "host")]
    pub(super) host: String,
    #[serde(alias = "score")]
    pub(super) score: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Binding {
    pub(super) pod_name: String,
    pub(super) pod_namespace: String,
    #[serde(rename = "PodUID")]
    pub(super) pod_uid: String,
    pub(super) node: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct BindingResult {
    #[serde(alias = "error")]
    pub(super) error: String,
}

/// The question and the answer, which has `meta_victims` only.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Preemption {
    pub(super) pod: Option<Pod>,
    #[serde(rename = "NodeNameToVictims")]
    pub(super) victims: Option<BTreeMap<String, FullVictims>>,
    #[serde(rename = "NodeNameToMetaVictims", alias = "nodeNameToMetaVictims")]
    pub(super) meta_victims: Option<BTreeMap<String, MetaVictims>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct FullVictims {
    pub(super) pods: Vec<Pod>,
    #[serde(rename = "NumPDBViolations")]
    pub(super) violations: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct MetaVictims {
    #[serde(alias = "pods", deserialize_with = "or_default")]
    pub(super) pods: Vec<MetaPod>,
    #[serde(rename = "NumPDBViolations", alias = "numPDBViolations")]
    pub(super) violations: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct MetaPod {
    #[serde(rename = "UID", alias = "uid")]
    pub(super) uid: String,
}
