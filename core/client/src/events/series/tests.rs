use super::*;
use http::{Method, Request, Response};
use kube::client::Body;
use kubeplane_clock::PausedClock;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Events by name, and what was asked for.
#[derive(Default)]
struct Server {
    events: Mutex<BTreeMap<String, Value>>,
    asked: Mutex<Vec<(Method, String, Value)>>,
}

impl Server {
    fn answer(&self, method: &Method, path: &str, sent: Value) -> (u16, Value) {
        self.asked.lock().push((method.clone(), path.to_owned(), sent.clone()));
        let refuse = |code: u16, reason: &str| {
            (code, json!({"status": "Failure", "code": code, "reason": reason, "message": reason}))
        };
        let mut events = self.events.lock();
        if *method == Method::POST {
            let name = sent["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if events.contains_key(&name) {
                return refuse(409, "AlreadyExists");
            }
            events.insert(name, sent.clone());
            return (201, sent);
        }
        match events.get_mut(path.rsplit('/').next().unwrap_or_default()) {
            Some(event) => {
                event["series"] = sent["series"].clone();
                (200, event.clone())
            }
            None => refuse(404, "NotFound"),
        }
    }

    fn client(self: &Arc<Self>) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let body = request.into_body().collect_bytes().await?;
                let sent = serde_json::from_slice(&body).unwrap_or_default();
                let (code, answer) = server.answer(&method, &path, sent);
                let response = Response::builder()
                    .status(code)
                    .body(Body::from(answer.to_string().into_bytes()))?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(response)
            }
        });
        kube::Client::new(service, "default")
    }

    /// How often each method was used since it was last asked.
    fn asked(&self) -> (usize, usize) {
        let asked = std::mem::take(&mut *self.asked.lock());
        let count = |method: Method| asked.iter().filter(|(own, _, _)| *own == method).count();
        (count(Method::POST), count(Method::PATCH))
    }
}

fn pod(version: &str) -> ObjectReference {
    let text = |text: &str| Some(text.to_owned());
    ObjectReference {
        api_version: text("v1"),
        kind: text("Pod"),
        name: text("web"),
        namespace: text("shop"),
        resource_version: text(version),
        uid: text("u"),
        ..ObjectReference::default()
    }
}

struct World {
    server: Arc<Server>,
    clock: PausedClock,
    recorder: SeriesRecorder,
}

impl World {
    async fn new() -> Self {
        let server = Arc::new(Server::default());
        let clock = PausedClock::starting_at("2026-01-01T00:00:00.123456789Z".parse().unwrap());
        let shared: SharedClock = Arc::new(clock.clone());
        let recorder = SeriesRecorder::new(server.client(), shared, "default-scheduler", "here");
        recorder.flush().await;
        Self { server, clock, recorder }
    }

    async fn refused(&self, version: &str, note: &str) {
        let (reason, action) = ("FailedScheduling", "Scheduling");
        self.recorder.event(&pod(version), None, EventType::Warning, reason, action, note);
        self.recorder.flush().await;
    }

    async fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.recorder.flush().await;
    }

    fn only(&self) -> Value {
        let events = self.server.events.lock();
        assert_eq!(events.len(), 1, "{events:#?}");
        events.values().next().unwrap().clone()
    }
}

#[tokio::test]
async fn an_event_has_the_form_of_its_group() {
    let world = World::new().await;
    let other = world.recorder.named("other");
    let related = ObjectReference { name: Some("big".into()), ..pod("7") };
    other.event(&pod("3"), Some(&related), EventType::Normal, "Preempted", "Preempting", "note");
    other.flush().await;
    let asked = world.server.asked.lock().clone();
    assert_eq!(asked[0].1, "/apis/events.k8s.io/v1/namespaces/shop/events");
    let expected = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": format!("web.{:x}", 1_767_225_600_123_456_789_i128), "namespace": "shop"},
        "eventTime": "2026-01-01T00:00:00.123456Z", "type": "Normal",
        "reason": "Preempted", "action": "Preempting", "note": "note",
        "reportingController": "other", "reportingInstance": "other-here",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "shop",
            "resourceVersion": "3", "uid": "u"},
        "related": {"apiVersion": "v1", "kind": "Pod", "name": "big", "namespace": "shop",
            "resourceVersion": "7", "uid": "u"},
    });
    assert_eq!(world.only(), expected);
}

#[tokio::test]
async fn what_is_named_otherwise_or_has_no_namespace_is_told_of_too() {
    let world = World::new().await;
    let role = ObjectReference { name: Some("system:basic".into()), namespace: None, ..pod("1") };
    world.recorder.event(&role, None, EventType::Normal, "Reason", "Action", "note");
    world.recorder.flush().await;
    let metadata = world.only()["metadata"].clone();
    let name = format!("{:x}", 1_767_225_600_123_456_789_i128);
    assert_eq!(metadata, json!({"name": name, "namespace": "default"}));
}

#[tokio::test]
async fn what_repeats_is_a_series_that_is_written_when_it_begins_and_when_it_ends() {
    let world = World::new().await;
    world.refused("1", "first").await;
    assert_eq!(world.server.asked(), (1, 0));
    for note in ["second", "third", "fourth"] {
        world.clock.advance(Duration::from_secs(1));
        world.refused("1", note).await;
    }
    assert_eq!(world.server.asked(), (0, 1), "later ones are counted only");
    let event = world.only();
    let series = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:01.123456Z"});
    assert_eq!((&event["note"], &event["series"]), (&json!("first"), &series));

    world.pass(357).await;
    assert_eq!(world.server.asked(), (0, 0), "it may go on");
    world.pass(360).await;
    assert_eq!(world.server.asked(), (0, 1), "it is over");
    let series = json!({"count": 4, "lastObservedTime": "2026-01-01T00:00:03.123456Z"});
    assert_eq!(world.only()["series"], series);
    world.refused("1", "much later").await;
    assert_eq!(world.server.asked(), (1, 0), "what comes then is another one");
    assert_eq!(world.server.events.lock().len(), 2);
}

#[tokio::test]
async fn a_series_that_goes_on_is_written_every_half_hour() {
    let world = World::new().await;
    world.refused("1", "no room").await;
    for _ in 0..29 {
        world.pass(60).await;
        world.refused("1", "no room").await;
    }
    assert_eq!(world.server.asked(), (1, 1));
    world.pass(60).await;
    assert_eq!(world.server.asked(), (0, 1));
    assert_eq!(world.only()["series"]["count"], 30);
}

#[tokio::test]
async fn an_object_that_changed_or_another_reason_begins_an_event_of_its_own() {
    let world = World::new().await;
    world.refused("1", "no room").await;
    world.refused("2", "no room").await;
    let (normal, reason) = (EventType::Normal, "Scheduled");
    world.recorder.event(&pod("2"), None, normal, reason, "Binding", "on a");
    world.recorder.flush().await;
    let names: Vec<_> = world.server.events.lock().keys().cloned().collect();
    // All at one instant: names are found that are free.
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(world.server.events.lock().values().all(|own| own["series"].is_null()));
}

#[tokio::test]
async fn a_series_whose_event_was_dropped_is_written_anew() {
    let world = World::new().await;
    world.refused("1", "no room").await;
    world.server.events.lock().clear();
    world.refused("1", "no room").await;
    assert_eq!(world.server.asked(), (2, 1));
    let event = world.only();
    assert_eq!((&event["series"]["count"], &event["note"]), (&json!(2), &json!("no room")));
}
