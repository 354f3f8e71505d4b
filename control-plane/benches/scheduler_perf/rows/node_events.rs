//! The original's `event_handling` rows about nodes that come or are changed: pods that nobody could place get their nodes
//! by that.

use super::super::objects::{Place, REQUIRED, Template, ZONE};
use super::{
    Row, Scale, Step, Update, each,
    events::{asking, bare, places, waiting},
    full, made, small,
};
use serde_json::{Value, json};

const PACE: u32 = 100;
const NAMESPACES: [&str; 6] = ["closed", "small", "together", "labelled", "even", "tolerating"];

pub(super) fn rows() -> Vec<Row> {
    [added(), updated()].into_iter().flatten().collect()
}

fn scales() -> [Scale; 2] {
    // Ten pods for each node.
    [small("2Nodes_20Pods", 2, 0, 20), full("100Nodes_1000Pods", 100, 0, 1000)]
}

/// Tolerating the taint of this key.
fn tolerating(key: &str) -> Template {
    let own = json!({"key": key, "operator": "Exists", "effect": "NoSchedule"});
    bare(&json!({}), &json!({"tolerations": [own]}))
}

/// The pods that wait for nodes with labels: near each other in a zone, on nodes that say so, and spread over nodes that
/// have a place, so unevenly at most.
fn for_labels(count: usize, skew: usize, domains: usize) -> [Step; 3] {
    let (green, blue) = (json!({"color": "green"}), json!({"color": "blue"}));
    let with = |labels: &Value, key: &str, value: &Value| {
        let mut own = tolerating("allow");
        own.labels = labels.clone();
        own.spec[key] = value.clone();
        own
    };
    let term = json!({"labelSelector": {"matchLabels": green}, "topologyKey": ZONE});
    let near = json!({"podAffinity": {REQUIRED: [term]}});
    let says = json!({"key": "affinity", "operator": "In", "values": ["allow"]});
    let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [says]}]});
    let said = json!({"nodeAffinity": {REQUIRED: terms}});
    let even = json!([{"maxSkew": skew, "minDomains": domains, "topologyKey": "topology",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": blue}}]);
    [
        Step::Pods(waiting("together-0", count, with(&green, "affinity", &near))),
        Step::Pods(waiting("labelled-0", count, with(&json!({}), "affinity", &said))),
        Step::Pods(waiting("even-0", count, with(&blue, "topologySpreadConstraints", &even))),
    ]
}

fn labels() -> Value {
    json!({ZONE: "zone1", "affinity": "allow", "topology": "allow"})
}

/// Of a group of nodes that have a taint of this key, much room for pods, and what else is said.
fn tainted(count: usize, group: &str, key: &str, more: &Value) -> Step {
    let mut own = json!({
        "taints": [{"key": key, "effect": "NoSchedule"}],
        "amounts": {"pods": "3000"},
        "labels": {"group": group},
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        for (key, value) in value.as_object().into_iter().flatten() {
            own[name][key] = value.clone();
        }
        if !value.is_object() {
            own[name] = value.clone();
        }
    }
    made(count, own)
}

/// Nodes come that are open, larger, labelled, or tainted as pods tolerate.
fn added() -> Vec<Row> {
    each("EventHandlingNodeAdd", &scales(), |own| {
        let closed = json!({"unschedulable": true, "labels": labels()});
        let little = json!({"amounts": {"cpu": "100m", "memory": "100Mi"}});
        let much = json!({"amounts": {"cpu": "200", "memory": "200Gi"}});
        let asking = asking(tolerating("allow"), "200m", "200Mi");
        let mut steps = places(&NAMESPACES);
        steps.extend([
            Step::Watch,
            tainted(1, "closed", "allow", &closed),
            Step::Pods(waiting("closed-0", own.pods, tolerating("allow"))),
            Step::Tried,
            tainted(1, "small", "allow", &little),
            Step::Pods(waiting("small-0", own.pods, asking)),
            Step::Tried,
            tainted(own.nodes, "large", "allow", &much),
            Step::Settled,
        ]);
        steps.extend(for_labels(own.pods, 1000, 10_000));
        steps.extend([
            Step::Tried,
            tainted(own.nodes, "labelled", "allow", &json!({"labels": labels()})),
            Step::Settled,
            Step::Pods(waiting("tolerating-0", own.pods, tolerating("toleration"))),
            Step::Tried,
            tainted(own.nodes, "tolerated", "toleration", &json!({})),
            Step::Settled,
        ]);
        steps
    })
}

fn change(labels: &'static str, part: Option<&'static str>, change: fn(usize) -> Value) -> Step {
    Step::Update(Update { namespace: None, labels, part, change, per_second: PACE })
}

/// Of ten pods each the taint of one node.
fn in_tens(pod: &mut Value, own: Place) {
    pod["spec"]["tolerations"][0]["key"] = json!(format!("toleration-{}", own.index / 10));
}

/// Nodes are opened, get more room, labels, or the taints that pods tolerate.
fn updated() -> Vec<Row> {
    each("EventHandlingNodeUpdate", &scales(), |own| {
        let little = json!({"amounts": {"cpu": "1m", "memory": "1Mi"}});
        let asking = asking(tolerating("allow-noderesources"), "350m", "3Gi");
        let mut steps = places(&NAMESPACES);
        steps.extend([
            Step::Watch,
            tainted(own.nodes, "closed", "allow", &json!({"unschedulable": true})),
            Step::Pods(waiting("closed-0", own.pods, tolerating("allow"))),
            Step::Tried,
            change("group=closed", None, |_| json!({"spec": {"unschedulable": null}})),
            Step::Settled,
            tainted(own.nodes, "small", "allow-noderesources", &little),
            Step::Pods(waiting("small-0", own.pods, asking)),
            Step::Tried,
            change("group=small", Some("status"), |_| {
                let amounts = json!({"cpu": "4", "memory": "32Gi"});
                json!({"status": {"capacity": amounts, "allocatable": amounts}})
            }),
            Step::Settled,
            tainted(own.nodes, "bare", "allow", &json!({})),
        ]);
        steps.extend(for_labels(own.pods, 1, 1));
        steps.extend([
            Step::Tried,
            change("group=bare", None, |_| json!({"metadata": {"labels": labels()}})),
            Step::Settled,
            tainted(own.nodes, "untolerated", "allow", &json!({})),
            Step::Pods(waiting("tolerating-0", own.pods, tolerating("x").each(in_tens))),
            Step::Tried,
            change("group=untolerated", None, |index| {
                let key = format!("toleration-{index}");
                json!({"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}})
            }),
            Step::Settled,
        ]);
        steps
    })
}
