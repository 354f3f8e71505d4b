//! With real containers: containerd, runc and the network plugins of this machine, as root.

use crate::{
    harness::{World, is_ready},
    resize::{is_resized, resize},
    serving::Served,
};
use kubeplane_runtime_cri::{
    CriClient,
    testing::{BUSYBOX_IMAGE, Containerd, ContainerdOptions},
};
use kubeplane_streaming::{port_forward, remote_command::Outcome, upgrade};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The network configuration of one test; its bridge goes with it.
pub(crate) struct Network(pub(crate) tempfile::TempDir);

impl Drop for Network {
    fn drop(&mut self) {
        let config = std::fs::read(self.0.path().join("10-kubeplane.conflist")).unwrap_or_default();
        let config: Value = serde_json::from_slice(&config).unwrap_or_default();
        if let Some(bridge) = config["plugins"][0]["bridge"].as_str() {
            // A bridge that cannot be removed is taken again by the next run.
            let _ = std::process::Command::new("ip").args(["link", "delete", bridge]).status();
        }
    }
}

pub(crate) async fn start() -> (Containerd, World, Network) {
    let network = Network(tempfile::tempdir().unwrap());
    let options = ContainerdOptions {
        cni_config: Some(network.0.path().to_owned()),
        ..ContainerdOptions::default()
    };
    let containerd = Containerd::start_with(options).unwrap();
    let client = CriClient::connect(containerd.socket()).await.unwrap();
    let world = World::with(Arc::new(client)).await;
    (containerd, world, network)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_pods_live_and_survive_a_restart_of_the_kubelet() {
    let (_containerd, world, network) = start().await;
    let mut config = world.config();
    config.cni_conf_dir = network.0.path().to_owned();
    config.pod_cidr = Some("10.251.3.0/24".parse().unwrap());
    let kubelet = world.kubelet_with(config.clone()).await;
    world
        .post(
            "/api/v1/namespaces/default/secrets",
            json!({"metadata": {"name": "key"}, "stringData": {"word": "sesame"}}),
        )
        .await;
    let script = "cat /data/x /data/groups /secret/word; echo; echo $IP; httpd -f -p 8080 -h /data";
    world
        .run("web", json!({
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"fsGroup": 4000},
            "volumes": [{"name": "data", "emptyDir": {"medium": "Memory"}}, {"name": "s", "secret": {"secretName": "key"}}],
            "initContainers": [{"name": "i", "image": BUSYBOX_IMAGE, "command": ["sh", "-c", "echo init > /data/x; id -G > /data/groups"],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "securityContext": {"runAsUser": 1234}}],
            "containers": [{"name": "c", "image": BUSYBOX_IMAGE, "command": ["sh", "-c", script],
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "resources": {"requests": {"cpu": "50m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"path": "/x", "port": 8080}, "periodSeconds": 1},
                "livenessProbe": {"exec": {"command": ["cat", "/data/x"]}, "periodSeconds": 1},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "s", "mountPath": "/secret", "readOnly": true}]}]
        }))
        .await;
    let before = world.until("web", "ready", is_ready).await;
    let ip = before["status"]["podIP"].as_str().unwrap();
    assert!(ip.starts_with("10.251.3."), "{ip}");
    let uid = before["metadata"]["uid"].as_str().unwrap();
    let log = world.dir.path().join(format!("logs/default_web_{uid}/c/0.log"));
    let log = std::fs::read_to_string(log).unwrap();
    for line in ["init", "0 4000", "sesame", ip] {
        assert!(log.contains(&format!("stdout F {line}\n")), "{log}");
    }
    kubelet.stop().await;
    let kubelet = world.kubelet_with(config).await;
    world
        .run("once", json!({"restartPolicy": "Never", "hostNetwork": true, "containers": [
            {"name": "c", "image": BUSYBOX_IMAGE, "command": ["sh", "-c", "echo bye > /dev/termination-log; exit 7"]}]}))
        .await;
    let once = world.until("once", "failed", |pod| pod["status"]["phase"] == "Failed").await;
    let ended = &once["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["message"]), (&json!(7), &json!("bye\n")));
    let after = world.until("web", "ready", is_ready).await;
    let id = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    assert_eq!(id(&before), id(&after));
    for name in ["web", "once"] {
        world.delete(name).await;
        world.until(name, "gone", Value::is_null).await;
    }
    world
        .wait("nothing left", async || {
            let left = std::fs::read_dir(world.dir.path().join("kubelet/pods")).unwrap().count();
            if left == 0 { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_containers_take_commands_and_connections() {
    let (_containerd, world, network) = start().await;
    let mut config = world.config();
    config.cni_conf_dir = network.0.path().to_owned();
    config.pod_cidr = Some("10.251.4.0/24".parse().unwrap());
    let served = Served::start_in(world, config).await;
    let script = "echo page > /tmp/x; httpd -f -p 8080 -h /tmp";
    served
        .world
        .run(
            "web",
            json!({"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "c", "image": BUSYBOX_IMAGE, "command": ["sh", "-c", script],
             "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}]}),
        )
        .await;
    served.world.until("web", "ready", is_ready).await;
    let said = served.exec("web/c", "command=cat&command=/tmp/x", "").await;
    assert_eq!(said, ("page\n".to_owned(), Outcome::Success));
    let typed = served.exec("web/c", "command=tr&command=a&command=b", "banana\n").await;
    assert_eq!(typed, ("bbnbnb\n".to_owned(), Outcome::Success));
    let failed = served.exec("web/c", "command=sh&command=-c&command=exit%209", "").await;
    assert_eq!(failed.1, Outcome::ExitCode(9));
    let mut io = served.admin().await;
    upgrade(&mut io, "node", "/portForward/default/web", &["portforward.k8s.io"]).await.unwrap();
    let forwarder = port_forward::connect(io);
    let mut connection = forwarder.open(8080).await.unwrap();
    connection.data.write_all(b"GET /x HTTP/1.0\r\n\r\n").await.unwrap();
    let mut page = String::new();
    connection.data.read_to_string(&mut page).await.unwrap();
    assert!(page.ends_with("page\n"), "{page}");
    let closed = forwarder.open(81).await.unwrap();
    let message = closed.error.wait().await.unwrap().unwrap_or_default();
    assert!(message.contains("81"), "{message}");
    served.world.delete("web").await;
    served.world.until("web", "gone", Value::is_null).await;
    served.kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_containers_are_changed_while_they_run() {
    let (_containerd, world, network) = start().await;
    let mut config = world.config();
    config.cni_conf_dir = network.0.path().to_owned();
    config.pod_cidr = Some("10.251.13.0/24".parse().unwrap());
    let served = Served::start_in(world, config).await;
    let memory =
        |amount: &str| json!({"requests": {"memory": amount}, "limits": {"memory": amount}});
    served
        .world
        .run(
            "web",
            json!({"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "c", "image": BUSYBOX_IMAGE, "command": ["sleep", "1000"], "resources": memory("64Mi")}]}),
        )
        .await;
    let before = served.world.until("web", "ready", is_ready).await;
    // Where the limit lies depends on the version of cgroups.
    let look = "command=sh&command=-c&command=cat%20/sys/fs/cgroup/memory.max%20\
        /sys/fs/cgroup/memory/memory.limit_in_bytes%202%3E/dev/null%20%7C%7C%20true";
    let limit = async || served.exec("web/c", look, "").await;
    assert_eq!(limit().await, ("67108864\n".to_owned(), Outcome::Success));
    for (amount, bytes) in [("96Mi", "100663296\n"), ("48Mi", "50331648\n")] {
        resize(&served.world, "web", "c", memory(amount)).await;
        let after = served
            .world
            .until("web", "resized", |pod| {
                let own = &pod["status"]["containerStatuses"][0];
                is_resized(pod) && own["resources"] == memory(amount)
            })
            .await;
        let own = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
        assert_eq!(own(&before), own(&after));
        assert_eq!(limit().await, (bytes.to_owned(), Outcome::Success));
    }
    // No process fits into so little.
    resize(&served.world, "web", "c", memory("10Ki")).await;
    let refused = served
        .world
        .until("web", "refused", |pod| {
            let all = pod["status"]["conditions"].as_array();
            let mut reasons = all.into_iter().flatten().filter(|own| own["reason"] == "Error");
            reasons.any(|own| own["type"] == "PodResizeInProgress")
        })
        .await;
    assert_eq!(refused["status"]["containerStatuses"][0]["resources"], memory("48Mi"));
    served.world.delete("web").await;
    served.world.until("web", "gone", Value::is_null).await;
    served.kubelet.stop().await;
}
