use crate::{
    authorizer,
    bind::Bound,
    check::{At, Scope, Type, Wrong, infer},
    cost::estimate,
    depth,
    error::{Error, Result},
    macros::expand,
    meter,
    shape::Shape,
};
use kube_cel::{
    KubeCelExt,
    cel::{self, Context, ExecutionError, IdedExpr, parser::Parser},
};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// The longest expression, in bytes.
pub const MAX_SOURCE_BYTES: usize = 64 * 1024;

/// All functions expressions may call.
pub struct Environment {
    base: Context<'static>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::new()
    }
}

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    pub(crate) expression: IdedExpr,
    returns: Type,
    cost: u64,
    names: Vec<String>,
    /// What one evaluation costs without its loops.
    pub(crate) weight: u64,
}

/// What an expression came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// Something else.
    Other,
}

impl Environment {
    /// The environment of Kubernetes 1.36.
    #[must_use]
    pub fn new() -> Self {
        let mut base = Context::default().with_all();
        base.add_function("type", |value: cel::Value| type_name(&value).to_owned());
        base.add_function("dyn", |value: cel::Value| -> cel::ResolveResult { Ok(value) });
        // Types are compared, never looked into: their names do.
        for name in TYPES {
            base.add_variable_from_value(name, name);
        }
        meter::register(&mut base);
        authorizer::register(&mut base);
        Self { base }
    }

    pub(crate) fn base(&self) -> &Context<'static> {
        &self.base
    }

    /// Compiles an expression over these variables, and holds it against their shapes.
    ///
    /// # Errors
    /// [`Error::Compile`] with the place in the source, [`Error::TooLong`].
    pub fn compile(&self, source: &str, variables: &[(&str, &Shape)]) -> Result<Program> {
        let typed = variables
            .iter()
            .map(|(name, shape)| ((*name).to_owned(), Type::of(&Arc::new(Shape::clone(shape)))));
        self.compile_typed(source, typed.collect())
    }

    /// As [`compile`](Self::compile); the variable `optional` holds an optional, which has no shape.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_with_optional(
        &self,
        source: &str,
        variables: &[(&str, &Shape)],
        optional: &str,
    ) -> Result<Program> {
        let typed = variables
            .iter()
            .map(|(name, shape)| ((*name).to_owned(), Type::of(&Arc::new(Shape::clone(shape)))));
        let mut scope: Scope = typed.collect();
        scope.insert(optional.to_owned(), Type::Dyn);
        self.compile_typed(source, scope)
    }

    fn compile_typed(&self, source: &str, scope: Scope) -> Result<Program> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(Error::TooLong { length: source.len(), limit: MAX_SOURCE_BYTES });
        }
        if depth::bound(source) > depth::LIMIT {
            let why = format!(
                "ERROR: <input>:-1:0: expression recursion limit exceeded: {}",
                depth::LIMIT
            );
            return Err(Error::Compile(why));
        }
        let parser = Parser::new().enable_optional_syntax(true);
        // Of some texts that do not parse the parser loses count of its depth, which is a panic where overflow is one.
        let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse(source)))
            .map_err(|_| Error::Compile(shown(source, 1, 1, "Syntax error")))?
            .map_err(|errors| syntax(source, &errors))?;
        let expression = expand(parsed);
        let mut found = Vec::new();
        let returns = infer(&expression, &scope, &mut found);
        if !found.is_empty() {
            let each: Vec<_> = found.iter().map(|wrong| unsound(source, wrong)).collect();
            return Err(Error::Compile(each.join("\n")));
        }
        let cost = estimate(&expression, &scope);
        let references = expression.references();
        let names = scope.keys().filter(|name| references.has_variable(name)).cloned().collect();
        drop(references);
        Ok(Program { expression, returns, cost, names, weight: 1 })
    }
}

impl Program {
    /// Whether the expression names this variable.
    #[must_use]
    pub fn uses(&self, variable: &str) -> bool {
        self.names.iter().any(|name| name == variable)
    }

