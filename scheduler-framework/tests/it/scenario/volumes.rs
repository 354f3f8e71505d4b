//! Volumes and claims of a scenario.

use super::{Dice, REGION, Scenario, ZONE};
use serde_json::{Value, json};

const DRIVER: &str = "drv.test";
const NAMESPACES: [&str; 3] = ["red", "orange", "blue"];
/// How many claims each namespace has that several pods use.
const SHARED: u64 = 7;

/// What there is besides nodes and pods, by kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Volumes {
    pub(crate) classes: Vec<Value>,
    pub(crate) drivers: Vec<Value>,
    pub(crate) csi_nodes: Vec<Value>,
    pub(crate) volumes: Vec<Value>,
    pub(crate) claims: Vec<Value>,
}

fn class(name: &str) -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"})
}

/// Usable in one zone or two, by affinity or by label.
fn volume(dice: &mut Dice, name: &str, class: &str, mode: &str) -> Value {
    let size = format!("{}Gi", 1 + dice.below(8));
    let mut volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "labels": {}},
        "spec": {"capacity": {"storage": size}, "accessModes": [mode], "storageClassName": class,
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": DRIVER, "volumeHandle": name}},
        "status": {"phase": "Available"}});
    let (zone, other) = (dice.below(4), dice.below(4));
    match dice.below(4) {
        0 => volume["metadata"]["labels"][ZONE] = json!(format!("z{zone}")),
        1 => {
            volume["metadata"]["labels"][ZONE] = json!(format!("z{zone}__z{other}"));
            volume["metadata"]["labels"][REGION] = json!(format!("r{}", zone / 2));
        }
        2 => {
            let values = [format!("z{zone}"), format!("z{other}")];
            let term = json!({"key": ZONE, "operator": "In", "values": values});
            volume["spec"]["nodeAffinity"] =
                json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}});
        }
        _ => {}
    }
    volume
}

fn claim(namespace: &str, name: &str, class: &str, mode: &str, size: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace},
        "spec": {"accessModes": [mode], "storageClassName": class,
            "resources": {"requests": {"storage": format!("{size}Gi")}}}})
}

/// Makes a claim and a volume each other's.
pub(crate) fn bind(claim: &mut Value, volume: &mut Value) {
    let (namespace, name) =
        (claim["metadata"]["namespace"].clone(), claim["metadata"]["name"].clone());
    volume["spec"]["claimRef"] = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1",
        "namespace": namespace, "name": name});
    if claim["metadata"]["uid"].is_string() {
        volume["spec"]["claimRef"]["uid"] = claim["metadata"]["uid"].clone();
    }
    volume["status"] = json!({"phase": "Bound"});
    claim["spec"]["volumeName"] = volume["metadata"]["name"].clone();
    claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
    claim["status"] = json!({"phase": "Bound"});
}

impl Volumes {
    fn shared(&mut self, dice: &mut Dice) {
        for namespace in NAMESPACES {
            for index in 0..SHARED {
                let mode = *dice.pick(&["ReadWriteMany", "ReadWriteMany", "ReadWriteOncePod"]);
                let name = format!("shared-{index}");
                let mut volume = volume(dice, &format!("{namespace}-{name}"), "", mode);
                let mut claim = claim(namespace, &name, "", mode, 1);
                bind(&mut claim, &mut volume);
                self.volumes.push(volume);
                self.claims.push(claim);
            }
        }
    }
}

/// A disk that a pod names itself.
fn disk(dice: &mut Dice) -> Value {
    let (name, read_only) = (format!("disk-{}", dice.below(12)), dice.percent(50));
    match dice.below(4) {
        0 => json!({"gcePersistentDisk": {"pdName": name, "readOnly": read_only}}),
        1 => json!({"awsElasticBlockStore": {"volumeID": name}}),
        2 => {
            json!({"iscsi": {"targetPortal": "10.0.0.1:3260", "iqn": format!("iqn.2026-01.test:{name}"),
            "lun": 0, "readOnly": read_only}})
        }
        _ => json!({"rbd": {"monitors": ["10.0.0.1"], "image": name, "readOnly": read_only}}),
    }
}

/// Gives some of the scenario's pods volumes, and the cluster what they need.
pub(super) fn add(scenario: &mut Scenario, seed: u64, percent: u64) {
    let mut dice = Dice::new(seed ^ 0x766f_6c75_6d65_7300);
    let mut all = Volumes { classes: vec![class("near"), class("empty")], ..Volumes::default() };
    all.drivers.push(json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver",
        "metadata": {"name": DRIVER}, "spec": {"attachRequired": true}}));
    for node in &scenario.nodes {
        let name = &node["metadata"]["name"];
        let mut driver = json!({"name": DRIVER, "nodeID": name, "topologyKeys": [ZONE]});
        if dice.percent(70) {
            driver["allocatable"] = json!({"count": 1 + dice.below(4)});
        }
        let drivers = if dice.percent(90) { json!([driver]) } else { json!([]) };
        all.csi_nodes.push(json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode",
            "metadata": {"name": name}, "spec": {"drivers": drivers}}));
    }
    all.shared(&mut dice);
    for index in 0..scenario.pods.len() / 4 {
        all.volumes.push(volume(&mut dice, &format!("free-{index:04}"), "near", "ReadWriteOnce"));
    }
    for pod in &mut scenario.pods {
        if !dice.percent(percent) {
            continue;
        }
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        let namespace = pod["metadata"]["namespace"].as_str().unwrap().to_owned();
        let mut volumes = Vec::new();
        for number in 0..=dice.below(2) {
            let mut volume = match dice.below(5) {
                0 | 1 => {
                    let claim = format!("shared-{}", dice.below(SHARED));
                    json!({"persistentVolumeClaim": {"claimName": claim}})
                }
                2 | 3 => {
                    let own = format!("{name}-{number}");
                    let class = if dice.percent(90) { "near" } else { "empty" };
                    let size = 1 + dice.below(5);
                    all.claims.push(claim(&namespace, &own, class, "ReadWriteOnce", size));
                    json!({"persistentVolumeClaim": {"claimName": own}})
                }
                _ => disk(&mut dice),
            };
            volume["name"] = json!(format!("v{number}"));
            volumes.push(volume);
        }
        if dice.percent(3) {
            volumes.push(json!({"name": "gone", "persistentVolumeClaim": {"claimName": "gone"}}));
        }
        pod["spec"]["volumes"] = volumes.into();
    }
    scenario.volumes = all;
}
