use crate::harness::{MAPS, Server, Webhook, label, silence};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::Barrier;

#[tokio::test]
async fn a_webhook_changes_what_is_created_and_its_connection_is_used_again() {
    let (server, webhook) = (Server::start().await, Webhook::answering(label("by", "hook")).await);
    server.webhooks("mutating", "m", vec![webhook.hook("a.example.com", json!({}))]).await;
    for name in ["one", "two", "three"] {
        let made = server.map(name, json!({"x": "y"})).await.expect(201);
        assert_eq!(made["metadata"]["labels"], json!({"x": "y", "by": "hook"}));
    }
    assert_eq!((webhook.calls().len(), webhook.connections()), (3, 1));
    let call = &webhook.calls()[0];
    assert_eq!(call["operation"], "CREATE");
    assert_eq!(call["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(call["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&call["name"], &call["namespace"]), (&json!("one"), &json!("default")));
    assert_eq!(call["userInfo"]["username"], "admin");
    assert_eq!(call["object"]["data"], json!({"a": "1"}));
    assert_eq!((&call["oldObject"], &call["dryRun"]), (&Value::Null, &json!(false)));
    assert_eq!(call["options"]["kind"], "CreateOptions");
    let metrics = server.metrics();
    let counted = "apiserver_admission_webhook_request_total{code=\"200\",name=\"a.example.com\",operation=\"CREATE\",rejected=\"false\",type=\"admit\"} 3";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_webhook_refuses_in_its_own_words_and_warns() {
    let server = Server::start().await;
    let webhook = Webhook::answering(json!({
        "allowed": false, "status": {"message": "not today", "code": 403, "reason": "Forbidden"},
        "warnings": ["look out"],
    }))
    .await;
    server.webhooks("validating", "v", vec![webhook.hook("a.example.com", json!({}))]).await;
    let refused = server.map("m", json!({})).await;
    let said = "admission webhook \"a.example.com\" denied the request: not today";
    assert_eq!(refused.refusal(), (403, said));
    assert_eq!(refused.body["reason"], "Forbidden");
    assert_eq!(refused.warnings, ["299 - \"look out\""]);
    // Configurations are never shown to webhooks, so that this one can be taken back.
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/v";
    server.call("DELETE", path, &Value::Null).await.expect(200);
    assert_eq!(webhook.calls().len(), 1);
}

#[tokio::test]
async fn a_deletion_shows_what_is_deleted() {
    let (server, webhook) =
        (Server::start().await, Webhook::answering(json!({"allowed": false})).await);
    server.map("m", json!({"keep": "yes"})).await.expect(201);
    let rules = json!([{"operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]);
    let fields = json!({"rules": rules, "objectSelector": {"matchLabels": {"keep": "yes"}}});
    server.webhooks("validating", "v", vec![webhook.hook("a.example.com", fields)]).await;
    let path = format!("{MAPS}/m");
    let refused = server.call("DELETE", &path, &Value::Null).await;
    let said = "admission webhook \"a.example.com\" denied the request without explanation";
    assert_eq!(refused.refusal(), (400, said));
    let call = &webhook.calls()[0];
    assert_eq!(call["object"], Value::Null);
    assert_eq!(call["oldObject"]["metadata"]["name"], "m");
    server.map("other", json!({})).await.expect(201);
    server.call("DELETE", &format!("{MAPS}/other"), &Value::Null).await.expect(200);
}

#[tokio::test]
async fn a_webhook_that_hangs_costs_its_timeout_and_a_dead_one_nothing() {
    let server = Server::start().await;
    let hanging = Webhook::start(silence).await;
    let fields = json!({"timeoutSeconds": 1});
    server.webhooks("validating", "v", vec![hanging.hook("slow.example.com", fields)]).await;
    let refused = server.map("m", json!({})).await;
    let said = format!(
        "Internal error occurred: failed calling webhook \"slow.example.com\": failed to call webhook: \
         Post \"https://127.0.0.1:{}/review?timeout=1s\": context deadline exceeded",
        hanging.port
    );
    assert_eq!(refused.refusal(), (500, said.as_str()));
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/v";
    server.call("DELETE", path, &Value::Null).await.expect(200);

    let fields = json!({"timeoutSeconds": 1, "failurePolicy": "Ignore"});
    let mut dead = hanging.hook("dead.example.com", fields);
    dead["clientConfig"]["url"] = "https://127.0.0.1:1/".into();
    server.webhooks("mutating", "m", vec![dead.clone()]).await;
    server.map("n", json!({})).await.expect(201);
    let metrics = server.metrics();
    let counted =
        "apiserver_admission_webhook_fail_open_count{name=\"dead.example.com\",type=\"admit\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    dead["failurePolicy"] = "Fail".into();
    server.webhooks("mutating", "n", vec![dead]).await;
    let refused = server.map("o", json!({})).await;
    let said = "Internal error occurred: failed calling webhook \"dead.example.com\": failed to call webhook: \
         Post \"https://127.0.0.1:1/?timeout=1s\": dial tcp 127.0.0.1:1: connect: connection refused";
    assert_eq!(refused.refusal(), (500, said));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_not_trusted() {
    let server = Server::start().await;
    let (one, other) =
        (Webhook::answering(json!({"allowed": true})).await, Webhook::start(silence).await);
    let mut hook = one.hook("a.example.com", json!({}));
    hook["clientConfig"]["caBundle"] =
        other.hook("b", json!({}))["clientConfig"]["caBundle"].clone();
    server.webhooks("validating", "v", vec![hook]).await;
    let refused = server.map("m", json!({})).await;
    let (code, said) = refused.refusal();
    assert_eq!(code, 500);
    assert!(said.contains("tls: failed to verify certificate: x509: "), "{said}");
    assert_eq!(one.calls().len(), 0);
}

#[tokio::test]
async fn a_webhook_that_cares_is_called_again_when_another_changed_the_object() {
    let server = Server::start().await;
    let first = Webhook::answering(json!({"allowed": true})).await;
    let second = Webhook::answering(label("late", "yes")).await;
    let cares = first.hook("a.example.com", json!({"reinvocationPolicy": "IfNeeded"}));
    let plain = first.hook("b.example.com", json!({}));
    let changes = second.hook("c.example.com", json!({}));
    server.webhooks("mutating", "m", vec![cares, plain, changes]).await;
    server.map("m", json!({"x": "y"})).await.expect(201);
    assert_eq!(second.calls().len(), 1);
    let labels: Vec<_> =
        first.calls().iter().map(|call| call["object"]["metadata"]["labels"].clone()).collect();
    assert_eq!(labels, [json!({"x": "y"}), json!({"x": "y"}), json!({"x": "y", "late": "yes"})]);
}

#[tokio::test]
async fn selectors_and_conditions_choose() {
    let (server, webhook) =
        (Server::start().await, Webhook::answering(json!({"allowed": false})).await);
    server.namespace("guarded", json!({"guard": "on"})).await;
    let fields = json!({
        "namespaceSelector": {"matchLabels": {"guard": "on"}},
        "matchConditions": [
            {"name": "not-ours", "expression": "!object.metadata.name.startsWith('ours-')"},
            {"name": "makers", "expression": "'makers' in request.userInfo.groups && request.namespace == 'guarded'"},
            {"name": "allowed", "expression": "authorizer.group('').resource('pods').namespace('guarded').check('create').allowed()"},
        ],
    });
    server.webhooks("validating", "v", vec![webhook.hook("a.example.com", fields)]).await;
    server.map("free", json!({})).await.expect(201);
    let guarded = "/api/v1/namespaces/guarded/configmaps";
    let map = |name: &str| json!({"metadata": {"name": name}});
    server.post(guarded, map("ours-1")).await.expect(201);
    assert_eq!(webhook.calls().len(), 0);
    server.post(guarded, map("theirs")).await.expect(400);
    assert_eq!(webhook.calls().len(), 1);
}

#[tokio::test]
async fn a_webhook_with_side_effects_makes_dry_runs_fail() {
    let (server, webhook) =
        (Server::start().await, Webhook::answering(json!({"allowed": true})).await);
    let fields = json!({"sideEffects": "Some", "admissionReviewVersions": ["v1beta1"]});
    // What the API no longer takes may still be stored; v1 allows None and NoneOnDryRun only.
    let refused = server
        .post(
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            json!({"metadata": {"name": "x"}, "webhooks": [webhook.hook("a.example.com", fields)]}),
        )
        .await;
    assert_eq!(refused.code, 422, "{}", refused.body);
    let hook = webhook.hook("a.example.com", json!({"sideEffects": "NoneOnDryRun"}));
    server.webhooks("validating", "v", vec![hook]).await;
    let path = format!("{MAPS}?dryRun=All");
    server.post(&path, json!({"metadata": {"name": "m"}})).await.expect(201);
    assert_eq!(webhook.calls()[0]["dryRun"], true);
}

#[tokio::test]
async fn validating_webhooks_are_called_at_once() {
    let server = Server::start().await;
    let barrier = Arc::new(Barrier::new(2));
    let webhook = Webhook::start(move |_| {
        let barrier = barrier.clone();
        Box::pin(async move {
            barrier.wait().await;
            json!({"allowed": true})
        })
    })
    .await;
    let hooks = ["a.example.com", "b.example.com"].map(|name| webhook.hook(name, json!({})));
    server.webhooks("validating", "v", hooks.to_vec()).await;
    let made = tokio::time::timeout(Duration::from_secs(60), server.map("m", json!({}))).await;
    made.unwrap().expect(201);
}

#[tokio::test]
async fn other_versions_are_converted_for_those_who_want_them() {
    let (server, webhook) =
        (Server::start().await, Webhook::answering(json!({"allowed": true})).await);
    let rules = json!([{"operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v2"],
        "resources": ["horizontalpodautoscalers"]}]);
    let equivalent = webhook.hook("a.example.com", json!({"rules": rules}));
    let exact = webhook.hook("b.example.com", json!({"rules": rules, "matchPolicy": "Exact"}));
    server.webhooks("validating", "v", vec![equivalent, exact]).await;
    let path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let scaler = json!({"metadata": {"name": "s"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
    }});
    server.post(path, scaler).await.expect(201);
    let calls = webhook.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["kind"]["version"], "v2");
    assert_eq!(calls[0]["requestKind"]["version"], "v1");
    assert_eq!(calls[0]["object"]["apiVersion"], "autoscaling/v2");
    assert_eq!(calls[0]["object"]["spec"]["metrics"][0]["type"], "Resource");
}

#[tokio::test]
async fn a_webhook_behind_a_service_is_found_and_may_speak_the_old_version() {
    let (server, webhook) = (Server::start().await, Webhook::answering(label("by", "old")).await);
    let mut hook = webhook.behind_service("a.example.com");
    hook["admissionReviewVersions"] = json!(["v3", "v1beta1"]);
    server.webhooks("mutating", "m", vec![hook]).await;
    let refused = server.map("early", json!({"x": "y"})).await;
    let (code, said) = refused.refusal();
    assert_eq!(code, 500);
    assert!(said.ends_with(": service \"hook\" not found"), "{said}");
    let spec =
        json!({"clusterIP": "127.0.0.1", "ports": [{"port": webhook.port, "protocol": "TCP"}]});
    let service = json!({"metadata": {"name": "hook"}, "spec": spec});
    server.seen("/api/v1/namespaces/default/services", service).await;
    let made = server.map("m", json!({"x": "y"})).await.expect(201);
    assert_eq!(made["metadata"]["labels"]["by"], "old");
}

/// A namespace is in itself, also before it is there.
#[tokio::test]
async fn a_namespace_is_shown_as_its_own() {
    let (server, webhook) =
        (Server::start().await, Webhook::answering(json!({"allowed": true})).await);
    let rules = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["namespaces"], "scope": "Cluster"}]);
    let conditions =
        json!([{"name": "own", "expression": "request.namespace == object.metadata.name"}]);
    let fields = json!({"rules": rules, "matchConditions": conditions});
    server.webhooks("validating", "v", vec![webhook.hook("a.example.com", fields)]).await;
    server.namespace("team", json!({})).await;
    let calls = webhook.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!((&calls[0]["name"], &calls[0]["namespace"]), (&json!("team"), &json!("team")));
}

