//! What the default plugins decide, written down once more: plainly, slowly, on the JSON of pods and nodes, with
//! nothing shared with the scheduler. Every node is looked at anew for every pod.

mod amounts;
mod apart;
mod nodes;
mod selectors;
mod together;

use serde_json::Value;
use std::collections::BTreeMap;

/// The scores of one node by plugin, weighted as they count.
pub(crate) type Scores = BTreeMap<&'static str, i64>;

/// Nodes, and the pods on them.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) namespaces: Vec<Value>,
    pub(crate) nodes: Vec<Value>,
    /// Each with the index of its node.
    pub(crate) placed: Vec<(usize, Value)>,
}

impl World {
    pub(crate) fn pods_on(&self, node: usize) -> impl Iterator<Item = &Value> {
        self.placed.iter().filter(move |(index, _)| *index == node).map(|(_, pod)| pod)
    }

    fn namespace_labels(&self, name: &str) -> &Value {
        let own = self.namespaces.iter().find(|own| own["metadata"]["name"] == name);
        own.map_or(&Value::Null, |own| &own["metadata"]["labels"])
    }

    /// Where the pod fits, node by node.
    pub(crate) fn feasible(&self, pod: &Value) -> Vec<bool> {
        let spread = apart::hard(self, pod);
        let pods = together::required(self, pod);
        (0..self.nodes.len())
            .map(|index| {
                nodes::fits(self, pod, index)
                    && amounts::fits(self, pod, index)
                    && spread[index]
                    && pods[index]
            })
            .collect()
    }

    /// The scores of the nodes where the pod fits; `None` for the others.
    pub(crate) fn scores(&self, pod: &Value) -> Vec<Option<Scores>> {
        let feasible = self.feasible(pod);
        let mut all: Vec<_> = feasible.iter().map(|fits| fits.then(Scores::new)).collect();
        let mut put = |plugin: &'static str, weight: i64, scores: Vec<i64>| {
            for (own, score) in all.iter_mut().zip(scores) {
                if let Some(own) = own {
                    own.insert(plugin, weight * score);
                }
            }
        };
        put("TaintToleration", 3, nodes::avoided(self, pod, &feasible));
        put("NodeAffinity", 2, nodes::preferred(self, pod, &feasible));
        put("NodeResourcesFit", 1, amounts::least_allocated(self, pod));
        put("PodTopologySpread", 2, apart::soft(self, pod, &feasible));
        put("InterPodAffinity", 2, together::preferred(self, pod, &feasible));
        put("NodeResourcesBalancedAllocation", 1, amounts::balanced(self, pod));
        put("ImageLocality", 1, nodes::images(self, pod));
        all
    }
}

/// The scores brought to 0..=100 by the largest of the nodes that are left.
pub(crate) fn scaled(mut scores: Vec<i64>, feasible: &[bool], reverse: bool) -> Vec<i64> {
    let left = scores.iter().zip(feasible).filter(|(_, fits)| **fits).map(|(score, _)| *score);
    let largest = left.max().unwrap_or(0);
    for score in &mut scores {
        *score = if largest == 0 { 0 } else { *score * 100 / largest };
        if reverse {
            *score = 100 - *score;
        }
    }
    scores
}

pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The value of a node's label, if it has it.
pub(crate) fn label<'a>(node: &'a Value, key: &str) -> Option<&'a str> {
    node["metadata"]["labels"].get(key).and_then(Value::as_str)
}
