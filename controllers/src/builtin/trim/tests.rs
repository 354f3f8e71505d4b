use super::*;
use crate::builtin::{claimed, resource_claims, services};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use kubeplane_core::{GroupResource, Object};
use kubeplane_workload::{
    condition, is_available, is_ready,
    phase::{node_name, phase},
    qos_class,
    quota::{Evaluator, scopes},
};
use serde_json::{Value, json};

fn read(pod: Value) -> Pod {
    serde_json::from_value(pod).unwrap()
}

fn trimmed(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    trim_pod(&mut pod);
    pod
}

/// A pod as a Deployment's are in a cluster with accounts.
fn usual() -> Pod {
    read(json!({
        "metadata": {"name": "web-1-a", "namespace": "shop", "generateName": "web-1-", "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "web"},
            "annotations": {"cni.example.com/ip": "10.0.0.1", "kubectl.kubernetes.io/restartedAt": "now"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "r", "controller": true}]},
        "spec": {"nodeName": "n", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "serviceAccountName": "default", "serviceAccount": "default", "securityContext": {},
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "containers": [{"name": "c", "image": "one", "command": ["run"], "args": ["fast"], "resources": {},
                "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}],
                "livenessProbe": {"httpGet": {"port": 80}}, "terminationMessagePath": "/dev/termination-log",
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets"}]}],
            "volumes": [
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
                {"name": "tmp", "emptyDir": {}},
                {"name": "settings", "configMap": {"name": "settings"}}]},
        "status": {"phase": "Running", "startTime": "2026-01-01T00:00:01Z", "qosClass": "BestEffort", "hostIP": "10.9.0.1",
            "hostIPs": [{"ip": "10.9.0.1"}], "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [
                {"type": "PodScheduled", "status": "True"}, {"type": "Initialized", "status": "True"},
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z", "message": "yes"}],
            "containerStatuses": [{"name": "c", "image": "one", "imageID": "sha", "containerID": "x", "ready": true,
                "restartCount": 0, "started": true, "resources": {},
                "state": {"running": {"startedAt": "2026-01-01T00:00:02Z"}}}]},
    }))
}

/// A pod that has something for every controller, and something beside it that none reads.
fn fat() -> Pod {
    let secret = |name: &str| json!({"secretKeyRef": {"name": name, "key": "k"}});
    let container = |name: &str| {
        json!({
            "name": name, "image": "i", "workingDir": "/", "imagePullPolicy": "Always", "stdin": true,
            "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": secret(&format!("of-{name}"))}],
            "envFrom": [{"configMapRef": {"name": "m"}}, {"secretRef": {"name": format!("all-{name}")}}],
        })
    };
    let mut main = container("main");
    main["ports"] = json!([{"containerPort": 1}, {"name": "http", "containerPort": 8080}]);
    main["resources"] = json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "3"}});
    let mut sidecar = container("sidecar");
    sidecar["restartPolicy"] = json!("Always");
    sidecar["resources"] = json!({"requests": {"cpu": "1", "example.com/gpu": "1"}});
    sidecar["ports"] = json!([{"name": "admin", "containerPort": 9090, "protocol": "UDP"}]);
    let ended = json!({"terminated": {"exitCode": 3, "finishedAt": "2026-01-01T00:01:00Z", "reason": "Error", "message": "m"}});
    let status = |name: &str, state: &Value| {
        json!({"name": name, "image": "i", "imageID": "sha", "ready": false, "restartCount": 2, "state": state,
            "resources": {"requests": {"cpu": "2"}}})
    };
    let mut pod = serde_json::to_value(usual()).unwrap();
    pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"] = json!("7");
    pod["metadata"]["finalizers"] = json!(["batch.kubernetes.io/job-tracking"]);
    pod["metadata"]["ownerReferences"][0]["kind"] = json!("Job");
    pod["spec"]["containers"] = json!([main, container("other")]);
    pod["spec"]["initContainers"] = json!([container("init"), sidecar]);
    pod["spec"]["ephemeralContainers"] =
        json!([container("debug"), {"name": "plain", "image": "i"}]);
    pod["spec"]["overhead"] = json!({"cpu": "100m"});
    pod["spec"]["priorityClassName"] = json!("high");
    pod["spec"]["activeDeadlineSeconds"] = json!(60);
    pod["spec"]["hostname"] = json!("web-0");
    pod["spec"]["subdomain"] = json!("web");
    pod["spec"]["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "zone", "namespaces": ["other"]}]}});
    pod["spec"]["imagePullSecrets"] = json!([{"name": "registry"}]);
    pod["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimTemplateName": "t"}]);
    pod["spec"]["volumes"].as_array_mut().unwrap().extend([
        json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}}),
        json!({"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}}),
        json!({"name": "s", "secret": {"secretName": "mounted"}}),
        json!({"name": "p", "projected": {"sources": [{"secret": {"name": "in-part"}}, {"configMap": {"name": "m"}}]}}),
        json!({"name": "csi", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "publish"}}}),
    ]);
    pod["status"]["resourceClaimStatuses"] = json!([{"name": "gpu", "resourceClaimName": "gpu-x"}]);
    pod["status"]["containerStatuses"] =
        json!([status("main", &ended), status("other", &json!({"running": {}}))]);
    pod["status"]["initContainerStatuses"] = json!([status("sidecar", &ended)]);
    read(pod)
}

