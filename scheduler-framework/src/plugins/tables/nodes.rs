//! Plugins that look at what a node is.

use super::{node, said, scored};
use crate::{
    CycleState, FilterVerdict, NodeAffinity, NodeInfo, NodeName, NodePorts, NodeUnschedulable,
    PodInfo, PrioritySort, QueueSort, SchedulerPlugin, TaintToleration, plugins::fixtures::pod,
};
use serde_json::{Value, json};
use std::{cmp::Ordering, sync::Arc, time::Duration};

/// Taints or tolerations from `key=value:effect`, `key:effect` and so on; a toleration without a value is for any.
fn marks(text: &str, of_pod: bool) -> Vec<Value> {
    let one = |text: &str| {
        let (mark, effect) = text.split_once(':').unwrap_or((text, ""));
        let effect = match effect {
            "no" => "NoSchedule",
            "out" => "NoExecute",
            "rather" => "PreferNoSchedule",
            other => other,
        };
        match mark.split_once('=') {
            Some((key, value)) => json!({"key": key, "value": value, "effect": effect}),
            None if of_pod => json!({"key": mark, "operator": "Exists", "effect": effect}),
            None => json!({"key": mark, "effect": effect}),
        }
    };
    text.split_whitespace().map(one).collect()
}

pub(super) fn tainted(taints: &str) -> Arc<NodeInfo> {
    node(&json!({"spec": {"taints": marks(taints, false)}}), &[])
}

fn tolerating(tolerations: &str) -> Arc<PodInfo> {
    pod("p", "", json!({"tolerations": marks(tolerations, true)}))
}

#[test]
fn taints_keep_out_those_who_do_not_tolerate_them() {
    let out = "never: node(s) had untolerated taint(s)";
    for (tolerations, taints, expected) in [
        ("", "", "ok"),
        ("", "dedicated=user1:no", out),
        ("", "dedicated=user1:out", out),
        ("", "dedicated=user1:rather", "ok"),
        ("dedicated=user1:no", "dedicated=user1:no", "ok"),
        ("dedicated=user2:no", "dedicated=user1:no", out),
        ("dedicated=user2:no", "dedicated=user1:rather", "ok"),
        ("foo:no", "foo=bar:no", "ok"),
        ("dedicated=user2:no foo:no", "dedicated=user2:no foo=bar:no", "ok"),
        ("foo:no", "dedicated=user2:no foo=bar:no", out),
        ("foo=bar:rather", "foo=bar:no", out),
        ("foo=bar", "foo=bar:no", "ok"),
        ("foo=bar", "foo=bar:out", "ok"),
        ("foo=bar:no", "foo=bar:out", out),
    ] {
        let own = said(&TaintToleration::default(), &tolerating(tolerations), &tainted(taints));
        assert_eq!(own, expected, "{tolerations:?} on {taints:?}");
    }
    let all = pod("p", "", json!({"tolerations": [{"operator": "Exists"}]}));
    assert_eq!(said(&TaintToleration::default(), &all, &tainted("a=b:no c=d:out")), "ok");
}

#[test]
fn tolerations_compare_numbers_where_the_gate_is_on() {
    let plugin = TaintToleration::default().with_comparison(true);
    let below = |effect: &str| {
        let own = json!({"key": "load", "operator": "Lt", "value": "50", "effect": effect});
        pod("p", "", json!({"tolerations": [own]}))
    };
    let out = "never: node(s) had untolerated taint(s)";
    let strict = below("NoSchedule");
    assert_eq!(said(&plugin, &strict, &tainted("load=49:no")), "ok");
    assert_eq!(said(&plugin, &strict, &tainted("load=50:no")), out);
    assert_eq!(said(&TaintToleration::default(), &strict, &tainted("load=49:no")), out);
    let all = ["load=49:rather", "load=51:rather"].map(tainted);
    let scores = scored(&plugin, &below("PreferNoSchedule"), &all);
    assert_eq!(scores.as_deref(), Some(&[100, 0][..]));
}

