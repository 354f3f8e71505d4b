//! Storage on a fresh cluster, with nothing installed.

use crate::{
    cluster::{Cluster, Ground},
    kubectl::{Kubectl, has_row},
    network,
    parts::eventually,
};
use std::{fs, path::PathBuf, time::Duration};

const LIMIT: Duration = Duration::from_secs(60);

fn set(image: &str, command: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 2
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: {image}
        command: ["sh", "-c", "{command}"]
        volumeMounts: [{{name: data, mountPath: /data}}]
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec:
      accessModes: [ReadWriteOnce]
      resources: {{requests: {{storage: 1Gi}}}}
"#
    )
}

fn ready(kubectl: &Kubectl) {
    kubectl.ok(&["rollout", "status", "statefulset/db", "--timeout=90s"]);
}

/// The directory behind a claim.
fn directory(kubectl: &Kubectl, claim: &str) -> (String, PathBuf) {
    let claim = kubectl.json(&["get", "pvc", claim]);
    let name = claim["spec"]["volumeName"].as_str().unwrap().to_owned();
    let volume = kubectl.json(&["get", "pv", &name]);
    (name, volume["spec"]["local"]["path"].as_str().unwrap().into())
}

fn restart(kubectl: &Kubectl, pod: &str) {
    let uid = |pod: &str| kubectl.json(&["get", "pod", pod])["metadata"]["uid"].clone();
    let before = uid(pod);
    kubectl.ok(&["delete", "pod", pod]);
    kubectl.until(&["get", "pod", pod, "-ojson"], "a new pod", |out| {
        serde_json::from_str::<serde_json::Value>(out).is_ok_and(|new| {
            new["metadata"]["uid"] != before && new["status"]["phase"] == "Running"
        })
    });
    ready(kubectl);
}

fn removed(kubectl: &Kubectl, directories: &[PathBuf]) {
    kubectl.ok(&["delete", "statefulset", "db"]);
    kubectl.ok(&["delete", "pvc", "--all"]);
    eventually("volumes and their directories are gone", LIMIT, || {
        let left = kubectl.ok(&["get", "pv", "-oname"]);
        let there: Vec<_> = directories.iter().filter(|own| own.exists()).collect();
        if left.is_empty() && there.is_empty() { Ok(()) } else { Err(format!("{left} {there:?}")) }
    });
}

fn start(ground: &Ground) -> (Cluster, Kubectl) {
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    (cluster, kubectl)
}

#[test]
fn a_stateful_set_has_its_volumes_on_a_fresh_cluster_and_keeps_what_is_in_them() {
    let ground = Ground::simulated();
    let (_cluster, kubectl) = start(&ground);
    let classes = kubectl.ok(&["get", "sc"]);
    let class = [
        "standard",
        "(default)",
        "kubeplane.dev/local-path",
        "Delete",
        "WaitForFirstConsumer",
        "true",
    ];
    assert!(has_row(&classes, &class), "{classes}");

    kubectl.ok_with(&["apply", "-f", "-"], &set("busybox:1.36", "sleep 3600"));
    ready(&kubectl);
    let (first, directory_0) = directory(&kubectl, "data-db-0");
    let (_, directory_1) = directory(&kubectl, "data-db-1");
    let claims = kubectl.ok(&["get", "pvc"]);
    assert!(
        has_row(&claims, &["data-db-0", "Bound", &first, "1Gi", "RWO", "standard"]),
        "{claims}"
    );
    let volumes = kubectl.ok(&["get", "pv"]);
    let row = [first.as_str(), "1Gi", "RWO", "Delete", "Bound", "default/data-db-0", "standard"];
    assert!(has_row(&volumes, &row), "{volumes}");
    let all = kubectl.ok(&["get", "pvc,pv,sc"]);
    for part in [
        "persistentvolumeclaim/data-db-1",
        "persistentvolume/pvc-",
        "storageclass.storage.k8s.io/standard",
    ] {
        assert!(all.contains(part), "{all}");
    }

    assert!(directory_0.starts_with(ground.data.path()), "{directory_0:?}");
    fs::write(directory_0.join("kept"), "words").unwrap();
    restart(&kubectl, "db-0");
    assert_eq!(directory(&kubectl, "data-db-0"), (first, directory_0.clone()));
    assert_eq!(fs::read_to_string(directory_0.join("kept")).unwrap(), "words");
    removed(&kubectl, &[directory_0, directory_1]);
}

#[test]
fn there_is_no_class_of_ours_when_it_is_not_wanted() {
    let ground = Ground::simulated().with(&["--no-local-storage"]);
    let (_cluster, kubectl) = start(&ground);
    assert_eq!(kubectl.ok(&["get", "sc", "-oname"]), "");
}

#[test]
fn real_containers_find_their_data_again() {
    if network::enter("storage::real_containers_find_their_data_again") {
        return;
    }
    let ground = Ground::simulated().on_containerd();
    let (_cluster, kubectl) = start(&ground);
    let command = "echo here >> /data/log; sleep 3600";
    kubectl.ok_with(&["apply", "-f", "-"], &set("busybox:1.36", command));
    ready(&kubectl);
    let (_, directory_0) = directory(&kubectl, "data-db-0");
    let (_, directory_1) = directory(&kubectl, "data-db-1");
    restart(&kubectl, "db-0");
    assert_eq!(fs::read_to_string(directory_0.join("log")).unwrap(), "here\nhere\n");
    assert_eq!(fs::read_to_string(directory_1.join("log")).unwrap(), "here\n");
    removed(&kubectl, &[directory_0, directory_1]);
}
