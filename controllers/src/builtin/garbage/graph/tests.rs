use super::*;
use serde_json::{Value, json};

fn resource(kind: &str) -> ApiResource {
    ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: kind.into(),
        plural: format!("{}s", kind.to_lowercase()),
    }
}

fn see(graph: &mut Graph, kind: &str, meta: Value) -> Vec<Work> {
    graph.observe(&resource(kind), &serde_json::from_value(meta).unwrap())
}

fn owned(name: &str, owner: &str, blocks: bool) -> Value {
    json!({"name": name, "uid": name, "namespace": "ns", "ownerReferences": [
        {"apiVersion": "v1", "kind": "Set", "name": owner, "uid": owner, "blockOwnerDeletion": blocks}]})
}

fn set(name: &str) -> Value {
    json!({"name": name, "uid": name, "namespace": "ns"})
}

fn delete(uid: &str) -> Work {
    Work::Delete(uid.to_owned())
}

#[test]
fn dependents_are_looked_at_when_their_owner_goes() {
    let mut graph = Graph::default();
    assert!(see(&mut graph, "Set", set("a")).is_empty());
    assert!(see(&mut graph, "Pod", owned("p", "a", true)).is_empty());
    assert_eq!(graph.forget("a"), [delete("p")]);
    assert!(graph.forget("p").is_empty());
}

#[test]
fn an_owner_that_was_never_seen_is_looked_at() {
    let mut graph = Graph::default();
    assert_eq!(see(&mut graph, "Pod", owned("p", "a", true)), [delete("a")]);
    assert!(graph.snapshot("a").is_some() && graph.is_unseen("a"));
    assert_eq!(graph.forget("a"), [delete("p")]);
}

