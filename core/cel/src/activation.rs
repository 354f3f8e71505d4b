//! Values that many expressions see: bound once, evaluated over often.

use crate::{
    authorizer::{Authorizer, Check},
    bound::Bound,
    environment::Program,
    error::{Error, Result},
    fault::Fault,
    run::{Input, run},
    value::Value,
};
use std::fmt;

/// The variable that questions about the request itself begin with.
const REQUEST_RESOURCE: &str = "authorizer.requestResource";

/// Variables with their values.
#[derive(Clone, Default)]
pub struct Activation<'a> {
    values: Vec<(&'a str, Value<'a>)>,
    on_demand: Option<&'a str>,
}

impl fmt::Debug for Activation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.values.iter().map(|(name, _)| name).collect();
        f.debug_struct("Activation").field("names", &names).finish_non_exhaustive()
    }
}

/// What an evaluation came to.
#[derive(Debug, Clone)]
pub struct Evaluated<'a> {
    /// The value, or why there is none.
    pub result: Result<Bound<'a>>,
    /// What it cost, in the original's units; of one that was stopped a little more than it was allowed.
    pub cost: u64,
}

impl<'a> Activation<'a> {
    /// No variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a variable its value.
    pub fn set(&mut self, name: &'a str, value: Bound<'a>) {
        match self.values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, had)) => *had = value.0,
            None => self.values.push((name, value.0)),
        }
    }

    /// The same with one more value.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: Bound<'a>) -> Self {
        self.set(name, value);
        self
    }

    /// Gives `authorizer` and `authorizer.requestResource` their meaning.
    pub fn set_authorizer(&mut self, authorizer: &Authorizer, request: &Check) {
        self.set("authorizer", authorizer.bound());
        self.set(REQUEST_RESOURCE, authorizer.resource(request.clone()));
    }

    /// The fields of this variable are made when they are asked for: what needs one that is not there yet ends with
    /// [`Error::Needs`].
    pub fn set_on_demand(&mut self, name: &'a str) {
        self.on_demand = Some(name);
    }
}

impl Program {
    /// Evaluates the expression over an activation's variables, for no more than `limit` units.
    ///
    /// Fails with [`Error::Budget`] when it costs more, [`Error::Needs`] when a field is to be made first, and otherwise
    /// [`Error::Evaluate`] in the original's words.
    #[must_use]
    pub fn run<'a>(&self, activation: &Activation<'a>, limit: u64) -> Evaluated<'a> {
        let position = |name: &str| activation.values.iter().find(|(known, _)| *known == name);
        let globals: Vec<Option<Value<'a>>> = self
            .plan
            .globals
            .iter()
            .map(|name| position(name).map(|(_, value)| value.clone()))
            .collect();
        let on_demand = activation
            .on_demand
            .and_then(|wanted| self.plan.globals.iter().position(|name| **name == *wanted));
        let (result, cost) = run(&self.plan, Input { globals: &globals, on_demand, limit });
        let result = result.map(Bound).map_err(|fault| match fault {
            Fault::Spent => Error::Budget,
            Fault::Needs(name) => Error::Needs(name.to_string()),
            fault => Error::Evaluate(fault.to_string()),
        });
        Evaluated { result, cost }
    }
}

#[cfg(test)]
mod tests;
