//! One policy with one parameter, held against one write.

use super::{definition::Validation, invocation::Invocation};
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
    let mut own = evaluation(POLICY_BUDGET);
    for (index, validation) in policy.validations.iter().enumerate() {
        match own.evaluate(&validation.expression) {
            Ok(value) if value.as_bool() == Some(true) => {}
            Ok(_) => judgement.denials.push(denial(index, validation, &mut own)),
            Err(failure) => {
                if !policy.ignore {
                    judgement.denials.push(Denial::error(index, failure.message()));
                }
                if matches!(failure, Failure::Budget) {
                    return judgement;
                }
            }
        }
    }
    annotate(invocation, &mut evaluation(POLICY_BUDGET), &mut judgement);
    judgement
}

fn denial<'a>(index: usize, validation: &'a Validation, evaluation: &mut Evaluation<'a>) -> Denial {
    let said = validation.message_expression.as_ref().and_then(|expression| {
        let value = evaluation.evaluate(expression).ok()?;
        let text = value.as_text()?.trim();
        let fits = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
        fits.then(|| text.to_owned())
    });
    let message = said.unwrap_or_else(|| match validation.message.as_str() {
        "" => format!("failed expression: {}", validation.expression.source.trim()),
        message => message.to_owned(),
    });
    Denial { index, message, reason: validation.reason.clone(), error: false }
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
            Err(_) if policy.ignore => {}
            Err(failure) => into.broken_annotations.push(failure.message()),
        }
    }
}
