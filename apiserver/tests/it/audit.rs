//! The audit log: which events a request makes, and what they say.

use crate::harness::Server;
use async_trait::async_trait;
use http::Response;
use kubeplane_apiserver::{
    Body, Handler, HandlerRequest,
    audit::{AuditLog, AuditSink, Event, Mode, SinkOptions, Truncation},
    body,
};
use kubeplane_core::{ApiError, GroupResource, auth::UserInfo, status::ApiResult};
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

#[derive(Debug)]
struct Full;

impl AuditSink for Full {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        match event.user.username.as_str() {
            "admin" => Err(io::Error::other("no space")),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn nothing_is_done_that_must_be_recorded_and_cannot_be() {
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";
    for (mode, code) in [(Mode::Blocking, 201), (Mode::BlockingStrict, 500)] {
        let options = SinkOptions { mode, ..SinkOptions::default() };
        let log = AuditLog::of(policy.parse().unwrap()).sink("log", Full, options).unwrap();
        let metrics = kubeplane_telemetry::Metrics::new();
        let server = Server::with(|builder| builder.audit(Arc::new(log)).metrics(metrics.clone()));
        let namespace = json!({"metadata": {"name": "default"}});
        let answer = server.post("/api/v1/namespaces", &namespace).await.expect(code);
        let text = metrics.encode_plain();
        let has = |line: &str| assert!(text.contains(line), "{line} in {text}");
        has("apiserver_audit_level_total{level=\"Metadata\"} 1");
        if code == 500 {
            assert_eq!(answer["message"], "Internal error occurred: failed to store audit event");
            has("apiserver_audit_requests_rejected_total 1");
            has("apiserver_audit_error_total{plugin=\"log\"} 1");
            has("apiserver_audit_event_total 1");
        } else {
            has("apiserver_audit_error_total{plugin=\"log\"} 2");
        }
    }
}

#[tokio::test]
async fn large_events_are_written_without_their_objects() {
    let kept = Kept::default();
    let policy =
        "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Request, verbs: [create]}]}";
    let truncation = Truncation { max_event_size: 1000, ..Truncation::default() };
    let options = SinkOptions { truncation: Some(truncation), ..SinkOptions::default() };
    let log = AuditLog::of(policy.parse().unwrap()).sink("log", kept.clone(), options).unwrap();
    let server = Server::with(|builder| builder.audit(Arc::new(log)));
    let namespace = json!({"metadata": {"name": "default"}});
    server.post("/api/v1/namespaces", &namespace).await.expect(201);
    let map = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(2000)}});
    server.post(MAPS, &map).await.expect(201);
    let events = finish(server, &kept);
    let of = |resource: &str| {
        let mut found = events.iter().filter(|event| {
            event["objectRef"]["resource"] == resource && event["stage"] == "ResponseComplete"
        });
        found.next().unwrap_or_else(|| panic!("no {resource} in {events:#?}"))
    };
    assert!(of("namespaces")["requestObject"].is_object());
    let cut = of("configmaps");
    assert_eq!(cut["annotations"]["audit.k8s.io/truncated"], "true");
    assert!(cut.get("requestObject").is_none());
}

/// Keeps a connection until something is sent.
#[derive(Debug)]
struct UntilByte;

#[async_trait]
impl Handler for UntilByte {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let upgrade = request.upgrade().ok_or_else(|| ApiError::bad_request("no upgrade"))?;
        let held = request.held();
        request.api.spawn(async move {
            let mut stream = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            tokio::io::AsyncReadExt::read_u8(&mut stream).await.unwrap();
            drop(held);
        });
        let answer =
            Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "x");
        Ok(answer.body(body::empty()).unwrap())
    }
}

#[tokio::test]
async fn a_connection_that_was_taken_over_is_complete_when_it_ends() {
    let kept = Kept::default();
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";
    let log = Arc::new(AuditLog::new(policy.parse().unwrap(), kept.clone()).unwrap());
    let metrics = kubeplane_telemetry::Metrics::new();
    let server = Server::with(|builder| {
        let pods = GroupResource::new("", "pods");
        builder.audit(log).metrics(metrics.clone()).handler(pods, "exec", Arc::new(UntilByte))
    });
    let client = server.api.client_as(UserInfo::new("admin", ["x"]));
    let request = http::Request::post("/api/v1/namespaces/default/pods/p/exec")
        .header("connection", "Upgrade")
        .header("upgrade", "x")
        .body(kube_client::client::Body::empty())
        .unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut stream = hyper_util::rt::TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let stages = || -> Vec<_> {
        let events = kept.0.lock().unwrap();
        events.iter().map(|event| event["stage"].as_str().unwrap().to_owned()).collect()
    };
    let open = || {
        let text = metrics.encode_plain();
        let lines = text.lines().filter(|line| line.starts_with("apiserver_longrunning_requests{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(stages(), ["RequestReceived", "ResponseStarted"]);
    assert_eq!(open(), ["1"]);
    tokio::io::AsyncWriteExt::write_u8(&mut stream, b'x').await.unwrap();
    let complete = async {
        while stages().len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), complete).await.unwrap();
    assert_eq!(stages()[2], "ResponseComplete");
    assert_eq!(open(), ["0"]);
}

#[tokio::test]
async fn as_whom_somebody_acts_and_by_which_right_is_recorded() {
    let (server, kept) = server("[{level: Metadata, namespaces: [default]}]").await;
    server.call("GET", MAPS, &[("impersonate-user", "jane")], b"").await.expect(403);
    let events = finish(server, &kept);
    let refused = of(&events, "list", "ResponseComplete");
    assert_eq!(refused["user"]["username"], "admin");
    assert_eq!(refused["impersonatedUser"]["username"], "jane");
    let right = json!({"impersonationConstraint": "impersonate:user-info"});
    assert_eq!(refused["authenticationMetadata"], right);
}
