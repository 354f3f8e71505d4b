//! FlowSchemas and priority levels decide how many requests of whom are served at once.

use crate::harness::{Answer, Server};
use async_trait::async_trait;
use http::Response;
use kubeplane_apiserver::{Api, Body, Route, body};
use kubeplane_core::status::ApiResult;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SCHEMA: &str = "x-kubernetes-pf-flowschema-uid";
const LEVEL: &str = "x-kubernetes-pf-prioritylevel-uid";

/// Answers when there is a permit.
#[derive(Debug)]
struct Slow(Arc<Semaphore>);

#[async_trait]
impl Route for Slow {
    async fn serve(
        &self,
        _api: &Api,
        _head: &http::request::Parts,
        _body: Body,
    ) -> ApiResult<Response<Body>> {
        self.0.acquire().await.unwrap().forget();
        Ok(Response::new(body::full("done")))
    }
}

async fn level(server: &Server, name: &str, limited: Value) -> Value {
    let level =
        json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}});
    server.post(&format!("{GROUP}/prioritylevelconfigurations"), &level).await.expect(201)
}

async fn schema(server: &Server, level: &str, rule: Value) -> Value {
    let schema = json!({"metadata": {"name": level}, "spec": {"matchingPrecedence": 100,
        "priorityLevelConfiguration": {"name": level}, "rules": [rule]}});
    server.post(&format!("{GROUP}/flowschemas"), &schema).await.expect(201)
}

/// What somebody is answered once that is as wanted: schemas count a moment after they were written.
async fn eventually(
    server: &Server,
    path: &str,
    user: &str,
    wanted: impl Fn(&Answer) -> bool,
) -> Answer {
    for _ in 0..1000 {
        let answer = server.call("GET", path, &[("authorization", user)], b"").await;
        if wanted(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{path} is not answered as wanted");
}

#[tokio::test]
async fn answers_name_the_schema_and_level_of_the_request() {
    let server = Server::ready().await;
    let level = level(
        &server,
        "tests",
        json!({"nominalConcurrencyShares": 10, "limitResponse": {"type": "Reject"}}),
    )
    .await;
    let schema = schema(
        &server,
        "tests",
        json!({"subjects": [{"kind": "User", "user": {"name": "joe"}}],
            "resourceRules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"],
                "namespaces": ["default"]}]}),
    )
    .await;
    let answer =
        eventually(&server, PODS, "Bearer joe", |answer| answer.headers.contains_key(SCHEMA)).await;
    // The refused, too, are told.
    assert_eq!(answer.code.as_u16(), 403);
    assert_eq!(answer.headers[SCHEMA], schema["metadata"]["uid"].as_str().unwrap());
    assert_eq!(answer.headers[LEVEL], level["metadata"]["uid"].as_str().unwrap());
    for (path, user) in [(PODS, "Bearer jane"), ("/api/v1/pods", "Bearer joe")] {
        let other = server.call("GET", path, &[("authorization", user)], b"").await;
        assert!(!other.headers.contains_key(SCHEMA), "{user} {path}");
    }
}

#[tokio::test]
async fn who_has_no_seats_is_sent_away_and_others_are_not() {
    let server = Server::ready().await;
    let none = json!({"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Reject"}});
    level(&server, "none", none).await;
    let everything = json!({"subjects": [{"kind": "User", "user": {"name": "noisy"}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
            "clusterScope": true, "namespaces": ["*"]}]});
    schema(&server, "none", everything).await;
    let refused =
        eventually(&server, PODS, "Bearer noisy", |answer| answer.code.as_u16() == 429).await;
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.json()["reason"], "TooManyRequests");
    server.get(PODS).await.expect(200);
    let metrics = server.get("/metrics").await.text;
    let counted = "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"none\",priority_level=\"none\",\
                   reason=\"concurrency-limit\"}";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_level_queues_what_it_has_no_seat_for_until_its_queue_is_full() {
    let permits = Arc::new(Semaphore::new(0));
    let slow = Slow(permits.clone());
    let server = Server::with(|builder| builder.route("/slow", Arc::new(slow)));
    // One seat of six hundred, and room for one that waits.
    let queuing = json!({"queues": 1, "handSize": 1, "queueLengthLimit": 1});
    let one = json!({"nominalConcurrencyShares": 1, "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Queue", "queuing": queuing}});
    level(&server, "one", one).await;
    let rest = json!({"nominalConcurrencyShares": 100_000, "limitResponse": {"type": "Reject"}});
    level(&server, "rest", rest).await;
    let slow = json!({"subjects": [{"kind": "User", "user": {"name": "admin"}}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/slow/*"]}]});
    schema(&server, "one", slow).await;
    let shown = |answer: &Answer| {
        let schema = "dispatched_requests_total{flow_schema=\"one\",priority_level=\"one\"}";
        let seats = "nominal_limit_seats{priority_level=\"one\"} 1\n";
        answer.text.contains(schema) && answer.text.contains(seats)
    };
    eventually(&server, "/metrics", "Bearer admin", shown).await;

    let inqueue = |answer: &Answer| {
        let waiting = "apiserver_current_inqueue_requests{request_kind=\"readOnly\"} 1\n";
        answer.text.contains(waiting)
    };
    let (first, second, ()) = tokio::join!(server.get("/slow/a"), server.get("/slow/b"), async {
        eventually(&server, "/metrics", "Bearer admin", inqueue).await;
        let third = server.get("/slow/c").await;
        assert_eq!(third.code.as_u16(), 429, "{}", third.text);
        permits.add_permits(2);
    });
    assert_eq!((first.text.as_str(), second.text.as_str()), ("done", "done"));
}
