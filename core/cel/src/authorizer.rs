//! The variable `authorizer`: questions that expressions put together, answered outside between two evaluations.
//!
//! An expression that asks what has not been answered yet fails; the question is then in
//! [`take_open`](Authorizer::take_open), and the expression can be evaluated again once it is answered.

use crate::{
    bound::Bound,
    fault::Fault,
    library::{Function, Out},
    value::{Extra, Value},
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
    pub fn bound(&self) -> Bound<'static> {
        self.at(Stage::Authorizer, Check::default())
    }

    /// The value of `authorizer.requestResource`.
    #[must_use]
    pub fn resource(&self, check: Check) -> Bound<'static> {
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

    fn at(&self, stage: Stage, check: Check) -> Bound<'static> {
        let asked = Asked { authorizer: self.clone(), stage, check, answer: Answer::default() };
        Bound(Value::Extra(Extra::Asked(Arc::new(asked))))
    }

    fn decide<'a>(&self, check: Check) -> Out<'a> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(answer) = state.answers.get(&check).cloned() else {
            if !state.open.contains(&check) {
                state.open.push(check);
            }
            return Err(Fault::Open);
        };
        drop(state);
        value(Asked { authorizer: self.clone(), stage: Stage::Decision, check, answer })
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
pub(crate) struct Asked {
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

impl Asked {
    pub(crate) fn type_name(&self) -> &'static str {
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
fn asked(args: &[Value<'_>], stages: &[Stage]) -> Result<Asked, Fault> {
    match args.first() {
        Some(Value::Extra(Extra::Asked(asked))) if stages.contains(&asked.stage) => {
            Ok(Asked::clone(asked))
        }
        _ => Err(Fault::overload()),
    }
}

fn text(args: &[Value<'_>], index: usize) -> Result<String, Fault> {
    match args.get(index) {
        Some(Value::String(text)) => Ok(text.as_str().to_owned()),
        _ => Err(Fault::overload()),
    }
}

fn value<'a>(asked: Asked) -> Out<'a> {
    Ok(Value::Extra(Extra::Asked(Arc::new(asked))))
}

/// The functions of the authorizer.
pub(crate) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "path" => |args| next(args, Stage::Path, |check| &mut check.path),
        "group" => |args| next(args, Stage::Group, |check| &mut check.group),
        "serviceAccount" => |args| {
            let mut asked = asked(args, &[Stage::Authorizer])?;
            asked.check.service_account = Some((text(args, 1)?, text(args, 2)?));
            value(asked)
        },
        "resource" => |args| {
            let mut asked = asked(args, &[Stage::Group])?;
            asked.stage = Stage::Resource;
            asked.check.resource = text(args, 1)?;
            value(asked)
        },
        "subresource" => |args| narrow(args, |check| &mut check.subresource),
        "namespace" => |args| narrow(args, |check| &mut check.namespace),
        "name" => |args| narrow(args, |check| &mut check.name),
        "fieldSelector" => |args| narrow(args, |check| &mut check.field_selector),
        "labelSelector" => |args| narrow(args, |check| &mut check.label_selector),
        "check" => |args| {
            let mut asked = asked(args, &[Stage::Resource, Stage::Path])?;
            asked.check.verb = text(args, 1)?;
            asked.authorizer.clone().decide(asked.check)
        },
        "allowed" => |args| tell(args, |answer| Value::Bool(answer.allowed)),
        "errored" => |args| tell(args, |answer| Value::Bool(!answer.error.is_empty())),
        "error" => |args| tell(args, |answer| answer.error.into()),
        "reason" => |args| tell(args, |answer| answer.reason.into()),
        _ => return None,
    })
}

fn next<'a>(args: &[Value<'a>], stage: Stage, part: fn(&mut Check) -> &mut String) -> Out<'a> {
    let mut asked = asked(args, &[Stage::Authorizer])?;
    asked.stage = stage;
    *part(&mut asked.check) = text(args, 1)?;
    value(asked)
}

fn narrow<'a>(args: &[Value<'a>], part: fn(&mut Check) -> &mut String) -> Out<'a> {
    let mut asked = asked(args, &[Stage::Resource])?;
    *part(&mut asked.check) = text(args, 1)?;
    value(asked)
}

fn tell<'a>(args: &[Value<'a>], part: fn(Answer) -> Value<'static>) -> Out<'a> {
    Ok(part(asked(args, &[Stage::Decision])?.answer))
}
