//! `x-kubernetes-validations`: compiled once for a schema, evaluated over every object.

use crate::{
    fieldpath,
    props::{Additional, Props, Rule},
    value::{Correlated, unchanged},
};
use kubeplane_cel::{
    Activation, Bound, Environment, Error as CelError, Program, Scope, Shape, Type,
};
use kubeplane_core::{
    admission::Warnings,
    field::{Error, ErrorKind, Errors, OMITTED, Path, go_quote},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// The longest message an expression may make, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;
/// What one evaluation may cost.
const CALL_BUDGET: u64 = 1_000_000;
/// What all evaluations over one object may cost.
const OBJECT_BUDGET: u64 = 10_000_000;
/// How the error of a rule begins that was read, but could not be made ready to run.
const INSTANTIATION: &str = "program instantiation failed";
/// What is said when that is spent.
const SPENT: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// One rule, ready to run.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) rule: Rule,
    /// The program, or why there is none.
    pub(crate) program: Result<Program, String>,
    /// That of the message expression.
    pub(crate) message: Option<Result<Program, String>>,
    /// Where the finding is placed, below the rule's own place.
    path: Option<Path>,
}

impl Compiled {
    pub(crate) fn uses_old(&self) -> bool {
        self.program.as_ref().is_ok_and(|program| program.uses("oldSelf"))
    }

    /// What it uses is not known: it was read, but could not be made ready to run.
    pub(crate) fn is_uninstantiated(&self) -> bool {
        self.program.as_ref().is_err_and(|why| why.starts_with(INSTANTIATION))
    }
}

/// Compiles the rules of one node; `schema` is its JSON, `resource` whether it is the root of one.
pub(crate) fn compile(
    environment: &Environment,
    schema: &Value,
    props: &Props,
    resource: bool,
) -> Vec<Compiled> {
    if props.rules.is_empty() {
        return Vec::new();
    }
    let shape = Shape::of_schema(schema, resource).map(Arc::new);
    let own = shape.as_ref().map(|shape| Type::of(shape, "selfType"));
    let each = props.rules.iter().map(|rule| {
        let missing = || "failed to convert to declType for CEL validation rules".to_owned();
        let compiled = |source: &str| -> Result<Program, CelError> {
            let (Some(shape), Some(own)) = (&shape, &own) else {
                return Err(CelError::Compile(missing()));
            };
            let old = match rule.old_is_optional() {
                true => Type::optional(own.clone()),
                false => own.clone(),
            };
            let scope = Scope::new().with("self", own.clone()).with("oldSelf", old);
            environment.compile_in(source, &scope, Some(shape))
        };
        let program = match compiled(&rule.rule) {
            Err(error @ CelError::Instantiate(_)) => Err(error.to_string()),
            Err(error) => Err(format!("compilation failed: {error}")),
            Ok(program) if matches!(program.returns(), Type::Bool) => Ok(program),
            Ok(_) => Err("cel expression must evaluate to a bool".to_owned()),
        };
        let message = (!rule.message_expression.is_empty()).then(|| {
            match compiled(&rule.message_expression) {
                Err(CelError::Instantiate(why)) => {
                    Err(format!("messageExpression instantiation failed: {why}"))
                }
                Err(error) => Err(format!("messageExpression compilation failed: {error}")),
                Ok(program) if matches!(program.returns(), Type::String) => Ok(program),
                Ok(_) => Err("messageExpression must evaluate to a string".to_owned()),
            }
        });
        let path = fieldpath::resolve(&rule.field_path, props, true).ok().map(|(path, _)| path);
        Compiled {
            rule: rule.clone(),
            program,
            message,
            path: path.filter(|_| !rule.field_path.is_empty()),
        }
    });
    each.collect()
}

/// The rules of a schema; nodes without rules at or below them are left out.
#[derive(Debug)]
pub(crate) struct Rules {
    root: Node,
}

#[derive(Debug)]
struct Node {
    rules: Vec<Compiled>,
    shape: Option<Shape>,
    /// The type, as errors print it.
    kind: String,
    items: Option<Box<Node>>,
    values: Option<Box<Node>>,
    properties: BTreeMap<String, Node>,
}

impl Rules {
    /// The rules of a resource's schema; `None` when there are none.
    pub(crate) fn of(schema: &Value, props: &Props, resource: bool) -> Option<Self> {
        if !props.any(|node| !node.rules.is_empty()) {
            return None;
        }
        let environment = Environment::new();
        let root = Node::of(&environment, schema, props, resource)?;
        Some(Self { root })
    }

