//! Controllers keep little of a pod in their caches, and take nothing from the pod itself.

use crate::{
    cluster::Cluster,
    job_scenes::no_finalizers,
    world::{
        JOB, NODES, POD, RS, STATEFUL_SET, World, condition, controller, is_of, name, says, text,
    },
};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kubeplane_client::Informers;
use kubeplane_controllers::{Error, Manager, trim_pod};
use kubeplane_core::{
    Definition, Object,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};

/// Refuses what takes anything from a pod that is not a controller's to take, as one would that writes back what is kept of
/// the pod in a cache.
#[derive(Debug)]
pub(crate) struct WholePods;

/// What no controller takes from a pod, nor changes.
const PARTS: [&[&str]; 11] = [
    &["spec"],
    &["metadata", "annotations"],
    &["metadata", "generateName"],
    &["status", "containerStatuses"],
    &["status", "initContainerStatuses"],
    &["status", "ephemeralContainerStatuses"],
    &["status", "hostIP"],
    &["status", "hostIPs"],
    &["status", "podIPs"],
    &["status", "qosClass"],
    &["status", "message"],
];

/// The first part of `old` that is not in `new`.
fn lost(path: &str, old: &Value, new: &Value) -> Option<String> {
    match (old, new) {
        (Value::Null, _) => None,
        (Value::Object(old), Value::Object(new)) => old.iter().find_map(|(key, old)| {
            let path = format!("{path}/{key}");
            match new.get(key) {
                Some(new) => lost(&path, old, new),
                None => Some(path),
            }
        }),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            old.iter().zip(new).find_map(|(old, new)| lost(path, old, new))
        }
        _ => (old != new).then(|| path.to_owned()),
    }
}

fn taken(old: &Object, new: &Object) -> Option<String> {
    PARTS.iter().find_map(|part| {
        let old = old.at(part)?;
        lost(&part.join("/"), old, new.at(part).unwrap_or(&json!(null)))
    })
}

/// The first condition that is another one now, of those that kubelets and schedulers alone set.
fn taken_condition(old: &Object, new: &Object) -> Option<String> {
    let all = |pod: &Object| -> Vec<Value> {
        pod.at(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let now = all(new);
    let others = all(old).into_iter().filter(|condition| {
        !matches!(condition["type"].as_str(), Some("Ready" | "DisruptionTarget"))
    });
    others.into_iter().find(|own| !now.contains(own)).map(|own| own.to_string())
}

#[async_trait]
impl Admission for WholePods {
    fn name(&self) -> &'static str {
        "WholePods"
    }

    fn handles(&self, operation: Operation, definition: &Definition, _: &str) -> bool {
        operation == Operation::Update && definition.plural == "pods"
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let is_controller = request.user.name.starts_with("system:serviceaccount:kube-system:");
        let (Some(new), Some(old)) = (&request.object, request.old) else { return Ok(()) };
        if !is_controller {
            return Ok(());
        }
        match taken(old, new).or_else(|| taken_condition(old, new)) {
            None => Ok(()),
            Some(what) => {
                let (who, pod) = (&request.user.name, request.name);
                eprintln!("{who} takes {what} from the pod {pod}");
                Err(ApiError::internal(format!("{who} takes {what} from the pod {pod}")))
            }
        }
    }
}

/// The template of pods that say much more than controllers read.
fn fat(app: &str) -> Value {
    let container = json!({
        "name": "c", "image": "one", "imagePullPolicy": "Never", "command": ["run"], "args": ["fast"], "workingDir": "/w",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "ports": [{"containerPort": 80}],
        "livenessProbe": {"httpGet": {"path": "/", "port": 80}},
        "lifecycle": {"preStop": {"exec": {"command": ["stop"]}}},
        "securityContext": {"readOnlyRootFilesystem": true},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "settings", "mountPath": "/etc/settings"}],
    });
    json!({
        "metadata": {"labels": {"app": app}, "annotations": {"mesh.example.com/on": "yes"}},
        "spec": {
            "restartPolicy": "Always", "dnsPolicy": "Default", "terminationGracePeriodSeconds": 5,
            "hostAliases": [{"ip": "10.1.1.1", "hostnames": ["a"]}], "securityContext": {"runAsUser": 5},
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "settings", "configMap": {"name": "settings"}}],
        },
    })
}

/// What a kubelet says of such a pod that runs and is ready.
async fn runs(world: &World, pod: &str) -> Value {
    let now = world.now();
    let container = json!({"name": "c", "image": "one", "imageID": "sha256:1", "containerID": "x://1", "ready": true,
        "restartCount": 0, "started": true, "state": {"running": {"startedAt": now}}});
    let conditions = json!([
        {"type": "PodScheduled", "status": "True", "message": "there was room", "lastTransitionTime": now},
        {"type": "Ready", "status": "True", "message": "it answers", "lastTransitionTime": now}]);
    let status = json!({"phase": "Running", "message": "all is well", "startTime": now, "hostIP": "10.9.0.1",
        "hostIPs": [{"ip": "10.9.0.1"}], "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": conditions, "containerStatuses": [container]});
    world.merge_status(POD, pod, status).await
}

/// What is nobody's but the user's and the kubelet's.
fn own(pod: &Value) -> Value {
    let (meta, status) = (&pod["metadata"], &pod["status"]);
    json!([
        pod["spec"],
        meta["annotations"],
        status["containerStatuses"],
        status["message"],
        status["hostIPs"],
        status["podIPs"],
        condition(pod, "PodScheduled"),
    ])
}

