use async_trait::async_trait;
use http::{Response, StatusCode};
use kubeplane_apiserver::{Body, Handler, HandlerRequest};
use kubeplane_core::{
    GroupKind, Object,
    auth::{Attributes, Decision, UserInfo},
    field::{self, Path},
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
        let errors = self.validate(&review);
        if !errors.is_empty() {
            let kind = GroupKind::new("authorization.k8s.io", review.kind().to_owned());
            return Err(ApiError::invalid(&kind, "", &errors));
        }
        if self.0 == ReviewKind::LocalSubject {
            let namespace = &request.info.namespace;
            let asked = review.text(&["spec", "resourceAttributes", "namespace"]);
            if asked != namespace {
                let why = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
                return Err(ApiError::bad_request(why));
            }
            let namespace = namespace.clone();
            review.set(&["metadata", "namespace"], namespace);
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

impl AccessReview {
    fn validate(self, review: &Object) -> field::Errors {
        let spec = Path::new("spec");
        let has = |key: &str| review.at(&["spec", key]).is_some_and(|value| !value.is_null());
        let mut errors = Vec::new();
        match (has("resourceAttributes"), has("nonResourceAttributes")) {
            (true, true) => errors.push(field::Error::invalid(
                &spec.child("nonResourceAttributes"),
                review.at(&["spec", "nonResourceAttributes"]).cloned().unwrap_or_default(),
                "cannot be specified in combination with resourceAttributes",
            )),
            (false, false) => errors.push(field::Error::invalid(
                &spec.child("resourceAttributes"),
                Value::Null,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )),
            (false, true) if self.0 == ReviewKind::LocalSubject => errors.push(field::Error::invalid(
                &spec.child("nonResourceAttributes"),
                review.at(&["spec", "nonResourceAttributes"]).cloned().unwrap_or_default(),
                "disallowed on this kind of request",
            )),
            _ => {}
        }
        let anonymous = review.text(&["spec", "user"]).is_empty()
            && review.at(&["spec", "groups"]).and_then(Value::as_array).is_none_or(Vec::is_empty);
        if self.0 != ReviewKind::SelfSubject && anonymous {
            errors.push(field::Error::invalid(&spec.child("user"), "", "at least one of user or group must be specified"));
        }
        errors
    }
}

fn subject(review: &Object) -> UserInfo {
    let list = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra = review.at(&["spec", "extra"]).and_then(Value::as_object);
    let extra: BTreeMap<_, _> =
        extra.into_iter().flatten().map(|(key, values)| (key.to_lowercase(), list(Some(values)))).collect();
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
        return Attributes { user, verb: paths("verb"), path: paths("path"), ..Attributes::default() };
    }
    let text = |key: &str| review.text(&["spec", "resourceAttributes", key]).to_owned();
    let selector = |key: &str| review.text(&["spec", "resourceAttributes", key, "rawSelector"]).to_owned();
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
