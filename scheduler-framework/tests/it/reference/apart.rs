//! PodTopologySpread, for pods with constraints of their own.

use super::{World, items, label, selectors, text};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const HOSTNAME: &str = "kubernetes.io/hostname";

fn constraints(pod: &Value, action: &str) -> Vec<Value> {
    let all = items(&pod["spec"]["topologySpreadConstraints"]).iter();
    all.filter(|own| own["whenUnsatisfiable"] == action).cloned().collect()
}

fn counts(constraint: &Value, pod: &Value, other: &Value) -> bool {
    let labels = &other["metadata"]["labels"];
    let keys = items(&constraint["matchLabelKeys"]);
    other["metadata"]["namespace"] == pod["metadata"]["namespace"]
        && selectors::picks(&constraint["labelSelector"], labels)
        && keys.iter().map(text).all(|key| {
            let own = &pod["metadata"]["labels"][key];
            own.is_null() || *own == labels[key]
        })
}

fn alike(world: &World, constraint: &Value, pod: &Value, node: usize) -> i64 {
    let others = world.pods_on(node).filter(|other| counts(constraint, pod, other));
    i64::try_from(others.count()).unwrap()
}

/// Whether a node takes part in a constraint.
fn takes_part(constraint: &Value, pod: &Value, node: &Value) -> bool {
    (constraint["nodeAffinityPolicy"] == "Ignore" || selectors::required_node(pod, node))
        && (constraint["nodeTaintsPolicy"] != "Honor" || !selectors::repels(node, pod))
}

fn has_all(constraints: &[Value], node: &Value) -> bool {
    constraints.iter().all(|own| label(node, text(&own["topologyKey"])).is_some())
}

/// Which nodes meet the constraints that must be met.
pub(super) fn hard(world: &World, pod: &Value) -> Vec<bool> {
    let constraints = constraints(pod, "DoNotSchedule");
    let mut fits = vec![true; world.nodes.len()];
    for constraint in &constraints {
        let key = text(&constraint["topologyKey"]);
        let mut domains = BTreeMap::<&str, i64>::new();
        for (index, node) in world.nodes.iter().enumerate() {
            if has_all(&constraints, node) && takes_part(constraint, pod, node) {
                *domains.entry(label(node, key).unwrap()).or_default() +=
                    alike(world, constraint, pod, index);
            }
        }
        let wanted = constraint["minDomains"].as_u64().unwrap_or(1);
        let enough = domains.len() as u64 >= wanted;
        let least = domains.values().min().copied().filter(|_| enough).unwrap_or(0);
        let itself = i64::from(counts(constraint, pod, pod));
        for (node, fits) in world.nodes.iter().zip(&mut fits) {
            let there = label(node, key).map(|value| domains.get(value).copied().unwrap_or(0));
            let most = constraint["maxSkew"].as_i64().unwrap();
            *fits &= there.is_some_and(|there| there + itself - least <= most);
        }
    }
    fits
}

/// The scores by the constraints that are only wished for.
pub(super) fn soft(world: &World, pod: &Value, feasible: &[bool]) -> Vec<i64> {
    let constraints = constraints(pod, "ScheduleAnyway");
    if constraints.is_empty() {
        return vec![0; world.nodes.len()];
    }
    let ranked: Vec<bool> = (world.nodes.iter().zip(feasible))
        .map(|(node, fits)| *fits && has_all(&constraints, node))
        .collect();
    let mut raw = vec![0.0; world.nodes.len()];
    for constraint in &constraints {
        let key = text(&constraint["topologyKey"]);
        let left = || world.nodes.iter().enumerate().filter(|(index, _)| ranked[*index]);
        let values: BTreeSet<_> = left().map(|(_, node)| label(node, key).unwrap()).collect();
        let size = if key == HOSTNAME { left().count() } else { values.len() };
        let weight = ((size + 2) as f64).ln();
        for (index, node) in left() {
            let value = label(node, key).unwrap();
            let there = |(other, own): &(usize, &Value)| {
                label(own, key) == Some(value)
                    && has_all(&constraints, own)
                    && takes_part(constraint, pod, own)
                    && *other < world.nodes.len()
            };
            let count = if key == HOSTNAME {
                alike(world, constraint, pod, index)
            } else {
                let others = world.nodes.iter().enumerate().filter(there);
                others.map(|(other, _)| alike(world, constraint, pod, other)).sum()
            };
            let skew = constraint["maxSkew"].as_i64().unwrap();
            raw[index] += count as f64 * weight + (skew - 1) as f64;
        }
    }
    let raw: Vec<_> = raw.iter().map(|score| score.round() as i64).collect();
    let left = || raw.iter().zip(&ranked).filter(|(_, ranked)| **ranked).map(|(score, _)| *score);
    let (least, most) = (left().min().unwrap_or(0), left().max().unwrap_or(0));
    let score = |(score, ranked): (&i64, &bool)| match (ranked, most) {
        (false, _) => 0,
        (true, 0) => 100,
        (true, most) => 100 * (most + least - score) / most,
    };
    raw.iter().zip(&ranked).map(score).collect()
}

#[test]
fn nothing_is_asked_of_nodes_without_constraints() {
    let world = World { nodes: vec![json!({"metadata": {"name": "a"}})], ..World::default() };
    assert_eq!(hard(&world, &json!({})), [true]);
}
