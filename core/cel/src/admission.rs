//! What the expressions of webhooks and policies see.

use crate::{checker::Scope, types::Type};

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    Type::object(name, fields.iter().map(|(name, of)| ((*name).to_owned(), of.clone())))
}

fn texts<'n>(names: &[&'n str]) -> Vec<(&'n str, Type)> {
    names.iter().map(|name| (*name, Type::String)).collect()
}

/// The type of `request`.
fn request() -> Type {
    let kind = object("kubernetes.GroupVersionKind", &texts(&["group", "version", "kind"]));
    let resource = texts(&["group", "version", "resource"]);
    let resource = object("kubernetes.GroupVersionResource", &resource);
    let groups = Type::list(Type::String);
    let mut user = texts(&["username", "uid"]);
    user.extend([("groups", groups.clone()), ("extra", Type::map(Type::String, groups))]);
    let mut fields =
        texts(&["subResource", "requestSubResource", "name", "namespace", "operation"]);
    fields.extend([
        ("kind", kind.clone()),
        ("requestKind", kind),
        ("resource", resource.clone()),
        ("requestResource", resource),
        ("userInfo", object("kubernetes.UserInfo", &user)),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ]);
    object("kubernetes.AdmissionRequest", &fields)
}

/// The type of `namespaceObject`.
fn namespace() -> Type {
    let labels = Type::map(Type::String, Type::String);
    let names = Type::list(Type::String);
    let mut metadata = texts(&["name", "generateName", "namespace", "UID", "resourceVersion"]);
    metadata.extend([
        ("labels", labels.clone()),
        ("annotations", labels),
        ("creationTimestamp", Type::Timestamp),
        ("deletionTimestamp", Type::Timestamp),
        ("generation", Type::Int),
        ("deletionGracePeriodSeconds", Type::Int),
        ("finalizers", names.clone()),
    ]);
    let mut condition = texts(&["status", "type", "message", "reason"]);
    condition.push(("lastTransitionTime", Type::Timestamp));
    let conditions = Type::list(object("kubernetes.NamespaceCondition", &condition));
    let status = [("conditions", conditions), ("phase", Type::String)];
    object(
        "kubernetes.Namespace",
        &[
            ("metadata", object("kubernetes.NamespaceMetadata", &metadata)),
            ("spec", object("kubernetes.NamespaceSpec", &[("finalizers", names)])),
            ("status", object("kubernetes.NamespaceStatus", &status)),
        ],
    )
}

impl Scope {
    /// `object`, `oldObject`, `request` and `namespaceObject`.
    #[must_use]
    pub fn admission() -> Self {
        Self::new()
            .with("object", Type::Dyn)
            .with("oldObject", Type::Dyn)
            .with("request", request())
            .with("namespaceObject", namespace())
    }

    /// With `authorizer` and `authorizer.requestResource`.
    #[must_use]
    pub fn with_authorizer(self) -> Self {
        self.with("authorizer", Type::opaque("kubernetes.authorization.Authorizer")).with(
            "authorizer.requestResource",
            Type::opaque("kubernetes.authorization.ResourceCheck"),
        )
    }

    /// With a field of `variables`, of the type that an expression returns.
    #[must_use]
    pub fn with_variable(mut self, name: &str, of: Type) -> Self {
        let had = self.variables.remove("variables");
        let mut fields = match had {
            Some(Type::Object(object)) => object.named(),
            _ => Vec::new(),
        };
        fields.retain(|(known, _)| known != name);
        fields.push((name.to_owned(), of));
        self.with("variables", Type::object("kubernetes.variables", fields))
    }

    /// With `variables`, which has no fields yet.
    #[must_use]
    pub fn with_variables(self) -> Self {
        self.with("variables", Type::object("kubernetes.variables", []))
    }
}
