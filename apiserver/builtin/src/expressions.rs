//! Expressions in the fields of kinds: compiled to see whether they are well formed and return the right type.

use kubeplane_cel::{Environment, Program, Shape, Type};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The functions never change, and take long to put together.
static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(Environment::new);

/// The schema of a value of unknown type.
pub(crate) fn any() -> Value {
    json!({"x-kubernetes-int-or-string": true})
}

/// The schema of an object of these fields.
pub(crate) fn object(fields: Map<String, Value>) -> Value {
    json!({"type": "object", "properties": fields})
}

/// Compiles an expression over variables of these schemas.
pub(crate) fn compile(source: &str, variables: &[(&str, Value)]) -> Result<Program, String> {
    let shapes: Vec<_> = variables
        .iter()
        .filter_map(|(name, schema)| Some((*name, Shape::of_schema(schema, false)?)))
        .collect();
    let shapes: Vec<_> = shapes.iter().map(|(name, shape)| (*name, shape)).collect();
    let program = ENVIRONMENT.compile(source, &shapes);
    program.map_err(|error| match error {
        kubeplane_cel::Error::Compile(text) => format!("compilation failed: {text}"),
        other => format!("compilation failed: {other}"),
    })
}

/// The schema of what an expression returns.
pub(crate) fn schema_of(returned: &Type) -> Value {
    match returned {
        Type::Bool => json!({"type": "boolean"}),
        Type::Int => json!({"type": "integer"}),
        Type::Double => json!({"type": "number"}),
        Type::String { .. } => json!({"type": "string"}),
        Type::List(items, _) => json!({"type": "array", "items": schema_of(items)}),
        Type::Dyn | Type::Scalar | Type::Shaped(_) => any(),
    }
}

/// The name of a type in messages.
pub(crate) fn name_of(returned: &Type) -> String {
    match returned {
        Type::Dyn => "dyn".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Int => "int".to_owned(),
        Type::Double => "double".to_owned(),
        Type::String { .. } => "string".to_owned(),
        Type::Scalar => "scalar".to_owned(),
        Type::List(items, _) => format!("list({})", name_of(items)),
        Type::Shaped(_) => "object".to_owned(),
    }
}

/// Whether the expression is nothing but a path into a variable: its type is known to be what it is.
pub(crate) fn is_path(source: &str) -> bool {
    let name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    source.trim().split('.').all(name)
}
