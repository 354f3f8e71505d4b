use async_trait::async_trait;
use http::Response;
use kubeplane_apiserver::{Body, Handler, HandlerRequest};
use kubeplane_core::{
    GroupResource, Object,
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use std::{fmt, sync::Arc};

type Check = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// `componentstatuses`: whether the scheduler, the controller manager and the store are well. Each
/// component is asked by the check it was added with; the store is asked directly.
#[derive(Clone, Default)]
pub struct ComponentStatuses {
    checks: Vec<(String, Check)>,
}

impl fmt::Debug for ComponentStatuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.checks.iter().map(|(name, _)| name)).finish()
    }
}

impl ComponentStatuses {
    /// Only the store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a component.
    #[must_use]
    pub fn with(
        mut self,
        name: &str,
        check: impl Fn() -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        self.checks.push((name.to_owned(), Arc::new(check)));
        self
    }

    async fn all(&self, request: &HandlerRequest) -> Vec<Value> {
        let store = request.api.store().status().await;
        let store = store.map(|status| status.trouble.unwrap_or_else(|| "ok".to_owned()));
        let store = store.map_err(|error| error.to_string());
        let mut all: Vec<_> =
            self.checks.iter().map(|(name, check)| status(name, check())).collect();
        all.push(status("etcd-0", store));
        all
    }
}

fn status(name: &str, outcome: Result<String, String>) -> Value {
    let condition = match outcome {
        Ok(message) => json!({"type": "Healthy", "status": "True", "message": message}),
        Err(error) => {
            json!({"type": "Healthy", "status": "False", "message": error, "error": error})
        }
    };
    json!({"apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name}, "conditions": [condition]})
}

#[async_trait]
impl Handler for ComponentStatuses {
    async fn handle(&self, request: HandlerRequest) -> ApiResult<Response<Body>> {
        request.warnings.add("v1 ComponentStatus is deprecated in v1.19+");
        let all = self.all(&request).await;
        let name = &request.info.name;
        let all = all.into_iter().filter_map(Object::from_value);
        if name.is_empty() {
            return request.respond_kind(all.collect(), true);
        }
        let found: Vec<_> = all.filter(|status| status.name() == name).collect();
        if found.is_empty() {
            let resource = GroupResource::new("", "componentstatus");
            return Err(ApiError::not_found(&resource, name));
        }
        request.respond_kind(found, false)
    }
}
