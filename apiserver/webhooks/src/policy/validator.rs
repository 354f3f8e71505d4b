//! One policy with one parameter, held against one write.

use super::{
    definition::{Policy, Validation},
    invocation::Invocation,
};
use crate::{
    expressions::{CONDITIONS_BUDGET, Evaluation, Failure, POLICY_BUDGET, Verdict},
    metrics::About,
    shared::Shared,
};
use kubeplane_cel::{Activation, Bound};

/// The longest message an expression may make, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;
/// The longest value of an audit annotation, in bytes.
const MAX_ANNOTATION: usize = 10 * 1024;

/// A validation that did not hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denial {
    /// Which of the policy's validations; zero when it was none of them.
    pub(super) index: usize,
    pub(super) message: String,
    /// Empty for the usual one.
    pub(super) reason: String,
    /// The expression failed.
    pub(super) error: bool,
}

impl Denial {
    fn error(index: usize, message: String) -> Self {
        Self { index, message, reason: String::new(), error: true }
    }
}

/// What a policy came to.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// What binding actions apply to.
    pub(super) denials: Vec<Denial>,
    /// Audit annotations that failed; they deny whatever the actions are.
    pub(super) broken_annotations: Vec<String>,
    pub(super) annotations: Vec<(String, String)>,
}

/// Evaluates a policy over the variables of a write.
pub(super) fn judge<'a>(
    shared: &Shared,
    invocation: &'a Invocation,
    base: &Activation<'a>,
    operation: &'static str,
) -> Judgement {
    let policy = &invocation.policy;
    let param = || invocation.param.as_ref().map(|param| Bound::object(param.map()));
    let evaluation = |budget| Evaluation::new(base, &policy.variables, param(), budget);
    let mut judgement = Judgement::default();
    if !policy.conditions.is_empty() {
        let about = About { kind: "policy", name: &policy.name, operation, phase: "validate" };
        match policy.conditions.evaluate(&mut evaluation(CONDITIONS_BUDGET), shared, about) {
            Verdict::Matches => {}
            Verdict::Excluded => return judgement,
            Verdict::Failed(why) => {
                if !policy.ignore {
                    judgement.denials.push(Denial::error(0, why));
                }
                return judgement;
            }
        }
    }
    if !validations(policy, &mut evaluation(POLICY_BUDGET), &mut judgement.denials) {
        return judgement;
    }
    annotate(invocation, &mut evaluation(POLICY_BUDGET), &mut judgement);
    judgement
}

/// What does not hold, first all expressions and then the messages of those that do not; false when nothing was left to
/// spend on them, which leaves nothing of what was found.
fn validations<'a>(
    policy: &'a Policy,
    evaluation: &mut Evaluation<'a>,
    denials: &mut Vec<Denial>,
) -> bool {
    for (index, validation) in policy.validations.iter().enumerate() {
        match evaluation.evaluate(&validation.expression) {
            Ok(value) if value.as_bool() == Some(true) => {}
            Ok(_) => denials.push(Denial {
                index,
                message: String::new(),
                reason: validation.reason.clone(),
                error: false,
            }),
            Err(Failure::Budget) => {
                denials.clear();
                if !policy.ignore {
                    denials.push(Denial::error(0, Failure::Budget.message()));
                }
                return false;
            }
            Err(failure) if !policy.ignore => {
                denials.push(Denial::error(index, failure.message()));
            }
            Err(_) => {}
        }
    }
    let mut spent = false;
    for denial in denials.iter_mut().filter(|denial| !denial.error) {
        let Some(validation) = policy.validations.get(denial.index) else { continue };
        match message(validation, evaluation) {
            Ok(message) => denial.message = message,
            Err(_) => spent = true,
        }
    }
    if spent {
        let why = format!("failed messageExpression: {}", Failure::Budget.message());
        let own = denials.iter_mut().filter(|denial| !denial.error);
        own.for_each(|denial| *denial = Denial::error(denial.index, why.clone()));
        denials.retain(|denial| !policy.ignore || denial.message != why);
    }
    true
}

/// What is said of a validation that does not hold; an error when nothing is left to spend on that.
fn message<'a>(
    validation: &'a Validation,
    evaluation: &mut Evaluation<'a>,
) -> Result<String, Failure> {
    let said = match &validation.message_expression {
        None => None,
        Some(expression) => match evaluation.evaluate(expression) {
            Ok(value) => value.as_text().map(|text| text.trim().to_owned()),
            Err(Failure::Budget) => return Err(Failure::Budget),
            Err(Failure::Wrong(_)) => None,
        },
    };
    let fits =
        |text: &String| !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
    Ok(said.filter(fits).unwrap_or_else(|| match validation.message.as_str() {
        "" => format!("failed expression: {}", validation.expression.source.trim()),
        message => message.to_owned(),
    }))
}

fn annotate<'a>(invocation: &'a Invocation, evaluation: &mut Evaluation<'a>, into: &mut Judgement) {
    let policy = &invocation.policy;
    for (key, expression) in &policy.annotations {
        match evaluation.evaluate(expression) {
            Ok(value) => match value.as_text().map(str::trim) {
                Some("") => {}
                Some(text) => {
                    let kept = text.char_indices().map(|(at, c)| at + c.len_utf8());
                    let end = kept.take_while(|end| *end <= MAX_ANNOTATION).last().unwrap_or(0);
                    into.annotations.push((key.clone(), text[..end].to_owned()));
                }
                None if value.is_null() => {}
                None => into.broken_annotations.push(format!(
                    "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                    expression.source,
                    value.type_name()
                )),
            },
            Err(Failure::Budget) => {
                // Nothing of what was found counts any more.
                let why = Denial::error(0, Failure::Budget.message());
                let denials = if policy.ignore { Vec::new() } else { vec![why] };
                *into = Judgement { denials, ..Judgement::default() };
                return;
            }
            Err(_) if policy.ignore => {}
            Err(failure) => into.broken_annotations.push(failure.message()),
        }
    }
}
