//! Nodes as they are written.

use crate::NodeGroup;
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kubeplane_workload::typed::typed;
use serde_json::{Value, json};

/// How long a lease is good for, in seconds, as kubelets say.
const LEASE_SECONDS: i32 = 40;

/// The n-th node of its group, with its status.
pub(crate) fn node(group: &NodeGroup, number: u32, now: Timestamp) -> serde_json::Result<Node> {
    let name = name(group, number);
    let mut labels = group.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", "amd64"),
        ("kubeplane.dev/simulated", "true"),
    ] {
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    let ready = group.ready_delay.is_zero();
    typed(&json!({
        "metadata": {"name": name, "labels": labels, "annotations": group.annotations},
        "spec": {"taints": group.taints},
        "status": {
            "capacity": group.capacity,
            "allocatable": group.capacity,
            "addresses": [
                {"type": "InternalIP", "address": address(number)},
                {"type": "Hostname", "address": name},
            ],
            "conditions": conditions(ready, now),
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kernelVersion": "", "osImage": "simulated",
                "containerRuntimeVersion": "simulated://1", "kubeletVersion": "v1.36.0", "kubeProxyVersion": "",
                "machineID": name, "systemUUID": name, "bootID": name,
            },
        },
    }))
}

pub(crate) fn name(group: &NodeGroup, number: u32) -> String {
    format!("{}-{number}", group.name)
}

/// The conditions of a node.
pub(crate) fn conditions(ready: bool, now: Timestamp) -> Value {
    let now = whole(now);
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "simulated",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let readiness = if ready { ("True", "KubeletReady") } else { ("False", "KubeletNotReady") };
    json!([
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        condition("Ready", readiness.0, readiness.1),
    ])
}

pub(crate) fn lease(node: &str, now: Timestamp) -> serde_json::Result<Lease> {
    typed(&json!({
        "metadata": {"name": node},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": micros(now)},
    }))
}

/// What renews a lease.
pub(crate) fn renewal(now: Timestamp) -> Value {
    json!({"spec": {"renewTime": micros(now)}})
}

/// As times of objects are: whole seconds.
pub(crate) fn whole(at: Timestamp) -> String {
    format!("{at:.0}")
}

fn micros(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// An address of 10.192.0.0/10, which nobody has.
fn address(number: u32) -> String {
    let low = number & 0x003f_ffff;
    format!("10.{}.{}.{}", 192 | (low >> 16), (low >> 8) & 255, low & 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_what_its_group_says() {
        let group = NodeGroup { name: "edge".to_owned(), ..NodeGroup::default() };
        let node = node(&group, 300, "2026-01-01T00:00:00.75Z".parse().unwrap()).unwrap();
        assert_eq!(node.metadata.name.as_deref(), Some("edge-300"));
        let status = node.status.unwrap();
        assert_eq!(status.addresses.unwrap()[0].address, "10.192.1.44");
        let ready = status.conditions.unwrap().pop().unwrap();
        assert_eq!((ready.type_.as_str(), ready.status.as_str()), ("Ready", "True"));
        assert_eq!(ready.last_heartbeat_time.unwrap().0.to_string(), "2026-01-01T00:00:00Z");
    }
}
