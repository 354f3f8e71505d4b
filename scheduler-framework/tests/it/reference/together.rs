//! InterPodAffinity, both ways.

use super::{World, items, label, selectors, text};
use serde_json::Value;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Whether a term of `owner` means `other`.
fn means(world: &World, owner: &Value, term: &Value, other: &Value) -> bool {
    let namespace = text(&other["metadata"]["namespace"]);
    let named = items(&term["namespaces"]).iter().any(|own| own == namespace);
    let selector = &term["namespaceSelector"];
    let here = if selector.is_null() && items(&term["namespaces"]).is_empty() {
        owner["metadata"]["namespace"] == namespace
    } else {
        named || selectors::picks(selector, world.namespace_labels(namespace))
    };
    let (own, labels) = (&owner["metadata"]["labels"], &other["metadata"]["labels"]);
    let keys =
        |field: &str| items(&term[field]).iter().map(text).filter(|key| !own[*key].is_null());
    here && selectors::picks(&term["labelSelector"], labels)
        && keys("matchLabelKeys").all(|key| labels[key] == own[key])
        && keys("mismatchLabelKeys").all(|key| labels[key] != own[key])
}

fn terms<'a>(pod: &'a Value, kind: &str, strength: &str) -> &'a [Value] {
    items(&pod["spec"]["affinity"][kind][strength])
}

/// Whether two nodes are in the same place.
fn same_place(world: &World, term: &Value, a: usize, b: usize) -> bool {
    let key = text(&term["topologyKey"]);
    let value = label(&world.nodes[a], key);
    value.is_some() && value == label(&world.nodes[b], key)
}

pub(super) fn required(world: &World, pod: &Value) -> Vec<bool> {
    let wanted = terms(pod, "podAffinity", REQUIRED);
    let shunned = terms(pod, "podAntiAffinity", REQUIRED);
    let like = |other: &Value| wanted.iter().all(|term| means(world, pod, term, other));
    let counted =
        |term: &Value, node: usize| label(&world.nodes[node], text(&term["topologyKey"])).is_some();
    // One with its like nowhere may be the first.
    let first = !world
        .placed
        .iter()
        .any(|(node, other)| like(other) && wanted.iter().any(|term| counted(term, *node)))
        && like(pod);
    let fits = |node: usize| {
        let known = wanted.iter().all(|term| counted(term, node));
        let met = wanted.iter().all(|term| {
            world
                .placed
                .iter()
                .any(|(there, other)| like(other) && same_place(world, term, *there, node))
        });
        let free = !shunned.iter().any(|term| {
            world.placed.iter().any(|(there, other)| {
                means(world, pod, term, other) && same_place(world, term, *there, node)
            })
        });
        let welcome = !world.placed.iter().any(|(there, other)| {
            terms(other, "podAntiAffinity", REQUIRED)
                .iter()
                .any(|term| means(world, other, term, pod) && same_place(world, term, *there, node))
        });
        known && (met || first) && free && welcome
    };
    (0..world.nodes.len()).map(fits).collect()
}

pub(super) fn preferred(world: &World, pod: &Value, feasible: &[bool]) -> Vec<i64> {
    let mut raw = vec![0; world.nodes.len()];
    let mut count = |owner: &Value, term: &Value, weight: i64, other: &Value, there: usize| {
        if means(world, owner, term, other) {
            for (node, score) in raw.iter_mut().enumerate() {
                if same_place(world, term, there, node) {
                    *score += weight;
                }
            }
        }
    };
    for (there, other) in &world.placed {
        for (kind, sign) in [("podAffinity", 1), ("podAntiAffinity", -1)] {
            for (owner, meant) in [(pod, other), (other, pod)] {
                for own in terms(owner, kind, PREFERRED) {
                    let weight = sign * own["weight"].as_i64().unwrap();
                    count(owner, &own["podAffinityTerm"], weight, meant, *there);
                }
            }
        }
        for term in terms(other, "podAffinity", REQUIRED) {
            count(other, term, 1, pod, *there);
        }
    }
    let left = || raw.iter().zip(feasible).filter(|(_, fits)| **fits).map(|(score, _)| *score);
    let (least, most) = (left().min().unwrap_or(0), left().max().unwrap_or(0));
    let scale = |score: &i64| {
        if most == least {
            0
        } else {
            (100.0 * ((score - least) as f64 / (most - least) as f64)) as i64
        }
    };
    raw.iter().map(scale).collect()
}