/// An answer of the wrong form is a failure, which may be ignored, and no refusal, which may not.
#[tokio::test]
async fn an_answer_that_cannot_be_read_is_a_failed_call() {
    let (server, webhook) =
        (Server::start().await, Webhook::answering(json!({"allowed": "yes"})).await);
    let ignore = json!({"failurePolicy": "Ignore"});
    server.webhooks("validating", "a", vec![webhook.hook("a.example.com", ignore)]).await;
    server.map("one", json!({})).await.expect(201);
    server.webhooks("validating", "b", vec![webhook.hook("b.example.com", json!({}))]).await;
    let refused = server.map("two", json!({})).await;
    let said = "Internal error occurred: failed calling webhook \"b.example.com\": failed to call webhook: \
         json: cannot unmarshal string into Go struct field AdmissionResponse.response.allowed of type bool";
    assert_eq!(refused.refusal(), (500, said));
}

#[tokio::test]
async fn a_reason_of_a_webhooks_own_is_passed_on() {
    let server = Server::start().await;
    let webhook = Webhook::answering(json!({
        "allowed": false, "status": {"code": 451, "reason": "Unlawful", "message": "not here"},
    }))
    .await;
    server.webhooks("validating", "v", vec![webhook.hook("a.example.com", json!({}))]).await;
    let refused = server.map("m", json!({})).await;
    let said = "admission webhook \"a.example.com\" denied the request: not here";
    assert_eq!(refused.refusal(), (451, said));
    assert_eq!(refused.body["reason"], "Unlawful");
}

