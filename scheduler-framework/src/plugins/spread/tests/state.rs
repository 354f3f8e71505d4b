//! What is counted in each domain of each constraint before nodes are asked, and when pods come and go in thought.

use super::{
    super::{Domains, Hard, PodTopologySpread},
    hard, soft, spread,
};
use crate::{
    ClusterObjects, CycleState, NodeInfo, PodInfo, PreFilter, PreFilterExtensions,
    PreFilterVerdict, Snapshot,
    plugins::fixtures::{node, pod},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// A node's name, which ends with `!` if it is closed, its labels, and those of its pods.
type Place<'a> = (&'a str, &'a str, &'a [&'a str]);

/// Labels may begin with a namespace.
fn other(name: &str, labels: &str) -> Arc<PodInfo> {
    let (namespace, labels) = labels.split_once('/').unwrap_or(("d", labels));
    pod(&format!("{namespace}/{name}"), labels, json!({}))
}

fn place((name, labels, pods): &Place<'_>) -> Arc<NodeInfo> {
    let one = |(index, labels): (usize, &&str)| other(&format!("{name}{index}"), labels);
    let pods: Vec<_> = pods.iter().enumerate().map(one).collect();
    let plain = node(name, labels, &pods);
    if !name.ends_with('!') {
        return plain;
    }
    let mut own = (**plain.node()).clone();
    own.spec = serde_json::from_value(json!({"taints": [{"key": CLOSED, "effect": "NoSchedule"}]}))
        .unwrap();
    let mut info = NodeInfo::new(Arc::new(own));
    pods.into_iter().for_each(|pod| info.add_pod(pod));
    Arc::new(info)
}

const CLOSED: &str = "node.kubernetes.io/unschedulable";
const N: &[&str] = &[];
const F1: &[&str] = &["foo="];
const F2: &[&str] = &["foo=", "foo="];
const F4: &[&str] = &["foo=", "foo=", "foo=", "foo="];

/// Two zones of two nodes.
fn four<'a>(pods: [&'a [&'a str]; 4]) -> Vec<Place<'a>> {
    let places = [
        ("a", "zone=1 node=a"),
        ("b", "zone=1 node=b"),
        ("x", "zone=2 node=x"),
        ("y", "zone=2 node=y"),
    ];
    places.into_iter().zip(pods).map(|((name, labels), pods)| (name, labels, pods)).collect()
}

/// Three of them.
fn three<'a>(a: &'a [&'a str], b: &'a [&'a str], y: &'a [&'a str]) -> Vec<Place<'a>> {
    vec![("a", "zone=1 node=a", a), ("b", "zone=1 node=b", b), ("y", "zone=2 node=y", y)]
}

/// Without zones, and the last is not like the others.
fn apart(last: &str) -> Vec<Place<'_>> {
    let two: &[&str] = &["bar=", "bar="];
    vec![
        ("a", "node=a foo=", &["bar="]),
        ("b", "node=b foo=", two),
        (last, "node=c bar=", &["k=v"]),
    ]
}

fn foo(key: &str) -> Value {
    hard(key, 1, json!({}))
}

fn with(key: &str, more: Value) -> Value {
    hard(key, 1, more)
}

fn bar(key: &str) -> Value {
    with(key, json!({"labelSelector": exists("bar")}))
}

fn exists(label: &str) -> Value {
    json!({"matchExpressions": [{"key": label, "operator": "Exists"}]})
}

/// A constraint on pods labelled `bar` with a policy.
fn bar_with(key: &str, policy: &str, value: &str) -> Value {
    with(key, json!({"labelSelector": exists("bar"), policy: value}))
}

fn selecting() -> Value {
    json!({"nodeSelector": {"foo": ""}})
}

fn requiring(key: &str, operator: &str, value: &str) -> Value {
    let expression = json!({"key": key, "operator": operator, "values": [value]});
    let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
    let rules = json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
    json!({"affinity": {"nodeAffinity": rules}})
}

fn tolerating() -> Value {
    json!({"tolerations": [{"key": CLOSED, "operator": "Exists", "effect": "NoSchedule"}]})
}

fn pod_with(labels: &str, spec: &Value, constraints: &[Value]) -> Arc<PodInfo> {
    let mut spec = spec.clone();
    spec["topologySpreadConstraints"] = spread(constraints)["topologySpreadConstraints"].clone();
    pod("p", labels, spec)
}

fn snapshot(places: &[Place<'_>]) -> Snapshot {
    Snapshot::new(places.iter().map(place).collect())
}

/// `None` where there is nothing to be asked.
fn prepared(plugin: &PodTopologySpread, own: &PodInfo, nodes: &Snapshot) -> Option<CycleState> {
    let mut state = CycleState::of(nodes.clone());
    let verdict = plugin.pre_filter(&mut state, own, nodes);
    (verdict == PreFilterVerdict::Continue).then_some(state)
}

/// The pods of each domain, by constraint.
fn counted(state: &CycleState) -> Vec<String> {
    let one = |own: &Domains| {
        let all = own.all();
        assert_eq!(own.least(1), all.values().min().copied().unwrap_or_default());
        let all = all.iter().map(|(value, pods)| format!("{value}:{pods}"));
        all.collect::<Vec<_>>().join(" ")
    };
    state.value::<Hard>().unwrap().domains.iter().map(one).collect()
}

/// A pod's labels and the rest of its spec, its constraints, the nodes, and what is counted.
type Case<'a> = (&'a str, Value, Vec<Value>, Vec<Place<'a>>, &'a [&'a str]);

fn check(plugin: &PodTopologySpread, cases: Vec<Case<'_>>) {
    for (labels, spec, constraints, places, expected) in cases {
        let own = pod_with(labels, &spec, &constraints);
        let state = prepared(plugin, &own, &snapshot(&places)).unwrap();
        assert_eq!(counted(&state), expected, "{constraints:?} on {places:?}");
    }
}

#[test]
fn pods_alike_are_counted_by_domain() {
    let none = || json!({});
    let mut six = four([F2, F1, N, F2]);
    six.extend([("o", "zone=3 node=o", N), ("p", "zone=3 node=p", N)]);
    let exact = hard("zone", 5, json!({"labelSelector": {"matchLabels": {"foo": "bar"}}}));
    let mixed: &[&str] = &["foo=", "foo= bar="];
    let twice: &[&str] = &["foo=", "foo= bar=", "foo=", "foo= bar="];
    let (both, two) = (|| vec![foo("zone"), foo("node")], || vec![foo("zone"), bar("node")]);
    let soft_too = vec![soft("zone", 1, none()), foo("zone"), soft("node", 1, none()), foo("node")];
    check(
        &PodTopologySpread::default(),
        vec![
            ("foo=", none(), vec![exact], four([N; 4]), &["1:0 2:0"]),
            ("foo=", none(), vec![foo("zone")], four([F2, F1, N, F2]), &["1:3 2:2"]),
            (
                "foo=",
                none(),
                vec![with("zone", json!({"labelSelector": null}))],
                four([F2, F1, N, F2]),
                &["1:0 2:0"],
            ),
            ("foo=", none(), vec![foo("zone")], six, &["1:3 2:2 3:0"]),
            (
                "foo=",
                none(),
                vec![foo("zone")],
                four([&["foo=", "ns1/foo="], F1, N, &["ns2/foo=", "foo="]]),
                &["1:2 2:1"],
            ),
            ("foo=", none(), both(), four([F2, F1, N, F4]), &["1:3 2:4", "a:2 b:1 x:0 y:4"]),
            ("foo=", none(), soft_too, three(F2, F1, F4), &["1:3 2:4", "a:2 b:1 y:4"]),
            ("foo= bar=", none(), two(), three(F1, &["bar="], N), &["1:1 2:0", "a:0 b:1 y:0"]),
            ("foo= bar=", none(), two(), three(mixed, F1, twice), &["1:3 2:4", "a:1 b:0 y:2"]),
            (
                "foo=",
                requiring("node", "NotIn", "x"),
                both(),
                four([F2, F1, N, F4]),
                &["1:3 2:4", "a:2 b:1 y:4"],
            ),
            (
                "foo= bar=",
                none(),
                vec![foo("zone"), bar("zone")],
                four([&["foo= bar="], F1, &["bar="], &["foo= bar=", "bar="]]),
                &["1:2 2:1", "1:1 2:3"],
            ),
        ],
    );
    let plain = pod("p", "foo=", none());
    let nodes = snapshot(&four([N; 4]));
    assert!(prepared(&PodTopologySpread::default(), &plain, &nodes).is_none());
}

#[test]
fn policies_leave_nodes_out_constraint_by_constraint() {
    let none = || json!({});
    let ignoring = || bar_with("node", "nodeAffinityPolicy", "Ignore");
    let honoring = || bar_with("node", "nodeTaintsPolicy", "Honor");
    let by_affinity = || requiring("foo", "In", "");
    let (two, three): (&[&str], &[&str]) = (&["a:1 b:2"], &["a:1 b:2 c:0"]);
    let lenient = |key: &str| with(key, json!({"nodeAffinityPolicy": "Ignore"}));
    let strict = |key: &str| with(key, json!({"nodeTaintsPolicy": "Honor"}));
    let (a, x) = (("a", "zone=1 node=a foo=", N), ("x", "zone=2 node=x foo=", F1));
    check(
        &PodTopologySpread::default(),
        vec![
            ("foo=", selecting(), vec![bar("node")], apart("c"), two),
            ("foo=", selecting(), vec![ignoring()], apart("c"), three),
            ("foo=", by_affinity(), vec![bar("node")], apart("c"), two),
            ("foo=", by_affinity(), vec![ignoring()], apart("c"), three),
            ("foo=", none(), vec![bar("node")], apart("c!"), three),
            ("foo=", none(), vec![honoring()], apart("c!"), two),
            ("foo=", tolerating(), vec![honoring()], apart("c!"), three),
            (
                "foo=",
                selecting(),
                vec![foo("zone"), lenient("node")],
                vec![a, ("b", "zone=1 node=b", F2), x],
                &["1:0 2:1", "a:0 b:2 x:1"],
            ),
            (
                "foo=",
                none(),
                vec![strict("zone"), foo("node")],
                vec![a, ("b!", "zone=1 node=b", F2), x],
                &["1:0 2:1", "a:0 b:2 x:1"],
            ),
            (
                "foo=",
                selecting(),
                vec![foo("zone"), foo("node")],
                vec![
                    ("a", "zone=1 node=a", F2),
                    ("b!", "zone=1 node=b foo=", N),
                    x,
                    ("y", "zone=2 node=y", F1),
                ],
                &["1:0 2:1", "b:0 x:1"],
            ),
            (
                "foo=",
                selecting(),
                vec![lenient("zone"), strict("node")],
                vec![
                    ("a", "zone=1 node=a", F2),
                    ("b!", "zone=1 node=b foo=", N),
                    ("x", "zone=2 node=x foo=", F2),
                    ("y", "zone=2 node=y foo=", F1),
                ],
                &["1:2 2:3", "x:2 y:1"],
            ),
        ],
    );
}

#[test]
fn keys_narrow_a_selector_by_the_pods_own_labels() {
    let none = || json!({});
    let keyed = |key: &str| with("zone", json!({"matchLabelKeys": [key]}));
    let of = |selector: Value, key: &str| {
        vec![with("zone", json!({"labelSelector": selector, "matchLabelKeys": [key]}))]
    };
    let (one, two): (&[&str], &[&str]) = (&["foo=a"], &["foo=a", "foo=a"]);
    let alike = || four([two, one, N, two]);
    let mixed = four([&["foo=", "foo= bar=a"], F1, N, &["foo= bar=a", "bar="]]);
    check(
        &PodTopologySpread::default(),
        vec![
            ("foo= bar=a", none(), vec![keyed("bar")], mixed, &["1:1 2:1"]),
            ("foo=a", none(), of(json!({}), "foo"), alike(), &["1:3 2:2"]),
            ("foo=", none(), of(Value::Null, "bar"), alike(), &["1:0 2:0"]),
            ("foo=", none(), vec![keyed("bar")], alike(), &["1:3 2:2"]),
        ],
    );
    check(
        &PodTopologySpread::default().with_match_label_keys(false),
        vec![
            ("foo= bar=", none(), vec![keyed("bar")], four([F2, F1, N, F2]), &["1:3 2:2"]),
            ("foo=", none(), of(Value::Null, "bar"), alike(), &["1:0 2:0"]),
        ],
    );
}

#[test]
fn defaults_hold_for_pods_of_a_service_that_have_no_constraints() {
    let default = |key: &str, skew: i32, action: &str| {
        let own = json!({"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": action});
        serde_json::from_value(own).unwrap()
    };
    let (must, may) = ("DoNotSchedule", "ScheduleAnyway");
    let exact =
        |label: &str, value: &str| json!({"labelSelector": {"matchLabels": {label: value}}});
    let own = [hard("zone", 1, exact("baz", "tar")), soft("planet", 2, exact("fot", "rok"))];
    let (none, own): (&[Value], &[Value]) = (&[], &own);
    for (labels, constraints, defaults, selector, expected) in [
        (
            "foo=bar baz=kar",
            none,
            vec![default("node", 3, must), default("node", 2, may), default("rack", 5, must)],
            json!({"foo": "bar"}),
            &[("node", 3, "foo=bar"), ("rack", 5, "foo=bar")][..],
        ),
        ("foo=bar", none, vec![default("node", 3, must)], json!({"baz": "kep"}), &[]),
        (
            "foo=bar baz=tar",
            own,
            vec![default("node", 2, must)],
            json!({"foo": "bar"}),
            &[("zone", 1, "baz=tar")],
        ),
        ("foo=bar", none, vec![default("node", 2, may)], json!({"foo": "bar"}), &[]),
    ] {
        let service = json!({"metadata": {"name": "s", "namespace": "d"},
            "spec": {"selector": selector}});
        let services = vec![Arc::new(serde_json::from_value(service).unwrap())];
        let objects = ClusterObjects { services: Arc::new(services), ..ClusterObjects::default() };
        let nodes = Snapshot::new(Vec::new()).with_objects(Arc::new(objects));
        let plugin = PodTopologySpread::with_defaults(defaults);
        let state = prepared(&plugin, &pod_with(labels, &json!({}), constraints), &nodes);
        let found: Vec<_> = state
            .iter()
            .flat_map(|state| &state.value::<Hard>().unwrap().constraints)
            .map(|own| (own.key.clone(), own.max_skew, own.selector.to_string()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(key, skew, selector)| ((*key).to_owned(), *skew, (*selector).to_owned()))
            .collect();
        assert_eq!(found, expected, "{labels} with {constraints:?}");
    }
}

/// The rest of a pod's spec, its constraints, the nodes, which of them another pod comes to or leaves and its labels, and
/// what is counted then.
type Move<'a> = (Value, Vec<Value>, Vec<Place<'a>>, (usize, &'a str), &'a [&'a str]);

fn check_moves(sign: i64, cases: Vec<Move<'_>>) {
    let plugin = PodTopologySpread::default();
    for (spec, constraints, places, (index, labels), expected) in cases {
        let own = pod_with("foo= bar=", &spec, &constraints);
        let nodes = snapshot(&places);
        let mut state = prepared(&plugin, &own, &nodes).unwrap();
        let (moved, there) = (other("q", labels), &nodes.nodes()[index]);
        match sign {
            1 => plugin.add_pod(&mut state, &own, &moved, there),
            _ => plugin.remove_pod(&mut state, &own, &moved, there),
        }
        assert_eq!(counted(&state), expected, "{labels} {sign} on {index} of {places:?}");
    }
}

/// Two zones of one node, of which the first is `foo=bar`.
fn two(first: &str) -> Vec<Place<'_>> {
    vec![(first, "zone=1 node=a foo=bar", F1), ("b", "zone=2 node=b foo=", F1)]
}

#[test]
fn pods_that_come_in_thought_are_counted() {
    let none = || json!({});
    let pair = |a: &'static [&'static str], b: &'static [&'static str]| {
        vec![("a", "zone=1 node=a", a), ("b", "zone=1 node=b", b)]
    };
    let far =
        |x: &'static [&'static str]| vec![("a", "zone=1 node=a", N), ("x", "zone=2 node=x", x)];
    let (both, apart) = (|| vec![foo("zone"), foo("node")], || vec![foo("zone"), bar("node")]);
    let busy: &[&str] = &["foo= bar=", "bar="];
    let strict = with("zone", json!({"nodeTaintsPolicy": "Honor"}));
    check_moves(
        1,
        vec![
            (none(), vec![foo("node")], pair(N, N), (0, "foo="), &["a:1 b:0"]),
            (none(), vec![foo("node")], pair(N, F1), (0, "foo="), &["a:1 b:1"]),
            (none(), vec![foo("node")], pair(N, F1), (0, "ns1/foo="), &["a:0 b:1"]),
            (none(), vec![foo("node")], pair(N, F1), (1, "foo="), &["a:0 b:2"]),
            (none(), both(), far(N), (0, "foo="), &["1:1 2:0", "a:1 x:0"]),
            (none(), both(), far(F1), (0, "foo="), &["1:1 2:1", "a:1 x:1"]),
            (none(), both(), three(N, F2, F1), (0, "foo="), &["1:3 2:1", "a:1 b:2 y:1"]),
            (
                none(),
                apart(),
                three(N, &["foo= bar="], busy),
                (0, "foo="),
                &["1:2 2:1", "a:0 b:1 y:2"],
            ),
            (
                none(),
                apart(),
                three(N, &["bar="], busy),
                (0, "foo= bar="),
                &["1:1 2:1", "a:1 b:1 y:2"],
            ),
            // Nodes that the pod does not ask for, or may not be on.
            (requiring("foo", "NotIn", "bar"), vec![foo("zone")], two("a"), (0, "foo="), &["2:1"]),
            (none(), vec![strict.clone()], two("a!"), (0, "foo="), &["2:1"]),
            (none(), vec![foo("zone")], two("a"), (1, "foo="), &["1:1 2:2"]),
            (none(), vec![foo("zone")], two("a"), (1, "k=v"), &["1:1 2:1"]),
            (none(), vec![foo("zone")], two("a!"), (1, "foo="), &["1:1 2:2"]),
            (tolerating(), vec![strict], two("a!"), (0, "foo="), &["1:2 2:1"]),
        ],
    );
}

#[test]
fn pods_that_leave_in_thought_are_counted_no_more() {
    let none = || json!({});
    let zone = || vec![foo("zone")];
    let extra: &[&str] = &["bar=", "foo="];
    check_moves(
        -1,
        vec![
            (none(), zone(), three(F1, F1, F1), (0, "foo="), &["1:1 2:1"]),
            (none(), zone(), four([F1; 4]), (0, "foo="), &["1:1 2:2"]),
            (none(), zone(), four([extra, F1, F1, F1]), (0, "bar="), &["1:2 2:2"]),
            (none(), zone(), four([F1; 4]), (0, "bar="), &["1:2 2:2"]),
            (
                none(),
                vec![foo("zone"), foo("node")],
                three(F2, F1, F2),
                (2, "foo="),
                &["1:3 2:1", "a:2 b:1 y:1"],
            ),
            (requiring("foo", "NotIn", "bar"), zone(), two("a"), (0, "foo="), &["2:1"]),
            (none(), zone(), two("a"), (1, "foo="), &["1:1 2:0"]),
        ],
    );
}
