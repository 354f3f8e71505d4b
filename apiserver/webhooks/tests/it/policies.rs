use crate::harness::{MAPS, Server};
use serde_json::{Value, json};

/// A policy over ConfigMaps with these fields over the usual ones, bound as the binding says.
async fn policy(server: &Server, fields: Value, binding: Value) {
    let mut spec = json!({
        "matchConstraints": {"resourceRules": [
            {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]},
        ]},
    });
    for (key, value) in fields.as_object().unwrap() {
        spec[key] = value.clone();
    }
    server.configure("validatingadmissionpolicies", "p", spec).await;
    let mut bound = json!({"policyName": "p", "validationActions": ["Deny"]});
    for (key, value) in binding.as_object().unwrap() {
        bound[key] = value.clone();
    }
    server.configure("validatingadmissionpolicybindings", "b", bound).await;
}

fn denied(name: &str, why: &str) -> String {
    format!(
        "configmaps {name:?} is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {why}"
    )
}

#[tokio::test]
async fn a_policy_refuses_with_message_and_reason() {
    let server = Server::start().await;
    let validations = json!([
        {"expression": "object.metadata.name.size() < 6", "messageExpression": "'too long: ' + object.metadata.name"},
        {"expression": "!('x' in object.metadata.?labels.orValue({}))", "message": "no x", "reason": "Forbidden"},
        {"expression": "request.operation == 'CREATE' || oldObject.data == object.data"},
    ]);
    policy(&server, json!({"validations": validations}), json!({})).await;
    server.map("short", json!({})).await.expect(201);
    let long = server.map("longer", json!({})).await;
    assert_eq!(long.refusal(), (422, denied("longer", "too long: longer").as_str()));
    assert_eq!(long.body["reason"], "Invalid");
    assert_eq!(long.body["details"]["kind"], "configmaps");
    let labelled = server.map("l", json!({"x": "y"})).await;
    assert_eq!(labelled.refusal(), (403, denied("l", "no x").as_str()));
    let changed = json!({"metadata": {"name": "short"}, "data": {"a": "2"}});
    let changed = server.call("PUT", &format!("{MAPS}/short"), &changed).await;
    let why = "failed expression: request.operation == 'CREATE' || oldObject.data == object.data";
    assert_eq!(changed.refusal(), (422, denied("short", why).as_str()));
}

#[tokio::test]
async fn a_policy_may_only_warn_and_failures_may_be_ignored() {
    let server = Server::start().await;
    let fields = json!({
        "failurePolicy": "Ignore",
        "validations": [{"expression": "false", "message": "never"}, {"expression": "object.nothing == 1"}],
        "auditAnnotations": [{"key": "name", "valueExpression": "'name: ' + object.metadata.name"}],
    });
    policy(&server, fields, json!({"validationActions": ["Warn", "Audit"]})).await;
    let made = server.map("m", json!({})).await;
    assert_eq!(made.code, 201);
    let warning =
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': never\"";
    assert_eq!(made.warnings, [warning]);
}

