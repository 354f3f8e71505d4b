use async_trait::async_trait;
use http::{Response, StatusCode};
use kubeplane_apiserver::{Body, Handler, HandlerRequest};
use kubeplane_core::{
    GroupResource,
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};

/// `namespaces/finalize`: sets `spec.finalizers`; a namespace being deleted is gone when none is left.
#[derive(Debug, Clone, Copy, Default)]
pub struct NamespaceFinalize;

#[async_trait]
impl Handler for NamespaceFinalize {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let sent = request.object().await?;
        let name = request.info.name.clone();
        if !sent.name().is_empty() && sent.name() != name {
            let why = format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                sent.name()
            );
            return Err(ApiError::bad_request(why));
        }
        let finalizers =
            sent.at(&["spec", "finalizers"]).cloned().filter(Value::is_array).unwrap_or(json!([]));
        let namespaces = GroupResource::new("", "namespaces");
        let updated = request
            .api
            .update_with(&namespaces, "", &name, |namespace| {
                let version = sent.resource_version();
                if !version.is_empty() && version != namespace.resource_version() {
                    return Err(ApiError::modified(&namespaces, &name));
                }
                if finalizers.as_array().is_some_and(Vec::is_empty) {
                    namespace.remove(&["spec", "finalizers"]);
                } else {
                    namespace.set(&["spec", "finalizers"], finalizers.clone());
                }
                Ok(())
            })
            .await?;
        request.respond(StatusCode::OK, &updated)
    }
}
