//! `get` in its forms, `get -w`, `describe`.

use super::World;
use crate::{
    kubectl::{SOON, has_row},
    parts::eventually,
};

pub(super) fn all(world: &World<'_>) {
    tables(world);
    describe(world);
    watch(world);
}

fn tables(world: &World<'_>) {
    let text = world.kubectl.ok(&["get", "all", "-n", "web", "-o", "wide"]);
    let heading = [
        "NAME",
        "READY",
        "STATUS",
        "RESTARTS",
        "AGE",
        "IP",
        "NODE",
        "NOMINATED",
        "NODE",
        "READINESS",
        "GATES",
    ];
    assert!(has_row(&text, &heading), "{text}");
    let pods: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("pod/web-"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(pods.len(), 3, "{text}");
    for pod in &pods {
        assert_eq!(pod[1..4], ["1/1", "Running", "0"], "{text}");
        assert!(pod[5].starts_with("10.244.0."), "an address of the node's range: {text}");
        assert_eq!(pod[6], "node-1", "{text}");
    }
    assert!(has_row(&text, &["service/web", "ClusterIP"]) && text.contains("80/TCP"), "{text}");
    assert!(
        has_row(&text, &["deployment.apps/web", "3/3", "3", "3"]) && text.contains("busybox:1.36"),
        "{text}"
    );
    assert!(text.lines().any(|line| line.starts_with("replicaset.apps/web-")), "{text}");

    assert!(has_row(&world.kubectl.ok(&["get", "nodes"]), &["node-1", "Ready"]));
    let slices =
        world.kubectl.until(&["get", "endpointslices", "-n", "web"], "all addresses", |table| {
            table
                .lines()
                .any(|line| line.starts_with("web-") && line.matches("10.244.0.").count() == 3)
        });
    assert!(slices.contains("8080"), "{slices}");
    let services = world.kubectl.json(&["get", "service", "-n", "web", "web"]);
    assert!(services["spec"]["clusterIP"].as_str().unwrap().starts_with("10.96."), "{services}");
    assert!(has_row(
        &world.kubectl.ok(&["get", "service"]),
        &["kubernetes", "ClusterIP", "10.96.0.1"]
    ));
    let none = world.kubectl.output(&["get", "pods"]);
    assert_eq!(String::from_utf8_lossy(&none.stderr), "No resources found in default namespace.\n");
}

fn describe(world: &World<'_>) {
    let pod = world.pods().remove(0);
    let text = eventually("the pod's events", SOON, || {
        let text = world.kubectl.ok(&["describe", "pod", "-n", "web", &pod]);
        let reasons = ["Scheduled", "Pulled", "Created", "Started"];
        match reasons.iter().all(|reason| text.contains(&format!("  {reason} "))) {
            true => Ok(text),
            false => Err(text),
        }
    });
    for part in [
        &format!("Name:             {pod}"),
        "Namespace:        web",
        "Service Account:  default",
        "Status:           Running",
        "Controlled By:  ReplicaSet/web-",
        "Image:         busybox:1.36",
        "State:          Running",
        "Ready:          True",
        "Restart Count:  0",
        "GREETING:  <set to the key 'greeting' of config map 'web'>",
        "QoS Class:                   Burstable",
        "node.kubernetes.io/not-ready:NoExecute op=Exists for 300s",
        &format!("default-scheduler  Successfully assigned web/{pod} to node-1"),
        "Container started",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    assert!(text.contains("Readiness:") && text.contains("http-get http://:http/"), "{text}");

    let text = world.kubectl.ok(&["describe", "deployment", "-n", "web", "web"]);
    for part in [
        "3 desired | 3 updated | 3 total | 3 available | 0 unavailable",
        "StrategyType:           RollingUpdate",
        "RollingUpdateStrategy:  25% max unavailable, 25% max surge",
        "Available      True    MinimumReplicasAvailable",
        "ScalingReplicaSet",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    // Of Endpoints or EndpointSlices, as the version of kubectl has it: each has a controller of its own.
    let line = ["describe", "service", "-n", "web", "web"];
    let text =
        world.kubectl.until(&line, "all its endpoints", |text| text.matches(":8080").count() == 3);
    assert!(text.contains("Selector:") && text.contains("app=web"), "{text}");
    let text = world.kubectl.ok(&["describe", "node", "node-1"]);
    assert!(text.contains("KubeletReady") && text.contains("Allocated resources:"), "{text}");
    let text = world.kubectl.ok(&["describe", "configmap", "-n", "web", "web"]);
    assert!(text.contains("greeting:\n----\nhello\n"), "{text}");
    let text = world.kubectl.ok(&["describe", "namespace", "web"]);
    assert!(text.contains("Status:       Active"), "{text}");
}

fn watch(world: &World<'_>) {
    let watching = world.kubectl.start(&["get", "pods", "-n", "web", "-w"]);
    watching.until("three pods", |text| text.matches("1/1").count() == 3);
    world.kubectl.ok(&["scale", "-n", "web", "deployment/web", "--replicas=4"]);
    watching.until("a pod that comes", |text| {
        let states = ["Pending", "ContainerCreating", "Running"];
        states.iter().all(|state| text.contains(state)) && text.matches("1/1").count() >= 4
    });
    world.wait_for_ready_pods(4);
    world.kubectl.ok(&["scale", "-n", "web", "deployment/web", "--replicas=3"]);
    watching.until("a pod that goes", |text| text.contains("Terminating"));
    world.wait_for_ready_pods(3);
}
