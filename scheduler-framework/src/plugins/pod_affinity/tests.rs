mod counts;

use super::*;
use crate::plugins::fixtures::{filter, fitting, namespaces, node, pod, scores};
use crate::{EventObject, Hint};
use k8s_openapi::api::core::v1::Namespace;
use kubeplane_clock::Seed;
use serde_json::{Value, json};

fn term(key: &str, app: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
}

fn required(kind: &str, terms: &[Value]) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
}

fn preferred(kind: &str, weight: i32, term: &Value) -> Value {
    json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution":
        [{"weight": weight, "podAffinityTerm": term}]}}})
}

const WITH: &str = "podAffinity";
const ANTI: &str = "podAntiAffinity";

fn cluster(pods: [Vec<Arc<PodInfo>>; 3]) -> Snapshot {
    let places = [("a", "zone=1 host=a"), ("b", "zone=1 host=b"), ("c", "zone=2 host=c")];
    let nodes = places.iter().zip(pods).map(|((name, labels), pods)| node(name, labels, &pods));
    Snapshot::new(nodes.collect())
}

fn fits(own: &PodInfo, nodes: &Snapshot) -> String {
    fitting(&InterPodAffinity::default(), own, nodes)
}

#[test]
fn required_terms_hold_in_both_directions() {
    let web = || pod("web", "app=web", json!({}));
    let nodes = cluster([vec![web()], vec![], vec![]]);
    let ask = |labels: &str, spec: Value| fits(&pod("p", labels, spec), &nodes);
    assert_eq!(ask("", required(WITH, &[term("zone", "web")])), "a b");
    assert_eq!(ask("", required(WITH, &[term("host", "web")])), "a");
    assert_eq!(ask("", required(ANTI, &[term("zone", "web")])), "c");
    assert_eq!(ask("", required(ANTI, &[term("host", "web")])), "b c");
    // Nobody matches; a pod that matches itself may begin anywhere.
    assert_eq!(ask("app=new", required(WITH, &[term("zone", "new")])), "a b c");
    assert_eq!(ask("app=web", required(WITH, &[term("zone", "new")])), "");
    assert_eq!(ask("app=new", required(WITH, &[term("rack", "new")])), "");
    // One pod must match all terms.
    assert_eq!(ask("", required(WITH, &[term("zone", "web"), term("host", "db")])), "");
    // Others do not want it near.
    let shy = pod("shy", "app=shy", required(ANTI, &[term("zone", "p")]));
    let nodes = cluster([vec![shy], vec![], vec![]]);
    assert_eq!(fits(&pod("p", "app=p", json!({})), &nodes), "c");
    assert_eq!(fits(&pod("p", "app=q", json!({})), &nodes), "a b c");
    assert_eq!(fits(&pod("other/p", "app=p", json!({})), &nodes), "a b c");
}

#[test]
fn terms_about_labels_that_nodes_lack_count_nowhere() {
    let shy = |terms: &[Value]| pod("shy", "app=shy", required(ANTI, terms));
    let own = |terms: &[Value]| pod("p", "app=p", required(ANTI, terms));
    let plain = pod("p", "app=p", json!({}));
    let beside = |shy: Arc<PodInfo>| fits(&plain, &cluster([vec![shy], vec![], vec![]]));
    assert_eq!(beside(shy(&[term("rack", "p")])), "a b c");
    assert_eq!(beside(shy(&[term("rack", "p"), term("zone", "p")])), "c");
    // Every one of them is heard.
    let several =
        cluster([vec![shy(&[term("host", "p")])], vec![], vec![shy(&[term("zone", "p")])]]);
    assert_eq!(fits(&plain, &several), "b");
    let (web, db) = (pod("web", "app=web", json!({})), pod("db", "app=db", json!({})));
    let nodes = cluster([vec![web], vec![], vec![db]]);
    assert_eq!(fits(&own(&[term("rack", "web")]), &nodes), "a b c");
    assert_eq!(fits(&own(&[term("rack", "web"), term("zone", "web")]), &nodes), "c");
    assert_eq!(fits(&own(&[term("zone", "web"), term("host", "db")]), &nodes), "");
    let near = required(WITH, &[term("zone", "web"), term("rack", "web")]);
    assert_eq!(fits(&pod("p", "", near), &nodes), "");
}