    /// What an object breaks; `props` is the schema the rules are of. What it broke before where nothing has changed is
    /// told as a warning.
    pub(crate) fn validate(
        &self,
        props: &Props,
        value: &Value,
        old: Option<&Value>,
        path: &Path,
        warnings: &Warnings,
    ) -> Errors {
        let mut run = Run { errors: Vec::new(), warnings, left: OBJECT_BUDGET, over: false };
        self.root.validate(&mut run, props, (value, old), None, path);
        run.errors
    }
}

/// One look at an object.
struct Run<'a> {
    errors: Errors,
    warnings: &'a Warnings,
    /// What may still be spent.
    left: u64,
    /// No more rules are run.
    over: bool,
}

/// A value whose old one is known.
#[derive(Clone, Copy)]
struct Known<'a> {
    props: &'a Props,
    old: &'a Value,
    value: &'a Value,
}

impl Known<'_> {
    fn is_unchanged(&self) -> bool {
        unchanged(self.props, self.old, self.value)
    }
}

/// Why an evaluation came to nothing.
enum Failure {
    /// One evaluation costs too much.
    Call,
    /// Nothing is left to spend.
    Object,
    Evaluation(CelError),
}

impl Run<'_> {
    fn evaluate<'a>(
        &mut self,
        program: &Program,
        activation: &Activation<'a>,
    ) -> Result<Bound<'a>, Failure> {
        let evaluated = program.run(activation, CALL_BUDGET);
        self.left = self.left.checked_sub(evaluated.cost).ok_or(Failure::Object)?;
        evaluated.result.map_err(|error| match error {
            CelError::Budget => Failure::Call,
            other => Failure::Evaluation(other),
        })
    }

    /// An error after which no more rules are run.
    fn end(&mut self, error: Error) {
        self.errors.push(error);
        self.over = true;
    }
}

impl Node {
    fn of(
        environment: &Environment,
        schema: &Value,
        props: &Props,
        resource: bool,
    ) -> Option<Self> {
        static NULL: Value = Value::Null;
        let resource = resource || props.embedded;
        let below = |key: &str| schema.get(key).unwrap_or(&NULL);
        let rules = compile(environment, schema, props, resource);
        let items = props
            .items
            .as_deref()
            .and_then(|items| Self::of(environment, below("items"), items, false));
        let values = props.additional.as_ref().and_then(Additional::schema);
        let values = values
            .and_then(|values| Self::of(environment, below("additionalProperties"), values, false));
        let properties: BTreeMap<_, _> = props
            .properties
            .iter()
            .filter_map(|(name, props)| {
                let schema = below("properties").get(name).unwrap_or(&NULL);
                let node = Self::of(environment, schema, props, false)?;
                // Rules below what has no type of its own are not run.
                Shape::is_known(schema).then(|| (name.clone(), node))
            })
            .collect();
        if rules.is_empty() && items.is_none() && values.is_none() && properties.is_empty() {
            return None;
        }
        let shape = if rules.is_empty() { None } else { Shape::of_schema(schema, resource) };
        Some(Self {
            rules,
            shape,
            kind: props.kind.clone(),
            items: items.map(Box::new),
            values: values.map(Box::new),
            properties,
        })
    }

