//! Roles that are made of others.

use crate::world::{ROLE, World, items};
use serde_json::{Value, json};

fn may(verb: &str, resource: &str) -> Value {
    json!({"apiGroups": [""], "resources": [resource], "verbs": [verb]})
}

/// Waits until the role `all` has these rules.
async fn sums_up(world: &World, rules: &[Value]) {
    let what = format!("it has {} rules", rules.len());
    world.until(ROLE, "all", &what, |role| items(role, "/rules") == rules).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_has_the_rules_of_those_it_selects() {
    let world = World::selected("clusterrole-aggregation-controller").await;
    let part = |name: &str, rules: Value| json!({"metadata": {"name": name, "labels": {"part-of": "all"}}, "rules": rules});
    let selectors = json!([{"matchLabels": {"part-of": "all"}}]);
    let own = json!([may("create", "nodes")]);
    let all = json!({"metadata": {"name": "all"},
        "aggregationRule": {"clusterRoleSelectors": selectors}, "rules": own});
    world.make(ROLE, all).await;
    // What it had by itself does not stay.
    sums_up(&world, &[]).await;
    let (pods, maps, secrets) =
        (may("get", "pods"), may("list", "configmaps"), may("get", "secrets"));
    world.make(ROLE, part("b", json!([pods, maps]))).await;
    world.make(ROLE, part("a", json!([secrets, pods]))).await;
    // By name, each rule once.
    sums_up(&world, &[secrets.clone(), pods.clone(), maps.clone()]).await;
    let all = world.get(ROLE, "all").await;
    let applied = items(&all, "/metadata/managedFields").iter().any(|own| {
        own["manager"] == "clusterrole-aggregation-controller"
            && own["operation"] == "Apply"
            && own["fieldsV1"].get("f:rules").is_some()
    });
    assert!(applied, "{all:#}");
    world.merge(ROLE, "a", json!({"metadata": {"labels": {"part-of": "none"}}})).await;
    sums_up(&world, &[pods.clone(), maps]).await;
    world.merge(ROLE, "b", json!({"rules": [pods]})).await;
    sums_up(&world, &[pods]).await;
    world.delete(ROLE, "b").await;
    sums_up(&world, &[]).await;
}
