use crate::NodeInfo;
use std::{collections::HashMap, sync::Arc};

/// All nodes at one moment: what one scheduling cycle sees.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    nodes: Arc<Vec<Arc<NodeInfo>>>,
    by_name: Arc<HashMap<String, usize>>,
}

impl Snapshot {
    /// Of these nodes.
    #[must_use]
    pub fn new(nodes: Vec<Arc<NodeInfo>>) -> Self {
        let by_name =
            nodes.iter().enumerate().map(|(index, node)| (node.name().to_owned(), index)).collect();
        Self { nodes: Arc::new(nodes), by_name: Arc::new(by_name) }
    }

    /// The nodes, always in the same order.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<NodeInfo>] {
        &self.nodes
    }

    /// One node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.by_name.get(name).map(|index| &self.nodes[*index])
    }
}
