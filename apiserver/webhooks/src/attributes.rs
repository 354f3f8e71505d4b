//! A write as rules, reviews and expressions see it.

use kubeplane_core::{
    Definition, GroupVersionKind, Object,
    admission::{Operation, Request},
    apply::unpack_managers,
    status::ApiResult,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The kinds that configure admission: no webhook and no policy ever sees them.
const CONFIGURATIONS: [&str; 6] = [
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];

/// What nobody but the server itself shall judge: without it, no one could get in to repair anything.
const REVIEWS: [(&str, &str); 6] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// Whether a kind configures admission.
pub(crate) fn is_configuration(definition: &Definition) -> bool {
    definition.kind.group == "admissionregistration.k8s.io"
        && CONFIGURATIONS.contains(&definition.plural.as_ref())
}

/// Whether a kind is a question about users and their rights.
pub(crate) fn is_review(definition: &Definition) -> bool {
    let own = (definition.kind.group.as_ref(), definition.plural.as_ref());
    REVIEWS.contains(&own)
}

/// The original's name of an operation.
pub(crate) fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

/// Whether a write is about a namespace itself.
pub(crate) fn is_namespace(definition: &Definition) -> bool {
    definition.kind.group.is_empty() && definition.plural == "namespaces"
}

/// The namespace a write belongs to: of a namespace, also of one that is to be made, its own.
pub(crate) fn namespace<'a>(request: &Request<'a>) -> &'a str {
    if is_namespace(request.definition) { request.name } else { request.namespace }
}

/// The kind of what is written: of a subresource, its own.
pub(crate) fn kind_of(definition: &Definition, subresource: &str) -> GroupVersionKind {
    let own = definition.subresource(subresource).map(|subresource| &subresource.kind);
    own.unwrap_or(&definition.kind).clone()
}

/// The version of a resource in which a webhook or a policy takes part.
#[derive(Debug, Clone)]
pub(crate) struct Matched {
    pub(crate) definition: Arc<Definition>,
    pub(crate) kind: GroupVersionKind,
}

impl Matched {
    pub(crate) fn new(definition: &Arc<Definition>, subresource: &str) -> Self {
        Self { definition: definition.clone(), kind: kind_of(definition, subresource) }
    }

    /// The object of the request and the one before it, in this version.
    ///
    /// # Errors
    /// When they cannot be converted.
    pub(crate) async fn views(
        &self,
        request: &Request<'_>,
    ) -> ApiResult<(Option<Object>, Option<Object>)> {
        let object = match request.object.as_deref() {
            Some(object) => Some(self.view(request, object).await?),
            None => None,
        };
        let old = match request.old {
            Some(old) => Some(self.view(request, old).await?),
            None => None,
        };
        Ok((object, old))
    }

    /// An object of the request in this version.
    ///
    /// # Errors
    /// When it cannot be converted.
    pub(crate) async fn view(&self, request: &Request<'_>, object: &Object) -> ApiResult<Object> {
        let mut object = object.clone();
        unpack_managers(&mut object);
        if kind_of(request.definition, request.subresource) == self.kind {
            return Ok(object);
        }
        crate::equivalents::converted(&object, request.definition, &self.kind.group_version()).await
    }

    /// An object of this version in that of the request.
    ///
    /// # Errors
    /// When it cannot be converted.
    pub(crate) async fn back(&self, request: &Request<'_>, object: Object) -> ApiResult<Object> {
        let own = kind_of(request.definition, request.subresource);
        if own == self.kind {
            return Ok(object);
        }
        crate::equivalents::converted(&object, &self.definition, &own.group_version()).await
    }
}

fn kind_value(kind: &GroupVersionKind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn resource_value(definition: &Definition) -> Value {
    let kind = &definition.kind;
    json!({"group": kind.group, "version": kind.version, "resource": definition.plural})
}

/// The `request` of a review and of expressions, without its uid and objects.
pub(crate) fn admission_request(request: &Request<'_>, matched: &Matched) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    put("kind", kind_value(&matched.kind));
    put("resource", resource_value(&matched.definition));
    put("requestKind", kind_value(&kind_of(request.definition, request.subresource)));
    put("requestResource", resource_value(request.definition));
    let texts = [
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
        ("name", request.name),
        ("namespace", namespace(request)),
    ];
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        put(key, text.into());
    }
    put("operation", operation(request.operation).into());
    put("userInfo", user(request));
    put("dryRun", request.dry_run.into());
    let options = match request.operation {
        Operation::Connect => Value::Null,
        _ if request.options.map().is_empty() => Value::Null,
        _ => Value::Object(request.options.map().clone()),
    };
    put("options", options);
    out
}

fn user(request: &Request<'_>) -> Value {
    let mut user = Map::new();
    if !request.user.name.is_empty() {
        user.insert("username".to_owned(), request.user.name.as_str().into());
    }
    if !request.user.uid.is_empty() {
        user.insert("uid".to_owned(), request.user.uid.as_str().into());
    }
    if !request.user.groups.is_empty() {
        user.insert("groups".to_owned(), request.user.groups.clone().into());
    }
    if !request.user.extra.is_empty() {
        user.insert("extra".to_owned(), json!(request.user.extra));
    }
    Value::Object(user)
}