#[test]
fn namespaces_are_named_or_selected() {
    let nodes = cluster([vec![pod("n1/web", "app=web", json!({}))], vec![], vec![]])
        .with_objects(namespaces(&[("n1", "team=x"), ("n2", "team=y"), ("d", "")]));
    let with = |more: Value| {
        let mut term = term("host", "web");
        for (key, value) in more.as_object().into_iter().flatten() {
            term[key] = value.clone();
        }
        fits(&pod("p", "", required(WITH, &[term])), &nodes)
    };
    assert_eq!(with(json!({})), "");
    assert_eq!(with(json!({"namespaces": ["n1"]})), "a");
    assert_eq!(with(json!({"namespaceSelector": {"matchLabels": {"team": "x"}}})), "a");
    assert_eq!(with(json!({"namespaceSelector": {"matchLabels": {"team": "y"}}})), "");
    assert_eq!(with(json!({"namespaceSelector": {}})), "a");
    // An existing pod's selector looks at the new pod's namespace.
    let mut own = term("host", "p");
    own["namespaceSelector"] = json!({"matchLabels": {"team": "x"}});
    let shy = pod("shy", "", required(ANTI, &[own]));
    let nodes = cluster([vec![shy], vec![], vec![]])
        .with_objects(namespaces(&[("n1", "team=x"), ("n2", "team=y")]));
    assert_eq!(fits(&pod("n1/p", "app=p", json!({})), &nodes), "b c");
    assert_eq!(fits(&pod("n2/p", "app=p", json!({})), &nodes), "a b c");
}

#[test]
fn pods_are_told_why() {
    let shy = pod("shy", "", required(ANTI, &[term("host", "p")]));
    let nodes = cluster([vec![shy], vec![pod("web", "app=web", json!({}))], vec![]]);
    let mut spec = required(ANTI, &[term("host", "web")]);
    let verdicts = filter(&InterPodAffinity::default(), &pod("p", "app=p", spec.clone()), &nodes);
    let no = |why: &str| FilterVerdict::Unschedulable(vec![why.into()]);
    assert_eq!(verdicts[0], no("node(s) didn't satisfy existing pods anti-affinity rules"));
    assert_eq!(verdicts[1], no("node(s) didn't match pod anti-affinity rules"));
    spec = required(WITH, &[term("host", "web")]);
    let verdicts = filter(&InterPodAffinity::default(), &pod("p", "", spec), &nodes);
    let why = "node(s) didn't match pod affinity rules";
    assert_eq!(verdicts[2], FilterVerdict::Unresolvable(vec![why.into()]));
}

#[test]
fn preferences_of_both_sides_are_weighed() {
    let plugin = InterPodAffinity::default();
    let all = |plugin: &InterPodAffinity, own: &PodInfo, nodes: &Snapshot| {
        scores(plugin, own, nodes, nodes.nodes())
    };
    let web = || pod("web", "app=web", json!({}));
    let nodes = cluster([vec![web()], vec![], vec![]]);
    let likes = pod("p", "app=p", preferred(WITH, 5, &term("host", "web")));
    assert_eq!(all(&plugin, &likes, &nodes), Some(vec![100, 0, 0]));
    let dislikes = pod("p", "app=p", preferred(ANTI, 5, &term("zone", "web")));
    assert_eq!(all(&plugin, &dislikes, &nodes), Some(vec![0, 0, 100]));
    assert_eq!(all(&plugin, &pod("p", "app=p", json!({})), &nodes), None);
    // Existing pods: one likes it (8), one needs it (1), one dislikes it (5).
    let nodes = cluster([
        vec![pod("l", "", preferred(WITH, 8, &term("host", "p")))],
        vec![pod("n", "", required(WITH, &[term("host", "p")]))],
        vec![pod("d", "", preferred(ANTI, 5, &term("host", "p")))],
    ]);
    let own = pod("p", "app=p", json!({}));
    // 8, 1 and -5: (s + 5) * 100 / 13.
    assert_eq!(all(&plugin, &own, &nodes), Some(vec![100, 46, 0]));
    assert_eq!(all(&InterPodAffinity::new(8, false), &own, &nodes), Some(vec![100, 100, 0]));
    assert_eq!(all(&InterPodAffinity::new(1, true), &own, &nodes), None);
}

#[test]
fn pods_added_and_removed_in_thought_count() {
    let nodes = cluster([vec![pod("web", "app=web", json!({}))], vec![], vec![]]);
    let own = pod("p", "", required(ANTI, &[term("zone", "web")]));
    let (plugin, mut state) = (InterPodAffinity::default(), CycleState::of(nodes.clone()));
    plugin.pre_filter(&mut state, &own, &nodes);
    let a = nodes.node("a").unwrap();
    let web = a.pods()[0].clone();
    assert_ne!(plugin.filter(&state, &own, a), FilterVerdict::Fits);
    plugin.remove_pod(&mut state, &own, &web, a);
    assert_eq!(plugin.filter(&state, &own, a), FilterVerdict::Fits);
    plugin.add_pod(&mut state, &own, &web, a);
    assert_ne!(plugin.filter(&state, &own, a), FilterVerdict::Fits);
    assert_eq!(fits(&own, &nodes), "c");
}

