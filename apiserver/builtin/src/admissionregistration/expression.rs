//! The expressions of webhooks and policies.

use crate::{
    expressions::{any, compile, is_path, name_of, object, schema_of},
    look::At,
};
use kubeplane_cel::{PLAIN_NAMES, Program, Type};
use kubeplane_core::field::Errors;
use serde_json::{Map, Value, json};

/// What an expression has to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Returns {
    Anything,
    Bool,
    Text,
    TextOrNull,
    Object,
    Patch,
}

impl Returns {
    fn words(self) -> &'static str {
        match self {
            Self::Anything => "",
            Self::Bool => "must evaluate to bool",
            Self::Text => "must evaluate to string",
            Self::TextOrNull => "must evaluate to one of [string null_type]",
            Self::Object => "must evaluate to Object",
            Self::Patch => "must evaluate to list(JSONPatch)",
        }
    }

    fn allow(self, returned: &Type, source: &str) -> bool {
        match (self, returned) {
            (Self::Anything, _)
            | (Self::Bool, Type::Bool)
            | (Self::Text | Self::TextOrNull, Type::String { .. })
            | (Self::TextOrNull, Type::Scalar)
            | (Self::Patch, Type::List(..)) => true,
            // What is not known here may be right; a path into an object surely has no type.
            (_, Type::Dyn) => !is_path(source),
            _ => false,
        }
    }
}

/// The variables that the expressions of one object see.
#[derive(Debug)]
pub(super) struct Variables {
    params: bool,
    /// Those that the object itself defines, by name; `None` where it cannot.
    own: Option<Map<String, Value>>,
}

impl Variables {
    pub(super) fn new(params: bool, own: bool) -> Self {
        Self { params, own: own.then(Map::new) }
    }

    /// The same without what the object defines.
    pub(super) fn plain(&self) -> Self {
        Self { params: self.params, own: None }
    }

    /// Compiles one expression; what is wrong stands at `at`.
    pub(super) fn check(
        &self,
        at: &At<'_>,
        source: &str,
        returns: Returns,
        errors: &mut Errors,
    ) -> Option<Program> {
        let mut variables = vec![
            ("object", any()),
            ("oldObject", any()),
            ("request", request()),
            ("namespaceObject", namespace()),
        ];
        // A message may not ask for more rights.
        if returns != Returns::Text {
            variables.push(("authorizer", any()));
            variables.push(("authorizer.requestResource", any()));
        }
        if self.params {
            variables.push(("params", any()));
        }
        if let Some(own) = &self.own {
            variables.push(("variables", object(own.clone())));
        }
        match compile(source, &variables) {
            Err(problem) => errors.push(at.invalid(problem)),
            Ok(program) if returns.allow(program.returns(), source) => return Some(program),
            Ok(program) => {
                let got = name_of(program.returns());
                errors.push(at.invalid(format!("{} but got {got}", returns.words())));
            }
        }
        None
    }

    /// Makes a variable known to the expressions after it.
    pub(super) fn define(&mut self, name: &str, program: Option<Program>) {
        if let Some(own) = &mut self.own {
            let schema = program.map_or_else(any, |program| schema_of(program.returns()));
            own.insert(name.to_owned(), schema);
        }
    }
}

/// Whether a name can be that of a variable.
pub(super) fn is_identifier(name: &str) -> bool {
    const RESERVED: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        && !RESERVED.contains(&name)
}

fn texts(names: &[&str]) -> Map<String, Value> {
    names.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect()
}

/// The schema of `request`.
fn request() -> Value {
    let mut fields =
        texts(&["subResource", "requestSubResource", "name", "namespace", "operation"]);
    for name in ["kind", "requestKind"] {
        fields.insert(name.to_owned(), object(texts(&["group", "version", "kind"])));
    }
    for name in ["resource", "requestResource"] {
        fields.insert(name.to_owned(), object(texts(&["group", "version", "resource"])));
    }
    let mut user = texts(&["username", "uid"]);
    let list = json!({"type": "array", "items": {"type": "string"}});
    user.insert("groups".to_owned(), list.clone());
    user.insert("extra".to_owned(), json!({"type": "object", "additionalProperties": list}));
    fields.insert("userInfo".to_owned(), object(user));
    fields.insert("dryRun".to_owned(), json!({"type": "boolean"}));
    fields.insert("options".to_owned(), any());
    plain(fields)
}

/// An object whose fields are named as they are.
fn plain(fields: Map<String, Value>) -> Value {
    let mut schema = object(fields);
    schema[PLAIN_NAMES] = true.into();
    schema
}

/// The schema of `namespaceObject`.
fn namespace() -> Value {
    let text = json!({"type": "string"});
    let mut metadata = texts(&["name", "generateName", "namespace", "UID", "resourceVersion"]);
    for name in ["labels", "annotations"] {
        let map = json!({"type": "object", "additionalProperties": text});
        metadata.insert(name.to_owned(), map);
    }
    for name in ["creationTimestamp", "deletionTimestamp"] {
        metadata.insert(name.to_owned(), json!({"type": "string", "format": "date-time"}));
    }
    for name in ["generation", "deletionGracePeriodSeconds"] {
        metadata.insert(name.to_owned(), json!({"type": "integer"}));
    }
    json!({"type": "object", "properties": {
        "metadata": plain(metadata),
        "spec": {"type": "object", "properties": {"finalizers": {"type": "array", "items": text}}},
        "status": {"type": "object", "properties": {"phase": text}},
    }})
}
