//! The expressions of webhooks and policies.

use crate::{expressions::compile, look::At};
use kubeplane_cel::{Program, Scope, Type};
use kubeplane_core::field::Errors;

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

    fn allow(self, returned: &Type) -> bool {
        match self {
            Self::Anything => true,
            Self::Bool => matches!(returned, Type::Bool),
            Self::Text => matches!(returned, Type::String),
            Self::TextOrNull => matches!(returned, Type::String | Type::Null),
            Self::Object => returned.to_string() == "Object",
            Self::Patch => returned.to_string() == "list(JSONPatch)",
        }
    }
}

/// The variables that the expressions of one object see.
#[derive(Debug)]
pub(super) struct Variables {
    params: bool,
    /// Those that the object itself defines, with their types; `None` where it cannot.
    own: Option<Vec<(String, Type)>>,
}

impl Variables {
    pub(super) fn new(params: bool, own: bool) -> Self {
        Self { params, own: own.then(Vec::new) }
    }

    /// The same without what the object defines.
    pub(super) fn plain(&self) -> Self {
        Self { params: self.params, own: None }
    }

    fn scope(&self, returns: Returns) -> Scope {
        let mut scope = Scope::admission();
        // A message may not ask for more rights.
        if returns != Returns::Text {
            scope = scope.with_authorizer();
        }
        if self.params {
            scope = scope.with("params", Type::Dyn);
        }
        if matches!(returns, Returns::Object | Returns::Patch) {
            scope = scope.with_objects();
        }
        let Some(own) = &self.own else { return scope };
        let scope = scope.with_variables();
        own.iter().fold(scope, |scope, (name, of)| scope.with_variable(name, of.clone()))
    }

    /// Compiles one expression; what is wrong stands at `at`.
    pub(super) fn check(
        &self,
        at: &At<'_>,
        source: &str,
        returns: Returns,
        errors: &mut Errors,
    ) -> Option<Program> {
        match compile(source, &self.scope(returns)) {
            Err(problem) => errors.push(at.invalid(problem)),
            Ok(program) if returns.allow(program.returns()) => return Some(program),
            Ok(program) => {
                let got = program.returns().written();
                errors.push(at.invalid(format!("{} but got {got}", returns.words())));
            }
        }
        None
    }

    /// Makes a variable known to the expressions after it.
    pub(super) fn define(&mut self, name: &str, program: Option<Program>) {
        if let Some(own) = &mut self.own {
            let of = program.map_or(Type::Dyn, |program| program.returns().declared());
            own.push((name.to_owned(), of));
        }
    }
}

/// Whether a name can be that of a variable.
pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        && !kubeplane_cel::is_reserved(name)
}
