//! What concerns the node alone: NodeUnschedulable, TaintToleration, NodeAffinity, NodePorts, ImageLocality.

use super::{World, items, scaled, selectors, text};
use serde_json::{Value, json};

pub(super) fn fits(world: &World, pod: &Value, index: usize) -> bool {
    let node = &world.nodes[index];
    let closed = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    let enters =
        items(&pod["spec"]["tolerations"]).iter().any(|own| selectors::tolerates(own, &closed));
    (node["spec"]["unschedulable"] != true || enters)
        && !selectors::repels(node, pod)
        && selectors::required_node(pod, node)
        && !world.pods_on(index).any(|other| collide(pod, other))
}

fn ports(pod: &Value) -> Vec<(String, String, i64)> {
    let sidecars =
        items(&pod["spec"]["initContainers"]).iter().filter(|own| own["restartPolicy"] == "Always");
    let or = |value: &Value, other: &str| {
        if text(value).is_empty() { other.to_owned() } else { text(value).to_owned() }
    };
    items(&pod["spec"]["containers"])
        .iter()
        .chain(sidecars)
        .flat_map(|container| items(&container["ports"]))
        .filter_map(|port| {
            let number = port["hostPort"].as_i64().filter(|number| *number > 0)?;
            Some((or(&port["hostIP"], "0.0.0.0"), or(&port["protocol"], "TCP"), number))
        })
        .collect()
}

fn collide(pod: &Value, other: &Value) -> bool {
    let theirs = ports(other);
    ports(pod).iter().any(|(ip, protocol, port)| {
        theirs.iter().any(|(other_ip, other_protocol, other_port)| {
            port == other_port
                && protocol == other_protocol
                && (ip == other_ip || ip == "0.0.0.0" || other_ip == "0.0.0.0")
        })
    })
}

/// TaintToleration's scores: the fewer taints are only put up with, the better.
pub(super) fn avoided(world: &World, pod: &Value, feasible: &[bool]) -> Vec<i64> {
    let soft: Vec<_> = items(&pod["spec"]["tolerations"])
        .iter()
        .filter(|own| matches!(text(&own["effect"]), "" | "PreferNoSchedule"))
        .collect();
    let count = |node: &Value| {
        let taints = items(&node["spec"]["taints"]).iter();
        let avoided = taints.filter(|taint| taint["effect"] == "PreferNoSchedule");
        let bad = avoided.filter(|taint| !soft.iter().any(|own| selectors::tolerates(own, taint)));
        i64::try_from(bad.count()).unwrap()
    };
    scaled(world.nodes.iter().map(count).collect(), feasible, true)
}

/// NodeAffinity's scores.
pub(super) fn preferred(world: &World, pod: &Value, feasible: &[bool]) -> Vec<i64> {
    let terms =
        &pod["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    let sum = |node: &Value| {
        items(terms)
            .iter()
            .filter(|own| selectors::node_term(&own["preference"], node))
            .map(|own| own["weight"].as_i64().unwrap())
            .sum()
    };
    scaled(world.nodes.iter().map(sum).collect(), feasible, false)
}

/// ImageLocality's scores.
pub(super) fn images(world: &World, pod: &Value) -> Vec<i64> {
    let size = |node: &Value, name: &str| {
        let own = items(&node["status"]["images"])
            .iter()
            .find(|own| items(&own["names"]).contains(&json!(name)))?;
        own["sizeBytes"].as_i64()
    };
    let containers: Vec<_> = items(&pod["spec"]["containers"])
        .iter()
        .chain(items(&pod["spec"]["initContainers"]))
        .collect();
    let named = |container: &Value| {
        let image = text(&container["image"]);
        let last = image.rsplit('/').next().unwrap();
        if last.contains(':') { image.to_owned() } else { format!("{image}:latest") }
    };
    let score = |node: &Value| {
        let mut sum = 0;
        for container in &containers {
            let name = named(container);
            if let Some(size) = size(node, &name) {
                let having = world.nodes.iter().filter(|node| self::has(node, &name)).count();
                sum += (size as f64 * (having as f64 / world.nodes.len() as f64)) as i64;
            }
        }
        let (least, most) = (23 << 20, i64::try_from(containers.len()).unwrap() * 1000 * (1 << 20));
        100 * (sum.clamp(least, most) - least) / (most - least)
    };
    world.nodes.iter().map(score).collect()
}

fn has(node: &Value, image: &str) -> bool {
    items(&node["status"]["images"]).iter().any(|own| items(&own["names"]).contains(&json!(image)))
}
