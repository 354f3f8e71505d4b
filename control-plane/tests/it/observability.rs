//! Health and metrics.

use crate::{cluster::Ground, kubectl::SOON, parts::eventually, raw::Raw};

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
    let names = [
        "apiserver_request_total{",
        "apiserver_request_duration_seconds_bucket{",
        "apiserver_current_inflight_requests{",
        "apiserver_longrunning_requests{",
        "etcd_request_duration_seconds_bucket{",
        "apiserver_storage_objects{",
        "workqueue_depth{",
        "workqueue_adds_total{",
        "workqueue_queue_duration_seconds_bucket{",
        "workqueue_work_duration_seconds_bucket{",
        "workqueue_retries_total{",
        "scheduler_schedule_attempts_total{",
        "scheduler_scheduling_attempt_duration_seconds_bucket{",
        "scheduler_pending_pods{",
        "kubelet_running_pods",
    ];
    eventually("all metrics", SOON, || {
        let text = kubectl.ok(&["get", "--raw", "/metrics"]);
        let missing: Vec<_> = names.iter().filter(|name| !text.contains(**name)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} in\n{text}")) }
    });
    let text = kubectl.ok(&["get", "--raw", "/metrics"]);
    let line = |start: &str, labels: &[&str]| {
        text.lines()
            .any(|line| line.starts_with(start) && labels.iter().all(|label| line.contains(label)))
    };
    assert!(
        line("apiserver_request_total", &["verb=\"POST\"", "resource=\"pods\"", "code=\"201\""]),
        "{text}"
    );
    assert!(line("scheduler_schedule_attempts_total", &["result=\"scheduled\""]), "{text}");
}