/// What webhooks did, and what they have to say of it, is in the audit log.
#[tokio::test]
async fn what_webhooks_did_is_audited() {
    let (server, kept) = Server::audited().await;
    let mut answer = label("by", "hook");
    answer["auditAnnotations"] = json!({"why": "asked to", "not a key": "lost", "no/key": "lost"});
    let (changes, dead) = (Webhook::answering(answer).await, Webhook::start(silence).await);
    let mut ignored = dead.hook("b.example.com", json!({"failurePolicy": "Ignore"}));
    ignored["clientConfig"]["url"] = "https://127.0.0.1:1/".into();
    let hooks = vec![changes.hook("a.example.com", json!({})), ignored.clone()];
    server.webhooks("mutating", "m", hooks).await;
    server.webhooks("validating", "v", vec![ignored]).await;
    server.map("one", json!({"x": "y"})).await.expect(201);
    let found = kept.annotations("one").await;
    let own = found.as_object().unwrap().iter();
    let own = own.filter(|(key, _)| !key.starts_with("authorization.k8s.io/"));
    let read = |value: &Value| -> Value {
        let text = value.as_str().unwrap();
        serde_json::from_str(text).unwrap_or_else(|_| text.into())
    };
    let own: Value = own.map(|(key, value)| (key.clone(), read(value))).collect();
    let patch = json!([{"op": "add", "path": "/metadata/labels/by", "value": "hook"}]);
    assert_eq!(
        own,
        json!({
            "a.example.com/why": "asked to",
            "mutation.webhook.admission.k8s.io/round_0_index_0":
                {"configuration": "m", "webhook": "a.example.com", "mutated": true},
            "patch.webhook.admission.k8s.io/round_0_index_0":
                {"configuration": "m", "webhook": "a.example.com", "patch": patch, "patchType": "JSONPatch"},
            "mutation.webhook.admission.k8s.io/round_0_index_1":
                {"configuration": "m", "webhook": "b.example.com", "mutated": false},
            "failed-open.mutation.webhook.admission.k8s.io/round_0_index_1": "b.example.com",
            "failed-open.validating.webhook.admission.k8s.io/round_0_index_0": "b.example.com",
        })
    );
}
