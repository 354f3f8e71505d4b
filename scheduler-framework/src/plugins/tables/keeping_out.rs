//! Taints whose values are compared, and several host ports at once.

use super::{
    node,
    nodes::{tainted, with_ports},
    said, scored,
};
use crate::{NodePorts, PodInfo, TaintToleration, plugins::fixtures::pod};
use serde_json::{Value, json};
use std::sync::Arc;

fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Value {
    json!({"key": key, "operator": operator, "value": value, "effect": effect})
}

fn tolerating(all: &[Value]) -> Arc<PodInfo> {
    pod("p", "", json!({"tolerations": all}))
}

#[test]
fn taints_keep_out_by_the_size_of_their_values_where_the_gate_is_on() {
    let sla = |operator: &str, value: &str| toleration("sla", operator, value, "NoSchedule");
    let dedicated = || toleration("dedicated", "Equal", "user1", "NoSchedule");
    let out = "never: node(s) had untolerated taint(s)";
    for (tolerations, taints, with, without) in [
        (vec![sla("Gt", "950")], "sla=800:no", out, out),
        (vec![sla("Gt", "750")], "sla=950:no", "ok", out),
        (vec![sla("Gt", "950")], "sla=950:no", out, out),
        (vec![sla("Lt", "800")], "sla=950:no", out, out),
        (vec![sla("Lt", "950")], "sla=800:no", "ok", out),
        (vec![sla("Gt", "950")], "sla=high:no", out, out),
        (vec![sla("Gt", "low")], "sla=950:no", out, out),
        (vec![dedicated(), sla("Gt", "750")], "dedicated=user1:no", "ok", "ok"),
        (vec![dedicated(), sla("Gt", "750")], "dedicated=user1:no sla=950:no", "ok", out),
    ] {
        let own = tolerating(&tolerations);
        for (plugin, expected) in [
            (TaintToleration::default().with_comparison(true), with),
            (TaintToleration::default(), without),
        ] {
            let found = said(&plugin, &own, &tainted(taints));
            assert_eq!(found, expected, "{plugin:?}: {tolerations:?} on {taints}");
        }
    }
}

#[test]
fn nodes_to_be_avoided_by_the_size_of_a_value_score_less() {
    let plugin = TaintToleration::default().with_comparison(true);
    for (operator, value, taints) in [
        ("Gt", "950", ["sla=800:rather", "sla=999:rather"]),
        ("Lt", "800", ["sla=950:rather", "sla=700:rather"]),
    ] {
        let own = tolerating(&[toleration("sla", operator, value, "PreferNoSchedule")]);
        assert_eq!(scored(&plugin, &own, &taints.map(tainted)), Some(vec![0, 100]), "{operator}");
    }
}

#[test]
fn all_host_ports_of_a_pod_must_be_free() {
    let wanted = "TCP/127.0.0.1/80 TCP/127.0.1.1/80 TCP/127.0.1.1/90 TCP/127.0.1.1/100";
    let full = "full: node(s) didn't have free ports for the requested pod ports";
    for (wanted, used, expected) in [
        ("TCP/127.0.0.1/80", "TCP/127.0.0.1/9090", "ok"),
        (wanted, "TCP/127.0.0.1/9090 TCP/127.0.0.1/9191 TCP/127.0.1.1/8080", "ok"),
        ("TCP/127.0.0.1/80", "UDP/127.0.0.1/80", "ok"),
        ("TCP/127.0.0.1/80", "TCP/127.0.0.1/80", full),
        (wanted, "TCP/127.0.0.1/9090 TCP/127.0.1.1/90 TCP/127.0.1.1/8080", full),
    ] {
        let there = node(&json!({}), &[with_ports("other", used)]);
        let found = said(&NodePorts, &with_ports("p", wanted), &there);
        assert_eq!(found, expected, "{wanted} beside {used}");
    }
}
