//! What a stop, and a death, leave behind.

use crate::{
    calls::{MANIFEST, World},
    cluster::{Cluster, Ground, Process},
    network,
};
use serde_json::Value;
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

/// Everything an administrator sees, without what goes on by itself.
fn objects(cluster: &Cluster) -> Vec<(String, String)> {
    let kinds = "namespaces,configmaps,secrets,services,serviceaccounts,deployments,replicasets,clusterroles";
    let listed = cluster.kubectl().json(&["get", "-A", kinds]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = listed["items"].as_array().unwrap().iter();
    items
        .map(|item| {
            let metadata = &item["metadata"];
            let name = format!(
                "{} {}/{}",
                text(&item["kind"]),
                text(&metadata["namespace"]),
                text(&metadata["name"])
            );
            (name, format!("{} {}", text(&metadata["uid"]), item["data"]))
        })
        .collect()
}

fn fill(cluster: &Cluster) {
    let kubectl = cluster.kubectl();
    kubectl.ok(&["apply", "-f", MANIFEST]);
    kubectl.ok(&["rollout", "status", "-n", "web", "deployment/web", "--timeout=60s"]);
}

#[test]
fn a_stop_ends_in_order_and_a_start_finds_everything() {
    let ground = Ground::simulated();
    let mut cluster = ground.start();
    fill(&cluster);
    let before = objects(&cluster);
    let status = cluster.process.interrupt();
    assert!(status.success(), "{status}\n{}", cluster.process.log());
    assert!(cluster.process.log().ends_with("stopped"), "{}", cluster.process.log());
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
    let mut cluster = ground.start();
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
