//! An API server in this process and a proxy that follows it.

use async_trait::async_trait;
use k8s_openapi::api::{
    core::v1::{Namespace, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use kubeplane_apiserver::ApiServer;
use kubeplane_core::{
    auth::{Attributes, Authenticator, Authorizer, Decision, UserInfo},
    component::{Component, lifecycle},
    status::ApiResult,
};
use kubeplane_proxy::{Proxy, ProxyConfig};
use kubeplane_store_memory::MemoryStore;
use kubeplane_telemetry::{Health, Metrics, Probe};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

#[derive(Debug)]
struct Everyone;

#[async_trait]
impl Authenticator for Everyone {
    async fn authenticate(&self, _: &http::request::Parts) -> ApiResult<Option<UserInfo>> {
        Ok(Some(UserInfo::new("admin", Vec::<String>::new())))
    }
}

#[async_trait]
impl Authorizer for Everyone {
    async fn authorize(&self, _: &Attributes) -> Decision {
        Decision::Allow(String::new())
    }
}

pub(crate) struct Node {
    client: Client,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    _server: ApiServer,
    proxy: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.proxy.abort();
    }
}

impl Node {
    /// Starts the server and the proxy, which has written its first rules on return.
    pub(crate) async fn start() -> Self {
        Proxy::available().await.expect("nftables can be used");
        let server = ApiServer::builder(Arc::new(MemoryStore::new()))
            .resources(kubeplane_builtin::all())
            .authenticate(Everyone)
            .authorize(Everyone)
            .build()
            .unwrap();
        let user = UserInfo::new("admin", Vec::<String>::new());
        let client = server.client_as(user);
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        let mut config = ProxyConfig::new("here");
        config.cluster_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
        config.service_cidrs = vec!["10.96.0.0/16".parse().unwrap()];
        config.min_sync_period = Duration::from_millis(20);
        config.sync_period = Duration::from_millis(500);
        let (health, metrics) = (Health::new(), Metrics::new());
        let proxy = Proxy::builder(client.clone(), config)
            .health(health.clone())
            .metrics(metrics.clone())
            .build()
            .unwrap();
        let (side, mut supervision) = lifecycle();
        let proxy = tokio::spawn(async move {
            let ended = Box::new(proxy).run(side).await;
            panic!("the proxy ended: {ended:?}");
        });
        assert!(supervision.became_ready().await);
        assert!(health.report(Probe::Ready, &[]).is_ok());
        Self { client, health, metrics, _server: server, proxy }
    }

    pub(crate) async fn service(&self, name: &str, ip: &str, spec: Value) {
        let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
        let mut merged = json!({"clusterIP": ip, "clusterIPs": [ip], "ipFamilies": [family], "ipFamilyPolicy": "SingleStack"});
        merged.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": merged});
        let services: Api<Service> = Api::namespaced(self.client.clone(), "default");
        let params = PatchParams::apply("test").force();
        services.patch(name, &params, &Patch::Apply(service)).await.unwrap();
    }

    /// The endpoints of a service's port: pods by number, and their nodes.
    pub(crate) async fn endpoints(&self, service: &str, protocol: &str, pods: &[(u8, &str)]) {
        self.endpoints_of("IPv4", service, protocol, pods).await;
    }

    pub(crate) async fn endpoints_of(
        &self,
        family: &str,
        service: &str,
        protocol: &str,
        pods: &[(u8, &str)],
    ) {
        let address = |number: &u8| match family {
            "IPv6" => format!("fd00:{number}::10"),
            _ => format!("10.244.{number}.10"),
        };
        let endpoint = |(number, node): &(u8, &str)| json!({"addresses": [address(number)], "nodeName": node, "conditions": {"ready": true}});
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
            "addressType": family,
            "ports": [{"name": "p", "port": 8080, "protocol": protocol}],
            "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        });
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), "default");
        let params = PatchParams::apply("test").force();
        slices.patch(service, &params, &Patch::Apply(slice)).await.unwrap();
    }

    pub(crate) async fn delete_service(&self, name: &str) {
        let services: Api<Service> = Api::namespaced(self.client.clone(), "default");
        services.delete(name, &DeleteParams::default()).await.unwrap();
    }
}

/// Tries until it holds, for at most a minute.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool + Send + 'static) {
    let what = what.to_owned();
    let tried = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < deadline, "never: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    tried.await.unwrap();
}
