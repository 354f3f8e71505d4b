//! Extenders of the scheduler, as a configuration file names them.

use axum::{Json, Router, routing::post};
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    scheduling::v1::PriorityClass,
};
use kube::{Api, api::PostParams};
use kubeplane::{
    ControlPlane,
    scheduler::{
        Extender, Scheduler,
        config::{Configuration, Registry},
    },
    testing::TestCluster,
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn pod(name: &str, class: &str, resources: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 0, "tolerations": [{"operator": "Exists"}],
            "priorityClassName": class,
            "containers": [{"name": "c", "image": "i",
                "resources": {"requests": resources, "limits": resources}}]},
    }))
    .unwrap()
}

/// Plays with a node of one CPU, and a scheduler that asks extenders; `%` stands for their address.
async fn with_extenders(file: &str, routes: Router, play: impl AsyncFnOnce(Api<Pod>)) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = tokio::spawn(async move { axum::serve(listener, routes).await });
    let cluster = TestCluster::builder().controllers_named("serviceaccount-controller");
    let cluster = cluster.start().await.unwrap();
    let text = format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n{}",
        file.replace('%', &address)
    );
    let configuration = Configuration::parse(text.as_bytes()).unwrap();
    let profiles = configuration.profiles(&Registry::new(cluster.client())).unwrap();
    let mut scheduler = Scheduler::builder(cluster.client())
        .profiles(profiles)
        .backoff(Duration::from_millis(50), Duration::from_millis(200));
    for own in &configuration.extenders {
        let extender = Extender::new(own.clone(), kubeplane::clock::real()).await.unwrap();
        scheduler = scheduler.extender(extender);
    }
    let resources = json!({"cpu": "1", "memory": "1Gi", "pods": "20"});
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"},
        "status": {"allocatable": resources, "capacity": resources}}))
    .unwrap();
    let nodes: Api<Node> = Api::all(cluster.client());
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let classes: Api<PriorityClass> = Api::all(cluster.client());
    for (name, value) in [("low", 1), ("middle", 2), ("high", 10)] {
        let class = json!({"metadata": {"name": name}, "value": value});
        let class = serde_json::from_value(class).unwrap();
        classes.create(&PostParams::default(), &class).await.unwrap();
    }
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let scheduler = scheduler.build().unwrap();
    ControlPlane::new().with(scheduler).run_until(play(pods)).await.unwrap();
    cluster.stop().await.unwrap();
    served.abort();
}

async fn placed(pods: &Api<Pod>, pod: &Pod) -> Pod {
    let made = pods.create(&PostParams::default(), pod).await.unwrap();
    let name = made.metadata.name.clone().unwrap();
    let placed = async {
        while pods.get(&name).await.unwrap().spec.unwrap().node_name.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, placed).await;
    assert!(waited.is_ok(), "{name}: {:#?}", pods.get(&name).await.unwrap().status);
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extender_is_asked_for_what_it_manages_and_one_that_may_fail_is_passed_over() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let filter = move |Json(question): Json<Value>| async move {
        counter.fetch_add(1, Ordering::Relaxed);
        Json(json!({"NodeNames": question["NodeNames"]}))
    };
    let fail = || async { Json(json!({"Error": "no hands"})) };
    let routes = Router::new().route("/own/filter", post(filter)).route("/bad/bind", post(fail));
    let file = "extenders:
- urlPrefix: http://%/own
  filterVerb: filter
  nodeCacheCapable: true
  managedResources: [{name: test.io/gpu, ignoredByScheduler: true}]
- urlPrefix: http://%/bad
  bindVerb: bind
  ignorable: true
";
    with_extenders(file, routes, async |pods| {
        placed(&pods, &pod("plain", "low", &json!({"cpu": "100m"}))).await;
        assert_eq!(asked.load(Ordering::Relaxed), 0, "it has no say for other pods");
        // No node says that it has any: that is the extender's matter.
        let wants = json!({"cpu": "100m", "test.io/gpu": "1"});
        placed(&pods, &pod("special", "low", &wants)).await;
        assert!(asked.load(Ordering::Relaxed) > 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extender_binds_the_pods_that_want_what_it_manages() {
    let known = Arc::new(OnceLock::<Api<Pod>>::new());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (api, questions) = (known.clone(), asked.clone());
    let bind = move |Json(question): Json<Value>| async move {
        let name = question["PodName"].as_str().unwrap().to_owned();
        questions.lock().unwrap().push(format!("{name} to {}", question["Node"]));
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": question["PodNamespace"],
                "uid": question["PodUID"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": question["Node"]},
        });
        let (pods, parameters) = (api.get().unwrap(), PostParams::default());
        let bound: kube::Result<Value> =
            pods.create_subresource("binding", &name, &parameters, &binding).await;
        Json(json!({"Error": bound.err().map(|error| error.to_string()).unwrap_or_default()}))
    };
    let routes = Router::new().route("/bind", post(bind));
    let file = "extenders:
- urlPrefix: http://%
  bindVerb: bind
  managedResources: [{name: test.io/gpu, ignoredByScheduler: true}]
";
    with_extenders(file, routes, async |pods| {
        assert!(known.set(pods.clone()).is_ok());
        placed(&pods, &pod("plain", "low", &json!({"cpu": "100m"}))).await;
        assert!(asked.lock().unwrap().is_empty(), "the scheduler binds other pods");
        let wants = json!({"cpu": "100m", "test.io/gpu": "1"});
        placed(&pods, &pod("special", "low", &wants)).await;
        assert_eq!(*asked.lock().unwrap(), ["special to \"n\""]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extender_may_name_other_victims() {
    let victim = Arc::new(OnceLock::<String>::new());
    let known = victim.clone();
    let preempt = move |Json(question): Json<Value>| async move {
        let told = &question["NodeNameToMetaVictims"]["n"]["Pods"];
        assert_eq!(told.as_array().map(Vec::len), Some(1), "{question}");
        let pods = json!([{"UID": known.get()}]);
        Json(json!({"NodeNameToMetaVictims": {"n": {"Pods": pods, "NumPDBViolations": 0}}}))
    };
    let routes = Router::new().route("/preempt", post(preempt));
    let file = "extenders:
- urlPrefix: http://%
  preemptVerb: preempt
  nodeCacheCapable: true
";
    with_extenders(file, routes, async |pods| {
        let cpu = |amount: &str| json!({"cpu": amount});
        let low = placed(&pods, &pod("low", "low", &cpu("400m"))).await;
        let middle = placed(&pods, &pod("middle", "middle", &cpu("400m"))).await;
        victim.set(middle.metadata.uid.unwrap()).unwrap();
        placed(&pods, &pod("high", "high", &cpu("500m"))).await;
        assert!(pods.get_opt("middle").await.unwrap().is_none(), "the one that was named left");
        let stays = pods.get("low").await.unwrap();
        assert_eq!(stays.metadata.uid, low.metadata.uid);
    })
    .await;
}
