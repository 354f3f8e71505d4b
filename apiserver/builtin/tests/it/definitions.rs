//! What discovery will say of the built-in kinds.

use kubeplane_builtin::all;
use kubeplane_core::{
    Definition, Scope,
    definition::{Form, Verb},
    schema::Kind,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn words(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.as_str()).collect()
}

/// A kind and its subresources in the form of the record.
fn described(kind: &Definition) -> Vec<Value> {
    let version = kind.group_version().to_string();
    let namespaced = kind.scope == Scope::Namespaced;
    let mut own = json!({"version": version, "name": kind.plural, "kind": kind.kind.kind, "singular": kind.singular,
        "namespaced": namespaced, "short": kind.short_names, "categories": kind.categories,
        "verbs": words(&kind.verbs)});
    if kind.verbs.contains(&Verb::Get) {
        let columns = kind.columns.iter();
        own["columns"] = columns
            .map(|column| json!([column.name, column.kind, column.format, column.priority]))
            .collect();
    }
    let parts = kind.subresources.iter().map(|part| {
        let name = format!("{}/{}", kind.plural, part.name);
        json!({"version": version, "name": name, "kind": part.kind.kind, "singular": "",
            "namespaced": namespaced, "short": [], "categories": [], "verbs": words(&part.verbs)})
    });
    let parts: Vec<_> = parts.collect();
    std::iter::once(own).chain(parts).collect()
}

#[test]
fn resources_and_their_columns_are_those_of_the_original() {
    let named = |record: &Value| format!("{} {}", record["version"], record["name"]);
    let recorded = include_str!("resources.jsonl").lines();
    let recorded = recorded.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut wanted: BTreeMap<_, _> = recorded.map(|record| (named(&record), record)).collect();
    for found in all().iter().flat_map(|kind| described(kind)) {
        let name = named(&found);
        assert_eq!(Some(&found), wanted.remove(&name).as_ref(), "{name}");
    }
    assert_eq!(wanted.into_keys().collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn every_kind_has_its_shape_and_a_name_of_its_own() {
    let mut seen = BTreeSet::new();
    for kind in all() {
        assert!(!matches!(kind.schema.kind, Kind::Any), "{} has no schema", kind.kind);
        let name = format!("{} {}", kind.group_version(), kind.plural);
        assert!(seen.insert(name.clone()), "{name} is there twice");
        assert!(kind.columns.iter().any(|column| column.format == "name"), "{}", kind.kind);
    }
}

#[test]
fn pods_have_the_subresources_of_the_original() {
    let pods = all().into_iter().find(|kind| kind.plural == "pods").unwrap();
    let parts: Vec<_> = pods
        .subresources
        .iter()
        .filter(|part| matches!(part.form, Form::Part))
        .map(|p| &*p.name)
        .collect();
    assert_eq!(parts, ["ephemeralcontainers", "resize", "status"]);
    let exec = pods.subresource("exec").unwrap();
    let verbs: Vec<_> = exec.verbs.iter().map(|verb| verb.as_str()).collect();
    assert_eq!(
        (verbs, exec.kind.to_string().as_str()),
        (vec!["create", "get"], "/v1, Kind=PodExecOptions")
    );
}