#[test]
fn of_a_usual_pod_little_is_kept() {
    let left = serde_json::to_value(trimmed(&usual())).unwrap();
    let mut meta = serde_json::to_value(usual().metadata).unwrap();
    for gone in ["annotations", "generateName"] {
        meta.as_object_mut().unwrap().remove(gone);
    }
    assert_eq!(left["metadata"], meta);
    assert_eq!(
        left["spec"],
        json!({"containers": [], "nodeName": "n", "tolerations": [
            {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]})
    );
    assert_eq!(
        left["status"],
        json!({"phase": "Running", "startTime": "2026-01-01T00:00:01Z", "podIP": "10.0.0.1",
            "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z"}]})
    );
}

/// What controllers read, each by the function that reads it.
type Read = (&'static str, fn(&Pod) -> String);

fn reads() -> [Read; 9] {
    fn object(pod: &Pod) -> Object {
        Object::encode(pod).unwrap()
    }
    fn usage(pod: &Pod) -> String {
        let evaluator = Evaluator::of(&GroupResource::new("", "pods")).unwrap();
        let in_scope = |name: &str| {
            let quota = Object::from_value(json!({"spec": {"scopes": [name]}})).unwrap();
            evaluator.in_scopes(&scopes(&quota), &object(pod))
        };
        let scopes = ["BestEffort", "Terminating", "CrossNamespacePodAffinity"].map(in_scope);
        format!("{:?} {scopes:?}", evaluator.usage(&object(pod), Timestamp::UNIX_EPOCH))
    }
    fn ports(pod: &Pod) -> String {
        let port = |name: &str, protocol: &str| {
            let port = json!({"port": 80, "targetPort": name, "protocol": protocol});
            let port: ServicePort = serde_json::from_value(port).unwrap();
            services::target_port(pod, &port)
        };
        format!("{:?} {:?} {:?}", port("http", "TCP"), port("admin", "UDP"), port("admin", "TCP"))
    }
    fn names(pod: &Pod) -> String {
        let service = json!({"metadata": {"name": "web", "namespace": "shop"}});
        let service: Service = serde_json::from_value(service).unwrap();
        format!("{:?} {:?}", services::hostname(pod, &service), services::addresses(pod))
    }
    fn readiness(pod: &Pod) -> String {
        let now: Timestamp = "2026-01-01T00:00:09Z".parse().unwrap();
        format!("{} {} {:?}", is_ready(pod), is_available(pod, 7, now), is_available(pod, 8, now))
    }
    fn since(pod: &Pod) -> String {
        let since = |kind| condition(pod, kind).map(|own| own.last_transition_time.clone());
        format!("{:?}", CONDITIONS.map(since))
    }
    fn claims(pod: &Pod) -> String {
        let entries = resource_claims::entries(pod);
        let named = entries
            .iter()
            .filter_map(|entry| resource_claims::named(pod, entry).name().map(str::to_owned));
        format!("{:?} {entries:?} {:?}", claimed::keys(pod), named.collect::<Vec<_>>())
    }
    fn place(pod: &Pod) -> String {
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.clone());
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.clone());
        format!("{:?} {} {tolerations:?} {affinity:?}", node_name(pod), phase(pod))
    }
    [
        ("quotas", usage),
        ("the quality of service", |pod: &Pod| format!("{:?}", pod.spec.as_ref().map(qos_class))),
        ("named ports", ports),
        ("names and addresses", names),
        ("readiness", readiness),
        ("since when", since),
        ("claims", claims),
        ("where it is", place),
        ("who manages it", |pod: &Pod| {
            format!("{:?} {:?}", controller_of(pod), pod.metadata.finalizers)
        }),
    ]
}

#[test]
fn all_that_controllers_read_is_as_it_was() {
    let mut unmanaged = fat();
    unmanaged.metadata.owner_references = None;
    for (which, pod) in [("usual", usual()), ("fat", fat()), ("unmanaged", unmanaged)] {
        let less = trimmed(&pod);
        assert_ne!(less, pod, "{which}");
        assert_eq!(trimmed(&less), less, "{which}: nothing is left to take away");
        for (what, read) in reads() {
            assert_eq!(read(&less), read(&pod), "{what} of the {which} pod");
        }
    }
}

#[test]
fn containers_of_which_something_is_read_are_kept_together() {
    let spec = trimmed(&fat()).spec.unwrap();
    let names = |list: &[Container]| -> Vec<String> {
        list.iter().map(|container| container.name.clone()).collect()
    };
    assert_eq!(names(&spec.containers), ["main", "other"]);
    assert_eq!(names(spec.init_containers.as_deref().unwrap()), ["init", "sidecar"]);
    let debug: Vec<_> = spec.ephemeral_containers.iter().flatten().map(|own| &own.name).collect();
    assert_eq!(debug, ["debug"]);
    let main = serde_json::to_value(&spec.containers[0]).unwrap();
    let secret = json!({"secretKeyRef": {"name": "of-main", "key": "k"}});
    assert_eq!(
        main,
        json!({"name": "main", "env": [{"name": "B", "valueFrom": secret}],
            "envFrom": [{"secretRef": {"name": "all-main"}}],
            "ports": [{"name": "http", "containerPort": 8080}],
            "resources": {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "3"}}})
    );
}

#[test]
fn conditions_are_kept_where_a_job_may_ask_for_them() {
    let kinds = |pod: &Pod| -> Vec<String> {
        let status = trimmed(pod).status.unwrap();
        status.conditions.into_iter().flatten().map(|own| own.type_).collect()
    };
    assert_eq!(kinds(&usual()), ["Ready"]);
    assert_eq!(kinds(&fat()), ["PodScheduled", "Initialized", "Ready"]);
    let mut orphan = usual();
    orphan.metadata.owner_references = None;
    assert_eq!(kinds(&orphan).len(), 3);
}