#[test]
fn hints_tell_what_may_help() {
    let own = pod("p", "", required(WITH, &[term("zone", "web")]));
    let event = ClusterEvent::new(EventResource::AssignedPod, ActionType::ADD);
    let hint = |object| InterPodAffinity::default().hint(&own, event, &object);
    let added = |labels: &str| {
        let new = Some(pod("o", labels, json!({"nodeName": "a"})).pod().clone());
        EventObject::Pod { old: None, new }
    };
    assert_eq!(hint(added("app=web")), Hint::Queue);
    assert_eq!(hint(added("app=db")), Hint::Skip);
    let appeared = |labels: &str| {
        let new = Some(node("n", labels, &[]).node().clone());
        EventObject::Node { old: None, new }
    };
    assert_eq!(hint(appeared("zone=1")), Hint::Queue);
    assert_eq!(hint(appeared("rack=1")), Hint::Skip);
}

#[test]
fn a_namespace_that_comes_late_helps_those_who_select_it() {
    let mut selecting = term("zone", "web");
    selecting["namespaceSelector"] = json!({"matchLabels": {"team": "x"}});
    let selecting = pod("p", "", required(WITH, &[selecting]));
    let plain = pod("q", "", required(WITH, &[term("zone", "web")]));
    let plugin = InterPodAffinity::default();
    let event = |action| ClusterEvent::new(EventResource::Namespace, action);
    let waits = |event| plugin.requeue_on().iter().any(|own| own.matches(event));
    assert!(waits(event(ActionType::ADD)) && waits(event(ActionType::UPDATE_OTHER)));
    let namespace = |labels: Value| -> Arc<Namespace> {
        let namespace = json!({"metadata": {"name": "n1", "labels": labels}});
        Arc::new(serde_json::from_value(namespace).unwrap())
    };
    let named = || namespace(json!({"team": "x"}));
    let added = EventObject::Namespace { old: None, new: Some(named()) };
    assert_eq!(plugin.hint(&selecting, event(ActionType::ADD), &added), Hint::Queue);
    assert_eq!(plugin.hint(&plain, event(ActionType::ADD), &added), Hint::Skip);
    for (old, hint) in [(namespace(json!({})), Hint::Queue), (named(), Hint::Skip)] {
        let changed = EventObject::Namespace { old: Some(old), new: Some(named()) };
        assert_eq!(plugin.hint(&selecting, event(ActionType::UPDATE_OTHER), &changed), hint);
    }
}

/// The rules as the documentation states them, with every pod looked at for every node.
fn plainly(own: &PodInfo, nodes: &Snapshot, node: &NodeInfo) -> bool {
    let all = || nodes.nodes().iter().flat_map(|at| at.pods().iter().map(move |pod| (at, pod)));
    let same =
        |at: &NodeInfo, key: &str| node.label(key).is_some() && at.label(key) == node.label(key);
    let terms = own.affinity();
    let begins = !all().any(|(at, pod)| {
        all_match(&terms.required, pod)
            && terms.required.iter().any(|term| at.label(&term.topology_key).is_some())
    }) && all_match(&terms.required, own);
    let with = terms.required.iter().all(|term| {
        node.label(&term.topology_key).is_some()
            && (begins
                || all().any(|(at, pod)| {
                    all_match(&terms.required, pod) && same(at, &term.topology_key)
                }))
    });
    let anti = terms.required_anti.iter().all(|term| {
        !all().any(|(at, pod)| term.matches(pod, None) && same(at, &term.topology_key))
    });
    let existing = all().all(|(at, pod)| {
        let hostile = |term: &AffinityTerm| term.matches(own, None) && same(at, &term.topology_key);
        !pod.affinity().required_anti.iter().any(hostile)
    });
    with && anti && existing
}

fn plain_score(own: &PodInfo, nodes: &Snapshot, node: &NodeInfo) -> i64 {
    let mut score = 0;
    for at in nodes.nodes() {
        for other in at.pods() {
            let mut hear = |terms: &[AffinityTerm], meant: &PodInfo, sign: i64, hard: bool| {
                for term in terms {
                    let key = &term.topology_key;
                    if term.matches(meant, None)
                        && at.label(key).is_some()
                        && at.label(key) == node.label(key)
                    {
                        score += if hard { 1 } else { sign * term.weight };
                    }
                }
            };
            hear(&own.affinity().preferred, other, 1, false);
            hear(&own.affinity().preferred_anti, other, -1, false);
            hear(&other.affinity().required, own, 1, true);
            hear(&other.affinity().preferred, own, 1, false);
            hear(&other.affinity().preferred_anti, own, -1, false);
        }
    }
    score
}

