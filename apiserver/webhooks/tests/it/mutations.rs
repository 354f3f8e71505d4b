use crate::harness::{MAPS, Server};
use serde_json::{Value, json};

async fn mutate(server: &Server, resource: (&str, &str, &str), mutations: Value) {
    let (group, version, plural) = resource;
    let spec = json!({
        "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [group],
            "apiVersions": [version], "resources": [plural]}]},
        "reinvocationPolicy": "IfNeeded",
        "variables": [{"name": "team", "expression": "object.metadata.namespace + '-team'"}],
        "mutations": mutations,
    });
    server.configure("mutatingadmissionpolicies", "p", spec).await;
    server.configure("mutatingadmissionpolicybindings", "b", json!({"policyName": "p"})).await;
}

#[tokio::test]
async fn an_apply_configuration_is_merged() {
    let server = Server::start().await;
    let expression = "Object{metadata: Object.metadata{labels: {'team': variables.team}}, \
                      spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{\
                      initContainers: [Object.spec.template.spec.initContainers{name: 'mesh', image: 'mesh:1'}]}}}}";
    let mutation = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    mutate(&server, ("apps", "v1", "deployments"), json!([mutation])).await;
    let pod = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
        "initContainers": [{"name": "own", "image": "own:1"}], "containers": [{"name": "c", "image": "c:1"}]}});
    let deployment = json!({"metadata": {"name": "d", "labels": {"x": "y"}},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": pod}});
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let made = server.post(path, deployment).await.expect(201);
    assert_eq!(made["metadata"]["labels"], json!({"x": "y", "team": "default-team"}));
    let init = made["spec"]["template"]["spec"]["initContainers"].as_array().unwrap();
    let names: Vec<_> = init.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["own", "mesh"]);
    assert_eq!(init[1]["imagePullPolicy"], "IfNotPresent");
}

#[tokio::test]
async fn json_patches_are_applied_unless_a_test_fails() {
    let server = Server::start().await;
    let patch = |expression: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    let mutations = json!([
        patch(
            "[JSONPatch{op: 'test', path: '/data/a', value: '1'}, JSONPatch{op: 'add', path: '/data/b', value: 'two'}]"
        ),
        patch(
            "[JSONPatch{op: 'test', path: '/data/a', value: '7'}, JSONPatch{op: 'remove', path: '/data/a'}]"
        ),
        patch(
            "has(object.metadata.labels) ? [JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}] : []"
        ),
    ]);
    mutate(&server, ("", "v1", "configmaps"), mutations).await;
    let made = server.map("m", json!({"x": "y"})).await.expect(201);
    assert_eq!(made["data"], json!({"a": "1", "b": "two"}));
    assert_eq!(made["metadata"]["labels"], json!({"x": "y", "a/b": "c"}));
}

#[tokio::test]
async fn lists_that_can_only_be_replaced_are_not_touched() {
    let server = Server::start().await;
    let expression =
        "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'c', args: ['x']}]}}";
    let mutation = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    mutate(&server, ("", "v1", "pods"), json!([mutation])).await;
    let pod =
        json!({"metadata": {"name": "m"}, "spec": {"containers": [{"name": "c", "image": "c:1"}]}});
    let refused = server.post("/api/v1/namespaces/default/pods", pod).await;
    let said = "policy 'p' with binding 'b' denied request: error applying patch: invalid ApplyConfiguration: may \
                not mutate atomic arrays, maps or structs: .spec.containers[0].args";
    assert_eq!(refused.refusal(), (403, said));
    assert_eq!(refused.body["reason"], "Invalid");
}

#[tokio::test]
async fn objects_are_made_under_the_names_of_their_fields() {
    for (kind, expression, said) in [
        (
            json!(["ApplyConfiguration", "applyConfiguration"]),
            "Object{metadata: Object.meta{labels: {'a': 'b'}}}",
            r#"unexpected type name "Object.meta", expected "Object.metadata""#,
        ),
        (
            json!(["JSONPatch", "jsonPatch"]),
            "[JSONPatch{op: 'add', path: '/data', value: Object.data{a: Object.b{}}}]",
            r#"unexpected type name "Object.b", expected "Object.data.a""#,
        ),
    ] {
        let server = Server::start().await;
        let mut mutation = json!({"patchType": kind[0]});
        mutation[kind[1].as_str().unwrap()] = json!({"expression": expression});
        mutate(&server, ("", "v1", "configmaps"), json!([mutation])).await;
        let refused = server.map("m", json!({})).await;
        let said = format!(
            "policy 'p' with binding 'b' denied request: type mismatch: {said}, which matches field name path from root \
             Object type"
        );
        assert_eq!(refused.refusal(), (403, said.as_str()));
    }
}

