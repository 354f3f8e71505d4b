use crate::types::Type;
use std::collections::BTreeMap;

/// The variables of an expression.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub(crate) variables: BTreeMap<String, Type>,
    /// Whether objects of named types can be made.
    pub(crate) objects: bool,
}

impl Scope {
    /// No variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, of: Type) -> Self {
        self.variables.insert(name.to_owned(), of);
        self
    }

    /// With `Object{}` and `JSONPatch{}`.
    #[must_use]
    pub fn with_objects(mut self) -> Self {
        self.objects = true;
        self
    }

    /// Whether there is such a variable.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }
}