#[test]
fn nodes_to_be_avoided_score_less_the_more_is_not_tolerated() {
    for (tolerations, nodes, expected) in [
        ("foo=bar:rather", &["foo=bar:rather", "foo=blah:rather"][..], &[100, 0][..]),
        (
            "cpu-type=arm64:rather disk-type=ssd:rather",
            &["", "cpu-type=arm64:rather", "cpu-type=arm64:rather disk-type=ssd:rather"],
            &[100, 100, 100],
        ),
        (
            "foo=bar:rather",
            &["", "cpu-type=arm64:rather", "cpu-type=arm64:rather disk-type=ssd:rather"],
            &[100, 50, 0],
        ),
        (
            "cpu-type=arm64:no disk-type=ssd:no",
            &["", "cpu-type=arm64:no", "cpu-type=arm64:rather disk-type=ssd:rather"],
            &[100, 100, 0],
        ),
        ("", &["", "cpu-type=arm64:rather"], &[100, 0]),
    ] {
        let all: Vec<_> = nodes.iter().map(|taints| tainted(taints)).collect();
        let own = scored(&TaintToleration::default(), &tolerating(tolerations), &all);
        assert_eq!(own.as_deref(), Some(expected), "{tolerations:?} on {nodes:?}");
    }
}

#[test]
fn cordoned_nodes_take_those_who_tolerate_it() {
    let (cordoned, usual) = (json!({"spec": {"unschedulable": true}}), json!({}));
    let key = "node.kubernetes.io/unschedulable";
    let out = "never: node(s) were unschedulable";
    let tolerations = [
        (json!([]), out),
        (json!([{"key": key, "effect": "NoSchedule"}]), "ok"),
        (json!([{"key": key, "operator": "Exists"}]), "ok"),
        (json!([{"operator": "Exists"}]), "ok"),
        (json!([{"key": key, "operator": "Exists", "effect": "NoExecute"}]), out),
    ];
    for (tolerations, expected) in tolerations {
        let own = pod("p", "", json!({"tolerations": tolerations}));
        assert_eq!(said(&NodeUnschedulable, &own, &node(&cordoned, &[])), expected);
        assert_eq!(said(&NodeUnschedulable, &own, &node(&usual, &[])), "ok");
    }
}

#[test]
fn a_named_node_is_the_only_one() {
    let on = |name: Value| {
        said(&NodeName, &pod("p", "", json!({"nodeName": name})), &node(&json!({}), &[]))
    };
    assert_eq!([on(Value::Null), on(json!("")), on(json!("n"))], ["ok"; 3]);
    assert_eq!(on(json!("bar")), "never: node(s) didn't match the requested node name");
}

/// Ports from `UDP/127.0.0.1/8080`.
pub(super) fn with_ports(name: &str, ports: &str) -> Arc<PodInfo> {
    let port = |text: &str| {
        let mut parts = text.split('/');
        let (protocol, ip, port) = (parts.next(), parts.next(), parts.next().unwrap());
        let port: u16 = port.parse().unwrap();
        json!({"protocol": protocol, "hostIP": ip, "hostPort": port, "containerPort": port})
    };
    let ports: Vec<_> = ports.split_whitespace().map(port).collect();
    pod(name, "", json!({"containers": [{"name": "c", "ports": ports}]}))
}

#[test]
fn host_ports_are_had_once() {
    for (wanted, used, fits) in [
        ("", "", true),
        ("UDP/127.0.0.1/8080", "UDP/127.0.0.1/9090", true),
        ("UDP/127.0.0.1/8080", "UDP/127.0.0.1/8080", false),
        ("TCP/127.0.0.1/8080", "TCP/127.0.0.1/8080", false),
        ("TCP/127.0.0.1/8080", "TCP/127.0.0.2/8080", true),
        ("UDP/127.0.0.1/8080", "TCP/127.0.0.1/8080", true),
        ("UDP/127.0.0.1/8000 UDP/127.0.0.1/8080", "UDP/127.0.0.1/8080", false),
        ("TCP/127.0.0.1/8001 UDP/127.0.0.1/8080", "TCP/127.0.0.1/8001 UDP/127.0.0.1/8081", false),
        ("TCP/0.0.0.0/8001", "TCP/127.0.0.1/8001", false),
        ("TCP/10.0.10.10/8001 TCP/0.0.0.0/8001", "TCP/127.0.0.1/8001", false),
        ("TCP/127.0.0.1/8001", "TCP/0.0.0.0/8001", false),
        ("UDP/127.0.0.1/8001", "TCP/0.0.0.0/8001", true),
        ("UDP/127.0.0.1/8001", "TCP/0.0.0.0/8001 UDP/0.0.0.0/8001", false),
    ] {
        let there = node(&json!({}), &[with_ports("other", used)]);
        let expected = match fits {
            true => "ok",
            false => "full: node(s) didn't have free ports for the requested pod ports",
        };
        let own = said(&NodePorts, &with_ports("p", wanted), &there);
        assert_eq!(own, expected, "{wanted:?} beside {used:?}");
    }
    // Init containers are over before others start, unless they go on.
    let there = node(&json!({}), &[with_ports("other", "TCP/0.0.0.0/8001")]);
    let init = |policy: Value| {
        let port = json!({"containerPort": 8001, "hostPort": 8001, "protocol": "TCP"});
        let init = json!([{"name": "i", "restartPolicy": policy, "ports": [port]}]);
        said(&NodePorts, &pod("p", "", json!({"initContainers": init})), &there)
    };
    assert_eq!(init(Value::Null), "ok");
    assert!(init(json!("Always")).starts_with("full: "));
}

