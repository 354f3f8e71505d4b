use async_trait::async_trait;
use http::{Response, StatusCode};
use kubeplane_apiserver::{Body, Handler, HandlerRequest};
use kubeplane_core::status::{ApiError, ApiResult};
use serde_json::{Map, Value, json};

/// `selfsubjectrulesreviews`: what may I do in a namespace?
#[derive(Debug, Clone, Copy, Default)]
pub struct SelfSubjectRulesReview;

#[async_trait]
impl Handler for SelfSubjectRulesReview {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let sent = request.object().await?;
        let namespace = sent.text(&["spec", "namespace"]).to_owned();
        if namespace.is_empty() {
            return Err(ApiError::bad_request("no namespace on request"));
        }
        let (rules, incomplete) = request.api.authorizer().rules(&request.user, &namespace).await;
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        for rule in rules {
            if rule.non_resource_urls.is_empty() {
                resources.push(lists(&[
                    ("verbs", rule.verbs),
                    ("apiGroups", rule.api_groups),
                    ("resources", rule.resources),
                    ("resourceNames", rule.resource_names),
                ]));
            } else {
                paths.push(lists(&[
                    ("verbs", rule.verbs),
                    ("nonResourceURLs", rule.non_resource_urls),
                ]));
            }
        }
        // The answer has nothing of what was sent.
        let mut review = super::blank(&sent);
        review.set(&["spec"], json!({}));
        review.set(&["status"], json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": incomplete}));
        request.respond(StatusCode::CREATED, &review)
    }
}

fn lists(fields: &[(&str, Vec<String>)]) -> Value {
    let filled = fields.iter().filter(|(_, list)| !list.is_empty());
    Value::Object(
        filled.map(|(name, list)| ((*name).to_owned(), json!(list))).collect::<Map<_, _>>(),
    )
}
