//! What is given where something is switched off.

use super::*;
use kubeplane_core::features::Features;

impl World {
    pub(super) fn without(mut self, gate: &str) -> Self {
        let features: Features = format!("{gate}=false").parse().unwrap();
        self.gates = Gates::from(&features);
        self
    }

    /// What one request gives with the gate, and without it.
    fn both(self, gate: &str, request: &Value) -> [String; 2] {
        let with = self.gives_one(std::slice::from_ref(request));
        [with, self.without(gate).gives_one(std::slice::from_ref(request))]
    }
}

fn two(first: Value) -> World {
    world(&[slice("s", "p", 1, &[device("d1", first), device("d2", json!({}))])])
}

#[test]
fn without_the_gate_of_taints_nothing_keeps_claims_away() {
    let tainted = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
    let given = two(tainted).both("DRADeviceTaints", &request("r", json!({})));
    assert_eq!(given, ["r=p/d2", "r=p/d1"]);
}

#[test]
fn devices_that_are_made_ready_are_given_by_their_gate_alone() {
    let slow = json!({"bindingConditions": ["ready"], "bindingFailureConditions": ["failed"]});
    let given = two(slow).both("DRADeviceBindingConditions", &request("r", json!({})));
    assert_eq!(given, ["r=p/d1", "r=p/d2"]);
}

#[test]
fn parts_of_devices_are_given_by_their_gate_alone() {
    const GATE: &str = "DRAPartitionableDevices";
    let one = request("r", json!({}));
    let devices = [device("d1", consuming("4Gi")), device("d2", json!({}))];
    let counted = world(&[counters("c", "p", 2, "8Gi"), slice("s", "p", 2, &devices)]);
    assert_eq!(counted.both(GATE, &one), ["r=p/d1", "r=p/d2"]);
    let own = [device("d1", json!({"nodeName": "n1"}))];
    let own = elsewhere(slice("s", "p", 1, &own), "perDeviceNodeSelection", json!(true));
    assert_eq!(world(&[own]).both(GATE, &one), ["r=p/d1", "too few"]);
}

#[test]
fn devices_are_shared_by_their_gate_alone() {
    const GATE: &str = "DRAConsumableCapacity";
    let shared = || {
        let more =
            json!({"allowMultipleAllocations": true, "capacity": {"memory": {"value": "8Gi"}}});
        world(&[slice("s", "p", 1, &[device("d1", more)])])
    };
    let some = json!({"capacity": {"requests": {"memory": "2Gi"}}});
    let trouble = "has capacity requests, but the DRAConsumableCapacity feature is disabled";
    let of_request = format!("error: claim d/c, request r: {trouble}");
    let given = shared().both(GATE, &request("r", some.clone()));
    assert_eq!(given, ["r=p/d1", of_request.as_str()]);
    let of_alternative = format!("error: claim d/c, subrequest one: {trouble}");
    let given = shared().both(GATE, &choice("r", &[("one", some)]));
    assert_eq!(given, ["r/one=p/d1", of_alternative.as_str()]);
    let one = request("r", json!({}));
    assert_eq!(shared().both(GATE, &one), ["r=p/d1", "r=p/d1"]);
    let used = shared().taken(&[sharing("x", "d1", "0")]);
    assert_eq!(used.both(GATE, &one), ["r=p/d1", "too few"], "whoever has a share has all of it");
}
