//! What nodes and pods use, with nothing installed: `kubectl top`, and workloads that grow with their use.

use crate::{cluster::Ground, network, parts::eventually};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
      annotations: {kubeplane.dev/cpu: 250m, kubeplane.dev/memory: 64Mi}
    spec:
      containers:
      - name: c
        image: busybox
        command: ["sleep", "3600"]
        resources: {requests: {cpu: 100m}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 5
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 100}}
  behavior:
    scaleUp:
      policies: [{type: Pods, value: 10, periodSeconds: 15}]
"#;

#[test]
fn top_shows_what_pods_use_and_the_autoscaler_goes_by_it() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    kubectl.ok_with(&["apply", "-f", "-"], WEB);
    let pods = eventually("kubectl top pods shows both", LIMIT, || {
        let out = kubectl.output(&["top", "pods", "--no-headers"]);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if text.lines().count() >= 2 { Ok(text) } else { Err(format!("{out:?}")) }
    });
    for line in pods.lines() {
        let cells: Vec<_> = line.split_whitespace().collect();
        assert_eq!((cells[1], cells[2]), ("250m", "64Mi"), "{pods}");
    }
    let nodes = eventually("kubectl top nodes shows the node", LIMIT, || {
        let out = kubectl.output(&["top", "nodes", "--no-headers"]);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if text.lines().count() == 1 { Ok(text) } else { Err(format!("{out:?}")) }
    });
    assert!(nodes.contains('%'), "{nodes}");
    eventually("the autoscaler makes it larger", LIMIT, || {
        let object = kubectl.json(&["get", "deployment", "web"]);
        let ready = object["status"]["readyReplicas"].as_u64();
        let scaler: Value = kubectl.json(&["get", "hpa", "web"]);
        if ready == Some(5) { Ok(()) } else { Err(format!("{ready:?} {}", scaler["status"])) }
    });
    let scaler = kubectl.ok(&["get", "hpa", "web", "--no-headers"]);
    assert!(scaler.contains("cpu: 250%/100%"), "{scaler}");
}

/// One container that keeps a processor busy, and one that sleeps.
const BUSY: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: busy}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: works
    image: IMAGE
    command: ["sh", "-c", "while true; do :; done"]
  - name: sleeps
    image: IMAGE
    command: ["sleep", "3600"]
"#;

#[test]
fn top_shows_what_containers_really_use() {
    if network::enter("metrics::top_shows_what_containers_really_use") {
        return;
    }
    let ground = Ground::simulated().on_containerd();
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    kubectl.ok_with(&["apply", "-f", "-"], &BUSY.replace("IMAGE", "busybox:1.36"));
    eventually("the busy container uses a processor", LIMIT, || {
        let out = kubectl.output(&["top", "pod", "busy", "--containers", "--no-headers"]);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let of = |name: &str| {
            let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some(name))?;
            line.split_whitespace().nth(2)?.strip_suffix('m')?.parse::<u64>().ok()
        };
        match (of("works"), of("sleeps")) {
            (Some(works), Some(sleeps)) if works > 100 && sleeps < works / 2 => Ok(()),
            _ => Err(format!("{out:?}")),
        }
    });
    let nodes = kubectl.ok(&["top", "nodes", "--no-headers"]);
    let memory = nodes.split_whitespace().nth(3).unwrap_or_default();
    assert!(memory.ends_with("Mi") && memory != "0Mi", "{nodes}");
}
