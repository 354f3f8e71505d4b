//! The words for the states of pods and nodes, and ages.

use kubeplane_builtin::all;
use kubeplane_core::Object;
use serde_json::{Value, json};

fn cells(plural: &str, object: Value) -> Vec<String> {
    let kind = all().into_iter().find(|kind| kind.plural == plural).unwrap();
    let object = Object::from_value(object).unwrap();
    let cells = kind.strategy.table_row(&object, "2026-01-02T00:00:00Z".parse().unwrap());
    cells.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect()
}

fn pod(status: Value) -> Vec<String> {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [
        {"name": "i"}, {"name": "s", "restartPolicy": "Always"},
    ]});
    cells("pods", json!({"metadata": {"name": "p"}, "spec": spec, "status": status}))
}

#[test]
fn pods_in_one_word() {
    let running = json!({"running": {}});
    let table = [
        (json!({"phase": "Pending"}), ["0/3", "Pending", "0"]),
        (
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
            ["0/3", "Init:0/2", "0"],
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 3}}}]}),
            ["0/3", "Init:ExitCode:3", "2"],
        ),
        (
            json!({"phase": "Running", "containerStatuses": [
                {"name": "a", "ready": true, "state": running},
                {"name": "b", "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                 "lastState": {"terminated": {"finishedAt": "2026-01-01T23:55:00Z"}}},
            ], "initContainerStatuses": [
                {"name": "i", "restartCount": 1, "state": {"terminated": {"exitCode": 0}}},
                {"name": "s", "started": true, "ready": true, "state": running},
            ]}),
            ["2/3", "CrashLoopBackOff", "4 (5m ago)"],
        ),
        (
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [
                {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
                {"name": "b", "ready": true, "state": running},
            ]}),
            ["1/3", "Running", "0"],
        ),
        // No sidecar behind an init container that failed counts.
        (
            json!({"phase": "Running", "conditions": [{"type": "Initialized", "status": "True"}], "initContainerStatuses": [
                {"name": "i", "restartCount": 3, "state": {"terminated": {"exitCode": 1}}},
                {"name": "s", "restartCount": 2, "started": true, "ready": true, "state": running},
            ], "containerStatuses": [{"name": "a", "ready": true, "restartCount": 1, "state": running}]}),
            ["1/3", "Init:ExitCode:1", "1"],
        ),
        (json!({"phase": "Failed", "reason": "Evicted"}), ["0/3", "Evicted", "0"]),
        (
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
            ["0/3", "SchedulingGated", "0"],
        ),
    ];
    for (status, expected) in table {
        assert_eq!(pod(status.clone())[1..4], expected, "{status}");
    }
    let deleted = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}});
    assert_eq!(cells("pods", deleted)[2], "Terminating");
}

#[test]
fn nodes_in_one_word() {
    let node = json!({
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "x"}},
        "spec": {"unschedulable": true},
        "status": {
            "conditions": [{"type": "Ready", "status": "False"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1", "kernelVersion": "6", "architecture": "amd64"},
        },
    });
    let expected = [
        "n",
        "NotReady,SchedulingDisabled",
        "control-plane,x",
        "<unknown>",
        "v1",
        "10.0.0.1",
        "<none>",
        "<unknown>",
        "6 (amd64)",
        "<unknown>",
    ];
    assert_eq!(cells("nodes", node), expected);
}

#[test]
fn ages_have_two_figures() {
    let age = |created: &str| {
        cells("serviceaccounts", json!({"metadata": {"name": "s", "creationTimestamp": created}}))
            [1]
        .clone()
    };
    let table = [
        ("2026-01-02T00:00:01Z", "0s"),
        ("2026-01-02T00:01:00Z", "<invalid>"),
        ("2026-01-01T23:58:01Z", "119s"),
        ("2026-01-01T23:56:30Z", "3m30s"),
        ("2026-01-01T22:00:00Z", "120m"),
        ("2026-01-01T20:30:00Z", "3h30m"),
        ("2026-01-01T00:00:00Z", "24h"),
        ("2025-12-28T20:00:00Z", "4d4h"),
        ("2025-06-01T00:00:00Z", "215d"),
        ("2023-01-01T00:00:00Z", "3y2d"),
        ("", "<unknown>"),
    ];
    for (created, expected) in table {
        assert_eq!(age(created), expected, "{created}");
    }
}

#[test]
fn addresses_are_cut_after_three() {
    let addresses: Vec<_> =
        (1..=5).map(|number| json!({"ip": format!("10.0.0.{number}")})).collect();
    let endpoints = json!({"metadata": {"name": "e"}, "subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]});
    assert_eq!(cells("endpoints", endpoints)[1], "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...");
    assert_eq!(cells("endpoints", json!({"metadata": {"name": "e"}}))[1], "<none>");
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "externalIPs": ["1.1.1.1"]},
        "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}, {"ip": "2.2.2.2"}]}}});
    assert_eq!(cells("services", service)[3], "2.2.2.2,lb.example,1.1.1.1");
}
