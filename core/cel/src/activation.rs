//! Values that many expressions see: bound once, evaluated over often, with a common budget.

use crate::{
    authorizer::{Authorizer, Check},
    bind::Bound,
    environment::{Environment, Program, told},
    error::{Error, Result},
    meter::{Budget, REQUEST_RESOURCE, SPENT, fields_of, metered},
    walk::count,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube_cel::cel::{
    self, Context,
    objects::{Key, OptionalValue},
};
use serde_json::{Map, Number, Value};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// Variables with their values, and what may still be spent on expressions over them.
pub struct Activation<'a> {
    context: Context<'a>,
    budget: Arc<Budget>,
}

impl fmt::Debug for Activation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation").field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl Environment {
    /// No variables yet; expressions may spend so many units together, about one for each step of a loop.
    #[must_use]
    pub fn activation(&self, budget: u64) -> Activation<'_> {
        let budget = Budget::new(budget);
        let mut context = self.base().new_inner_scope();
        budget.bind(&mut context);
        Activation { context, budget }
    }
}

impl Activation<'_> {
    /// Gives a variable its value.
    pub fn set(&mut self, name: &str, value: &Bound) {
        self.context.add_variable_from_value(name, value.0.clone());
    }

    /// Gives `authorizer` and `authorizer.requestResource` their meaning.
    pub fn set_authorizer(&mut self, authorizer: &Authorizer, request: &Check) {
        self.set("authorizer", &authorizer.bound());
        self.set(REQUEST_RESOURCE, &authorizer.resource(request.clone()));
    }

    /// The same variables and more, with a budget of their own.
    #[must_use]
    pub fn inner(&self, budget: u64) -> Activation<'_> {
        let budget = Budget::new(budget);
        let mut context = self.context.new_inner_scope();
        budget.bind(&mut context);
        Activation { context, budget }
    }

    /// What may still be spent.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.budget.left()
    }
}

impl Program {
    /// The same with loops that pay for their rounds, to be [`run`](Self::run).
    #[must_use]
    pub fn metered(mut self) -> Self {
        metered(&mut self.expression);
        self.weight = count(&self.expression);
        self
    }

    /// The fields of a variable that the expression selects, as in `variables.big`; `None` when it uses the
    /// variable in other ways.
    #[must_use]
    pub fn fields_of(&self, variable: &str) -> Option<BTreeSet<String>> {
        let mut found = Vec::new();
        fields_of(&self.expression, variable, &mut found)?;
        Some(found.into_iter().collect())
    }

    /// Evaluates the expression over an activation's variables.
    ///
    /// # Errors
    /// [`Error::Budget`] when nothing is left to spend, otherwise as [`evaluate`](Self::evaluate).
    pub fn run(&self, activation: &Activation<'_>) -> Result<Bound> {
        if !activation.budget.spend(self.weight) {
            return Err(Error::Budget);
        }
        let result = cel::Value::resolve(&self.expression, &activation.context);
        if activation.budget.is_spent() {
            return Err(Error::Budget);
        }
        result.map(Bound).map_err(|error| Error::Evaluate(told(&error)))
    }
}

impl Error {
    /// What the budget's end is called in messages.
    pub(crate) const BUDGET: &'static str = SPENT;
}

impl Bound {
    /// A value without a shape.
    #[must_use]
    pub fn plain(value: &Value) -> Self {
        Self(crate::bind::plain(value))
    }

    /// A map of values by name.
    #[must_use]
    pub fn map<'a>(entries: impl IntoIterator<Item = (&'a str, &'a Self)>) -> Self {
        let entries = entries.into_iter();
        Self(crate::bind::of_map(entries.map(|(name, value)| (name.to_owned(), value.0.clone()))))
    }

    /// The truth value, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match &self.0 {
            cel::Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.0 {
            cel::Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.0, cel::Value::Null)
    }

    /// The name of its type, as in `list`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        crate::environment::type_name(&self.0)
    }

    /// As JSON; `None` when it, or something in it, has no such form.
    #[must_use]
    pub fn to_json(&self) -> Option<Value> {
        json(&self.0)
    }
}

fn json(value: &cel::Value) -> Option<Value> {
    Some(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(value) => Value::Bool(*value),
        cel::Value::Int(number) => Value::from(*number),
        cel::Value::UInt(number) => Value::from(*number),
        cel::Value::Float(number) => Value::Number(Number::from_f64(*number)?),
        cel::Value::String(text) => Value::String(text.to_string()),
        cel::Value::Bytes(bytes) => Value::String(STANDARD.encode(bytes.as_slice())),
        cel::Value::List(list) => Value::Array(list.iter().map(json).collect::<Option<_>>()?),
        cel::Value::Map(map) => {
            let entries = map.map.iter().map(|(key, value)| Some((name(key), json(value)?)));
            Value::Object(entries.collect::<Option<Map<_, _>>>()?)
        }
        cel::Value::Timestamp(time) => Value::String(time.to_rfc3339()),
        cel::Value::Duration(span) => Value::String(format!("{}s", span.num_seconds())),
        cel::Value::Opaque(opaque) => {
            let optional = opaque.downcast_ref::<OptionalValue>()?;
            json(optional.value()?)?
        }
        cel::Value::Function(..) => return None,
    })
}

fn name(key: &Key) -> String {
    match key {
        Key::String(text) => text.to_string(),
        Key::Int(number) => number.to_string(),
        Key::Uint(number) => number.to_string(),
        Key::Bool(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests;
