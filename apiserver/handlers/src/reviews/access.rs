use async_trait::async_trait;
use http::{Response, StatusCode};
use kubeplane_apiserver::{Body, Handler, HandlerRequest};
use kubeplane_core::{
    GroupKind, Object,
    auth::{Attributes, Decision, UserInfo},
    field::show_as_internal,
    names,
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
    let selector = |key: &str, term: fn(&Value) -> Option<String>| {
        let raw = review.text(&["spec", "resourceAttributes", key, "rawSelector"]);
        let requirements = review.at(&["spec", "resourceAttributes", key, "requirements"]);
        match requirements.and_then(Value::as_array).filter(|_| raw.is_empty()) {
            Some(all) => all.iter().filter_map(term).collect::<Vec<_>>().join(","),
            None => raw.to_owned(),
        }
    };
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
        field_selector: selector("fieldSelector", field_term),
        label_selector: selector("labelSelector", label_term),
    }
}

/// A requirement of a field selector as text; none for what those have no words for. More must be allowed without it.
fn field_term(requirement: &Value) -> Option<String> {
    let key = requirement["key"].as_str()?;
    let [value] = requirement["values"].as_array()?.as_slice() else { return None };
    let special = |c: char| matches!(c, '\\' | ',' | '=' | '!');
    if key.contains(special) {
        return None;
    }
    let mut escaped = String::new();
    for c in value.as_str()?.chars() {
        if special(c) && c != '!' {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    match requirement["operator"].as_str()? {
        "In" => Some(format!("{key}={escaped}")),
        "NotIn" => Some(format!("{key}!={escaped}")),
        _ => None,
    }
}

/// The same of a label selector.
fn label_term(requirement: &Value) -> Option<String> {
    let key = requirement["key"].as_str()?;
    let values = requirement["values"].as_array().into_iter().flatten();
    let values: Vec<_> = values.filter_map(Value::as_str).collect();
    let good = names::is_qualified_name(key).is_empty()
        && values.iter().all(|value| names::is_valid_label_value(value).is_empty());
    if !good {
        return None;
    }
    match (requirement["operator"].as_str()?, values.as_slice()) {
        ("In", [_, ..]) => Some(format!("{key} in ({})", values.join(","))),
        ("NotIn", [_, ..]) => Some(format!("{key} notin ({})", values.join(","))),
        ("Exists", []) => Some(key.to_owned()),
        ("DoesNotExist", []) => Some(format!("!{key}")),
        _ => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: Value, labels: Value) -> Attributes {
        let review = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods",
            "fieldSelector": fields, "labelSelector": labels}}});
        attributes(&Object::from_value(review).unwrap(), Arc::new(UserInfo::default()))
    }

    fn requirement(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({"key": key, "operator": operator, "values": values})
    }

    #[test]
    fn requirements_of_selectors_are_asked_about_as_their_text_is() {
        let fields = [
            requirement("spec.nodeName", "In", &["n1"]),
            requirement("status.phase", "NotIn", &["Failed"]),
            requirement("other", "Exists", &[]),
        ];
        let labels =
            [requirement("app", "In", &["a", "b"]), requirement("old", "DoesNotExist", &[])];
        let found = asked(json!({"requirements": fields}), json!({"requirements": labels}));
        assert_eq!(found.field_selector, "spec.nodeName=n1,status.phase!=Failed");
        assert_eq!(found.label_selector, "app in (a,b),!old");
        let raw = asked(json!({"rawSelector": "a=b"}), json!({"rawSelector": "c"}));
        assert_eq!((raw.field_selector.as_str(), raw.label_selector.as_str()), ("a=b", "c"));
    }

    #[test]
    fn requirements_cannot_pretend_to_be_others() {
        let fields = [
            requirement("a", "In", &["b,spec.nodeName=n1"]),
            requirement("spec.nodeName=n1,a", "NotIn", &["b"]),
        ];
        let labels = [requirement("app", "In", &["a),b in (c"])];
        let found = asked(json!({"requirements": fields}), json!({"requirements": labels}));
        assert_eq!(found.field_selector, "a=b\\,spec.nodeName\\=n1");
        assert_eq!(found.label_selector, "");
    }
}