pub(super) fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": operator, "values": values})
}

pub(super) fn required(terms: &[Value]) -> Value {
    let terms = json!({"nodeSelectorTerms": terms});
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
}

#[test]
fn required_node_affinity_and_selectors_both_hold() {
    let matching = |all: &[Value]| json!({"matchExpressions": all});
    let is_bar = || expression("foo", "In", &["bar", "value2"]);
    let gpu = || expression("GPU", "Exists", &[]);
    let has = json!({"foo": "bar"});
    let card = json!({"GPU": "NVIDIA-GRID-K1"});
    for (selector, terms, labels, fits) in [
        (json!({"foo": "bar"}), None, &json!({}), false),
        (json!({"foo": "bar"}), None, &has, true),
        (json!({"foo": "bar"}), None, &json!({"foo": "bar", "baz": "blah"}), true),
        (json!({"foo": "bar", "baz": "blah"}), None, &has, false),
        (Value::Null, None, &has, true),
        (Value::Null, Some(vec![matching(&[is_bar()])]), &has, true),
        (
            Value::Null,
            Some(vec![matching(&[expression("kernel-version", "Gt", &["0204"])])]),
            &json!({"kernel-version": "0206"}),
            true,
        ),
        (
            Value::Null,
            Some(vec![matching(&[expression("kernel-version", "Lt", &["0204"])])]),
            &json!({"kernel-version": "0206"}),
            false,
        ),
        (
            Value::Null,
            Some(vec![matching(&[expression("mem-type", "NotIn", &["DDR", "DDR2"])])]),
            &json!({"mem-type": "DDR3"}),
            true,
        ),
        (Value::Null, Some(vec![matching(&[gpu()])]), &card, true),
        (Value::Null, Some(vec![matching(&[gpu()])]), &has, false),
        (Value::Null, Some(vec![matching(&[expression("GPU", "DoesNotExist", &[])])]), &has, true),
        (
            Value::Null,
            Some(vec![matching(&[expression("foo", "In", &["value1", "value2"])])]),
            &has,
            false,
        ),
        (Value::Null, Some(vec![]), &has, false),
        (Value::Null, Some(vec![matching(&[])]), &has, false),
        (
            Value::Null,
            Some(vec![matching(&[gpu(), expression("GPU", "NotIn", &["AMD", "INTER"])])]),
            &card,
            true,
        ),
        (
            Value::Null,
            Some(vec![matching(&[gpu(), expression("GPU", "In", &["AMD", "INTER"])])]),
            &card,
            false,
        ),
        (
            Value::Null,
            Some(vec![
                matching(&[is_bar()]),
                matching(&[expression("diffkey", "In", &["wrong", "value2"])]),
            ]),
            &has,
            true,
        ),
        (
            json!({"foo": "bar"}),
            Some(vec![matching(&[expression("foo", "Exists", &[])])]),
            &has,
            true,
        ),
        (
            json!({"foo": "bar"}),
            Some(vec![matching(&[expression("foo", "Exists", &[])])]),
            &json!({"foo": "barrrrrr"}),
            false,
        ),
    ] {
        assert_fits(&selector, terms.as_deref(), labels, fits);
    }
}

#[test]
fn required_node_affinity_goes_by_name_too() {
    let matching = |all: &[Value]| json!({"matchExpressions": all});
    let named = |name: &str| expression("metadata.name", "In", &[name]);
    let is_bar = || expression("foo", "In", &["bar", "value2"]);
    let (has, none) = (json!({"foo": "bar"}), json!({}));
    for (selector, terms, labels, fits) in [
        (Value::Null, Some(vec![json!({"matchFields": [named("n")]})]), &none, true),
        (Value::Null, Some(vec![json!({"matchFields": [named("other")]})]), &none, false),
        (
            Value::Null,
            Some(vec![json!({"matchFields": [named("other")]}), matching(&[is_bar()])]),
            &has,
            true,
        ),
        (
            Value::Null,
            Some(vec![json!({"matchFields": [named("other")], "matchExpressions": [is_bar()]})]),
            &has,
            false,
        ),
        (
            Value::Null,
            Some(vec![json!({"matchFields": [named("n")], "matchExpressions": [is_bar()]})]),
            &has,
            true,
        ),
    ] {
        assert_fits(&selector, terms.as_deref(), labels, fits);
    }
}

