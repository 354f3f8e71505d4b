//! Health, metrics and spans.

use crate::harness::{Admins, Names, Server};
use kubeplane_apiserver::{ApiServer, admission::NamespaceLifecycle};
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{FaultPlan, FaultStore, Store};
use serde_json::json;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};
use tracing::{Event, Id, Metadata, Subscriber, span};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_store_that_fails_makes_the_server_not_ready_until_it_works_again() {
    let memory = Arc::new(MemoryStore::new());
    let store = Arc::new(FaultStore::new(memory.clone(), FaultPlan::none()));
    let api = ApiServer::builder(store.clone() as Arc<dyn Store>)
        .resources(kubeplane_builtin::all())
        .authenticate(Names)
        .authorize(Admins)
        .admit(NamespaceLifecycle)
        .build()
        .unwrap();
    let server = Server { api, store: memory };
    assert_eq!(server.get("/readyz").await.text, "ok");

    store.set_plan(FaultPlan::seeded(7, 1.0));
    for path in ["/readyz", "/livez", "/healthz"] {
        let failing = server.get(path).await;
        assert_eq!(failing.code.as_u16(), 500, "{path}: {}", failing.text);
        assert!(failing.text.contains("[-]etcd failed: reason withheld\n"), "{}", failing.text);
        assert!(failing.text.contains("[+]ping ok\n"), "{}", failing.text);
    }
    let failing = server.get("/readyz").await.text;
    assert!(failing.ends_with("readyz check failed\n"), "{failing}");
    assert_eq!(server.get("/readyz/etcd").await.code.as_u16(), 500);
    assert_eq!(server.get("/readyz?exclude=etcd&exclude=etcd-readiness").await.text, "ok");
    let read = server.get(&format!("{MAPS}/a")).await;
    assert!(read.code.is_server_error(), "{}", read.text);

    store.set_plan(FaultPlan::none());
    let well = server.get("/readyz?verbose").await;
    assert_eq!(well.code.as_u16(), 200, "{}", well.text);
    assert!(well.text.contains("[+]etcd ok\n"), "{}", well.text);
    let told = server.get("/metrics").await.text;
    let errors =
        "etcd_request_errors_total{group=\"\",operation=\"get\",resource=\"configmaps\"} 1";
    assert!(told.contains(errors), "{errors} in {told}");
    let told = server.get("/metrics/slis").await.text;
    assert_eq!(value(&told, "kubernetes_healthcheck", &["name=\"etcd\"", "type=\"readyz\""]), 1.0);
    let failed = ["name=\"etcd\"", "status=\"error\"", "type=\"readyz\""];
    assert_eq!(value(&told, "kubernetes_healthchecks_total", &failed), 2.0);
}

