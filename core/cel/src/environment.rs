use crate::{
    ast::Expr,
    checker::{Scope, check},
    depth,
    error::{Error, Result},
    estimate::{Sizes, estimate},
    plan::{Plan, plan},
    shape::Shape,
    syntax::{self, Fault},
    types::Type,
};
use kube_cel::cel::parser::Parser;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// The longest expression, in bytes: what the most characters the original reads, 100,000, can take.
pub const MAX_SOURCE_BYTES: usize = 400_000;

/// What expressions are compiled in: the functions of Kubernetes 1.36.
#[derive(Debug, Clone, Copy, Default)]
pub struct Environment {
    binds: bool,
}

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    pub(crate) plan: Plan,
    returns: Type,
    cost: u64,
}

impl Environment {
    /// The environment of definitions, webhooks and policies.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with `cel.bind`, as selectors of devices have it.
    #[must_use]
    pub fn with_binds(self) -> Self {
        Self { binds: true }
    }

    /// Compiles an expression over variables of these shapes.
    ///
    /// # Errors
    /// [`Error::Compile`] with the place in the source, [`Error::Instantiate`], [`Error::TooLong`].
    pub fn compile(&self, source: &str, variables: &[(&str, &Arc<Shape>)]) -> Result<Program> {
        let scope = variables.iter().fold(Scope::new(), |scope, (name, shape)| {
            scope.with(name, Type::of(shape, "selfType"))
        });
        self.compile_in(source, &scope, variables.first().map(|(_, shape)| &***shape))
    }

    /// Compiles an expression in a scope; `root` says how large variables can be.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_in(&self, source: &str, scope: &Scope, root: Option<&Shape>) -> Result<Program> {
        self.compile_sized(source, scope, root.map_or(Sizes::Unknown, Sizes::Shape))
    }

    /// The same, with variables that are so large at most.
    pub(crate) fn compile_sized(
        &self,
        source: &str,
        scope: &Scope,
        sizes: Sizes<'_>,
    ) -> Result<Program> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(Error::TooLong { length: source.len(), limit: MAX_SOURCE_BYTES });
        }
        let parsed = syntax::parse(source, self.binds).map_err(|fault| unread(source, &fault))?;
        let (checked, mut wrong) = check(&parsed.expr, parsed.places.len(), scope);
        if !wrong.is_empty() {
            wrong.sort_by_key(|one| parsed.places[one.id]);
            let shown = wrong.iter().map(|one| shown(source, parsed.places[one.id], &one.message));
            return Err(Error::Compile(shown.collect::<Vec<_>>().join("\n")));
        }
        let plan = plan(&parsed.expr, &checked).map_err(Error::Instantiate)?;
        let cost = estimate(&parsed.expr, &checked, sizes);
        Ok(Program { plan, returns: checked.of(&parsed.expr).clone(), cost })
    }

    /// The parts of an expression as they are written.
    pub(crate) fn parsed(&self, source: &str) -> Option<Expr> {
        syntax::parse(source, self.binds).ok().map(|parsed| parsed.expr)
    }
}

impl Program {
    /// Whether the expression names this variable.
    #[must_use]
    pub fn uses(&self, variable: &str) -> bool {
        self.plan.globals.iter().any(|name| **name == *variable)
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
}

/// What is said of a text that is none of the language.
fn unread(source: &str, fault: &Fault) -> Error {
    if fault.place == usize::MAX {
        return Error::Compile(format!("ERROR: <input>:-1:0: {}", fault.message));
    }
    if fault.grammar
        && depth::bound(source) <= depth::LIMIT
        && let Some(words) = grammar_words(source)
    {
        return Error::Compile(words);
    }
    Error::Compile(shown(source, fault.place, &fault.message))
}

/// The words of a parser that is generated from the original's grammar.
fn grammar_words(source: &str) -> Option<String> {
    let parser = Parser::new().enable_optional_syntax(true);
    // Of some texts that do not parse it loses count of its depth, which is a panic where overflow is one.
    let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse(source))).ok()?;
    let errors = parsed.err()?;
    let lines = errors.errors.iter().map(|error| {
        let line = usize::try_from(error.pos.0).unwrap_or(1).max(1);
        let column = usize::try_from(error.pos.1).unwrap_or(1).max(1);
        located(source, line, column, &error.msg)
    });
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// A message about a place, which is in characters from the start.
fn shown(source: &str, place: usize, message: &str) -> String {
    let (mut line, mut column) = (1, 1);
    for c in source.chars().take(place) {
        if c == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
    }
    located(source, line, column, message)
}

/// As the original shows where in the source it is.
fn located(source: &str, line: usize, column: usize, message: &str) -> String {
    let text = source.split('\n').nth(line - 1).unwrap_or_default().replace('\t', " ");
    let mark = |c: Option<char>, narrow: char, wide: char| match c {
        Some(c) if c.len_utf8() > 1 => wide,
        _ => narrow,
    };
    let mut under: String =
        text.chars().take(column - 1).map(|c| mark(Some(c), '.', '\u{ff0e}')).collect();
    under.push(mark(text.chars().nth(column - 1), '^', '\u{ff3e}'));
    format!("ERROR: <input>:{line}:{column}: {message}\n | {text}\n | {under}")
}

#[cfg(test)]
mod tests;
