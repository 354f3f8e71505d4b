//! What a stop, and a death, leave behind.

use crate::{
    calls::{MANIFEST, World},
    cluster::{Cluster, Ground, Process},
    network,
};
use serde_json::{Value, json};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

/// What an administrator looks at; leases, events, nodes and pods go on by themselves.
const KINDS: [&str; 13] = [
    "namespaces",
    "configmaps",
    "secrets",
    "services",
    "endpoints",
    "serviceaccounts",
    "deployments",
    "replicasets",
    "clusterroles",
    "clusterrolebindings",
    "roles",
    "rolebindings",
    "customresourcedefinitions",
];

/// What is there beside the workload, so that there is something of each kind.
const MORE: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sealed", "namespace": "default"},
        "data": {"letter": "c2VjcmV0"}},
    {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.harbour.example.com"},
        "spec": {"group": "harbour.example.com", "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "properties": {"masts": {"type": "integer", "minimum": 1}}}}}]}}
]}"#;

/// All objects of these kinds, by name, each whole but for what is observed or counted again.
fn objects(cluster: &Cluster) -> Vec<(String, String)> {
    let listed = cluster.kubectl().json(&["get", "-A", &KINDS.join(",")]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = listed["items"].as_array().unwrap().iter();
    let found: Vec<(String, String)> = items
        .map(|item| {
            let metadata = &item["metadata"];
            let name = format!(
                "{} {}/{}",
                text(&item["kind"]),
                text(&metadata["namespace"]),
                text(&metadata["name"])
            );
            (name, lasting(item).to_string())
        })
        .collect();
    for kind in KINDS {
        let single = kind.trim_end_matches('s');
        let is_there = found.iter().any(|(name, _)| name.to_lowercase().starts_with(single));
        assert!(is_there, "no {kind}");
    }
    found
}

/// What of an object a restart has no part in.
fn lasting(item: &Value) -> Value {
    let mut item = item.clone();
    let remove = |from: &mut Value, key: &str| {
        if let Some(map) = from.as_object_mut() {
            map.remove(key);
        }
    };
    remove(&mut item, "status");
    // Pods of a simulated runtime begin anew, maybe at another address.
    if item["kind"] == "Endpoints" && item["metadata"]["namespace"] == "web" {
        remove(&mut item, "subsets");
    }
    if let Some(metadata) = item.get_mut("metadata") {
        remove(metadata, "resourceVersion");
        remove(metadata, "managedFields");
        if let Some(annotations) = metadata.get_mut("annotations") {
            remove(annotations, "deployment.kubernetes.io/revision");
            remove(annotations, "endpoints.kubernetes.io/last-change-trigger-time");
        }
        if metadata["annotations"] == json!({}) {
            remove(metadata, "annotations");
        }
    }
    item
}

fn fill(cluster: &Cluster) {
    let kubectl = cluster.kubectl();
    kubectl.ok_with(&["apply", "-f", MANIFEST, "-f", "-"], MORE);
    kubectl.ok(&["rollout", "status", "-n", "web", "deployment/web", "--timeout=60s"]);
    // What follows from the rest without being waited for.
    let path = "jsonpath={.rules}";
    kubectl.until(&["get", "clusterrole", "admin", "-o", path], "what it is made of", |rules| {
        ["rolebindings", "pods/exec", "limitranges"].iter().all(|part| rules.contains(part))
    });
    let namespaces = kubectl.ok(&["get", "namespaces", "-o", "name"]).lines().count();
    let line = ["get", "-A", "--no-headers", "endpoints,serviceaccounts,configmaps"];
    kubectl.until(&line, "what namespaces get by themselves", |table| {
        let rows = |name: &str| {
            let names = table.lines().filter_map(|row| row.split_whitespace().nth(1));
            names.filter(|own| *own == name).count()
        };
        rows("serviceaccount/default") == namespaces
            && rows("configmap/kube-root-ca.crt") == namespaces
            && rows("endpoints/web") == 1
    });
}

/// Who has said this of itself, in order: `kubelet ready` is one's.
fn told(cluster: &Cluster, what: &str) -> Vec<String> {
    let log = cluster.process.log();
    let names = log.lines().filter_map(|line| line.strip_suffix(what)?.strip_suffix(' '));
    // Lines of the log begin with the time.
    names.filter(|name| !name.contains(':')).map(str::to_owned).collect()
}

#[test]
fn a_stop_ends_in_order_and_a_start_finds_everything() {
    let ground = Ground::simulated();
    let mut cluster = ground.start();
    fill(&cluster);
    let before = objects(&cluster);
    let status = cluster.process.interrupt();
    assert!(status.success(), "{status}\n{}", cluster.process.log());
    let log = cluster.process.log();
    assert!(log.ends_with("\nstopped"), "{log}");
    let (mut ready, stopped) = (told(&cluster, "ready"), told(&cluster, "stopped"));
    ready.reverse();
    assert_eq!(stopped, ready, "the last that was ready stops first");
    assert_eq!(ready.last().map(String::as_str), Some("kube-apiserver"));
    assert!(ready.len() > 5 && ready.contains(&"kubelet".to_owned()), "{ready:?}");
    let cluster = ground.start();
    assert_eq!(objects(&cluster), before);
    let kubectl = cluster.kubectl();
    World { kubectl: &kubectl, cluster: &cluster, real: None }.wait_for_ready_pods(3);
}

/// A directory that was there is somebody's, such as /tmp.
#[test]
fn a_data_directory_that_was_there_keeps_its_mode_or_is_refused() {
    let ground = Ground::simulated();
    let path = ground.data.path();
    let mode = || fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    fs::set_permissions(path, Permissions::from_mode(0o1777)).unwrap();
    let mut process = Process::start(&ground.arguments());
    let status = process.wait_for_end(Duration::from_secs(30));
    assert_eq!(status.code(), Some(1), "{}", process.log());
    let told = process.log();
    let start = format!("kubeplane: data directory {} may be written by others", path.display());
    assert!(told.starts_with(&start) && told.contains("chmod go-w"), "{told}");
    assert_eq!(mode(), 0o1777);
    assert_eq!(fs::read_dir(path).unwrap().count(), 0, "nothing was made in it");

    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    let cluster = ground.start();
    assert_eq!(cluster.kubectl().ok(&["get", "--raw", "/readyz"]), "ok");
    assert_eq!(mode(), 0o755);
    for private in ["store", "pki", "kubelet", "pod-logs"] {
        let own = fs::metadata(path.join(private)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(own, 0o700, "{private}");
    }
}

#[test]
fn a_death_loses_nothing_that_was_answered() {
    let ground = Ground::simulated();
    let mut cluster = ground.start();
    fill(&cluster);
    for round in 0..3 {
        let before = objects(&cluster);
        let name = format!("last-{round}");
        cluster.kubectl().ok(&["create", "configmap", &name, "--from-literal=a=1"]);
        cluster.process.kill();
        cluster = ground.start();
        let after = objects(&cluster);
        let new: Vec<&String> =
            after.iter().filter(|row| !before.contains(row)).map(|(name, _)| name).collect();
        assert_eq!(new, [&format!("ConfigMap default/{name}")]);
        assert_eq!(after.len(), before.len() + 1);
    }
}

#[test]
fn etcd_keeps_objects_over_a_death() {
    let ground = Ground::simulated().on_etcd();
    let mut cluster = ground.start();
    fill(&cluster);
    let before = objects(&cluster);
    cluster.process.kill();
    let cluster = ground.start();
    assert_eq!(objects(&cluster), before);
}

#[test]
fn containers_of_containerd_go_on_and_are_not_started_twice() {
    if network::enter("restart::containers_of_containerd_go_on_and_are_not_started_twice") {
        return;
    }
    let ground = Ground::simulated().on_containerd();
    let real = ground.runtime.as_ref().unwrap();
    // Where containerd is at its usual place it is found without being named. No pod runs there: the volumes of this
    // one would be mounted where nobody else sees them.
    let mut cluster = ground.start_by_itself();
    let path = "jsonpath={.items[*].status.nodeInfo.containerRuntimeVersion}";
    let version = cluster.kubectl().ok(&["get", "nodes", "-o", path]);
    assert!(version.starts_with("containerd://"), "{version}");
    assert!(cluster.process.interrupt().success());
    cluster = ground.start();
    fill(&cluster);
    let path = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
    let pods = |cluster: &Cluster| cluster.kubectl().ok(&["get", "pods", "-n", "web", "-o", path]);
    let (before, tasks) = (pods(&cluster), real.tasks());
    assert_eq!((before.lines().count(), tasks.len()), (3, 6), "{before}\n{tasks:?}");
    for graceful in [false, true] {
        if graceful {
            assert!(cluster.process.interrupt().success());
        } else {
            cluster.process.kill();
        }
        assert_eq!(real.tasks(), tasks, "containers go on while nobody looks after them");
        cluster = ground.start();
        let kubectl = cluster.kubectl();
        let world = World { kubectl: &kubectl, cluster: &cluster, real: Some(real) };
        world.wait_for_ready_pods(3);
        // Something new passes through every component before this looks again.
        let name = format!("probe-{graceful}");
        kubectl.ok(&[
            "run",
            &name,
            "--image=busybox:1.36",
            "--restart=Never",
            "--",
            "sleep",
            "600",
        ]);
        kubectl.ok(&["wait", &format!("pod/{name}"), "--for=condition=Ready", "--timeout=60s"]);
        kubectl.ok(&["delete", "pod", &name, "--now"]);
        assert_eq!(pods(&cluster), before);
        let now = real.tasks();
        assert!(
            tasks.iter().all(|(id, process)| now.get(id) == Some(process)),
            "{tasks:?} {now:?}"
        );
    }
    cluster.kubectl().ok(&["delete", "namespace", "web"]);
}
