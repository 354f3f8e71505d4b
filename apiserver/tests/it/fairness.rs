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
    let permits = Arc::new(Semaphore::new(0));
    let slow = Slow(permits.clone());
    let server = Server::with(|builder| builder.route("/slow", Arc::new(slow)));
    let none = json!({"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Reject"}});
    level(&server, "none", none).await;
    let rest = json!({"nominalConcurrencyShares": 10, "limitResponse": {"type": "Reject"}});
    level(&server, "rest", rest).await;
    let slow = json!({"subjects": [{"kind": "User", "user": {"name": "admin"}}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/slow/*"]}]});
    schema(&server, "none", slow).await;
    let shown =
        |answer: &Answer| answer.text.contains("dispatched_requests_total{flow_schema=\"none\"");
    eventually(&server, "/metrics", "Bearer admin", shown).await;

    // As in the original whoever is wider than the whole level is served alone.
    let (alone, ()) = tokio::join!(server.get("/slow/a"), async {
        self::shown(&server, "none", |row| row[5] == "1").await;
        let refused = server.get("/slow/b").await;
        assert_eq!(refused.code.as_u16(), 429);
        assert_eq!(refused.headers["retry-after"], "1");
        assert_eq!(refused.json()["reason"], "TooManyRequests");
        server.get("/api").await.expect(200);
        let metrics = server.get("/metrics").await.text;
        let counted = "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"none\",priority_level=\"none\",\
                       reason=\"concurrency-limit\"}";
        assert!(metrics.contains(counted), "{metrics}");
        permits.add_permits(1);
    });
    assert_eq!(alone.text, "done");
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

/// The row of a level in the table of levels, once it is as wanted.
async fn shown(server: &Server, level: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    let row = |answer: &Answer| -> Option<Vec<String>> {
        let line = answer.text.lines().find(|line| line.starts_with(&format!("{level},")))?;
        Some(line.split(',').map(|value| value.trim().to_owned()).collect())
    };
    let path = "/debug/api_priority_and_fairness/dump_priority_levels";
    let found = |answer: &Answer| row(answer).is_some_and(|row| wanted(&row));
    let answer = eventually(server, path, "Bearer admin", found).await;
    row(&answer).unwrap()
}

#[tokio::test]
async fn flows_are_dealt_to_queues_and_shown_there() {
    let permits = Arc::new(Semaphore::new(0));
    let slow = Slow(permits.clone());
    let server = Server::with(|builder| builder.route("/slow", Arc::new(slow)));
    let queuing = json!({"queues": 2, "handSize": 1, "queueLengthLimit": 1});
    let one = json!({"nominalConcurrencyShares": 1, "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Queue", "queuing": queuing}});
    level(&server, "s", one).await;
    let rest = json!({"nominalConcurrencyShares": 100_000, "limitResponse": {"type": "Reject"}});
    level(&server, "rest", rest).await;
    let rule = json!({"subjects": [{"kind": "User", "user": {"name": "*"}}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/slow/*"]}]});
    let schema = json!({"metadata": {"name": "s"}, "spec": {"matchingPrecedence": 100,
        "priorityLevelConfiguration": {"name": "s"}, "distinguisherMethod": {"type": "ByUser"},
        "rules": [rule]}});
    server.post(&format!("{GROUP}/flowschemas"), &schema).await.expect(201);
    eventually(&server, "/slow/try", "Bearer a", |answer| answer.headers.contains_key(SCHEMA))
        .await;
    shown(&server, "s", |row| row[2] == "true").await;

    let get = async |user: &str| {
        server
            .call(
                "GET",
                &format!("/slow/{user}"),
                &[("authorization", &format!("Bearer {user}"))],
                b"",
            )
            .await
    };
    // By its hash the flow of a is that of the first queue, that of b of the second, that of d of the first again.
    let waits = |count: &'static str| move |row: &[String]| row[4] == count && row[5] == "1";
    let (admin, a, b, ()) = tokio::join!(
        get("admin"),
        async {
            shown(&server, "s", waits("0")).await;
            get("a").await
        },
        async {
            shown(&server, "s", waits("1")).await;
            get("b").await
        },
        async {
            let row = shown(&server, "s", waits("2")).await;
            assert_eq!((&*row[1], &*row[2], &*row[3]), ("2", "false", "false"));
            assert_eq!(get("d").await.code.as_u16(), 429, "its only queue is full");
            let row = shown(&server, "s", waits("2")).await;
            assert_eq!(&row[7..], ["1", "0", "0"]);
            let path = "/debug/api_priority_and_fairness";
            let queues = server.get(&format!("{path}/dump_queues")).await.text;
            let pending = |index: &str| {
                let start = format!("s, {index}, 1, ");
                let single = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
                queues.lines().any(|line| single(line).starts_with(&start))
            };
            assert!(pending("0") && pending("1"), "{queues}");
            let requests =
                server.get(&format!("{path}/dump_requests?includeRequestDetails=1")).await.text;
            let of = |user: &str| {
                let path = format!(" /slow/{user},");
                let line = requests.lines().find(|line| line.contains(&path));
                let values = line.unwrap_or_else(|| panic!("{user}: {requests}")).split(',');
                values.map(|value| value.trim().to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(&of("a")[..5], ["s", "s", "0", "0", "a"]);
            assert_eq!(&of("b")[..5], ["s", "s", "1", "0", "b"]);
            assert_eq!(of("b")[9], "0001-01-01T00:00:00Z", "it does not run yet");
            assert_eq!(&of("admin")[10..12], ["admin", "get"]);
            assert_eq!(of("admin")[3], "-1", "it is served");
            assert_eq!(server.get(&format!("{path}/nothing")).await.code.as_u16(), 404);
            permits.add_permits(1);
        }
    );
    assert_eq!(admin.text, "done");
    // Who may is asked only when it is one's turn.
    assert_eq!((a.code.as_u16(), b.code.as_u16()), (403, 403));
    let listed = server.get("/").await.text;
    assert!(!listed.contains("/debug"), "{listed}");
}

/// The value of a metric, by its name and labels.
async fn metric(server: &Server, name: &str) -> String {
    let metrics = server.get("/metrics").await.text;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}: {metrics}")).to_owned()
}

#[tokio::test]
async fn levels_show_what_they_have_and_may_have() {
    let server = Server::ready().await;
    let queuing = json!({"queues": 4, "handSize": 2, "queueLengthLimit": 9});
    let lends = json!({"nominalConcurrencyShares": 10, "lendablePercent": 50, "borrowingLimitPercent": 10,
        "limitResponse": {"type": "Queue", "queuing": queuing}});
    level(&server, "lends", lends).await;
    let other = json!({"nominalConcurrencyShares": 20, "limitResponse": {"type": "Reject"}});
    level(&server, "other", other).await;
    let found = |answer: &Answer| {
        answer.text.contains("nominal_limit_seats{priority_level=\"lends\"} 200\n")
    };
    eventually(&server, "/metrics", "Bearer admin", found).await;
    let seats = async |what: &str, level: &str| {
        let name =
            format!("apiserver_flowcontrol_{what}_limit_seats{{priority_level=\"{level}\"}}");
        metric(&server, &name).await
    };
    assert_eq!(seats("lower", "lends").await, "100");
    assert_eq!(seats("upper", "lends").await, "220");
    // Nobody wants any, so that what is lent goes to the one that keeps more.
    assert_eq!(
        (seats("current", "lends").await, seats("current", "other").await),
        ("120".into(), "480".into())
    );
    assert_eq!(
        (seats("lower", "other").await, seats("upper", "other").await),
        ("400".into(), "1000".into())
    );
}

#[tokio::test]
async fn lists_take_seats_by_their_size_and_writes_by_their_watchers() {
    let server = Server::ready().await;
    let queuing = json!({"queues": 1, "handSize": 1, "queueLengthLimit": 50});
    let all = json!({"nominalConcurrencyShares": 10, "limitResponse": {"type": "Queue", "queuing": queuing}});
    level(&server, "all", all).await;
    let rule = json!({"subjects": [{"kind": "User", "user": {"name": "*"}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["configmaps"], "namespaces": ["*"]}]});
    schema(&server, "all", rule).await;
    let path = "/api/v1/namespaces/default/configmaps";
    eventually(&server, path, "Bearer admin", |answer| answer.headers.contains_key(SCHEMA)).await;
    let body = json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(250_000)}});
    server.post(path, &body).await.expect(201);
    let listed = server.get(path).await.expect(200);
    let since = listed["metadata"]["resourceVersion"].as_str().unwrap();
    wanted(&server, "all", "3.0", async |_| server.get(path).await).await;

    let mut watches = Vec::new();
    for _ in 0..40 {
        watches.push(server.watch(&format!("{path}?watch=true&resourceVersion={since}")).await);
    }
    wanted(&server, "all", "4.0", async |try_| {
        server.post(path, &json!({"metadata": {"name": format!("small-{try_}")}})).await
    })
    .await;
}

/// Asks until the level is seen to have wanted so many seats. A change of the level ends the time that it is told of; it
/// ends by itself every ten seconds, too, so that one try is not enough.
async fn wanted(server: &Server, level: &str, seats: &str, ask: impl AsyncFn(usize) -> Answer) {
    let line = format!(
        "apiserver_flowcontrol_demand_seats_high_watermark{{priority_level=\"{level}\"}} {seats}\n"
    );
    let path = format!("{GROUP}/prioritylevelconfigurations/{level}");
    for try_ in 0..5 {
        assert!(ask(try_).await.code.is_success());
        let change = json!({"metadata": {"labels": {"try": format!("{seats}-{try_}")}}});
        server.patch(&path, "merge-patch+json", &change).await.expect(200);
        for _ in 0..100 {
            if server.get("/metrics").await.text.contains(&line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    panic!("{seats} seats were never wanted: {}", server.get("/metrics").await.text);
}
