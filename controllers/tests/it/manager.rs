use crate::cluster::{Cluster, eventually};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::api::{Patch, PatchParams};
use kubeplane_client::{EventType, LeaseConfig, ObjectKey, finalizers};
use kubeplane_clock::{Clock, PausedClock};
use kubeplane_controllers::{
    Action, BuiltinOptions, Context, Controller, Error, Manager, Retry, Selection, Sources, builtin,
};
use kubeplane_core::component::{Component, lifecycle};
use kubeplane_telemetry::{Health, Metrics, Probe};
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Panics over one ConfigMap, fails over another, and tells of the rest.
#[derive(Default, Clone)]
struct Moody {
    seen: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Controller for Moody {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "moody"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.objects::<ConfigMap>();
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        self.seen.lock().push(request.name.clone());
        match request.name.as_str() {
            "panics" => panic!("as the test wants it"),
            "fails" => Err(Error::Invalid("as the test wants it".to_owned())),
            "again" => Ok(Action::RequeueAfter(Duration::from_millis(10))),
            _ => {
                let informer = context.informers().of::<ConfigMap>();
                if let Some(map) = informer.get(&request.namespace, &request.name) {
                    for _ in 0..3 {
                        context.recorder().event_for(
                            &*map,
                            EventType::Normal,
                            "Seen",
                            "it was seen",
                        );
                    }
                }
                Ok(Action::Done)
            }
        }
    }

