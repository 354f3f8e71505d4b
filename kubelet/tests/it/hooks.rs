//! What containers want done after their start and before their end.

use crate::{
    containerd,
    harness::{World, is_ready},
};
use kubeplane_runtime_cri::testing::BUSYBOX_IMAGE;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A directory of the machine that a pod sees at `/data`, and that stays when the pod goes.
fn shared(world: &World) -> PathBuf {
    let dir = world.dir.path().join("shared");
    std::fs::create_dir(&dir).unwrap();
    dir
}

/// What containers are made of: an image, and a command that goes on until it is asked to end.
#[derive(Clone, Copy)]
struct Kind {
    image: &'static str,
    command: &'static [&'static str],
}

const SIMULATED: Kind = Kind { image: "busybox", command: &["sleep", "36000"] };
/// The first process of a real container has to listen, or it is not reached.
const REAL: Kind = Kind {
    image: BUSYBOX_IMAGE,
    command: &["sh", "-c", "trap 'exit 143' TERM; sleep 36000 & wait"],
};

/// A pod with these hooks.
fn pod(kind: Kind, dir: &Path, grace: i64, lifecycle: &Value) -> Value {
    json!({
        "terminationGracePeriodSeconds": grace,
        "volumes": [{"name": "data", "hostPath": {"path": dir}}],
        "containers": [{"name": "c", "image": kind.image, "command": kind.command,
            "volumeMounts": [{"name": "data", "mountPath": "/data"}], "lifecycle": lifecycle}]
    })
}

fn exec(script: &str) -> Value {
    json!({"exec": {"command": ["sh", "-c", script]}})
}

async fn written(world: &World, file: &Path, text: &str) {
    world
        .wait("what the hook writes", async || match std::fs::read_to_string(file) {
            Ok(found) if found == text => Ok(()),
            other => Err(format!("{}: {other:?}", file.display())),
        })
        .await;
}

async fn hooks_do_their_work(world: &World, kind: Kind) {
    let dir = shared(world);
    let lifecycle = json!({
        "postStart": exec("echo hello > /data/started"),
        "preStop": exec("echo bye > /data/ended"),
    });
    world.run("polite", pod(kind, &dir, 30, &lifecycle)).await;
    world.until("polite", "ready", is_ready).await;
    written(world, &dir.join("started"), "hello\n").await;
    assert!(!dir.join("ended").exists(), "nobody has asked it to end");
    world.delete("polite").await;
    world.until("polite", "gone", Value::is_null).await;
    assert_eq!(std::fs::read_to_string(dir.join("ended")).unwrap(), "bye\n");
    let events = world.events("polite").await;
    assert!(events.iter().all(|(reason, _)| !reason.starts_with("Failed")), "{events:?}");

    // A hook of ten hours does not keep a pod whose grace is a second.
    let lifecycle = json!({"preStop": exec("sleep 36000; echo no > /data/done")});
    world.run("slow", pod(kind, &dir, 1, &lifecycle)).await;
    world.until("slow", "ready", is_ready).await;
    world.delete("slow").await;
    world.until("slow", "gone", Value::is_null).await;
    assert!(!dir.join("done").exists());
    // The command ended with its container, which is not what it was to do.
    world.event("slow", "FailedPreStopHook", "PreStopHook failed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulated_containers_have_hooks() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    hooks_do_their_work(&world, SIMULATED).await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_containerd_have_hooks() {
    let (_containerd, world, network) = containerd::start().await;
    let mut config = world.config();
    config.cni_conf_dir = network.0.path().to_owned();
    config.pod_cidr = Some("10.251.5.0/24".parse().unwrap());
    let kubelet = world.kubelet_with(config).await;
    hooks_do_their_work(&world, REAL).await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_fails_before_the_end_is_told_and_keeps_nothing() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let dir = shared(&world);
    let lifecycle = json!({"preStop": {"exec": {"command": ["false"]}}});
    world.run("rude", pod(SIMULATED, &dir, 30, &lifecycle)).await;
    world.until("rude", "ready", is_ready).await;
    world.delete("rude").await;
    world.until("rude", "gone", Value::is_null).await;
    // What the hook said may be secret, so that events do not repeat it.
    world.event("rude", "FailedPreStopHook", "PreStopHook failed").await;
    world.event("rude", "Killing", "Stopping container c").await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_whose_hook_fails_after_its_start_is_killed() {
    let world = World::new().await;
    let kubelet = world.kubelet().await;
    let dir = shared(&world);
    let lifecycle = json!({
        "postStart": exec("echo broken >&2; exit 3"),
        "preStop": exec("echo bye > /data/ended"),
    });
    let mut once = pod(SIMULATED, &dir, 30, &lifecycle);
    once["restartPolicy"] = json!("Never");
    world.run("once", once).await;
    let ended = world.until("once", "failed", |pod| pod["status"]["phase"] == "Failed").await;
    let state = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(state["exitCode"], 143, "it was asked to end: {state}");
    for (reason, message) in
        [("FailedPostStartHook", "PostStartHook failed"), ("Killing", "FailedPostStartHook")]
    {
        world.event("once", reason, message).await;
    }
    written(&world, &dir.join("ended"), "bye\n").await;

    // Another policy starts it again, and says meanwhile why it does not run.
    world.run("again", pod(SIMULATED, &dir, 30, &lifecycle)).await;
    let waiting = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        let reason = status["state"]["waiting"]["reason"].as_str().unwrap_or_default();
        reason == "PostStartHookError" || reason == "CrashLoopBackOff"
    };
    let again = world.until("again", "waiting", waiting).await;
    let status = &again["status"]["containerStatuses"][0];
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 143, "{status}");
    assert_eq!(status["ready"], false);
    world.delete("again").await;
    world.until("again", "gone", Value::is_null).await;
    kubelet.stop().await;
}
