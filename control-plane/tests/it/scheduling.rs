//! The scheduler makes room on an in-process cluster, and is what it is built of.

use k8s_openapi::api::{
    core::v1::{Event, Pod},
    scheduling::v1::PriorityClass,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
    runtime::wait::await_condition,
};
use kubeplane::{
    ControlPlane,
    scheduler::{PodInfo, Profile, QueueSort, Scheduler, SchedulerPlugin},
    testing::TestCluster,
};
use serde_json::{Value, json};
use std::{cmp::Ordering, collections::BTreeMap, time::Duration};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

fn pod(name: &str, class: &str, affinity: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"priorityClassName": class, "affinity": affinity, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "3600"]}]},
    }))
    .unwrap()
}

fn is_running(pod: Option<&Pod>) -> bool {
    pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some("Running")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_important_pod_takes_the_place_of_another() {
    let cluster = TestCluster::builder().controllers().scheduler().nodes(1).start().await.unwrap();
    let classes: Api<PriorityClass> = Api::all(cluster.client());
    for (name, value) in [("low", 10), ("high", 1000)] {
        let class = json!({"metadata": {"name": name}, "value": value});
        let class = serde_json::from_value(class).unwrap();
        classes.create(&PostParams::default(), &class).await.unwrap();
    }
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    pods.create(&PostParams::default(), &pod("victim", "low", json!({}))).await.unwrap();
    let waited = timeout(PATIENCE, await_condition(pods.clone(), "victim", is_running)).await;
    assert!(matches!(waited, Ok(Ok(_))), "the first pod runs while there is room: {waited:?}");
    let away = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "victim"}}}]}});
    let created =
        pods.create(&PostParams::default(), &pod("important", "high", away)).await.unwrap();
    let waited = timeout(PATIENCE, await_condition(pods.clone(), "important", is_running)).await;
    let now = pods.list(&ListParams::default()).await.unwrap();
    assert!(matches!(waited, Ok(Ok(_))), "not running: {:#?}", now.items);
    assert!(pods.get_opt("victim").await.unwrap().is_none(), "the other pod has left");
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let uid = created.metadata.uid.unwrap_or_default();
    let expected = format!("Preempted by pod {uid} on node node-1");
    let told = async {
        loop {
            let all = events.list(&ListParams::default()).await.unwrap();
            let told = |event: &Event| {
                event.reason.as_deref() == Some("Preempted")
                    && event.message.as_deref() == Some(&*expected)
                    && event.involved_object.name.as_deref() == Some("victim")
            };
            if let Some(event) = all.items.into_iter().find(told) {
                break event;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let event = timeout(PATIENCE, told).await.expect("an event tells of it");
    assert_eq!(event.action.as_deref(), Some("Preempting"));
    let related = event.related.unwrap_or_default();
    let related = (related.kind.as_deref(), related.name.as_deref(), related.uid.as_deref());
    assert_eq!(related, (Some("Pod"), Some("important"), Some(uid.as_str())));
    cluster.stop().await.unwrap();
}

#[derive(Debug)]
struct ByName;

impl SchedulerPlugin for ByName {
    fn name(&self) -> &'static str {
        "ByName"
    }

    fn as_queue_sort(&self) -> Option<&dyn QueueSort> {
        Some(self)
    }
}

impl QueueSort for ByName {
    fn compare(&self, a: (&PodInfo, Duration), b: (&PodInfo, Duration)) -> Ordering {
        a.0.name().cmp(b.0.name())
    }
}

#[tokio::test]
async fn profiles_of_one_scheduler_sort_the_queue_by_one_plugin() {
    let cluster = TestCluster::start().await.unwrap();
    let by_name =
        |name: &str| Profile::default().without("PrioritySort").add(ByName, 1).named(name);
    let build =
        |profiles: [Profile; 2]| Scheduler::builder(cluster.client()).profiles(profiles).build();
    let refused = build([Profile::default(), by_name("other")]).unwrap_err();
    let why =
        "different queue sort plugins for profile \"other\": \"ByName\", first: \"PrioritySort\"";
    assert_eq!(refused.to_string(), why);
    assert!(build([by_name("one"), by_name("other")]).is_ok());
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_have_the_form_of_their_own_group_and_name_the_profile_of_their_pod() {
    let cluster = TestCluster::builder().controllers().start().await.unwrap();
    let profiles = [Profile::default(), Profile::default().named("other")];
    let scheduler = Scheduler::builder(cluster.client()).profiles(profiles).host("here");
    let scheduler = scheduler.build().unwrap();
    let client = cluster.client();
    let told = async {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        for name in ["default-scheduler", "other"] {
            let own = json!({"metadata": {"name": name}, "spec": {"schedulerName": name,
                "containers": [{"name": "c", "image": "busybox"}]}});
            let own = serde_json::from_value(own).unwrap();
            pods.create(&PostParams::default(), &own).await.unwrap();
        }
        // There is no node for them.
        let events: Api<Event> = Api::default_namespaced(client);
        loop {
            let all = events.list(&ListParams::default()).await.unwrap();
            let refused = all
                .items
                .into_iter()
                .filter(|own| own.reason.as_deref() == Some("FailedScheduling"));
            let told: BTreeMap<_, _> = refused
                .map(|own| {
                    let old = own.source.and_then(|source| source.component).is_some()
                        || own.first_timestamp.is_some()
                        || own.last_timestamp.is_some()
                        || own.count.is_some_and(|count| count != 0);
                    let new = (own.reporting_component, own.reporting_instance, own.action);
                    (own.involved_object.name, (old, own.event_time.is_some(), new))
                })
                .collect();
            if told.len() == 2 {
                break told;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut found = None;
    let running = ControlPlane::new().with(scheduler);
    running.run_until(async { found = timeout(PATIENCE, told).await.ok() }).await.unwrap();
    let named = |name: &str| {
        let text = |text: &str| Some(text.to_owned());
        let new = (text(name), text(&format!("{name}-here")), text("Scheduling"));
        (text(name), (false, true, new))
    };
    assert_eq!(found, Some(BTreeMap::from([named("default-scheduler"), named("other")])));
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_being_deleted_is_told_that_it_gets_no_node() {
    // The garbage collector of pods would end it at once.
    let cluster = TestCluster::builder().controllers_named("serviceaccount-controller");
    let cluster = cluster.start().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let own = json!({"metadata": {"name": "going", "finalizers": ["test.dev/keep"]},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]}});
    let own = serde_json::from_value(own).unwrap();
    pods.create(&PostParams::default(), &own).await.unwrap();
    pods.delete("going", &DeleteParams::default()).await.unwrap();
    let scheduler =
        Scheduler::builder(cluster.client()).profile(Profile::default()).build().unwrap();
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let told = async {
        loop {
            let all = events.list(&ListParams::default()).await.unwrap();
            let mut all = all.items.into_iter();
            let refused = all.find(|own| own.reason.as_deref() == Some("FailedScheduling"));
            if let Some(refused) = refused {
                break refused.message;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut found = None;
    let running = ControlPlane::new().with(scheduler);
    let telling = async { found = timeout(PATIENCE, told).await.ok().flatten() };
    running.run_until(telling).await.unwrap();
    assert_eq!(found.as_deref(), Some("skip schedule deleting pod: default/going"));
    cluster.stop().await.unwrap();
}
