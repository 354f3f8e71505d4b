//! NodeResourcesFit (LeastAllocated) and NodeResourcesBalancedAllocation.

use super::{World, items, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type Amounts = BTreeMap<String, i64>;

/// CPU in thousandths, all else in units.
fn amount(name: &str, value: &Value) -> i64 {
    let text = text(value);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: i64 = text[..end].parse().unwrap();
    let thousandths = match &text[end..] {
        "m" => number,
        "" => number * 1000,
        "Ki" => (number << 10) * 1000,
        "Mi" => (number << 20) * 1000,
        "Gi" => (number << 30) * 1000,
        other => panic!("suffix {other}"),
    };
    if name == "cpu" { thousandths } else { thousandths / 1000 }
}

fn amounts(list: &Value) -> Amounts {
    let all = list.as_object().into_iter().flatten();
    all.map(|(name, value)| (name.clone(), amount(name, value))).collect()
}

fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *total.entry(name.clone()).or_default() += amount;
    }
}

fn max(total: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let own = total.entry(name.clone()).or_default();
        *own = (*own).max(*amount);
    }
}

/// What a pod takes; `lenient` counts containers that ask for no CPU or memory as small ones.
fn requests(pod: &Value, lenient: bool) -> Amounts {
    let of = |container: &Value| {
        let mut own = amounts(&container["resources"]["requests"]);
        if lenient {
            own.entry("cpu".into()).or_insert(100);
            own.entry("memory".into()).or_insert(200 << 20);
        }
        own
    };
    let spec = &pod["spec"];
    let mut total = Amounts::new();
    items(&spec["containers"]).iter().for_each(|container| add(&mut total, &of(container)));
    let (mut running, mut peak) = (Amounts::new(), Amounts::new());
    for container in items(&spec["initContainers"]) {
        let mut now = of(container);
        if container["restartPolicy"] == "Always" {
            add(&mut total, &now);
            add(&mut running, &now);
            now = running.clone();
        } else {
            add(&mut now, &running);
        }
        max(&mut peak, &now);
    }
    max(&mut total, &peak);
    for (name, amount) in amounts(&spec["resources"]["requests"]) {
        total.insert(name, amount);
    }
    add(&mut total, &amounts(&spec["overhead"]));
    total
}

fn used(world: &World, node: usize, lenient: bool) -> Amounts {
    let mut used = Amounts::new();
    world.pods_on(node).for_each(|pod| add(&mut used, &requests(pod, lenient)));
    used
}

fn of(amounts: &Amounts, name: &str) -> i64 {
    amounts.get(name).copied().unwrap_or_default()
}

pub(super) fn fits(world: &World, pod: &Value, index: usize) -> bool {
    let has = amounts(&world.nodes[index]["status"]["allocatable"]);
    let used = used(world, index, false);
    let there = i64::try_from(world.pods_on(index).count()).unwrap();
    there < of(&has, "pods")
        && requests(pod, false)
            .iter()
            .all(|(name, wanted)| *wanted == 0 || *wanted <= of(&has, name) - of(&used, name))
}

/// How many hundredths of CPU and memory would be left, on average.
pub(super) fn least_allocated(world: &World, pod: &Value) -> Vec<i64> {
    // What the pod asks for as a whole counts on its node, but not while it is placed.
    let mut alone = pod.clone();
    alone["spec"]["resources"] = Value::Null;
    let wanted = requests(&alone, true);
    let score = |index: usize| {
        let has = amounts(&world.nodes[index]["status"]["allocatable"]);
        let used = used(world, index, true);
        let left = |name: &str| {
            let (has, taken) = (of(&has, name), of(&used, name) + of(&wanted, name));
            if taken > has { 0 } else { (has - taken) * 100 / has }
        };
        i64::midpoint(left("cpu"), left("memory"))
    };
    (0..world.nodes.len()).map(score).collect()
}

/// How much more evenly CPU and memory would be used.
pub(super) fn balanced(world: &World, pod: &Value) -> Vec<i64> {
    let wanted = requests(pod, false);
    let asked: BTreeSet<_> =
        ["cpu", "memory"].into_iter().filter(|name| of(&wanted, name) > 0).collect();
    let score = |index: usize| {
        if asked.is_empty() {
            return 0;
        }
        let has = amounts(&world.nodes[index]["status"]["allocatable"]);
        let used = used(world, index, false);
        let evenness = |with: i64| {
            let part = |name: &str| {
                let taken = of(&used, name) + with * of(&wanted, name);
                (taken as f64 / of(&has, name) as f64).min(1.0)
            };
            ((1.0 - ((part("cpu") - part("memory")) / 2.0).abs()) * 100.0) as i64
        };
        50 + (50 + evenness(1) - evenness(0)) / 2
    };
    (0..world.nodes.len()).map(score).collect()
}