/// Whether a pod with this selector and these required terms fits on a node with these labels.
pub(super) fn assert_fits(selector: &Value, terms: Option<&[Value]>, labels: &Value, fits: bool) {
    let affinity = terms.map(required);
    let own = pod("p", "", json!({"nodeSelector": selector, "affinity": affinity}));
    let there = node(&json!({"metadata": {"labels": labels}}), &[]);
    let plugin = NodeAffinity::default();
    let verdict = plugin.as_filter().unwrap().filter(&CycleState::new(), &own, &there);
    let why = "node(s) didn't match Pod's node affinity/selector".to_owned();
    let expected = if fits { FilterVerdict::Fits } else { FilterVerdict::Unresolvable(vec![why]) };
    assert_eq!(verdict, expected, "{selector} {terms:?} on {labels}");
}

fn preferred(terms: &[(i32, &[&str])]) -> Value {
    let term = |(weight, pairs): &(i32, &[&str])| {
        let one = |pair: &&str| {
            let (key, value) = pair.split_once('=').unwrap();
            expression(key, "In", &[value])
        };
        let expressions: Vec<_> = pairs.iter().map(one).collect();
        json!({"weight": weight, "preference": {"matchExpressions": expressions}})
    };
    let terms: Vec<_> = terms.iter().map(term).collect();
    json!({"preferredDuringSchedulingIgnoredDuringExecution": terms})
}

#[test]
fn preferred_node_affinity_is_weighed() {
    let one = preferred(&[(2, &["foo=bar"])]);
    let three = preferred(&[
        (2, &["foo=bar"]),
        (4, &["key=value"]),
        (5, &["foo=bar", "key=value", "az=az1"]),
    ]);
    let key = preferred(&[(3, &["key=value"])]);
    let labels = [
        json!({"foo": "bar"}),
        json!({"key": "value"}),
        json!({"az": "az1"}),
        json!({"abc": "az11", "def": "az22"}),
        json!({"foo": "bar", "key": "value", "az": "az1"}),
    ];
    let none = json!({});
    for (own, added, nodes, expected) in [
        (&none, &none, &[1, 2, 3][..], None),
        (&one, &none, &[4, 2, 3], Some(vec![0, 0, 0])),
        (&one, &none, &[1, 2, 3], Some(vec![100, 0, 0])),
        (&three, &none, &[1, 5, 2], Some(vec![18, 100, 36])),
        (&none, &one, &[1, 2], Some(vec![100, 0])),
        (&one, &key, &[1, 2, 5], Some(vec![40, 60, 100])),
    ] {
        let info = pod("p", "", json!({"affinity": {"nodeAffinity": own}}));
        let all: Vec<_> = nodes
            .iter()
            .map(|index: &usize| node(&json!({"metadata": {"labels": labels[index - 1]}}), &[]))
            .collect();
        let plugin = NodeAffinity::with_added(serde_json::from_value(added.clone()).unwrap());
        assert_eq!(scored(&plugin, &info, &all), expected, "{own} and {added} on {nodes:?}");
    }
}

#[test]
fn the_queue_is_by_priority_and_then_by_age() {
    let of = |priority: i32| pod("p", "", json!({"priority": priority}));
    let (low, high) = (of(10), of(100));
    let compare = |a: (&PodInfo, u64), b: (&PodInfo, u64)| {
        let at = |own: (&'_ PodInfo, u64)| Duration::from_secs(own.1);
        PrioritySort.compare((a.0, at(a)), (b.0, at(b)))
    };
    assert_eq!(compare((&low, 1), (&high, 1)), Ordering::Greater);
    assert_eq!(compare((&high, 2), (&low, 1)), Ordering::Less);
    assert_eq!(compare((&high, 1), (&high, 2)), Ordering::Less);
    assert_eq!(compare((&high, 2), (&high, 1)), Ordering::Greater);
    assert_eq!(compare((&high, 1), (&high, 1)), Ordering::Equal);
}
