//! One operation of a path.

use crate::parameters::{self, Query};
use kubeplane_core::GroupVersionKind;
use serde_json::{Map, Value, json};

const PATCH_TYPES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
pub(crate) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// What the operations of one resource or subresource have in common.
pub(crate) struct Target<'a> {
    /// The kind the operations are about.
    pub(crate) kind: &'a GroupVersionKind,
    /// The OpenAPI name of that kind, if it is described.
    pub(crate) schema: Option<String>,
    /// The OpenAPI name of its list.
    pub(crate) list: String,
    /// The tail of operation ids, as in `AppsV1NamespacedDeploymentStatus`.
    pub(crate) id: String,
    /// The tag, as in `apps_v1`.
    pub(crate) tag: String,
    /// A built-in kind: protobuf and strategic merge patches are understood.
    pub(crate) builtin: bool,
    /// How it is called in descriptions.
    pub(crate) noun: String,
}

/// A reference to a schema.
pub(crate) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Get,
    List,
    ListEverywhere,
    Post,
    Put,
    Patch,
    Delete,
    DeleteCollection,
    Watch,
    WatchList,
    Connect,
}

impl Action {
    /// The value of `x-kubernetes-action`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List | Self::ListEverywhere => "list",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Watch => "watch",
            Self::WatchList => "watchlist",
            Self::Connect => "connect",
        }
    }

    fn query(self) -> Query {
        match self {
            Self::Get | Self::Connect | Self::Watch | Self::WatchList => Query::Nothing,
            Self::List | Self::ListEverywhere => Query::List,
            Self::Post | Self::Put => Query::Write,
            Self::Patch => Query::Patch,
            Self::Delete => Query::Delete,
            Self::DeleteCollection => Query::DeleteCollection,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Get => "read",
            Self::List | Self::ListEverywhere => "list",
            Self::Post => "create",
            Self::Put => "replace",
            Self::Patch => "patch",
            Self::Delete | Self::DeleteCollection => "delete",
            Self::Watch | Self::WatchList => "watch",
            Self::Connect => "connect",
        }
    }

    fn describe(self, noun: &str) -> String {
        match self {
            Self::Get => format!("read the specified {noun}"),
            Self::List | Self::ListEverywhere => format!("list or watch objects of kind {noun}"),
            Self::Post => format!("create a {noun}"),
            Self::Put => format!("replace the specified {noun}"),
            Self::Patch => format!("partially update the specified {noun}"),
            Self::Delete => format!("delete a {noun}"),
            Self::DeleteCollection => format!("delete collection of {noun}"),
            Self::Watch => {
                format!("watch one object of kind {noun}; use `watch` of a list instead")
            }
            Self::WatchList => {
                format!("watch objects of kind {noun}; use `watch` of a list instead")
            }
            Self::Connect => format!("connect to {noun}"),
        }
    }
}

impl Target<'_> {
    /// The operation; `id` is its operation id without the verb.
    pub(crate) fn operation(&self, action: Action, id: &str) -> Value {
        let mut operation = json!({
            "description": action.describe(&self.noun),
            "operationId": format!("{}{id}", action.verb()),
            "tags": [self.tag],
            "responses": self.responses(action),
            "x-kubernetes-action": action.word(),
            "x-kubernetes-group-version-kind":
                {"group": self.kind.group, "version": self.kind.version, "kind": self.kind.kind},
        });
        let parameters = parameters::query(action.query());
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(body) = self.body(action) {
            operation["requestBody"] = body;
        }
        operation
    }

    fn body(&self, action: Action) -> Option<Value> {
        let of = |types: &[&str], schema: Value, required: bool| {
            let mut body = json!({"content": content(types, &schema)});
            if required {
                body["required"] = true.into();
            }
            Some(body)
        };
        match action {
            Action::Post | Action::Put => of(&["*/*"], self.object(), true),
            Action::Patch => {
                let offered = PATCH_TYPES.iter().copied();
                let types: Vec<_> =
                    offered.filter(|name| self.builtin || !name.contains("strategic")).collect();
                of(&types, reference(&format!("{META}.Patch")), true)
            }
            Action::Delete | Action::DeleteCollection => {
                of(&["*/*"], reference(&format!("{META}.DeleteOptions")), false)
            }
            _ => None,
        }
    }

    fn object(&self) -> Value {
        self.schema.as_deref().map_or_else(|| json!({"type": "object"}), reference)
    }

    fn responses(&self, action: Action) -> Value {
        let status = || reference(&format!("{META}.Status"));
        let (codes, schema): (&[(&str, &str)], Value) = match action {
            Action::Get => (&[("200", "OK")], self.object()),
            Action::List | Action::ListEverywhere => (&[("200", "OK")], reference(&self.list)),
            Action::Post => {
                (&[("200", "OK"), ("201", "Created"), ("202", "Accepted")], self.object())
            }
            Action::Put | Action::Patch => (&[("200", "OK"), ("201", "Created")], self.object()),
            Action::Delete => (&[("200", "OK"), ("202", "Accepted")], status()),
            Action::DeleteCollection => (&[("200", "OK")], status()),
            Action::Watch | Action::WatchList => {
                (&[("200", "OK")], reference(&format!("{META}.WatchEvent")))
            }
            Action::Connect => (&[("200", "OK")], json!({"type": "string"})),
        };
        let types = self.answer_types(action);
        let mut responses = Map::new();
        for (code, text) in codes {
            let body = json!({"description": text, "content": content(&types, &schema)});
            responses.insert((*code).to_owned(), body);
        }
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        responses.into()
    }

    fn answer_types(&self, action: Action) -> Vec<&'static str> {
        if action == Action::Connect {
            return vec!["*/*"];
        }
        let mut types = vec!["application/json", "application/yaml"];
        let streams = matches!(
            action,
            Action::List | Action::ListEverywhere | Action::Watch | Action::WatchList
        );
        if streams {
            types.push("application/json;stream=watch");
        }
        if self.builtin {
            types.push("application/vnd.kubernetes.protobuf");
            if streams {
                types.push("application/vnd.kubernetes.protobuf;stream=watch");
            }
        }
        types
    }
}

/// A body of one schema in these media types.
pub(crate) fn content(types: &[&str], schema: &Value) -> Value {
    let of_type = |name: &&str| ((*name).to_owned(), json!({"schema": schema}));
    types.iter().map(of_type).collect::<Map<_, _>>().into()
}
