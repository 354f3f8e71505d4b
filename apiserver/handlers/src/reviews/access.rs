use async_trait::async_trait;
use http::{Response, StatusCode};
use kubeplane_apiserver::{Body, Handler, HandlerRequest};
use kubeplane_core::{
    GroupKind, Object,
    auth::{Attributes, Decision, UserInfo},
    field::show_as_internal,
    schema::builtin,
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Whose access is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewKind {
    /// `subjectaccessreviews`: anybody's.
    Subject,
    /// `localsubjectaccessreviews`: anybody's, in one namespace.
    LocalSubject,
    /// `selfsubjectaccessreviews`: one's own.
    SelfSubject,
}

/// The access reviews: may somebody do something?
#[derive(Debug, Clone, Copy)]
pub struct AccessReview(pub ReviewKind);

#[async_trait]
impl Handler for AccessReview {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let mut review = request.object().await?;
        if self.0 == ReviewKind::LocalSubject && review.namespace().is_empty() {
            let namespace = request.info.namespace.clone();
            review.set(&["metadata", "namespace"], namespace);
        }
        let mut errors = request.validate(&review);
        if !errors.is_empty() {
            if let Some(schema) = builtin("io.k8s.api.authorization.v1.SubjectAccessReview") {
                show_as_internal(&mut errors, &schema);
            }
            // The original names no kind here.
            return Err(ApiError::invalid(
                &GroupKind::new("authorization.k8s.io", ""),
                "",
                &errors,
            ));
        }
        let user = match self.0 {
            ReviewKind::SelfSubject => request.user.clone(),
            _ => Arc::new(subject(&review)),
        };
        let decision = request.api.authorizer().authorize(&attributes(&review, user)).await;
        review.set(&["status"], status(decision));
        request.respond(StatusCode::CREATED, &review)
    }
}

fn subject(review: &Object) -> UserInfo {
    let list = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra = review.at(&["spec", "extra"]).and_then(Value::as_object);
    let extra: BTreeMap<_, _> = extra
        .into_iter()
        .flatten()
        .map(|(key, values)| (key.to_lowercase(), list(Some(values))))
        .collect();
    UserInfo {
        name: review.text(&["spec", "user"]).to_owned(),
        uid: review.text(&["spec", "uid"]).to_owned(),
        groups: list(review.at(&["spec", "groups"])),
        extra,
    }
}

fn attributes(review: &Object, user: Arc<UserInfo>) -> Attributes {
    let paths = |key: &str| review.text(&["spec", "nonResourceAttributes", key]).to_owned();
    if review.at(&["spec", "resourceAttributes"]).is_none_or(Value::is_null) {
        return Attributes {
            user,
            verb: paths("verb"),
            path: paths("path"),
            ..Attributes::default()
        };
    }
    let text = |key: &str| review.text(&["spec", "resourceAttributes", key]).to_owned();
    let selector =
        |key: &str| review.text(&["spec", "resourceAttributes", key, "rawSelector"]).to_owned();
    Attributes {
        user,
        verb: text("verb"),
        namespace: text("namespace"),
        group: text("group"),
        version: text("version"),
        resource: text("resource"),
        subresource: text("subresource"),
        name: text("name"),
        path: String::new(),
        field_selector: selector("fieldSelector"),
        label_selector: selector("labelSelector"),
    }
}

fn status(decision: Decision) -> Value {
    let (allowed, denied, reason) = match decision {
        Decision::Allow(reason) => (true, false, reason),
        Decision::Deny(reason) => (false, true, reason),
        Decision::NoOpinion(reason) => (false, false, reason),
    };
    let mut status = json!({"allowed": allowed});
    if denied {
        status["denied"] = true.into();
    }
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    status
}
