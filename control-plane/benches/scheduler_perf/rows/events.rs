//! The original's `event_handling` rows about pods that are changed or deleted, or come: pods that nobody could place get
//! their nodes by that.

use super::super::objects::{HOST, Place, REQUIRED, Template, light, template};
use super::{
    Pods, Row, Step, Update, Volume, WATCHED, beside, each, full, made, only_node, pods, small,
};
use serde_json::{Value, json};

/// How many are changed or deleted a second.
const PACE: u32 = 100;
const BLOCKER: &str = "type=blocker";

pub(super) fn rows() -> Vec<Row> {
    [deleted(), updated(), added()].into_iter().flatten().collect()
}

/// Namespaces of these names, each with the number zero.
pub(super) fn places(names: &[&'static str]) -> Vec<Step> {
    names.iter().map(|&name| Step::Namespaces(name, 1)).collect()
}

/// Pods that wait for something to happen; they are measured.
pub(super) fn waiting(namespace: &str, count: usize, template: Template) -> Pods {
    let mut own = pods(namespace, count, template);
    own.template.labels[WATCHED.0] = json!(WATCHED.1);
    own.waits = false;
    own
}

/// Without requests, with these labels and this spec.
pub(super) fn bare(labels: &Value, spec: &Value) -> Template {
    template(labels, spec, &json!({}))
}

/// Lets containers ask for so much, and have no limit.
pub(super) fn asking(mut own: Template, cpu: &str, memory: &str) -> Template {
    own.spec["containers"][0]["resources"] = json!({"requests": {"cpu": cpu, "memory": memory}});
    own
}

/// At most so many more pods of a label on one node than on none: there are never enough nodes.
fn uneven(labels: &Value, most: usize, domains: usize) -> Value {
    json!([{"maxSkew": most, "minDomains": domains, "topologyKey": HOST,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": labels}}])
}

fn near(kind: &str, labels: &Value, namespace: &str) -> Value {
    let term = json!({"labelSelector": {"matchLabels": labels}, "topologyKey": HOST,
        "namespaces": [namespace]});
    json!({kind: {REQUIRED: [term]}})
}

/// One of a dozen ports of the node, in turn.
fn port(pod: &mut Value, own: Place) {
    let port: u64 = [80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 810, 811][own.index % 12];
    pod["spec"]["containers"][0]["ports"] = json!([{"hostPort": port, "containerPort": port}]);
}

/// Blockers fill nodes in five ways; when they go others take their places. The last numbers are those of blockers in each
/// of two namespaces and of pods in each of the others.
fn deleted() -> Vec<Row> {
    let scales = [small("2Nodes_20Pods", 2, 15, 20), full("50Nodes_500Pods", 50, 480, 500)];
    each("EventHandlingPodDelete", &scales, |own| {
        let (filled, near_by) = ("filled-0", "near-0");
        let mut steps = places(&["filled", "near", "ports", "resources", "limits", "apart"]);
        steps.push(made(own.nodes, json!({"csi": 20})));
        steps.extend(blockers(filled, near_by, own.init).map(Step::Pods));
        steps.push(Step::Watch);
        steps.extend(blocked(filled, near_by, own.init, own.pods).map(Step::Pods));
        steps.push(Step::Tried);
        for namespace in [filled, near_by] {
            steps.push(Step::Delete { namespace, labels: BLOCKER, per_second: PACE });
        }
        steps.push(Step::Settled);
        steps
    })
}

fn disk() -> Value {
    json!({"csi": {"driver": "ebs.csi.aws.com"}})
}

fn blockers(filled: &str, near_by: &str, count: usize) -> [Pods; 2] {
    let blue = json!({"topology": "blue"});
    let labels = json!({"topology": "blue", "type": "blocker"});
    let spread = json!({"topologySpreadConstraints": uneven(&blue, 10, 10_000)});
    let full = asking(bare(&labels, &spread), "350m", "3Gi").each(port);
    let green = bare(&json!({"color": "green", "type": "blocker"}), &json!({}));
    [
        Pods { volume: Volume::Own(disk()), ..pods(filled, count, full) },
        Pods { volume: Volume::Alone(disk()), ..pods(near_by, count, green) },
    ]
}

fn blocked(filled: &str, near_by: &str, blockers: usize, count: usize) -> [Pods; 6] {
    let (blue, green) = (json!({"topology": "blue"}), json!({"color": "green"}));
    let spread = json!({"topologySpreadConstraints": uneven(&blue, 11, 10_000)});
    let apart = json!({"affinity": near("podAntiAffinity", &green, near_by)});
    [
        waiting(filled, count, bare(&blue, &spread)),
        Pods { volume: Volume::Theirs, ..waiting(near_by, blockers, light()) },
        waiting("ports-0", count, light().each(port)),
        waiting("resources-0", count, asking(light(), "200m", "1Gi")),
        Pods { volume: Volume::Own(disk()), ..waiting("limits-0", blockers, light()) },
        waiting("apart-0", count, bare(&green, &apart)),
    ]
}

/// So much memory that all of them together nearly fill a node.
fn share(pod: &mut Value, own: Place) {
    let memory = format!("{}Mi", 30_000 / own.count.max(1));
    let asked = json!({"cpu": "1m", "memory": memory});
    pod["spec"]["containers"][0]["resources"] = json!({"requests": asked});
}

fn numbered(pod: &mut Value, own: Place) -> String {
    let color = format!("green-{}", own.index);
    pod["metadata"]["labels"]["color"] = json!(color);
    color
}

/// A blocker by its label, its number and its memory.
fn filling(pod: &mut Value, own: Place) {
    numbered(pod, own);
    share(pod, own);
}

/// Not near the blocker of the same number.
fn shunning(pod: &mut Value, own: Place) {
    let color = numbered(pod, own);
    pod["spec"]["affinity"] = near("podAntiAffinity", &json!({"color": color}), "blocker-0");
}

/// No more of them on a node than there are blockers on it already.
fn evening(pod: &mut Value, own: Place) {
    let blue = json!({"topology": "blue"});
    pod["spec"]["topologySpreadConstraints"] = uneven(&blue, own.count, 100);
}

fn tolerating(key: &str) -> Value {
    json!({"spec": {"tolerations": [
        {"key": key, "operator": "Exists", "effect": "NoSchedule"},
    ]}})
}

fn change(
    namespace: &'static str,
    labels: &'static str,
    part: Option<&'static str>,
    change: fn(usize) -> Value,
) -> Step {
    Step::Update(Update { namespace: Some(namespace), labels, part, change, per_second: PACE })
}

/// Pods get tolerations, lose gates, or those that block them lose labels and memory.
fn updated() -> Vec<Row> {
    let scales = [small("1Node_10Pods", 1, 10, 10), full("1Node_1000Pods", 1, 1000, 1000)];
    let room = json!({"pods": "90000"});
    each("EventHandlingPodUpdate", &scales, |own| {
        let names = ["closed", "tainted", "blocker", "apart", "resources", "gates"];
        let taint = json!([{"key": "toleration", "effect": "NoSchedule"}]);
        let mut steps = places(&names);
        steps.push(Step::Watch);
        steps.push(made(1, json!({"unschedulable": true, "amounts": room})));
        steps.push(Step::Pods(waiting("closed-0", own.pods, light())));
        steps.push(made(1, json!({"taints": taint, "amounts": room})));
        steps.push(Step::Pods(waiting("tainted-0", own.pods, light())));
        steps.push(Step::Tried);
        steps
            .push(change("closed-0", "", None, |_| tolerating("node.kubernetes.io/unschedulable")));
        steps.push(change("tainted-0", "", None, |_| tolerating("toleration")));
        steps.push(Step::Settled);
        steps.push(only_node());
        steps.extend(around_blockers(own.init, own.pods).map(Step::Pods));
        steps.push(Step::Tried);
        steps.push(change(
            "blocker-0",
            BLOCKER,
            None,
            |_| json!({"metadata": {"labels": {"color": null, "topology": null}}}),
        ));
        steps.push(change("blocker-0", BLOCKER, Some("resize"), |_| {
            let asked = json!({"requests": {"cpu": "1m", "memory": "1Mi"}});
            json!({"spec": {"containers": [{"name": "pause", "resources": asked}]}})
        }));
        steps.push(change("gates-0", "", None, |_| json!({"spec": {"schedulingGates": null}})));
        steps.push(Step::Settled);
        steps
    })
}

/// Blockers on the one node that takes pods, and what cannot be there beside them.
fn around_blockers(blockers: usize, count: usize) -> [Pods; 5] {
    let blue = json!({"topology": "blue"});
    let blocker = bare(&json!({"topology": "blue", "type": "blocker"}), &json!({}));
    let gated = json!({"schedulingGates": [{"name": "test.k8s.io/hold"}]});
    [
        pods("blocker-0", blockers, blocker.each(filling)),
        waiting("apart-0", count, light().each(shunning)),
        waiting("resources-0", count, light().each(share)),
        waiting("blocker-0", blockers, bare(&blue, &json!({})).each(evening)),
        waiting("gates-0", count, bare(&json!({}), &gated)),
    ]
}

/// Pods come that others want near, or that make room for one more on another node.
fn added() -> Vec<Row> {
    let scales = [small("10Pods", 2, 0, 10), full("1000Pods", 2, 0, 1000)];
    each("EventHandlingPodAdd", &scales, |own| {
        let (green, blue) = (json!({"color": "green"}), json!({"topology": "blue"}));
        let even = json!([{"maxSkew": 1, "topologyKey": HOST, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": blue}}]);
        let both = json!({"topology": "blue", "color": "green"});
        let apart = json!({"affinity": near("podAntiAffinity", &green, "even-0"),
            "topologySpreadConstraints": even});
        let together = json!({"affinity": near("podAffinity", &green, "even-0")});
        let first = pods("even-0", 1, bare(&green, &json!({})));
        let mut steps = places(&["even", "together"]);
        // One with the first pod and one without, whatever the divisor.
        steps.extend((0..own.nodes).map(|_| made(1, json!({"amounts": {"pods": "3000"}}))));
        steps.extend([
            Step::Pods(first),
            Step::Watch,
            Step::Pods(waiting("even-0", own.pods, bare(&blue, &apart))),
            Step::Pods(waiting("together-0", own.pods, light().each(following))),
            Step::Tried,
            beside("even-0", own.pods, bare(&both, &together)),
            beside("together-0", own.pods, light().each(leading)),
            Step::Settled,
        ]);
        steps
    })
}

fn yellow(own: Place) -> Value {
    json!({"color": format!("yellow-{}", own.index)})
}

/// With the color that one other wants near.
fn leading(pod: &mut Value, own: Place) {
    pod["metadata"]["labels"] = yellow(own);
}

/// Near the one that has its color.
fn following(pod: &mut Value, own: Place) {
    pod["spec"]["affinity"] = near("podAffinity", &yellow(own), "together-0");
}
