//! Expressions in the fields of kinds: compiled to see whether they are well formed and return the right type.

use kubeplane_cel::{Environment, Error, Program, Scope};

/// Compiles an expression over the variables of a scope.
pub(crate) fn compile(source: &str, scope: &Scope) -> Result<Program, String> {
    Environment::new().compile_in(source, scope, None).map_err(told)
}

/// What is said of an expression that does not compile.
pub(crate) fn told(error: Error) -> String {
    match error {
        Error::Instantiate(_) => error.to_string(),
        other => format!("compilation failed: {other}"),
    }
}