async fn fat_pod(world: &World, pod: &str, more: Value) -> Value {
    let mut object = fat("web");
    object["metadata"]["name"] = json!(pod);
    for (key, value) in more.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    world.make(POD, object).await;
    runs(world, pod).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_a_stateful_set_that_is_corrected_is_whole() {
    const LABEL: &str = "statefulset.kubernetes.io/pod-name";
    let world = World::start().await;
    let spec = json!({"replicas": 1, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": fat("db")});
    world.make_spec(STATEFUL_SET, "db", spec).await;
    world.pods(1).await;
    let before = runs(&world, "db-0").await;
    world.merge(POD, "db-0", json!({"metadata": {"labels": {LABEL: null}}})).await;
    let named = |pod: &Value| pod["metadata"]["labels"][LABEL] == "db-0";
    let after = world.until(POD, "db-0", "it has its label again", named).await;
    assert_eq!(own(&after), own(&before));
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    let told = world.told("db", "SuccessfulUpdate").await;
    assert_eq!(told, "Update Pod db-0 in StatefulSet db successful");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_a_job_that_is_counted_is_whole() {
    let world = World::start().await;
    let mut template = fat("work");
    template["spec"]["restartPolicy"] = json!("Never");
    world.make_spec(JOB, "work", json!({"template": template})).await;
    let pod = name(&world.pods(1).await[0]).to_owned();
    let before = runs(&world, &pod).await;
    let ended =
        json!({"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": world.now()}});
    let mut containers = before["status"]["containerStatuses"].clone();
    containers[0]["state"] = ended;
    let ended = json!({"phase": "Succeeded", "containerStatuses": containers});
    let before = world.merge_status(POD, &pod, ended).await;
    no_finalizers(&world).await;
    let complete = |job: &Value| says(job, "Complete", "True", "CompletionsReached");
    world.until(JOB, "work", "it is complete", complete).await;
    assert_eq!(own(&world.get(POD, &pod).await), own(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_on_a_node_that_falls_silent_is_whole() {
    let world = World::start().await;
    world.make(NODES, json!({"metadata": {"name": "n"}})).await;
    let beat = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": world.now()}]);
    world.merge_status(NODES, "n", json!({"conditions": beat})).await;
    let before = fat_pod(&world, "stays", json!({"nodeName": "n"})).await;
    let check = async || {
        world.pass(1);
        let pod = world.get(POD, "stays").await;
        let ready = condition(&pod, "Ready").cloned().unwrap_or_default();
        if ready["status"] == "False" { Ok(pod) } else { Err(format!("{ready:#}")) }
    };
    let after = world.eventually("it is not ready any more", check).await;
    assert_eq!(own(&after), own(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_adopted_and_let_go_is_whole() {
    let world = World::start().await;
    let before = fat_pod(&world, "orphan", json!({})).await;
    let spec =
        json!({"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": fat("web")});
    let set = world.make_spec(RS, "web", spec).await;
    let adopted = world.until(POD, "orphan", "it is adopted", |pod| is_of(pod, &set)).await;
    assert_eq!(own(&adopted), own(&before));
    world.merge(POD, "orphan", json!({"metadata": {"labels": {"app": "other"}}})).await;
    let free = |pod: &Value| controller(pod).is_none();
    let released = world.until(POD, "orphan", "it is let go", free).await;
    assert_eq!(own(&released), own(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_not_disrupted_after_all_is_whole() {
    let world = World::start().await;
    world.make(NODES, json!({"metadata": {"name": "n"}})).await;
    let before = fat_pod(&world, "stale", json!({"nodeName": "n"})).await;
    let mut conditions = before["status"]["conditions"].as_array().unwrap().clone();
    conditions.push(
        json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "m", "lastTransitionTime": world.now()}),
    );
    world.merge_status(POD, "stale", json!({"conditions": conditions})).await;
    world.pass(125);
    let over = |pod: &Value| {
        condition(pod, "DisruptionTarget").is_some_and(|own| own["status"] == "False")
    };
    let after = world.until(POD, "stale", "it is taken back", over).await;
    assert_eq!(own(&after), own(&before));
    let target = condition(&after, "DisruptionTarget").unwrap();
    assert_eq!((text(target, "/reason"), text(target, "/message")), ("", ""));
}

#[tokio::test]
async fn what_is_kept_is_said_once_and_for_these_caches_alone() {
    let cluster = Cluster::bare().await;
    let mut pod = fat("web");
    pod["metadata"]["name"] = json!("web");
    cluster.create::<Pod>(pod).await;
    let own = Informers::new(cluster.client.clone(), kubeplane_clock::real());
    let shared = || Manager::builder(cluster.client.clone()).informers(own.clone());
    shared().transform(trim_pod).build().unwrap();
    let again = shared().transform(trim_pod).build();
    assert!(matches!(again, Err(Error::Client(kubeplane_client::Error::TransformTooLate { .. }))));
    shared().build().unwrap();
    let others = Informers::new(cluster.client.clone(), kubeplane_clock::real());
    let (less, whole) = (own.of::<Pod>(), others.of::<Pod>());
    less.synced().await;
    whole.synced().await;
    let containers = |pods: &kubeplane_client::Informer<Pod>| {
        let pod = pods.get("default", "web").unwrap();
        pod.spec.as_ref().unwrap().containers.len()
    };
    assert_eq!((containers(&less), containers(&whole)), (0, 1));
    let live = cluster.api::<Pod>().get("web").await.unwrap();
    assert_eq!(whole.get("default", "web").unwrap().spec, live.spec);
}
