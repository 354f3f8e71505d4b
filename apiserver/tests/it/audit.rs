//! The audit log: which events a request makes, and what they say.

use crate::harness::Server;
use kubeplane_apiserver::audit::{AuditLog, AuditSink, Event};
use serde_json::{Value, json};
use std::{
    io,
    sync::{Arc, Mutex},
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<Value>>>);

impl AuditSink for Kept {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        self.0.lock().unwrap().push(serde_json::to_value(event)?);
        Ok(())
    }
}

/// A server with this policy, with the namespace `default`, and what it audits.
async fn server(rules: &str) -> (Server, Kept) {
    let kept = Kept::default();
    let policy = format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: {rules}}}");
    let log = AuditLog::new(policy.parse().unwrap(), kept.clone()).unwrap();
    let server = Server::with(|builder| builder.audit(Arc::new(log)));
    let namespace = json!({"metadata": {"name": "default"}});
    server.post("/api/v1/namespaces", &namespace).await.expect(201);
    (server, kept)
}

/// All events, once what was sent is written.
fn finish(server: Server, kept: &Kept) -> Vec<Value> {
    drop(server);
    std::mem::take(&mut kept.0.lock().unwrap())
}

fn of<'a>(events: &'a [Value], verb: &str, stage: &str) -> &'a Value {
    let mut found = events.iter().filter(|event| event["verb"] == verb && event["stage"] == stage);
    found.next().unwrap_or_else(|| panic!("no {verb} {stage} in {events:#?}"))
}

#[tokio::test]
async fn a_request_is_recorded_as_closely_as_the_policy_says() {
    let rules = "[{level: None, resources: [{resources: [namespaces]}]}, \
        {level: Metadata, verbs: [get]}, {level: Request, verbs: [patch]}, {level: RequestResponse}]";
    let (server, kept) = server(rules).await;
    let map = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    server.post(MAPS, &map).await.expect(201);
    let path = format!("{MAPS}/a");
    server.patch(&path, "merge-patch+json", &json!({"data": {"k": "w"}})).await.expect(200);
    server.get(&path).await.expect(200);
    server.get(&format!("{MAPS}/none")).await.expect(404);
    server.delete(&path, &json!({"propagationPolicy": "Background"})).await.expect(200);
    let events = finish(server, &kept);
    assert!(events.iter().all(|event| event["objectRef"]["resource"] == "configmaps"));

    let made = of(&events, "create", "ResponseComplete");
    assert_eq!(made["level"], "RequestResponse");
    assert_eq!(made["user"]["username"], "admin");
    assert_eq!(made["requestObject"]["data"]["k"], "v");
    assert_eq!(made["requestObject"]["kind"], "ConfigMap");
    assert!(made["responseObject"]["metadata"]["uid"].is_string());
    assert_eq!(made["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(made["objectRef"]["name"], "a");
    assert_eq!(made["annotations"]["authorization.k8s.io/decision"], "allow");
    let received = of(&events, "create", "RequestReceived");
    assert_eq!(received["auditID"], made["auditID"]);
    assert!(received.get("requestObject").is_none() && received.get("responseStatus").is_none());

    let patched = of(&events, "patch", "ResponseComplete");
    assert_eq!(patched["requestObject"], json!({"data": {"k": "w"}}));
    assert!(patched.get("responseObject").is_none());
    let read: Vec<_> = events
        .iter()
        .filter(|event| event["verb"] == "get" && event["stage"] == "ResponseComplete")
        .collect();
    assert_eq!(read[0]["responseStatus"]["code"], 200);
    assert_eq!(read[1]["responseStatus"]["reason"], "NotFound");
    assert!(read[1].get("responseObject").is_none());
    let deleted = of(&events, "delete", "ResponseComplete");
    assert_eq!(deleted["responseStatus"]["status"], "Success");
    assert_eq!(
        deleted["requestObject"],
        json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/__internal",
            "propagationPolicy": "Background"})
    );
}

#[tokio::test]
async fn who_may_not_and_who_is_nobody_is_recorded_too() {
    let (server, kept) = server("[{level: Metadata, namespaces: [default]}]").await;
    let headers = [
        ("authorization", "Bearer ann"),
        ("user-agent", "test/1"),
        ("x-forwarded-for", "10.0.0.7, x"),
    ];
    server.call("GET", MAPS, &headers, b"").await.expect(403);
    server.call("GET", MAPS, &[("authorization", "Bearer bad")], b"").await.expect(401);
    let events = finish(server, &kept);
    let refused = of(&events, "list", "ResponseComplete");
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(refused["responseStatus"]["reason"], "Forbidden");
    assert_eq!(
        (&refused["userAgent"], &refused["sourceIPs"]),
        (&json!("test/1"), &json!(["10.0.0.7"]))
    );
    let nobody = of(&events, "list", "ResponseStarted");
    assert_eq!((&nobody["user"], &nobody["responseStatus"]["code"]), (&json!({}), &json!(401)));
}

#[tokio::test]
async fn a_watch_is_recorded_when_it_begins_and_when_it_ends() {
    let rules = "[{level: Metadata, verbs: [watch], omitStages: [RequestReceived]}]";
    let (server, kept) = server(rules).await;
    let mut events = server.watch(&format!("{MAPS}?watch=true&timeoutSeconds=1")).await;
    while events.next().await.is_some() {}
    drop(events);
    let stages: Vec<_> = finish(server, &kept)
        .iter()
        .map(|event| event["stage"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(stages, ["ResponseStarted", "ResponseComplete"]);
}

#[tokio::test]
async fn managed_fields_are_left_out_when_asked() {
    let rules = "[{level: RequestResponse, omitManagedFields: true, verbs: [list, create]}]";
    let (server, kept) = server(rules).await;
    server.post(MAPS, &json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await.expect(201);
    let list = server.get(MAPS).await.expect(200);
    assert!(list["items"][0]["metadata"]["managedFields"].is_array());
    let events = finish(server, &kept);
    let listed = of(&events, "list", "ResponseComplete");
    let metadata = &listed["responseObject"]["items"][0]["metadata"];
    assert!(metadata["name"] == "a" && metadata.get("managedFields").is_none());
}