    /// `above`: the nearest place above whose old value is known.
    fn validate<'a>(
        &self,
        run: &mut Run<'_>,
        props: &'a Props,
        (value, old): (&'a Value, Option<&'a Value>),
        above: Option<Known<'a>>,
        path: &Path,
    ) {
        if value.is_null() || run.over {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        let known = old.map(|old| Known { props, old, value }).or(above);
        self.evaluate(run, value, old, known, path);
        match value {
            Value::Array(list) => {
                let Some((node, items)) = self.items.as_ref().zip(props.items.as_deref()) else {
                    return;
                };
                let before = old.and_then(|old| Correlated::of(props, old));
                for (index, item) in list.iter().enumerate() {
                    let old = before.as_ref().and_then(|before| before.item(item));
                    node.validate(run, items, (item, old), known, &path.index(index));
                }
            }
            Value::Object(map) => {
                let values = props.additional.as_ref().and_then(Additional::schema);
                let values = self.values.as_ref().zip(values);
                for (key, value) in map {
                    let both = (value, old.and_then(|old| old.get(key)));
                    let own = self.properties.get(key).zip(props.properties.get(key));
                    if let Some((node, props)) = own {
                        node.validate(run, props, both, known, &path.child(key));
                    } else if let Some((node, props)) = values {
                        node.validate(run, props, both, known, &path.key(key));
                    }
                }
            }
            _ => {}
        }
    }

    fn evaluate(
        &self,
        run: &mut Run<'_>,
        value: &Value,
        old: Option<&Value>,
        known: Option<Known<'_>>,
        path: &Path,
    ) {
        let Some(shape) = self.shape.as_ref().filter(|_| !self.rules.is_empty()) else { return };
        if run.left == 0 {
            let error = Error::invalid(path, self.kind.as_str(), SPENT);
            return run.end(error);
        }
        let bound = shape.bind(value);
        let before = old.map(|old| shape.bind(old));
        for rule in &self.rules {
            let uses_old = rule.uses_old();
            let old = match (&before, rule.rule.old_is_optional()) {
                (None, false) if uses_old => continue,
                (Some(old), true) => Some(old.clone().optional()),
                (None, true) => Some(Bound::none()),
                (old, false) => old.clone(),
            };
            let mut variables = Activation::new().with("self", bound.clone());
            if let Some(old) = old {
                variables.set("oldSelf", old);
            }
            if !self.holds(run, rule, &variables, path) && !run.over {
                let variables = self.seen_by_messages(&bound, before.as_ref());
                let error = self.broken(run, rule, &variables, value, path);
                match !uses_old && known.is_some_and(|known| known.is_unchanged()) {
                    true => run.warnings.add(error.to_string()),
                    false => run.errors.push(error),
                }
            }
            if run.over {
                return;
            }
        }
    }

    /// What messages see, as in the original: the old value as it is, never an optional one, and none where no rule of
    /// this node asks for it.
    fn seen_by_messages<'a>(
        &self,
        bound: &Bound<'a>,
        before: Option<&Bound<'a>>,
    ) -> Activation<'a> {
        let variables = Activation::new().with("self", bound.clone());
        match before.filter(|_| self.rules.iter().any(Compiled::uses_old)) {
            Some(before) => variables.with("oldSelf", before.clone()),
            None => variables,
        }
    }

    /// Whether a rule holds; one that cannot be evaluated is an error of its own.
    fn holds(
        &self,
        run: &mut Run<'_>,
        rule: &Compiled,
        variables: &Activation<'_>,
        path: &Path,
    ) -> bool {
        let invalid = |detail: String| Error::invalid(path, self.kind.as_str(), detail);
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                run.errors.push(invalid(format!("rule compile error: {why}")));
                return true;
            }
        };
        let words = told(&rule.rule);
        match run.evaluate(program, variables) {
            Ok(result) => return result.as_bool() == Some(true),
            Err(Failure::Call) => run.end(invalid(format!(
                "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {words}"
            ))),
            Err(Failure::Object) => run.end(invalid(SPENT.to_owned())),
            Err(Failure::Evaluation(error)) if error.to_string().starts_with("no such overload") => {
                run.errors.push(invalid(format!(
                    "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {words}"
                )));
            }
            Err(Failure::Evaluation(error)) => {
                run.errors.push(invalid(format!("{error} evaluating rule: {words}")));
            }
        }
        true
    }

    /// What is said about a broken rule.
    fn broken(
        &self,
        run: &mut Run<'_>,
        rule: &Compiled,
        variables: &Activation<'_>,
        value: &Value,
        path: &Path,
    ) -> Error {
        let at =
            rule.path.as_ref().map_or_else(|| path.clone(), |below| path.child(below.as_str()));
        let mut own = None;
        if let Some(Ok(message)) = &rule.message {
            let ended = match run.evaluate(message, variables) {
                Ok(made) => {
                    own = made.as_text().and_then(|text| usable(text.trim()));
                    None
                }
                Err(Failure::Object) => Some("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".to_owned()),
                Err(Failure::Call) => Some(format!(
                    "no further validation rules will be run due to call cost exceeds limit for messageExpression: {}",
                    go_quote(&rule.rule.message_expression)
                )),
                Err(Failure::Evaluation(_)) => None,
            };
            if let Some(why) = ended {
                run.over = true;
                return Error::invalid(&at, self.kind.as_str(), why);
            }
        }
        let words = told(&rule.rule);
        let detail = own.unwrap_or_else(|| match rule.rule.message.is_empty() {
            true => format!("failed rule: {words}"),
            false => words.to_owned(),
        });
        let shown = match self.kind.as_str() {
            "object" | "array" => OMITTED.into(),
            _ => value.clone(),
        };
        let kind = match rule.rule.reason.as_deref() {
            Some("FieldValueForbidden") => ErrorKind::Forbidden,
            Some("FieldValueRequired") => ErrorKind::Required,
            Some("FieldValueDuplicate") => ErrorKind::Duplicate,
            _ => ErrorKind::Invalid,
        };
        let detail = if kind == ErrorKind::Duplicate { String::new() } else { detail };
        Error { kind, path: at, value: shown, detail }
    }
}

fn usable(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n')).then(|| text.to_owned())
}

fn told(rule: &Rule) -> &str {
    if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() }
}

#[cfg(test)]
mod tests;
