//! Health and metrics.

use crate::{
    cluster::{Cluster, Ground, Process},
    kubectl::SOON,
    network,
    parts::{eventually, free_port},
    raw::Raw,
};
use kubeplane::pki::{Kubeconfig, KubeconfigUser};
use serde_json::json;
use std::{path::Path, time::Duration};

/// What a probe says check by check, once all of them pass.
async fn checks(raw: &Raw, path: &str) -> String {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let answer = raw.get(&format!("{path}?verbose")).await;
        if answer.code == 200 || tokio::time::Instant::now() > deadline {
            return answer.text;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The answer once it has this code; authorization follows what was written a moment later.
async fn answered(raw: &Raw, path: &str, code: u16) -> String {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let answer = raw.get(path).await;
        if answer.code == code {
            return answer.text;
        }
        let late = tokio::time::Instant::now() > deadline;
        assert!(!late, "{path}: {} and not {code}: {}", answer.code, answer.text);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[track_caller]
fn assert_checks(told: &str, path: &str, names: &[&str]) {
    for name in names {
        assert!(told.contains(&format!("[+]{name} ok\n")), "{path}: {told}");
    }
    let probe = path.rsplit('/').next().unwrap();
    assert!(told.ends_with(&format!("{probe} check passed\n")), "{path}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_component_of_one_process_tells_its_health() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let admin = Raw::admin(&cluster).await;
    let cases: [(&str, &[&str]); 4] = [
        ("/components/kube-scheduler/livez", &["ping"]),
        ("/components/kube-scheduler/readyz", &["ping", "informer-sync", "sched-handler-sync"]),
        ("/components/kube-controller-manager/livez", &["ping", "deployment-controller"]),
        ("/components/kube-controller-manager/readyz", &["informer-sync", "deployment-controller"]),
    ];
    for (path, names) in cases {
        assert_checks(&checks(&admin, path).await, path, names);
    }
    let one = admin.get("/components/kube-controller-manager/livez/deployment-controller").await;
    assert_eq!((one.code, one.text.as_str()), (200, "ok"));
    // Simulated pods have no network, so there is no proxy.
    admin.get("/components/kube-proxy/livez").await.refused(404, "NotFound", &[]);
    let nobody = Raw::anonymous(&cluster).await;
    nobody.get("/components/kube-scheduler/livez").await.refused(403, "Forbidden", &[]);

    let kubelet = format!("https://127.0.0.1:{}", ground.kubelet_port());
    let kubelet = Raw::elsewhere(&cluster.kubeconfig, &kubelet, true).await;
    assert_checks(&checks(&kubelet, "/livez").await, "/livez", &["ping", "syncloop"]);
    assert_checks(&checks(&kubelet, "/readyz").await, "/readyz", &["ping", "syncloop", "runtime"]);
}

/// A kubeconfig of a service account that may read metrics and nothing else.
fn metrics_reader(cluster: &Cluster, data: &Path, url: &str) -> std::path::PathBuf {
    let kubectl = cluster.kubectl();
    kubectl.ok(&["create", "serviceaccount", "prometheus", "-n", "kube-system"]);
    let role = "prometheus";
    kubectl.ok(&["create", "clusterrole", role, "--verb=get", "--non-resource-url=/metrics"]);
    let account = "--serviceaccount=kube-system:prometheus";
    kubectl.ok(&["create", "clusterrolebinding", role, "--clusterrole=prometheus", account]);
    let token = kubectl.ok(&["create", "token", "prometheus", "-n", "kube-system"]);
    let file = data.join("prometheus.kubeconfig");
    let kubeconfig = Kubeconfig {
        cluster: "kubeplane".into(),
        server: url.to_owned(),
        authority: std::fs::read_to_string(data.join("pki/ca.crt")).unwrap(),
        user: "prometheus".into(),
        credentials: KubeconfigUser::Token(token.trim().to_owned()),
    };
    kubeconfig.write(&file).unwrap();
    file
}

/// Needs root and nftables, in a network of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_alone_tells_its_health_and_metrics() {
    const START: Duration = Duration::from_secs(60);
    if network::enter("observability::the_proxy_alone_tells_its_health_and_metrics") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let (api, proxy) = (free_port(), free_port());
    let mut process = Process::start(&[
        "apiserver".to_owned(),
        format!("--data-dir={data}"),
        format!("--listen=127.0.0.1:{api}"),
        "--log=info".to_owned(),
    ]);
    process.wait_for_line("custom-resources ready", START);
    let kubeconfig = directory.path().join("admin.kubeconfig");
    let cluster = Cluster { process, kubeconfig, url: format!("https://127.0.0.1:{api}") };
    let mut process = Process::start(&[
        "proxy".to_owned(),
        format!("--data-dir={data}"),
        format!("--kubeconfig={data}/proxy.kubeconfig"),
        "--node-name=node-1".to_owned(),
        "--node-ip=10.99.0.2".to_owned(),
        format!("--listen=127.0.0.1:{proxy}"),
        "--log=info".to_owned(),
    ]);
    process.wait_for_line("kube-proxy ready", START);

    let url = format!("https://127.0.0.1:{proxy}");
    let nobody = Raw::elsewhere(&cluster.kubeconfig, &url, false).await;
    let live = checks(&nobody, "/livez").await;
    assert_checks(&live, "/livez", &["ping", "proxy-rules"]);
    let ready = checks(&nobody, "/readyz").await;
    assert_checks(&ready, "/readyz", &["ping", "proxy-rules", "proxy-synced"]);
    assert_eq!(nobody.get("/metrics").await.code, 401);

    let file = metrics_reader(&cluster, directory.path(), &url);
    let reader = Raw::of(&file).await;
    let told = answered(&reader, "/metrics", 200).await;
    assert!(told.contains("kubeproxy_sync_proxy_rules_"), "{told}");
    let admin = Raw::elsewhere(&cluster.kubeconfig, &url, true).await;
    assert_eq!(admin.get("/metrics").await.code, 200, "a certificate says who asks as well");

    // Whoever took the right away is told what lacks, and does not wait.
    let binding = "kubeplane:kube-proxy-auth-delegator";
    cluster.kubectl().ok(&["delete", "clusterrolebinding", binding]);
    let told = answered(&reader, "/metrics", 500).await;
    assert!(told.contains("system:auth-delegator"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_check_by_check() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let raw = Raw::admin(&cluster).await;
    for path in ["/livez", "/readyz", "/healthz"] {
        let answer = raw.get(path).await;
        assert_eq!((answer.code, answer.text.as_str()), (200, "ok"), "{path}");
    }
    let verbose = raw.get("/readyz?verbose").await.text;
    assert!(verbose.starts_with("[+]") && verbose.ends_with("readyz check passed\n"), "{verbose}");
    assert!(verbose.contains("[+]ping ok\n"), "{verbose}");
    assert_eq!(raw.get("/livez/ping").await.code, 200);
    assert_eq!(raw.get("/livez/nothing").await.code, 404);
}

#[test]
fn metrics_have_the_names_dashboards_know() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    kubectl.ok(&["run", "one", "--image=busybox:1.36", "--restart=Never", "--", "sleep", "600"]);
    kubectl.ok(&["wait", "pod/one", "--for=condition=Ready", "--timeout=30s"]);
    kubectl.ok(&["create", "deployment", "two", "--image=busybox:1.36"]);
    kubectl.ok(&["rollout", "status", "deployment/two", "--timeout=60s"]);
    let names = [
        "apiserver_request_total{",
        "apiserver_request_duration_seconds_bucket{",
        "apiserver_current_inflight_requests{",
        "apiserver_longrunning_requests{",
        "apiserver_request_sli_duration_seconds_bucket{",
        "apiserver_response_sizes_bucket{",
        "apiserver_request_body_size_bytes_bucket{",
        "apiserver_watch_events_total{",
        "apiserver_admission_controller_admission_duration_seconds_bucket{",
        "apiserver_storage_size_bytes{",
        "authentication_attempts_total{",
        "authorization_attempts_total{",
        "etcd_requests_total{",
        "etcd_request_duration_seconds_bucket{",
        "apiserver_storage_objects{",
        "workqueue_depth{",
        "workqueue_adds_total{",
        "workqueue_queue_duration_seconds_bucket{",
        "workqueue_work_duration_seconds_bucket{",
        "workqueue_retries_total{",
        "workqueue_unfinished_work_seconds{",
        "workqueue_longest_running_processor_seconds{",
        "scheduler_schedule_attempts_total{",
        "scheduler_scheduling_attempt_duration_seconds_bucket{",
        "scheduler_pending_pods{",
        "scheduler_queue_incoming_pods_total{",
        "scheduler_framework_extension_point_duration_seconds_bucket{",
        "scheduler_plugin_execution_duration_seconds_bucket{",
        "scheduler_plugin_evaluation_total{",
        "scheduler_pod_scheduling_sli_duration_seconds_bucket{",
        "scheduler_cache_size{",
        "scheduler_inflight_events{",
        "kubelet_running_pods",
        "kubelet_running_containers{",
        "kubelet_pleg_relist_duration_seconds_bucket{",
        "kubelet_pleg_relist_interval_seconds_bucket{",
        "kubelet_runtime_operations_total{",
        "kubelet_pod_start_duration_seconds_bucket{",
        "kubelet_pod_worker_duration_seconds_bucket{",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ];
    eventually("all metrics", SOON, || {
        let text = kubectl.ok(&["get", "--raw", "/metrics"]);
        let missing: Vec<_> = names.iter().filter(|name| !text.contains(**name)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} in\n{text}")) }
    });
    // What is done is counted a moment after it is seen.
    eventually("what both pods took", SOON, || {
        let told = kubectl.ok(&["get", "--raw", "/metrics"]);
        let wrong = miscounted(&told);
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:#?} in\n{told}")) }
    });
    let told = kubectl.ok(&["get", "--raw", "/metrics"]);
    assert_eq!(miscounted(&told), [""; 0], "and nothing is counted twice: {told}");
}

/// What of two pods that run is counted otherwise than it was done.
fn miscounted(told: &str) -> Vec<String> {
    const POD: &str = "resource=\"pods\"";
    const SCHEDULED: [&str; 2] = ["result=\"scheduled\"", "profile=\"default-scheduler\""];
    const DONE: [&str; 2] = ["status=\"Success\"", "profile=\"default-scheduler\""];
    // The sum over all series of a name whose labels hold these texts.
    let sum = |name: &str, labels: &[&str]| -> Option<f64> {
        let series = told.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        let values: Vec<f64> =
            series.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    };
    let point = "scheduler_framework_extension_point_duration_seconds_count";
    let twice: [(&str, &[&str]); 10] = [
        ("apiserver_request_total", &[POD, "verb=\"POST\"", "subresource=\"\"", "code=\"201\""]),
        ("etcd_requests_total", &[POD, "operation=\"create\""]),
        ("apiserver_storage_objects", &[POD]),
        ("scheduler_schedule_attempts_total", &SCHEDULED),
        ("scheduler_scheduling_attempt_duration_seconds_count", &SCHEDULED),
        (point, &["extension_point=\"Filter\"", DONE[0], DONE[1]]),
        (point, &["extension_point=\"Bind\"", DONE[0], DONE[1]]),
        (
            "scheduler_queue_incoming_pods_total",
            &["queue=\"active\"", "event=\"UnschedulablePodAdd\""],
        ),
        ("kubelet_runtime_operations_total", &["operation_type=\"start_container\""]),
        ("kubelet_started_containers_total", &["container_type=\"container\""]),
    ];
    let least: [(&str, &[&str], f64); 4] = [
        ("apiserver_longrunning_requests", &[POD, "verb=\"WATCH\""], 2.0),
        ("workqueue_adds_total", &["name=\"deployment-controller\""], 1.0),
        ("kubelet_pleg_relist_duration_seconds_count", &[], 1.0),
        ("process_resident_memory_bytes", &[], 1_000_001.0),
    ];
    let twice = twice.iter().filter(|(name, labels)| sum(name, labels) != Some(2.0));
    let wrong = twice.map(|(name, labels)| format!("{name} {labels:?}: {:?}", sum(name, labels)));
    let less = least
        .iter()
        .filter(|(name, labels, least)| sum(name, labels).is_none_or(|found| found < *least));
    let less = less.map(|(name, labels, _)| format!("{name} {labels:?}: {:?}", sum(name, labels)));
    wrong.chain(less).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn components_list_their_checks_by_the_original_names() {
    const START: Duration = Duration::from_secs(60);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let start = |name: &str, ready: &str, more: &[String]| {
        let mut arguments = vec![name.to_owned(), format!("--data-dir={data}")];
        arguments.extend_from_slice(more);
        let mut process = Process::start(&arguments);
        process.wait_for_line(ready, START);
        process
    };
    let api = free_port();
    let listen = |port: u16| format!("--listen=127.0.0.1:{port}");
    let file = |name: &str| format!("--kubeconfig={data}/{name}.kubeconfig");
    let _api = start("apiserver", "custom-resources ready", &[listen(api)]);
    let (controllers, scheduler) = (free_port(), free_port());
    let _controllers = start(
        "controllers",
        "kube-controller-manager ready",
        &[file("controller-manager"), listen(controllers)],
    );
    let _scheduler =
        start("scheduler", "kube-scheduler ready", &[file("scheduler"), listen(scheduler)]);

    let kubeconfig = directory.path().join("admin.kubeconfig");
    let cases: [(u16, &str, &[&str]); 6] = [
        (api, "/livez", &["ping", "etcd"]),
        (api, "/readyz", &["ping", "etcd", "etcd-readiness", "shutdown"]),
        (controllers, "/livez", &["ping", "leaderElection", "deployment-controller"]),
        (
            controllers,
            "/readyz",
            &["ping", "leaderElection", "informer-sync", "shutdown", "deployment-controller"],
        ),
        (scheduler, "/livez", &["ping"]),
        (scheduler, "/readyz", &["ping", "informer-sync", "sched-handler-sync", "shutdown"]),
    ];
    for (port, path, checks) in cases {
        let raw = Raw::elsewhere(&kubeconfig, &format!("https://127.0.0.1:{port}"), false).await;
        let deadline = tokio::time::Instant::now() + SOON;
        let told = loop {
            let answer = raw.get(&format!("{path}?verbose")).await;
            if answer.code == 200 || tokio::time::Instant::now() > deadline {
                break answer.text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        for check in checks {
            assert!(told.contains(&format!("[+]{check} ok\n")), "{path} of {port}: {told}");
        }
        let end = format!("{} check passed\n", path.trim_start_matches('/'));
        assert!(told.ends_with(&end), "{path} of {port}: {told}");
    }
    let raw = Raw::elsewhere(&kubeconfig, &format!("https://127.0.0.1:{controllers}"), false).await;
    assert_eq!(raw.get("/livez/leaderElection").await.text, "ok");
    assert_eq!(raw.get("/metrics").await.code, 401, "metrics are not for everybody");
    let stranger = directory.path().join("proxy.kubeconfig");
    for port in [controllers, scheduler] {
        let url = format!("https://127.0.0.1:{port}");
        let admin = Raw::elsewhere(&kubeconfig, &url, true).await.get("/metrics").await;
        assert_eq!(admin.code, 200, "{}", admin.text);
        assert!(admin.text.contains("process_resident_memory_bytes"), "{}", admin.text);
        let refused = Raw::elsewhere(&stranger, &url, true).await.get("/metrics").await;
        assert_eq!(refused.code, 403, "{}", refused.text);
        assert!(refused.text.contains("system:kube-proxy"), "{}", refused.text);
    }
    requests_are_told(&kubeconfig, api, scheduler).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn components_serve_with_the_certificate_that_is_named() {
    const START: Duration = Duration::from_secs(60);
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = directory.path().display();
    let arguments = [
        "apiserver".to_owned(),
        format!("--data-dir={data}"),
        format!("--listen=127.0.0.1:{}", free_port()),
    ];
    let mut server = Process::start(&arguments);
    server.wait_for_line("custom-resources ready", START);
    // What it would make without the cluster's authority nobody believes.
    let port = free_port();
    let arguments = [
        "controllers".to_owned(),
        format!("--data-dir={}", elsewhere.path().display()),
        format!("--kubeconfig={data}/controller-manager.kubeconfig"),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={data}/pki/apiserver.crt"),
        format!("--tls-private-key-file={data}/pki/apiserver.key"),
    ];
    let mut controllers = Process::start(&arguments);
    controllers.wait_for_line("kube-controller-manager ready", START);
    let kubeconfig = directory.path().join("admin.kubeconfig");
    let raw = Raw::believing(&kubeconfig, &format!("https://127.0.0.1:{port}")).await;
    answered(&raw, "/livez", 200).await;
}

/// The scheduler of this port tells what a pod asks for, to those who may know.
async fn requests_are_told(kubeconfig: &Path, api: u16, scheduler: u16) {
    const PATH: &str = "/metrics/resources";
    let url = |port: u16| format!("https://127.0.0.1:{port}");
    let nobody = Raw::elsewhere(kubeconfig, &url(scheduler), false).await;
    assert_eq!(nobody.get(PATH).await.code, 401);
    let resources = json!({"requests": {"cpu": "250m"}});
    let pod = json!({"metadata": {"name": "asks"}, "spec": {"schedulerName": "nobody",
        "containers": [{"name": "c", "image": "i", "resources": resources}]}});
    let server = Raw::elsewhere(kubeconfig, &url(api), true).await;
    let reader = Raw::elsewhere(kubeconfig, &url(scheduler), true).await;
    let line = "kube_pod_resource_request{namespace=\"default\",node=\"\",pod=\"asks\",priority=\"0\",resource=\"cpu\",scheduler=\"nobody\",unit=\"cores\"} 0.25\n";
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        // It is refused until the account of its namespace is there, and when it is there itself.
        let made = server.post("/api/v1/namespaces/default/pods", pod.to_string()).await;
        let told = answered(&reader, PATH, 200).await;
        if told.contains(line) {
            break;
        }
        let late = tokio::time::Instant::now() > deadline;
        assert!(!late, "{line} is not in {told}; {}", made.text);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