    fn on_error(&self, _: &ObjectKey, _: &Error, failures: u32) -> Retry {
        if failures < 3 { Retry::After(Duration::from_millis(5)) } else { Retry::Drop }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_in_trouble_does_not_touch_the_others() {
    let cluster = Cluster::bare().await;
    for name in ["panics", "fails", "again", "fine"] {
        cluster.create::<ConfigMap>(json!({"metadata": {"name": name}})).await;
    }
    let controller = Moody::default();
    let (health, metrics) = (Health::new(), Metrics::new());
    let manager = Manager::builder(cluster.client.clone())
        .health(health.clone())
        .metrics(metrics.clone())
        .host("here")
        .add(controller.clone())
        .build()
        .unwrap();
    let (life, mut supervision) = lifecycle();
    let running = tokio::spawn(Box::new(manager).run(life));
    assert!(supervision.became_ready().await);
    assert!(health.report(Probe::Ready, &[]).is_ok());

    let count = |name: &str| controller.seen.lock().iter().filter(|seen| *seen == name).count();
    eventually("all are worked on", || async {
        let counts = [count("panics"), count("fails"), count("again"), count("fine")];
        let right = counts[0] > 2 && counts[1] == 3 && counts[2] > 3 && counts[3] == 1;
        if right { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    let event = eventually("equal events are one, counted", || async {
        let events = cluster.list::<Event>().await;
        let seen: Vec<_> =
            events.iter().filter(|event| event.reason.as_deref() == Some("Seen")).collect();
        match seen.as_slice() {
            [event] if event.count == Some(3) => Ok((*event).clone()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let source = event.source.unwrap();
    assert_eq!(
        (source.component.as_deref(), source.host.as_deref()),
        (Some("moody"), Some("here"))
    );
    assert_eq!(event.involved_object.name.as_deref(), Some("fine"));
    let text = metrics.encode();
    assert!(text.contains("workqueue_adds_total{name=\"moody\"}"), "{text}");

    supervision.stop();
    running.await.unwrap().unwrap();
}

/// Works first on what is labelled as urgent.
#[derive(Default, Clone)]
struct Hurried {
    seen: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Controller for Hurried {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "hurried"
    }

    fn workers(&self) -> usize {
        1
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.handle::<ConfigMap>(|change, queue| {
            let map = change.object();
            let labels = map.metadata.labels.iter().flatten();
            let urgent = labels.map(|(name, _)| name).any(|name| name == "urgent");
            queue.add_prioritized(ObjectKey::of(&**map), i32::from(urgent));
        });
    }

    async fn reconcile(&self, request: &ObjectKey, _: &Context) -> Result<Action, Error> {
        self.seen.lock().push(request.name.clone());
        Ok(Action::Done)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_urgent_is_worked_on_first() {
    let cluster = Cluster::bare().await;
    for name in ["a", "b", "c"] {
        let labels = if name == "b" { json!({"urgent": ""}) } else { json!({}) };
        cluster.create::<ConfigMap>(json!({"metadata": {"name": name, "labels": labels}})).await;
    }
    let controller = Hurried::default();
    let manager = Manager::builder(cluster.client.clone()).add(controller.clone()).build().unwrap();
    let (life, supervision) = lifecycle();
    let running = tokio::spawn(Box::new(manager).run(life));
    let seen = eventually("all are worked on", || async {
        let seen = controller.seen.lock().clone();
        if seen.len() == 3 { Ok(seen) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert_eq!(seen, ["b", "a", "c"]);
    supervision.stop();
    running.await.unwrap().unwrap();
}

/// Looks at everything again each minute.
#[derive(Default, Clone)]
struct Restless {
    seen: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Controller for Restless {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "restless"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.watch_resynced::<ConfigMap>(Duration::from_secs(60), |change| {
            vec![ObjectKey::of(&**change.object())]
        });
    }

    async fn reconcile(&self, request: &ObjectKey, _: &Context) -> Result<Action, Error> {
        self.seen.lock().push(request.name.clone());
        Ok(Action::Done)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_did_not_change_is_looked_at_again_where_that_is_asked_for() {
    let cluster = Cluster::bare().await;
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "still"}})).await;
    let clock = PausedClock::starting_at(kubeplane_clock::real().now());
    let controller = Restless::default();
    let manager = Manager::builder(cluster.client.clone())
        .clock(Arc::new(clock.clone()))
        .add(controller.clone())
        .build()
        .unwrap();
    let (life, supervision) = lifecycle();
    let running = tokio::spawn(Box::new(manager).run(life));
    eventually("it is looked at three times", || async {
        clock.advance(Duration::from_secs(1));
        let seen = controller.seen.lock().len();
        if seen >= 3 { Ok(()) } else { Err(format!("{seen}")) }
    })
    .await;
    assert!(clock.elapsed() >= Duration::from_secs(120), "twice a minute had to pass");
    supervision.stop();
    running.await.unwrap().unwrap();
}

/// Panics where it is told of a change.
struct Startled;

#[async_trait]
impl Controller for Startled {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "startled"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.watch::<ConfigMap>(|change| {
            let key = ObjectKey::of(&**change.object());
            assert_ne!(key.name, "panics", "as the test wants it");
            vec![key]
        });
    }

    async fn reconcile(&self, _: &ObjectKey, _: &Context) -> Result<Action, Error> {
        Ok(Action::Done)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_is_deaf_ends_the_manager() {
    let cluster = Cluster::bare().await;
    let manager = Manager::builder(cluster.client.clone()).add(Startled).build().unwrap();
    let (life, mut supervision) = lifecycle();
    let running = tokio::spawn(Box::new(manager).run(life));
    assert!(supervision.became_ready().await);
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "panics"}})).await;
    let error = running.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("startled"), "{error}");
}

#[tokio::test]
async fn names_must_be_known_and_unique() {
    let cluster = Cluster::bare().await;
    let builder = || Manager::builder(cluster.client.clone()).add(Moody::default());
    assert!(
        matches!(builder().add(Moody::default()).build(), Err(Error::Duplicate(name)) if name == "moody")
    );
    let unknown = builder().select(Selection::parse("*,-nobody")).build();
    assert!(matches!(unknown, Err(Error::Unknown(name)) if name == "-nobody"));
}

#[tokio::test]
async fn finalizers_come_and_go_one_by_one() {
    let cluster = Cluster::bare().await;
    let api = cluster.api::<ConfigMap>();
    let map = cluster
        .create::<ConfigMap>(
            json!({"metadata": {"name": "map", "finalizers": ["example.com/theirs"]}}),
        )
        .await;
    let held = finalizers::add(&api, &map, "example.com/ours").await.unwrap();
    assert!(finalizers::has(&held, "example.com/ours"));
    let touch = Patch::Merge(json!({"data": {"a": "b"}}));
    api.patch("map", &PatchParams::default(), &touch).await.unwrap();
    let stale = finalizers::remove(&api, &held, "example.com/ours").await;
    assert!(stale.is_err_and(|error| error.is_conflict()));
    let fresh = api.get("map").await.unwrap();
    finalizers::remove(&api, &fresh, "example.com/ours").await.unwrap();
    let left = api.get("map").await.unwrap().metadata.finalizers.unwrap();
    assert_eq!(left, ["example.com/theirs"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_manager_that_holds_the_lease_works() {
    let cluster = Cluster::bare().await;
    let start = |identity: &str| {
        let controller = Moody::default();
        let lease = LeaseConfig::new("default", "kube-controller-manager", identity);
        let lease = LeaseConfig { retry_period: Duration::from_millis(50), ..lease };
        let manager = Manager::builder(cluster.client.clone())
            .leader_election(lease)
            .add(controller.clone())
            .build()
            .unwrap();
        let (life, supervision) = lifecycle();
        (controller, supervision, tokio::spawn(Box::new(manager).run(life)))
    };
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "fine"}})).await;
    let works = |controller: &Moody| {
        let seen = controller.seen.lock().len();
        if seen > 0 { Ok(()) } else { Err(format!("{seen} seen")) }
    };
    let (first, first_life, first_run) = start("first");
    eventually("the first works", || async { works(&first) }).await;
    let (second, mut second_life, second_run) = start("second");
    assert!(second_life.became_ready().await, "whoever waits is ready");
    assert!(works(&second).is_err());
    first_life.stop();
    first_run.await.unwrap().unwrap();
    eventually("the second takes over", || async { works(&second) }).await;
    second_life.stop();
    second_run.await.unwrap().unwrap();
}

#[test]
fn events_name_the_sources_that_users_know() {
    let options = BuiltinOptions::new(kubeplane_clock::real(), "the root")
        .with_cluster_cidr("10.8.0.0/16".parse().unwrap());
    let sources: BTreeMap<_, _> =
        builtin(&options).iter().map(|own| (own.name(), own.event_source())).collect();
    for (name, source) in [
        ("daemonset-controller", "daemonset-controller"),
        ("deployment-controller", "deployment-controller"),
        ("disruption-controller", "controllermanager"),
        ("endpoints-controller", "endpoint-controller"),
        ("endpointslice-controller", "endpoint-slice-controller"),
        ("endpointslice-mirroring-controller", "endpoint-slice-mirroring-controller"),
        ("ephemeral-volume-controller", "ephemeral_volume"),
        ("garbage-collector-controller", "garbage-collector-controller"),
        ("horizontal-pod-autoscaler-controller", "horizontal-pod-autoscaler"),
        ("node-ipam-controller", "cidrAllocator"),
        ("node-lifecycle-controller", "node-controller"),
        ("persistentvolume-attach-detach-controller", "attachdetach-controller"),
        ("persistentvolume-binder-controller", "persistentvolume-controller"),
        ("persistentvolume-expander-controller", "volume_expand"),
        ("resourceclaim-controller", "resource_claim"),
        ("service-cidr-controller", "service-cidr-controller"),
        ("statefulset-controller", "statefulset-controller"),
        ("taint-eviction-controller", "taint-eviction-controller"),
    ] {
        assert_eq!(sources.get(name), Some(&source), "{name}");
    }
}
