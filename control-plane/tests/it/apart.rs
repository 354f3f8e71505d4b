//! Each component in a process of its own, against its own kubeconfig.

use crate::{
    calls::{MANIFEST, World},
    cluster::{Cluster, Process},
    kubectl::{Kubectl, has_row},
    parts::{default_kubectl, free_port},
};
use std::time::Duration;

const START: Duration = Duration::from_secs(60);

#[test]
fn components_in_processes_of_their_own_make_a_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap().to_owned();
    let port = free_port();
    let start = |name: &str, ready: &str, more: &[&str]| {
        let mut arguments =
            vec![name.to_owned(), format!("--data-dir={data}"), "--log=info".to_owned()];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let mut process = Process::start(&arguments);
        process.wait_for_line(ready, START);
        process
    };
    let file = |name: &str| format!("--kubeconfig={data}/{name}.kubeconfig");
    let listen = || format!("--listen=127.0.0.1:{}", free_port());

    let api = start(
        "apiserver",
        "custom-resources ready",
        &[&format!("--listen=127.0.0.1:{port}"), "--node=node-1"],
    );
    let mut controllers = start(
        "controllers",
        "kube-controller-manager ready",
        &[&file("controller-manager"), &listen()],
    );
    let _scheduler = start("scheduler", "kube-scheduler ready", &[&file("scheduler"), &listen()]);
    let _kubelet = start(
        "kubelet",
        "kubelet ready",
        &[
            &file("kubelet-node-1"),
            "--node-name=node-1",
            "--node-ip=127.0.0.1",
            "--runtime=simulated",
            &format!("--kubelet-listen=127.0.0.1:{}", free_port()),
        ],
    );

    let kubeconfig = directory.path().join("admin.kubeconfig");
    let cluster = Cluster { process: api, kubeconfig, url: format!("https://127.0.0.1:{port}") };
    let kubectl = Kubectl::new(&default_kubectl(), &cluster.kubeconfig);
    kubectl.ok(&["apply", "-f", MANIFEST]);
    kubectl.ok(&["rollout", "status", "-n", "web", "deployment/web", "--timeout=60s"]);
    World { kubectl: &kubectl, cluster: &cluster, real: None }.wait_for_ready_pods(3);
    let said = kubectl.ok(&["exec", "-n", "web", "deployment/web", "--", "cat", "/www/index.html"]);
    assert_eq!(said, "hello, world\n");
    let lease = kubectl.ok(&["get", "lease", "-n", "kube-system"]);
    assert!(has_row(&lease, &["kube-controller-manager"]), "{lease}");

    // A component that starts again goes on where the last one was.
    assert!(controllers.interrupt().success());
    let pod = World { kubectl: &kubectl, cluster: &cluster, real: None }.pods().remove(0);
    kubectl.ok(&["delete", "pod", "-n", "web", &pod]);
    // The new one is told what a static pod would tell it, and works as the administrator.
    let kept = |flag: &str, file: &str| format!("--{flag}={data}/pki/{file}");
    let _controllers = start(
        "controllers",
        "kube-controller-manager ready",
        &[
            &file("admin"),
            &format!("--authorization-kubeconfig={data}/admin.kubeconfig"),
            &format!("--secure-port={}", free_port()),
            &kept("cluster-signing-cert-file", "ca.crt"),
            &kept("cluster-signing-key-file", "ca.key"),
            &kept("root-ca-file", "ca.crt"),
            &kept("service-account-private-key-file", "sa.key"),
            "--bind-address=127.0.0.1",
            "--controllers=*,bootstrapsigner,tokencleaner",
            "--leader-elect",
            "--use-service-account-credentials=false",
            "--v=2",
        ],
    );
    World { kubectl: &kubectl, cluster: &cluster, real: None }.wait_for_ready_pods(3);
}