#[tokio::test]
async fn what_a_policy_finds_is_audited_where_its_binding_says_so() {
    let (server, kept) = Server::audited().await;
    let fields = json!({
        "validations": [{"expression": "size(object.data) > 7", "message": "too few"}],
        "auditAnnotations": [
            {"key": "name", "valueExpression": "'name: ' + object.metadata.name"},
            {"key": "labels", "valueExpression": "has(object.metadata.labels) ? 'some' : ''"},
        ],
    });
    policy(&server, fields, json!({"validationActions": ["Audit"]})).await;
    let made = server.map("m", json!({"x": "y"})).await;
    assert_eq!((made.code, made.warnings), (201, Vec::new()));
    let found = kept.annotations("m").await;
    assert_eq!((&found["p/name"], &found["p/labels"]), (&json!("name: m"), &json!("some")));
    let failure = found["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap();
    assert_eq!(
        failure,
        r#"[{"message":"too few","policy":"p","binding":"b","expressionIndex":0,"validationActions":["Audit"]}]"#
    );
    // An empty value is none.
    let bare = json!({"metadata": {"name": "bare"}, "data": {"a": "1"}});
    server.post(MAPS, bare).await.expect(201);
    let found = kept.annotations("bare").await;
    assert_eq!((&found["p/name"], &found["p/labels"]), (&json!("name: bare"), &Value::Null));
}

#[tokio::test]
async fn variables_conditions_authorizer_and_namespace_are_there() {
    let server = Server::start().await;
    server.namespace("team", json!({"limit": "2"})).await;
    let fields = json!({
        "matchConditions": [{"name": "own", "expression": "request.namespace == 'team'"}],
        "variables": [
            {"name": "limit", "expression": "int(namespaceObject.metadata.labels['limit'])"},
            {"name": "double", "expression": "variables.limit * 2"},
            {"name": "broken", "expression": "int(request.namespace)"},
        ],
        "validations": [
            {"expression": "size(object.data) <= variables.double", "messageExpression": "'more than ' + string(variables.double)"},
            {"expression": "!('paint' in object.data) || authorizer.requestResource.check('paint').allowed()", "message": "no paint"},
            {"expression": "!('broken' in object.data) || variables.broken > 1"},
        ],
    });
    policy(&server, fields, json!({})).await;
    let post = async |data: Value| {
        let body = json!({"metadata": {"generateName": "m-"}, "data": data});
        server.post("/api/v1/namespaces/team/configmaps", body).await
    };
    assert_eq!(post(json!({"a": "1"})).await.code, 201);
    let many = post(json!({"a": "1", "b": "1", "c": "1", "d": "1", "e": "1"})).await;
    assert!(many.refusal().1.ends_with("denied request: more than 4"), "{}", many.body);
    let paint = post(json!({"paint": "red"})).await;
    assert!(paint.refusal().1.ends_with("denied request: no paint"), "{}", paint.body);
    let broken = post(json!({"broken": ""})).await;
    assert!(
        broken.refusal().1.contains("composited variable \"broken\" fails to evaluate"),
        "{}",
        broken.body
    );
    server.map("elsewhere", json!({})).await.expect(201);
}

#[tokio::test]
async fn parameters_come_from_any_kind() {
    let server = Server::start().await;
    let crd = json!({"metadata": {"name": "limits.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"kind": "Limit", "plural": "limits"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"max": {"type": "integer"}}}}}],
    }});
    server.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd).await.expect(201);
    let limits = "/apis/example.com/v1/namespaces/default/limits";
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while server.call("GET", limits, &Value::Null).await.code != 200 {
        assert!(tokio::time::Instant::now() < deadline, "limits are not served");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let fields = json!({
        "paramKind": {"apiVersion": "example.com/v1", "kind": "Limit"},
        "validations": [{"expression": "size(object.data) <= params.max", "messageExpression": "params.metadata.name + ' says ' + string(params.max)"}],
    });
    let selector = json!({"matchLabels": {"on": "yes"}});
    let reference = json!({"selector": selector, "parameterNotFoundAction": "Deny"});
    policy(&server, fields, json!({"paramRef": reference})).await;
    let refused = server.map("m", json!({})).await;
    let why = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!(refused.refusal(), (422, denied("m", why).as_str()));
    let limit = |name: &str, max: u8, on: &str| json!({"apiVersion": "example.com/v1", "kind": "Limit", "metadata": {"name": name, "labels": {"on": on}}, "max": max});
    server.seen(limits, limit("off", 0, "no")).await;
    server.seen(limits, limit("wide", 9, "yes")).await;
    server.map("m", json!({})).await.expect(201);
    server.seen(limits, limit("tight", 0, "yes")).await;
    let refused = server.map("n", json!({})).await;
    assert_eq!(refused.refusal(), (422, denied("n", "tight says 0").as_str()));
}

#[tokio::test]
async fn an_unknown_kind_of_parameters_is_told() {
    let server = Server::start().await;
    let fields = json!({
        "paramKind": {"apiVersion": "example.com/v1", "kind": "Nothing"},
        "validations": [{"expression": "params == null"}],
    });
    let reference = json!({"name": "x", "parameterNotFoundAction": "Deny"});
    policy(&server, fields, json!({"paramRef": reference})).await;
    let refused = server.map("m", json!({})).await;
    let why = "ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource \
               referenced by paramKind: 'example.com/v1, Kind=Nothing'";
    assert!(refused.refusal().1.ends_with(why), "{}", refused.body);
}

#[tokio::test]
async fn a_runaway_policy_is_stopped() {
    let server = Server::start().await;
    let numbers = "[0,1,2,3,4,5,6,7,8,9]";
    let nested = format!(
        "{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, {numbers}.all(d, {numbers}.all(e, {numbers}.all(f, a + b + c + d + e + f < 100))))))"
    );
    policy(&server, json!({"validations": [{"expression": nested}]}), json!({})).await;
    let refused = server.map("m", json!({})).await;
    let why = "resulted in error: operation cancelled: actual cost limit exceeded";
    assert!(refused.refusal().1.ends_with(why), "{}", refused.body);
}

#[tokio::test]
async fn the_status_of_a_policy_says_what_its_expressions_get_wrong() {
    let server = Server::start().await;
    let rule = |group: &str, resources: Value| json!({"operations": ["CREATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": resources});
    let checked = async |name: &str, fields: Value| {
        server.configure("validatingadmissionpolicies", name, fields).await;
        let path =
            format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{name}");
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let policy = server.call("GET", &path, &Value::Null).await.expect(200);
            if policy["status"]["observedGeneration"] == policy["metadata"]["generation"] {
                let mut managers = policy["metadata"]["managedFields"].as_array().unwrap().iter();
                let own = managers.find(|own| own["subresource"] == "status").unwrap();
                assert_eq!(own["manager"], "validatingadmissionpolicy-status");
                assert_eq!(own["operation"], "Apply");
                return policy["status"]["typeChecking"].clone();
            }
            assert!(tokio::time::Instant::now() < deadline, "{policy}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let validations = json!([
        {"expression": "object.spec.replicas > 5", "messageExpression": "'is ' + object.nothing"},
        {"expression": "object.metadata.name == 'x' && variables.a && params.b > 1"},
    ]);
    let rules = json!({"resourceRules": [rule("apps", json!(["deployments", "deployments/scale"])), rule("", json!(["configmaps"]))]});
    let fields = json!({"matchConstraints": rules, "validations": validations,
        "variables": [{"name": "a", "expression": "true"}], "paramKind": {"apiVersion": "x.y/v1", "kind": "Z"}});
    let warnings = checked("wrong", fields).await["expressionWarnings"].clone();
    let list = warnings.as_array().unwrap();
    assert_eq!(list.len(), 2, "{warnings}");
    assert_eq!(list[0]["fieldRef"], "spec.validations[0].expression");
    let warning = list[0]["warning"].as_str().unwrap();
    assert!(
        warning.starts_with("/v1, Kind=ConfigMap: ERROR: <input>:1:7: undefined field 'spec'"),
        "{warning}"
    );
    assert!(!warning.contains("Deployment"), "{warning}");
    let warning = list[1]["warning"].as_str().unwrap();
    assert_eq!(list[1]["fieldRef"], "spec.validations[0].messageExpression");
    assert!(
        warning.starts_with("/v1, Kind=ConfigMap: ")
            && warning.contains("\n\napps/v1, Kind=Deployment: "),
        "{warning}"
    );

    // What a variable is follows from what it is made of.
    let fields = json!({
        "matchConstraints": {"resourceRules": [rule("apps", json!(["deployments"]))]},
        "variables": [{"name": "count", "expression": "object.spec.replicas"},
            {"name": "again", "expression": "variables.count"}],
        "validations": [{"expression": "variables.again > 5"}, {"expression": "variables.again > 'five'"}],
    });
    let warnings = checked("variables", fields).await["expressionWarnings"].clone();
    let list = warnings.as_array().unwrap();
    assert_eq!(list.len(), 1, "{warnings}");
    assert_eq!(list[0]["fieldRef"], "spec.validations[1].expression");
    let warning = list[0]["warning"].as_str().unwrap();
    let start = "apps/v1, Kind=Deployment: ERROR: <input>:1:17: found no matching overload for '_>_' applied to '(int, string)'";
    assert!(warning.starts_with(start), "{warning}");
    let rules = json!({"resourceRules": [rule("*", json!(["*"]))]});
    let validations = json!([{"expression": "object.nothing == 1"}]);
    let fields = json!({"matchConstraints": rules, "validations": validations});
    assert_eq!(checked("wild", fields).await, json!({}));
}

#[tokio::test]
async fn variables_that_use_one_another_without_end_are_refused_not_followed() {
    let server = Server::start().await;
    let chain = |length: usize| {
        let mut all = vec![json!({"name": "v0", "expression": "size(object.data)"})];
        all.extend((1..length).map(|at| {
            json!({"name": format!("v{at}"), "expression": format!("variables.v{} + 1", at - 1)})
        }));
        let expression = format!("variables.v{} < {}", length - 1, length + 1);
        json!({"variables": all, "validations": [{"expression": expression}]})
    };
    policy(&server, chain(300), json!({})).await;
    let refused = server.map("m", json!({})).await;
    assert!(refused.refusal().1.contains("is used by 100 others in turn"), "{}", refused.body);
    let server = Server::start().await;
    policy(&server, chain(90), json!({})).await;
    server.map("m", json!({})).await.expect(201);
}

/// Messages are made last, and what is spent on them is spent on no other.
#[tokio::test]
async fn a_message_that_costs_all_there_is_is_told_instead() {
    let server = Server::start().await;
    let numbers = "[0,1,2,3,4,5,6,7,8,9]";
    let costly = format!(
        "{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, {numbers}.all(d, {numbers}.all(e, {numbers}.all(f, a + b + c + d + e + f < 100)))))) ? 'x' : 'y'"
    );
    // Each is cut off at what one expression may cost; together they cost more than there is.
    let validation = json!({"expression": "false", "messageExpression": costly});
    let all: Vec<_> = (0..12).map(|_| validation.clone()).collect();
    let fields = json!({"validations": all});
    policy(&server, fields, json!({"validationActions": ["Deny"]})).await;
    let refused = server.map("m", json!({})).await;
    let why = "failed messageExpression: validation failed due to running out of cost budget, no further validation \
               rules will be run";
    assert_eq!(refused.refusal(), (422, &*denied("m", why)));
}

/// The first policy that refuses has the word, also where another cannot be configured.
#[tokio::test]
async fn refusals_are_told_in_the_order_of_policies() {
    let server = Server::start().await;
    let maps = json!({"resourceRules": [
        {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]},
    ]});
    let policies = [
        (
            "first",
            json!({"matchConstraints": maps,
            "matchConditions": [{"name": "early", "expression": "object.metadata.name != 'free'"}],
            "validations": [{"expression": "false", "message": "never"}]}),
        ),
        (
            "second",
            json!({"matchConstraints": maps,
            "paramKind": {"apiVersion": "example.com/v1", "kind": "Nothing"},
            "validations": [{"expression": "true"}]}),
        ),
    ];
    for (name, spec) in policies {
        server.configure("validatingadmissionpolicies", name, spec).await;
        let bound = json!({"policyName": name, "validationActions": ["Deny"],
            "paramRef": {"name": "x", "parameterNotFoundAction": "Deny"}});
        let bound = match name {
            "first" => json!({"policyName": name, "validationActions": ["Deny"]}),
            _ => bound,
        };
        server.configure("validatingadmissionpolicybindings", name, bound).await;
    }
    let refused = server.map("m", json!({})).await;
    let why = "ValidatingAdmissionPolicy 'first' with binding 'first' denied request: never";
    assert!(refused.refusal().1.ends_with(why), "{}", refused.body);
    let refused = server.map("free", json!({})).await;
    let why = "ValidatingAdmissionPolicy 'second' denied request: failed to configure policy: ";
    assert!(refused.refusal().1.contains(why), "{}", refused.body);
}

/// Annotations have a budget of their own; one who spends it all is refused, whatever was found before.
#[tokio::test]
async fn annotations_that_cost_all_there_is_refuse() {
    let server = Server::start().await;
    let numbers = "[0,1,2,3,4,5,6,7,8,9]";
    let costly = format!(
        "{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, {numbers}.all(d, {numbers}.all(e, {numbers}.all(f, a + b + c + d + e + f < 100)))))) ? 'x' : 'y'"
    );
    let annotations: Vec<_> =
        (0..12).map(|at| json!({"key": format!("a{at}"), "valueExpression": costly})).collect();
    let fields = json!({
        "validations": [{"expression": "false", "message": "never"}], "auditAnnotations": annotations,
    });
    policy(&server, fields, json!({})).await;
    let refused = server.map("m", json!({})).await;
    let why = "validation failed due to running out of cost budget, no further validation rules will be run";
    assert_eq!(refused.refusal(), (422, &*denied("m", why)));
}