#[test]
fn random_clusters_agree_with_the_plain_rules_while_they_change() {
    let seed = Seed::new(5);
    let below = |bound: u64| usize::try_from(seed.below(bound)).unwrap();
    let plugin = InterPodAffinity::default();
    let mut nodes: Vec<Arc<NodeInfo>> = (0..10)
        .map(|index| {
            let zone = ["zone=1", "zone=2", "zone=3", ""][below(4)];
            node(&format!("n{index}"), &format!("{zone} host=n{index}"), &[])
        })
        .collect();
    let tallies = Snapshot::new(Vec::new());
    let apps = ["a", "b", "c"];
    for round in 0..500 {
        let some = || term(["zone", "host"][below(2)], apps[below(3)]);
        let kind = [WITH, ANTI][below(2)];
        let spec = match below(4) {
            0 => json!({}),
            1 => preferred(kind, i32::try_from(1 + below(9)).unwrap(), &some()),
            _ => required(kind, &[some(), some()][..=below(2)]),
        };
        let own = pod(&format!("p{round}"), &format!("app={}", apps[below(3)]), spec);
        let snapshot = Snapshot::new(nodes.clone()).sharing(&tallies);
        for (index, verdict) in filter(&plugin, &own, &snapshot).iter().enumerate() {
            let plain = plainly(&own, &snapshot, &nodes[index]);
            assert_eq!(*verdict == FilterVerdict::Fits, plain, "round {round}, node {index}");
        }
        let mut plain: Vec<_> =
            nodes.iter().map(|node| plain_score(&own, &snapshot, node)).collect();
        plugin.normalize(&CycleState::new(), &own, &mut plain);
        let found = scores(&plugin, &own, &snapshot, &nodes);
        assert_eq!(found.unwrap_or_else(|| vec![0; 10]), plain, "round {round}");
        drop(snapshot);
        let place = below(10);
        if below(3) == 0 && !nodes[place].pods().is_empty() {
            let uid = nodes[place].pods()[0].uid().to_owned();
            Arc::make_mut(&mut nodes[place]).remove_pod(&uid);
        } else {
            Arc::make_mut(&mut nodes[place]).add_pod(own);
        }
    }
}

#[test]
fn hints_miss_no_pod_of_a_selected_namespace_and_go_by_all_terms() {
    let event = crate::ClusterEvent::any()[0];
    let placed =
        |name: &str, labels: &str| Some(pod(name, labels, json!({"nodeName": "a"})).pod().clone());
    let hint = |own: &PodInfo, old, new| {
        InterPodAffinity::default().hint(own, event, &EventObject::Pod { old, new })
    };
    let mut selecting = term("zone", "web");
    selecting["namespaceSelector"] = json!({"matchLabels": {"team": "red"}});
    let own = pod("p", "", required(WITH, &[selecting.clone()]));
    assert_eq!(hint(&own, None, placed("other/web", "app=web")), Hint::Queue);
    assert_eq!(hint(&own, None, placed("other/db", "app=db")), Hint::Skip);
    let own = pod("p", "", required(ANTI, &[selecting]));
    assert_eq!(hint(&own, placed("other/web", "app=web"), None), Hint::Queue);
    assert_eq!(hint(&own, placed("x", "app=x"), None), Hint::Skip);
    let labelled = |key: &str| {
        let exists = json!([{"key": key, "operator": "Exists"}]);
        json!({"topologyKey": "zone", "labelSelector": {"matchExpressions": exists}})
    };
    let own = pod("p", "a= b=", required(ANTI, &[labelled("a"), labelled("b")]));
    let plain = pod("p", "a= b=", json!({}));
    for (own, old, new, expected) in [
        (&own, placed("o", "a= b="), None, Hint::Queue),
        (&own, placed("o", "a="), None, Hint::Skip),
        (&own, placed("o", "a= b="), placed("o", "a="), Hint::Queue),
        (&own, placed("o", "a="), placed("o", "c="), Hint::Skip),
        (&own, placed("o", "a="), placed("o", "a= b="), Hint::Skip),
        (&plain, placed("o", "a= b="), None, Hint::Skip),
    ] {
        assert_eq!(hint(own, old.clone(), new.clone()), expected, "{old:?} to {new:?}");
    }
    for (labels, expected) in [("a= b=", Hint::Queue), ("a=", Hint::Skip)] {
        let mut spec = required(ANTI, &[labelled("a"), labelled("b")]);
        spec["nodeName"] = json!("a");
        let left = pod("o", "", spec).pod().clone();
        let own = pod("p", labels, json!({}));
        assert_eq!(
            hint(&own, Some(left), None),
            expected,
            "{labels} whom the one that left kept off"
        );
    }
}
