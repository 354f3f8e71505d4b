//! Random nodes and pods from a seed: the same for the same seed, for ever, so that recorded answers stay true.

mod pods;
mod volumes;

use serde_json::{Value, json};
pub(crate) use volumes::{Volumes, bind};

/// Chance that depends on nothing but the seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// In so many of a hundred cases.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(of.len() as u64)).unwrap();
        &of[index]
    }
}

/// What pods of a scenario may ask for, in percent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    pub(crate) node_affinity: u64,
    pub(crate) pod_affinity: u64,
    pub(crate) spread: u64,
    pub(crate) ports: u64,
    pub(crate) priority: u64,
    pub(crate) volumes: u64,
    /// How many different pods there are; the more, the fewer are alike.
    pub(crate) classes: u64,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            node_affinity: 35,
            pod_affinity: 35,
            spread: 35,
            ports: 12,
            priority: 10,
            volumes: 0,
            classes: u64::MAX,
        }
    }
}

/// A cluster and the pods that come to it one by one, as JSON of the API.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) namespaces: Vec<Value>,
    pub(crate) nodes: Vec<Value>,
    pub(crate) pods: Vec<Value>,
    pub(crate) volumes: Volumes,
}

pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
pub(crate) const REGION: &str = "topology.kubernetes.io/region";
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";

impl Scenario {
    pub(crate) fn new(seed: u64, nodes: usize, pods: usize, mix: Mix) -> Self {
        let mut dice = Dice::new(seed);
        let namespace = |(name, team): &(&str, &str)| {
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
                "labels": {"kubernetes.io/metadata.name": name, "team": team}}})
        };
        let nodes = (0..nodes).map(|index| node(&mut dice, index)).collect();
        let pods = (0..pods)
            .map(|index| {
                // Pods of one class are made with the same chance.
                let class = dice.below(mix.classes);
                let mut own = Dice::new(seed ^ class.wrapping_mul(0x1000_0000_01b3));
                pods::pod(&mut own, index, mix)
            })
            .collect();
        let teams = [("red", "warm"), ("orange", "warm"), ("blue", "cold")];
        let namespaces = teams.iter().map(namespace).collect();
        let mut scenario = Self { namespaces, nodes, pods, volumes: Volumes::default() };
        if mix.volumes > 0 {
            volumes::add(&mut scenario, seed, mix.volumes);
        }
        scenario
    }
}

fn node(dice: &mut Dice, index: usize) -> Value {
    let name = format!("n{index:03}");
    let mut labels = json!({HOSTNAME: name, "tier": dice.below(6).to_string()});
    if dice.percent(88) {
        let zone = dice.below(4);
        labels[ZONE] = json!(format!("z{zone}"));
        labels[REGION] = json!(format!("r{}", zone / 2));
    }
    if dice.percent(60) {
        labels["disk"] = json!(dice.pick(&["ssd", "hdd", "tape"]));
    }
    let mut resources = json!({
        "cpu": format!("{}m", 1000 + 500 * dice.below(16)),
        "memory": format!("{}Mi", 2048 + 1024 * dice.below(14)),
        "ephemeral-storage": format!("{}Gi", 10 + dice.below(50)),
        "pods": (6 + dice.below(20)).to_string(),
    });
    if dice.percent(25) {
        resources["example.com/gpu"] = json!(dice.below(4).to_string());
    }
    let images: Vec<_> = (0..4)
        .filter(|_| dice.percent(40))
        .map(|image| {
            json!({"names": [format!("registry.test/app:{image}"), format!("registry.test/app@sha256:{image:064}")],
                "sizeBytes": 30_000_000 + 170_000_000 * image})
        })
        .collect();
    let mut spec = json!({"taints": taints(dice)});
    if dice.percent(4) {
        spec["unschedulable"] = json!(true);
    }
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": spec,
        "status": {"capacity": resources, "allocatable": resources, "images": images,
            "conditions": [{"type": "Ready", "status": "True"}]}})
}

fn taints(dice: &mut Dice) -> Vec<Value> {
    let mut taints = Vec::new();
    if dice.percent(12) {
        taints.push(
            json!({"key": "dedicated", "value": dice.pick(&["a", "b"]), "effect": "NoSchedule"}),
        );
    }
    if dice.percent(20) {
        taints.push(json!({"key": "busy", "value": "1", "effect": "PreferNoSchedule"}));
    }
    if dice.percent(10) {
        taints.push(json!({"key": "noisy", "effect": "PreferNoSchedule"}));
    }
    if dice.percent(5) {
        taints.push(json!({"key": "leaving", "value": "soon", "effect": "NoExecute"}));
    }
    taints
}