/// The value of the only series of this name whose labels hold all of these texts.
#[track_caller]
fn value(told: &str, name: &str, labels: &[&str]) -> f64 {
    let mut found = told.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    let line = found.next().unwrap_or_else(|| panic!("no {name} with {labels:?} in\n{told}"));
    assert_eq!(found.next(), None, "{name} with {labels:?} is not unique");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn metrics_tell_what_was_done() {
    let server = Server::ready().await;
    server.config_map("a", json!({})).await;
    server.get(&format!("{MAPS}/a")).await.expect(200);
    server.get(MAPS).await.expect(200);
    let dry = json!({"metadata": {"name": "b"}});
    server.post(&format!("{MAPS}?dryRun=All"), &dry).await.expect(201);
    let patch = json!({"data": {"a": "2"}});
    server.patch(&format!("{MAPS}/a"), "merge-patch+json", &patch).await.expect(200);
    server.call("GET", MAPS, &[("authorization", "Bearer bad")], b"").await.expect(401);
    server.call("GET", MAPS, &[("authorization", "Bearer x")], b"").await.expect(403);
    let told = server.get("/metrics").await.text;

    let maps = ["component=\"apiserver\"", "version=\"v1\"", "resource=\"configmaps\""];
    let of = |more: &[&'static str]| [&maps[..], more].concat();
    let requests = |more: &[&'static str]| value(&told, "apiserver_request_total", &of(more));
    let post = "verb=\"POST\"";
    assert_eq!(requests(&[post, "dry_run=\"\"", "code=\"201\"", "scope=\"resource\""]), 1.0);
    assert_eq!(requests(&[post, "dry_run=\"All\"", "code=\"201\""]), 1.0);
    assert_eq!(requests(&["verb=\"GET\"", "code=\"200\"", "scope=\"resource\""]), 1.0);
    assert_eq!(requests(&["verb=\"LIST\"", "code=\"200\"", "scope=\"namespace\""]), 1.0);
    assert_eq!(requests(&["verb=\"PATCH\"", "code=\"200\"", "subresource=\"\""]), 1.0);
    let count = |name: &str, labels: &[&'static str]| value(&told, name, &of(labels));
    assert_eq!(count("apiserver_response_sizes_count", &["verb=\"GET\""]), 1.0);
    assert!(count("apiserver_response_sizes_sum", &["verb=\"LIST\""]) > 100.0);
    assert_eq!(count("apiserver_request_sli_duration_seconds_count", &[post]), 1.0);
    let sizes = "apiserver_request_body_size_bytes_count";
    assert_eq!(value(&told, sizes, &["resource=\"configmaps\"", "verb=\"create\""]), 2.0);

    let calls = |name: &str, operation: &str| {
        let operation = format!("operation={operation:?}");
        value(&told, name, &["group=\"\"", "resource=\"configmaps\"", &operation])
    };
    assert_eq!(calls("etcd_requests_total", "create"), 1.0);
    assert_eq!(calls("etcd_requests_total", "update"), 1.0);
    assert_eq!(calls("etcd_request_duration_seconds_count", "create"), 1.0);
    assert_eq!(value(&told, "apiserver_storage_objects", &["resource=\"configmaps\""]), 1.0);
    assert_eq!(
        value(&told, "apiserver_resource_objects", &["resource=\"configmaps\"", "group=\"\""]),
        1.0
    );
    assert!(value(&told, "apiserver_storage_size_bytes", &["storage_cluster_id"]) > 0.0);

    assert_eq!(value(&told, "authentication_attempts_total", &["result=\"error\""]), 1.0);
    assert_eq!(value(&told, "authorization_attempts_total", &["result=\"no-opinion\""]), 1.0);
    let step = [
        "name=\"NamespaceLifecycle\"",
        "operation=\"UPDATE\"",
        "type=\"admit\"",
        "rejected=\"false\"",
    ];
    let name = "apiserver_admission_controller_admission_duration_seconds_count";
    assert_eq!(value(&told, name, &step), 1.0);
    let idle = |line: &&str| line.contains("NamespaceLifecycle") && line.contains("\"validate\"");
    assert_eq!(told.lines().find(idle), None, "a step is not asked for what it does not do");
    assert!(told.contains("# TYPE apiserver_request_total counter\n"), "{told}");
    assert!(!told.contains("# EOF"), "not OpenMetrics unless asked for");
}

#[tokio::test]
async fn what_clients_make_up_is_not_kept() {
    let server = Server::ready().await;
    let pester = async |from: u32, to: u32| {
        for number in from..to {
            for path in [
                format!("/api/v1/namespaces/default/nonsense{number}/x"),
                format!("/apis/nonsense{number}.example.com/v1/things/x"),
                format!("/api/v1/namespaces/default/pods/x/nonsense{number}"),
                format!("/api/nonsense{number}/pods"),
                format!("/nonsense{number}"),
                format!("/api/v1/namespaces/default/configmaps?dryRun=nonsense{number}"),
            ] {
                server.get(&path).await;
                server.call(&format!("NONSENSE{number}"), &path, &[], b"").await;
                server.call("GET", &path, &[("authorization", "Bearer x")], b"").await;
                server.call("DELETE", &path, &[("authorization", "")], b"").await;
            }
        }
        server.get("/metrics").await.text
    };
    // Also the question for metrics is counted, from the second time on.
    pester(0, 1).await;
    let before = pester(1, 2).await;
    let after = pester(2, 12).await;
    assert!(!after.to_ascii_lowercase().contains("nonsense"), "{after}");
    assert_eq!(before.lines().count(), after.lines().count(), "{after}");
}

#[tokio::test]
async fn watches_are_counted_as_long_as_they_last() {
    let server = Server::ready().await;
    let watching = ["verb=\"WATCH\"", "resource=\"configmaps\"", "scope=\"namespace\""];
    let now = async || {
        let told = server.get("/metrics").await.text;
        value(&told, "apiserver_longrunning_requests", &watching)
    };
    let mut events = server.watch(&format!("{MAPS}?watch=1")).await;
    assert_eq!(now().await, 1.0);
    server.config_map("a", json!({})).await;
    assert_eq!(events.brief().await.1, "a");
    drop(events);
    assert_eq!(now().await, 0.0);
    let told = server.get("/metrics").await.text;
    assert_eq!(value(&told, "apiserver_watch_events_total", &["resource=\"configmaps\""]), 1.0);
}

/// Notes the names of spans in the order in which they begin.
#[derive(Clone, Default)]
struct Spans {
    names: Arc<Mutex<Vec<&'static str>>>,
    last: Arc<AtomicU64>,
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("kubeplane_apiserver")
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> Id {
        self.names.lock().unwrap().push(span.metadata().name());
        Id::from_u64(self.last.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn record(&self, _: &Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn every_step_of_a_request_has_a_span() {
    let server = Server::ready().await;
    let spans = Spans::default();
    let guard = tracing::subscriber::set_default(spans.clone());
    server.config_map("a", json!({})).await;
    drop(guard);
    let names = spans.names.lock().unwrap().clone();
    // Admission reads the namespace and the watch caches go their own way, so the store is asked more often.
    let steps: Vec<_> = names.iter().copied().filter(|name| *name != "store").collect();
    assert_eq!(
        steps,
        [
            "request",
            "request_info",
            "authentication",
            "queue",
            "authorization",
            "decode",
            "admission",
            "validation",
            "admission",
            "response",
        ],
        "{names:?}"
    );
    let end = names.iter().rposition(|name| *name == "response").unwrap();
    assert_eq!(names[end - 1], "store", "written between admission and the answer: {names:?}");
}
