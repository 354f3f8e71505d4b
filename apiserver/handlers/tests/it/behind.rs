//! Caches that have yet to see what the store has.

use crate::harness::Server;
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use kubeplane_clock::{PausedClock, Seed};
use kubeplane_handlers::admission::AdmissionPlugins;
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{
    BoxWatcher, Capabilities, Deleted, Key, KeyRange, ListOptions, Page, Read, ReadAt, Result,
    Revision, Store, StoreStatus, WatchBatch, Watcher, WriteOptions,
};
use serde_json::{Value, json};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// A store whose watches tell nothing: a cache stays what it was when it was filled.
#[derive(Debug, Default)]
struct Mute(Arc<MemoryStore>);

struct Silence;

impl Stream for Silence {
    type Item = Result<WatchBatch>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

impl Watcher for Silence {
    fn request_progress(self: Pin<&mut Self>) {}
}

#[async_trait]
impl Store for Mute {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        self.0.get(key, at).await
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        self.0.list(range, options).await
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        self.0.create(key, value, options).await
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        self.0.update(key, value, expected, options).await
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        self.0.delete(key, expected).await
    }

    async fn watch(&self, _: &KeyRange, _: Revision) -> Result<BoxWatcher> {
        Ok(Box::pin(Silence))
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        self.0.compact(through).await
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.0.status().await
    }
}

/// Lets the server look at what is there, which is all that it will see of it.
async fn look(server: &Server, path: &str) {
    let found = server.admin("GET", &format!("{path}?resourceVersion=0"), &Value::Null).await;
    assert_eq!(found.expect(200)["items"], json!([]));
}

/// A server with one step of those that can be switched, on what is there already.
async fn with(step: &str, store: Arc<MemoryStore>) -> Server {
    let off: Vec<_> = AdmissionPlugins::names().filter(|name| *name != step).collect();
    let plugins = AdmissionPlugins::new().switch(&[step], &off).unwrap();
    let clock = kubeplane_clock::real();
    Server::on(Arc::new(Mute(store)), |builder| {
        plugins.install(builder, &clock, &Seed::new(1), |_, builder| builder)
    })
    .await
}

#[tokio::test]
async fn a_quota_limits_from_the_moment_on_at_which_it_says_so() {
    const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
    let store = Arc::new(MemoryStore::new());
    let hard = json!({"configmaps": "1"});
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": hard}});
    let before = Server::on(store.clone(), |builder| builder).await;
    before.admin("POST", QUOTAS, &quota).await.expect(201);
    let server = with("ResourceQuota", store).await;
    let seen = server.admin("GET", &format!("{QUOTAS}?resourceVersion=0"), &Value::Null).await;
    assert_eq!(seen.expect(200)["items"][0]["metadata"]["name"], "few");
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = |name: &str| json!({"metadata": {"name": name}});
    server.admin("POST", maps, &map("a")).await.expect(201);
    let counted = json!({"status": {"hard": hard, "used": {"configmaps": "1"}}});
    server.admin("PATCH", &format!("{QUOTAS}/few/status"), &counted).await.expect(200);
    let refused = server.admin("POST", maps, &map("b")).await;
    refused.forbidden("exceeded quota: few, requested: configmaps=1, used: configmaps=1");
    server.admin("DELETE", &format!("{QUOTAS}/few"), &Value::Null).await.expect(200);
    server.admin("POST", maps, &map("b")).await.expect(201);
}

#[tokio::test]
async fn a_priority_class_counts_for_the_pod_that_is_made_right_after_it() {
    const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let server = with("Priority", Arc::default()).await;
    look(&server, CLASSES).await;
    let class = json!({"metadata": {"name": "high"}, "value": 7});
    server.admin("POST", CLASSES, &class).await.expect(201);
    let mut pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pods = "/api/v1/namespaces/default/pods";
    pod["spec"]["priorityClassName"] = "high".into();
    let made = server.admin("POST", pods, &pod).await.expect(201);
    assert_eq!(made["spec"]["priority"], 7);
    pod["spec"]["priorityClassName"] = "higher".into();
    let refused = server.admin("POST", pods, &pod).await;
    refused.forbidden("no PriorityClass with name higher was found");
}

#[tokio::test]
async fn a_list_that_must_be_current_is_read_from_the_store_when_the_cache_does_not_come_so_far() {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let shared = Arc::new(clock.clone());
    let server = Server::on(Arc::new(Mute::default()), |builder| builder.clock(shared)).await;
    look(&server, MAPS).await;
    for name in ["a", "b"] {
        let map = json!({"metadata": {"name": name, "labels": {"own": name}}});
        server.admin("POST", MAPS, &map).await.expect(201);
    }
    for (query, wanted) in [("", &["a", "b"][..]), ("?labelSelector=own%3Db", &["b"][..])] {
        let path = format!("{MAPS}{query}");
        let listed = tokio::select! {
            listed = server.admin("GET", &path, &Value::Null) => listed.expect(200),
            () = async {
                loop {
                    clock.advance(Duration::from_millis(100));
                    tokio::task::yield_now().await;
                }
            } => unreachable!(),
        };
        let items = listed["items"].as_array().unwrap();
        let names: Vec<_> = items.iter().map(|map| map["metadata"]["name"].clone()).collect();
        assert_eq!(names, wanted, "{listed}");
    }
    look(&server, MAPS).await;
}
