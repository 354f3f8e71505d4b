//! The variable `authorizer`: questions that expressions put together, answered outside between two evaluations.
//!
//! An expression that asks what has not been answered yet fails; the question is then in
//! [`take_open`](Authorizer::take_open), and the expression can be evaluated again once it is answered.

use crate::bind::Bound;
use kube_cel::cel::{
    self, Context, ExecutionError, FunctionContext, ResolveResult, objects::Opaque,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// A question: may somebody do this?
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// Namespace and name of the service account it is asked for; `None` for the user of the request.
    pub service_account: Option<(String, String)>,
    /// The verb.
    pub verb: String,
    /// The path of a request that names no resource.
    pub path: String,
    /// The group.
    pub group: String,
    /// The resource; empty with a path.
    pub resource: String,
    /// The subresource.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The field selector.
    pub field_selector: String,
    /// The label selector.
    pub label_selector: String,
}

/// What an authorizer said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why, or why not.
    pub reason: String,
    /// Why there is no decision; mostly empty.
    pub error: String,
}

#[derive(Debug, Default)]
struct State {
    answers: BTreeMap<Check, Answer>,
    open: Vec<Check>,
}

/// The questions and answers of one request. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Authorizer(Arc<Mutex<State>>);

impl Authorizer {
    /// The value of `authorizer`.
    #[must_use]
    pub fn bound(&self) -> Bound {
        self.at(Stage::Authorizer, Check::default())
    }

    /// The value of `authorizer.requestResource`.
    #[must_use]
    pub fn resource(&self, check: Check) -> Bound {
        self.at(Stage::Resource, check)
    }

    /// What was asked and not answered since the last call.
    #[must_use]
    pub fn take_open(&self) -> Vec<Check> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).open)
    }

    /// Answers a question, once for all evaluations.
    pub fn answer(&self, check: Check, answer: Answer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answers.insert(check, answer);
    }

    fn at(&self, stage: Stage, check: Check) -> Bound {
        let asked = Asked { authorizer: self.clone(), stage, check, answer: Answer::default() };
        Bound(cel::Value::Opaque(Arc::new(asked)))
    }

    fn decide(&self, check: Check) -> ResolveResult {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(answer) = state.answers.get(&check).cloned() else {
            if !state.open.contains(&check) {
                state.open.push(check);
            }
            return Err(ExecutionError::function_error("check", "not decided yet"));
        };
        drop(state);
        let asked = Asked { authorizer: self.clone(), stage: Stage::Decision, check, answer };
        Ok(cel::Value::Opaque(Arc::new(asked)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
    Decision,
}

/// A question on its way.
#[derive(Debug, Clone)]
struct Asked {
    authorizer: Authorizer,
    stage: Stage,
    check: Check,
    answer: Answer,
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        (self.stage, &self.check, &self.answer) == (other.stage, &other.check, &other.answer)
    }
}

impl Eq for Asked {}

impl Opaque for Asked {
    fn runtime_type_name(&self) -> &str {
        match self.stage {
            Stage::Authorizer => "kubernetes.authorization.Authorizer",
            Stage::Path => "kubernetes.authorization.PathCheck",
            Stage::Group => "kubernetes.authorization.GroupCheck",
            Stage::Resource => "kubernetes.authorization.ResourceCheck",
            Stage::Decision => "kubernetes.authorization.Decision",
        }
    }
}

/// The question a function is called on, at one of these stages.
fn asked(ftx: &FunctionContext<'_, '_>, stages: &[Stage]) -> Result<Asked, ExecutionError> {
    let Some(cel::Value::Opaque(opaque)) = &ftx.this else {
        return Err(ExecutionError::NoSuchOverload);
    };
    let found = opaque.downcast_ref::<Asked>().filter(|asked| stages.contains(&asked.stage));
    found.cloned().ok_or(ExecutionError::NoSuchOverload)
}

fn value(asked: Asked) -> ResolveResult {
    Ok(cel::Value::Opaque(Arc::new(asked)))
}

type Text = Arc<String>;

/// Adds the functions of the authorizer.
pub(crate) fn register(context: &mut Context<'static>) {
    context.add_function("path", |ftx: &FunctionContext<'_, '_>, path: Text| {
        let mut asked = asked(ftx, &[Stage::Authorizer])?;
        asked.stage = Stage::Path;
        asked.check.path = path.to_string();
        value(asked)
    });
    context.add_function("group", |ftx: &FunctionContext<'_, '_>, group: Text| {
        let mut asked = asked(ftx, &[Stage::Authorizer])?;
        asked.stage = Stage::Group;
        asked.check.group = group.to_string();
        value(asked)
    });
    context.add_function(
        "serviceAccount",
        |ftx: &FunctionContext<'_, '_>, namespace: Text, name: Text| {
            let mut asked = asked(ftx, &[Stage::Authorizer])?;
            asked.check.service_account = Some((namespace.to_string(), name.to_string()));
            value(asked)
        },
    );
    context.add_function("resource", |ftx: &FunctionContext<'_, '_>, resource: Text| {
        let mut asked = asked(ftx, &[Stage::Group])?;
        asked.stage = Stage::Resource;
        asked.check.resource = resource.to_string();
        value(asked)
    });
    narrow(context, "subresource", |check| &mut check.subresource);
    narrow(context, "namespace", |check| &mut check.namespace);
    narrow(context, "name", |check| &mut check.name);
    narrow(context, "fieldSelector", |check| &mut check.field_selector);
    narrow(context, "labelSelector", |check| &mut check.label_selector);
    context.add_function("check", |ftx: &FunctionContext<'_, '_>, verb: Text| {
        let mut asked = asked(ftx, &[Stage::Resource, Stage::Path])?;
        asked.check.verb = verb.to_string();
        asked.authorizer.decide(asked.check)
    });
    tell(context, "allowed", |answer| cel::Value::Bool(answer.allowed));
    tell(context, "errored", |answer| cel::Value::Bool(!answer.error.is_empty()));
    tell(context, "error", |answer| cel::Value::from(answer.error.as_str()));
    tell(context, "reason", |answer| cel::Value::from(answer.reason.as_str()));
}

fn narrow(context: &mut Context<'static>, name: &str, part: fn(&mut Check) -> &mut String) {
    context.add_function(name, move |ftx: &FunctionContext<'_, '_>, text: Text| {
        let mut asked = asked(ftx, &[Stage::Resource])?;
        part(&mut asked.check).clone_from(&text);
        value(asked)
    });
}

fn tell(context: &mut Context<'static>, name: &str, part: fn(&Answer) -> cel::Value) {
    context.add_function(name, move |ftx: &FunctionContext<'_, '_>| -> ResolveResult {
        Ok(part(&asked(ftx, &[Stage::Decision])?.answer))
    });
}
