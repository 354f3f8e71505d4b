//! The health of components that live in the API server's process, on the API server's port.
//!
//! In processes of their own they have a port each ([`HealthEndpoint`](crate::endpoint::HealthEndpoint)); many clusters in
//! one process or on one machine cannot all have the original's.

use async_trait::async_trait;
use http::{HeaderValue, Method, Response, header, request::Parts};
use kubeplane_apiserver::{
    Api, Route,
    body::{self, Body},
};
use kubeplane_core::status::{ApiError, ApiResult};
use kubeplane_telemetry::{Health, Probe, health_response};
use parking_lot::RwLock;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// `GET /components/NAME/livez`, `readyz` and `healthz`, each with `?verbose`, `?exclude=` and single checks
/// below it. Metrics are the process's: the API server's `/metrics` has them all.
///
/// `GET /components/` is an index in JSON, by name: `{"components": [{"name": "kubelet", "healthy": false, "failed":
/// ["runtime"]}]}`, with the checks of `healthz` that fail. Why they do is for the log.
///
/// To authorization they are paths like any other: members of `system:masters` may get them, and whoever a rule
/// gives `get` on the path.
///
/// ```
/// use kubeplane::{api::ApiOptions, component_routes::ComponentRoutes, telemetry::Health};
/// use std::sync::Arc;
/// let (components, health) = (ComponentRoutes::new(), Health::new());
/// components.add("kube-scheduler", health.clone());        // and Scheduler::builder(..).health(health)
/// let mut options = ApiOptions::default();
/// options.routes.push((ComponentRoutes::PATH.to_owned(), Arc::new(components)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ComponentRoutes(Arc<RwLock<BTreeMap<String, Health>>>);

impl ComponentRoutes {
    /// What the paths begin with.
    pub const PATH: &'static str = "/components";

    /// Without components. Clones share what is added.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves these checks under this name, as in `kube-scheduler`.
    pub fn add(&self, name: &str, health: Health) {
        self.0.write().insert(name.to_owned(), health);
    }

    fn answer(&self, path: &str, query: &str) -> Option<Response<String>> {
        let below = path.strip_prefix(Self::PATH)?.strip_prefix('/')?;
        if below.is_empty() {
            return Some(self.index());
        }
        let (name, rest) = below.split_once('/')?;
        let (probe_name, check) = match rest.split_once('/') {
            Some((probe, check)) => (probe, Some(check)),
            None => (rest, None),
        };
        let probe = match probe_name {
            "livez" => Probe::Live,
            "readyz" => Probe::Ready,
            "healthz" => Probe::Both,
            _ => return None,
        };
        let health = self.0.read().get(name).cloned()?;
        Some(health_response(&health, probe, probe_name, check, query))
    }

    /// Every component, and which of its checks fail.
    fn index(&self) -> Response<String> {
        let all = self.0.read().clone();
        let rows = all.iter().map(|(name, health)| {
            let report = health.report(Probe::Both, &[]);
            let failed: Vec<_> = report.failures().map(|(check, _)| check).collect();
            json!({"name": name, "healthy": failed.is_empty(), "failed": failed})
        });
        let index = json!({"components": rows.collect::<Vec<Value>>()});
        let mut answer = Response::new(index.to_string());
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert(header::CONTENT_TYPE, json);
        answer
    }
}

#[async_trait]
impl Route for ComponentRoutes {
    async fn serve(&self, _api: &Api, head: &Parts, _body: Body) -> ApiResult<Response<Body>> {
        let query = head.uri.query().unwrap_or_default();
        let answer = self.answer(head.uri.path(), query).ok_or_else(ApiError::no_such_path)?;
        if head.method != Method::GET {
            return Err(ApiError::method_not_allowed());
        }
        Ok(answer.map(body::full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_component_answers_for_itself_and_nobody_for_others() {
        let components = ComponentRoutes::new();
        let (scheduler, controllers) = (Health::new(), Health::new());
        scheduler.add("informer-sync", Probe::Ready, || Err("not yet".to_owned()));
        controllers.add("ping", Probe::Both, || Ok(()));
        components.add("kube-scheduler", scheduler);
        components.add("kube-controller-manager", controllers);
        let ask = |path: &str, query: &str| {
            let answer = components.answer(path, query)?;
            Some((answer.status().as_u16(), answer.into_body()))
        };
        let (code, text) = ask("/components/kube-scheduler/readyz", "").unwrap();
        assert!(code == 500 && text.contains("[-]informer-sync failed"), "{text}");
        assert_eq!(ask("/components/kube-scheduler/livez", "").unwrap(), (200, "ok".to_owned()));
        let (_, text) = ask("/components/kube-controller-manager/livez", "verbose").unwrap();
        assert_eq!(text, "[+]ping ok\nlivez check passed\n");
        let one = ask("/components/kube-controller-manager/readyz/ping", "");
        assert_eq!(one.unwrap(), (200, "ok".to_owned()));
        for path in [
            "/components",
            "/components//livez",
            "/components/kube-proxy/livez",
            "/components/kube-scheduler",
            "/components/kube-scheduler/metrics",
        ] {
            assert_eq!(ask(path, ""), None, "{path}");
        }
    }

    #[test]
    fn the_index_has_all_with_what_fails_and_not_why() {
        let components = ComponentRoutes::new();
        let index = || {
            let answer = components.answer("/components/", "").unwrap();
            assert_eq!(answer.headers()["content-type"], "application/json");
            assert_eq!(answer.status(), 200);
            serde_json::from_str::<Value>(answer.body()).unwrap()
        };
        assert_eq!(index(), json!({"components": []}));
        let (proxy, kubelet) = (Health::new(), Health::new());
        proxy.add("ping", Probe::Both, || Ok(()));
        components.add("kube-proxy", proxy);
        components.add("kubelet", kubelet.clone());
        // Added after the component was, as a kubelet does when it starts.
        kubelet.add("syncloop", Probe::Live, || Ok(()));
        kubelet.add("runtime", Probe::Ready, || Err("a secret".to_owned()));
        let expected = json!({"components": [
            {"name": "kube-proxy", "healthy": true, "failed": []},
            {"name": "kubelet", "healthy": false, "failed": ["runtime"]},
        ]});
        assert_eq!(index(), expected);
    }
}