    /// The most one evaluation can cost, in the original's units.
    #[must_use]
    pub fn max_cost(&self) -> u64 {
        self.cost
    }

    /// What the expression returns, as far as that is known.
    #[must_use]
    pub fn returns(&self) -> &Type {
        &self.returns
    }

    /// Evaluates the expression over these values.
    ///
    /// # Errors
    /// [`Error::Evaluate`], in the original's words where they are known.
    pub fn evaluate(
        &self,
        environment: &Environment,
        variables: &[(&str, &Bound)],
    ) -> Result<Outcome> {
        let mut context = environment.base.new_inner_scope();
        for (name, value) in variables {
            context.add_variable_from_value(*name, value.0.clone());
        }
        match cel::Value::resolve(&self.expression, &context) {
            Ok(cel::Value::Bool(value)) => Ok(Outcome::Bool(value)),
            Ok(cel::Value::String(text)) => Ok(Outcome::Text(text.to_string())),
            Ok(_) => Ok(Outcome::Other),
            Err(error) => Err(Error::Evaluate(told(&error))),
        }
    }
}

/// The types an expression can name.
const TYPES: [&str; 9] =
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type"];

pub(crate) fn type_name(value: &cel::Value) -> &'static str {
    match value {
        cel::Value::Bool(_) => "bool",
        cel::Value::Int(_) => "int",
        cel::Value::UInt(_) => "uint",
        cel::Value::Float(_) => "double",
        cel::Value::String(_) => "string",
        cel::Value::Bytes(_) => "bytes",
        cel::Value::List(_) => "list",
        cel::Value::Map(_) => "map",
        cel::Value::Null => "null_type",
        cel::Value::Duration(_) => "google.protobuf.Duration",
        cel::Value::Timestamp(_) => "google.protobuf.Timestamp",
        _ => "dyn",
    }
}

pub(crate) fn told(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::NoSuchOverload
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedUnaryOperator(..)
        | ExecutionError::ValuesNotComparable(..) => "no such overload".to_owned(),
        ExecutionError::IndexOutOfBounds(cel::Value::Int(index)) => {
            format!("index out of bounds: {index}")
        }
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        other => other.to_string(),
    }
}

fn syntax(source: &str, errors: &cel::ParseErrors) -> Error {
    let lines = errors.errors.iter().map(|error| {
        let (line, column) = (error.pos.0.max(1).unsigned_abs(), error.pos.1.max(1).unsigned_abs());
        shown(source, line, column, &error.msg)
    });
    Error::Compile(lines.collect::<Vec<_>>().join("\n"))
}

fn unsound(source: &str, wrong: &Wrong) -> String {
    let at = place(source, &wrong.word);
    let at = match wrong.at {
        At::Word => at,
        At::Open => source[at..].find('(').map_or(at, |open| at + open),
        At::Has => source[..at].rfind("has(").map_or(at, |has| has + "has".len()),
    };
    let before = &source[..at];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = source[start..at].chars().count() + 1;
    shown(source, line, column, &wrong.message)
}

/// Where a word stands in the source, as a word of its own.
fn place(source: &str, word: &str) -> usize {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let is_word = word.chars().next_back().is_some_and(part);
    source
        .match_indices(word)
        .find(|(at, _)| {
            let after = source[at + word.len()..].chars().next();
            let before = source[..*at].chars().next_back();
            let clear_before = word.starts_with('.') || !is_word || !before.is_some_and(part);
            !is_word || clear_before && !after.is_some_and(part)
        })
        .map_or(0, |(at, _)| at)
}

fn shown(source: &str, line: usize, column: usize, message: &str) -> String {
    let text = source.lines().nth(line - 1).unwrap_or_default();
    format!("ERROR: <input>:{line}:{column}: {message}\n | {text}\n | {}^", ".".repeat(column - 1))
}

#[cfg(test)]
mod tests;