#[test]
fn foreground_deletion_waits_for_what_blocks_it() {
    let mut graph = Graph::default();
    see(&mut graph, "Set", set("a"));
    see(&mut graph, "Pod", owned("p", "a", true));
    see(&mut graph, "Pod", owned("q", "a", false));
    let mut going = set("a");
    going["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    going["finalizers"] = json!([FOREGROUND]);
    assert_eq!(see(&mut graph, "Set", going), [delete("p"), delete("q"), delete("a")]);
    let blocking = |graph: &Graph| {
        let dependents = graph.snapshot("a").unwrap().dependents;
        dependents
            .into_iter()
            .filter(|other| other.blocks)
            .map(|other| other.identity.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(blocking(&graph), ["p"]);
    assert_eq!(graph.forget("p"), [delete("a")]);
    assert!(blocking(&graph).is_empty());
    assert_eq!(see(&mut graph, "Pod", owned("late", "a", true)), [delete("late")]);
}

#[test]
fn an_owner_in_another_namespace_does_not_count() {
    let mut graph = Graph::default();
    see(&mut graph, "Set", json!({"name": "a", "uid": "a", "namespace": "other"}));
    assert_eq!(see(&mut graph, "Pod", owned("p", "a", true)), [delete("p")]);
    let reference: OwnerReference =
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Set", "name": "a", "uid": "a"}))
            .unwrap();
    assert_eq!(graph.owner(&reference, "ns"), None);
    assert_eq!(graph.owner(&reference, "other"), Some(false));
}

#[test]
fn an_owner_seen_after_its_dependents_is_not_that_of_others() {
    let mut graph = Graph::default();
    assert_eq!(see(&mut graph, "Pod", owned("false", "a", true)), [delete("a")]);
    let mut real = owned("real", "a", true);
    real["namespace"] = json!("other");
    assert_eq!(see(&mut graph, "Pod", real), [delete("real")]);
    let owner = json!({"name": "a", "uid": "a", "namespace": "other"});
    assert_eq!(see(&mut graph, "Set", owner), [delete("false")]);
    assert_eq!(graph.gone("a"), [delete("false"), delete("real")]);
}

#[test]
fn an_owner_is_looked_for_wherever_a_dependent_has_it() {
    let mut graph = Graph::default();
    see(&mut graph, "Pod", owned("false", "a", true));
    let mut real = owned("real", "a", true);
    real["namespace"] = json!("other");
    see(&mut graph, "Pod", real);
    let first = graph.snapshot("a").unwrap().identity;
    assert_eq!(first.namespace, "ns");
    assert_eq!(graph.absent(&first), [delete("false"), delete("a")]);
    let second = graph.snapshot("a").unwrap().identity;
    assert_eq!(second.namespace, "other");
    // What was looked for before is no news.
    assert_eq!(graph.absent(&first), [delete("false")]);
    graph.gone("false");
    assert_eq!(graph.absent(&second), [delete("real")]);
    assert!(graph.snapshot("a").is_none());
}

#[test]
fn who_names_an_owner_in_another_version_is_looked_at_for_itself() {
    let mut graph = Graph::default();
    let mut old = owned("old", "a", true);
    old["ownerReferences"][0]["apiVersion"] = json!("example.com/v1beta1");
    assert_eq!(see(&mut graph, "Pod", old), [delete("a")]);
    let mut new = owned("new", "a", true);
    new["ownerReferences"][0]["apiVersion"] = json!("example.com/v1");
    assert_eq!(see(&mut graph, "Pod", new), [delete("new")]);
}

#[test]
fn an_owner_that_only_a_namespace_can_have_is_looked_for_there() {
    let mut graph = Graph::default();
    let mut global = owned("global", "a", true);
    global.as_object_mut().unwrap().remove("namespace");
    assert_eq!(see(&mut graph, "Node", global), [delete("a")]);
    let nowhere = graph.snapshot("a").unwrap().identity;
    assert!(graph.unfindable(&nowhere).is_empty(), "there is no other place");
    assert_eq!(see(&mut graph, "Pod", owned("p", "a", true)), [delete("p")]);
    assert_eq!(graph.unfindable(&nowhere), [delete("a")]);
    assert_eq!(graph.snapshot("a").unwrap().identity.namespace, "ns");
}

#[test]
fn an_owner_that_is_gone_before_that_is_told_keeps_its_dependents_until_then() {
    let mut graph = Graph::default();
    see(&mut graph, "Set", set("a"));
    see(&mut graph, "Pod", owned("p", "a", true));
    let known = graph.snapshot("a").unwrap().identity;
    assert_eq!(graph.absent(&known), [delete("p")]);
    let reference: OwnerReference =
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Set", "name": "a", "uid": "a"}))
            .unwrap();
    assert_eq!(graph.owner(&reference, "ns"), None, "nobody relies on it");
    // An older change of it comes late.
    see(&mut graph, "Set", set("a"));
    assert_eq!(graph.owner(&reference, "ns"), Some(false));
    assert_eq!(graph.gone("a"), [delete("p")]);
}

#[test]
fn what_may_have_gone_while_nobody_told_is_looked_for_until_it_is_seen() {
    let mut graph = Graph::default();
    see(&mut graph, "Set", set("alone"));
    see(&mut graph, "Set", set("a"));
    see(&mut graph, "Pod", owned("p", "a", true));
    let newer = ApiResource { version: "v2".into(), api_version: "v2".into(), ..resource("Set") };
    assert_eq!(graph.unsee(&newer), [delete("a")]);
    assert!(graph.snapshot("alone").is_none(), "nobody has to do with it");
    let named = graph.snapshot("a").unwrap().identity;
    assert!(graph.is_unseen("a") && named.api_version == "v2");
    assert_eq!(graph.absent(&named), [delete("p")]);
    assert!(graph.is_gone("a"), "it is known what it was");

    let mut graph = Graph::default();
    see(&mut graph, "Set", set("a"));
    see(&mut graph, "Pod", owned("p", "a", true));
    graph.unsee(&resource("Set"));
    assert!(see(&mut graph, "Set", set("a")).is_empty());
    assert!(!graph.is_unseen("a"));
    assert_eq!(graph.gone("a"), [delete("p")]);
}

#[test]
fn owners_of_a_kind_that_is_lost_are_remembered_however_many_they_are() {
    let mut graph = Graph::default();
    for index in 0..=MOST_ABSENT {
        see(&mut graph, "Set", set(&format!("a-{index}")));
        see(&mut graph, "Pod", owned(&format!("p-{index}"), &format!("a-{index}"), true));
    }
    see(&mut graph, "Set", set("alone"));
    assert_eq!(graph.lose("v1", "Set").len(), MOST_ABSENT + 1);
    assert!((0..=MOST_ABSENT).all(|index| graph.is_gone(&format!("a-{index}"))));
    assert!(!graph.is_gone("alone"), "nobody asks about it");
}