/// Whoever wants to be called again is, once anything was applied: also by itself.
#[tokio::test]
async fn a_policy_sees_its_own_change_once_more_if_it_wants_to() {
    let server = Server::start().await;
    let expression =
        "[JSONPatch{op: 'replace', path: '/data/a', value: string(int(object.data.a) + 1)}]";
    let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    mutate(&server, ("", "v1", "configmaps"), json!([mutation])).await;
    let made = server.map("m", json!({})).await.expect(201);
    assert_eq!(made["data"], json!({"a": "3"}));
}

#[tokio::test]
async fn a_patch_may_not_invent_fields_of_built_in_kinds() {
    let server = Server::start().await;
    let expression = "[JSONPatch{op: 'add', path: '/bogus', value: 'x'}]";
    let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    mutate(&server, ("", "v1", "configmaps"), json!([mutation])).await;
    let refused = server.map("m", json!({})).await;
    let said = r#"Internal error occurred: strict decoding error: unknown field "bogus""#;
    assert_eq!(refused.refusal(), (500, said));
}

#[tokio::test]
async fn what_cannot_be_configured_is_forbidden() {
    let server = Server::start().await;
    let expression = "[JSONPatch{op: 'add', path: '/data/a', value: 'b'}]";
    let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    let spec = json!({
        "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""],
            "apiVersions": ["v1"], "resources": ["configmaps"]}]},
        "reinvocationPolicy": "Never", "mutations": [mutation],
        "paramKind": {"apiVersion": "e.com/v1", "kind": "Nope"},
    });
    server.configure("mutatingadmissionpolicies", "p", spec).await;
    let reference = json!({"name": "x", "parameterNotFoundAction": "Deny"});
    let binding = json!({"policyName": "p", "paramRef": reference});
    server.configure("mutatingadmissionpolicybindings", "b", binding).await;
    let refused = server.map("m", json!({})).await;
    let said = "policy \"p\" denied request: failed to configure policy: failed to find resource \
                referenced by paramKind: 'e.com/v1, Kind=Nope'";
    assert_eq!(refused.refusal(), (403, said));
    assert_eq!(refused.body["reason"], "Forbidden");
}

#[tokio::test]
async fn a_mutation_knows_parameters_conditions_authorizer_and_namespace() {
    let server = Server::start().await;
    server.namespace("team", json!({"tier": "gold"})).await;
    let settings =
        json!({"metadata": {"name": "settings"}, "data": {"suffix": "-plan", "mark": "x"}});
    server.seen(MAPS, settings).await;
    let expression = "[JSONPatch{op: 'add', path: '/data/tier', \
                      value: namespaceObject.metadata.labels['tier'] + params.data.suffix}, \
                      JSONPatch{op: 'add', path: '/data/paint', \
                      value: string(authorizer.requestResource.check('paint').allowed())}]";
    let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    let marked = "has(object.metadata.labels) && params.data.mark in object.metadata.labels";
    let spec = json!({
        "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""],
            "apiVersions": ["v1"], "resources": ["configmaps"]}]},
        "matchConditions": [{"name": "marked", "expression": marked}],
        "reinvocationPolicy": "Never", "mutations": [mutation],
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
    });
    server.configure("mutatingadmissionpolicies", "p", spec).await;
    let reference =
        json!({"name": "settings", "namespace": "default", "parameterNotFoundAction": "Deny"});
    let binding = json!({"policyName": "p", "paramRef": reference});
    server.configure("mutatingadmissionpolicybindings", "b", binding).await;
    let team = "/api/v1/namespaces/team/configmaps";
    let map = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}});
    let made = server.post(team, map("one", json!({"x": "y"}))).await.expect(201);
    assert_eq!(made["data"], json!({"a": "1", "tier": "gold-plan", "paint": "false"}));
    let made = server.post(team, map("two", json!({"z": "y"}))).await.expect(201);
    assert_eq!(made["data"], json!({"a": "1"}));
}

#[tokio::test]
async fn a_runaway_mutation_is_stopped() {
    let server = Server::start().await;
    let numbers = "[0,1,2,3,4,5,6,7,8,9]";
    let expression = format!(
        "{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, {numbers}.all(d, {numbers}.all(e, {numbers}.all(f, a + b + c + d + e + f < 100)))))) \
         ? [JSONPatch{{op: 'add', path: '/data/b', value: 'two'}}] : []"
    );
    let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    mutate(&server, ("", "v1", "configmaps"), json!([mutation])).await;
    let refused = server.map("m", json!({})).await;
    let (code, said) = refused.refusal();
    assert_eq!(code, 403);
    assert!(
        said.starts_with("policy 'p' with binding 'b' denied request: ")
            && said.ends_with("operation cancelled: actual cost limit exceeded"),
        "{said}"
    );
}
