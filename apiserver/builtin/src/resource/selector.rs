//! Selectors of devices.

use super::lists::list;
use crate::{expressions::told, look::At};
use kubeplane_cel::{DEVICE_COST_LIMIT, Type, compile_device};
use kubeplane_core::field::Errors;

const SELECTORS_MAX: usize = 32;
const EXPRESSION_MAX: usize = 10 * 1024;

/// Expressions of which each must hold.
pub(super) fn selectors(selectors: &At<'_>, errors: &mut Errors) {
    list(selectors, SELECTORS_MAX, selector, errors);
}

fn selector(selector: &At<'_>, errors: &mut Errors) {
    let cel = selector.get("cel");
    if !cel.is_set() {
        return errors.push(cel.required(""));
    }
    let expression = cel.get("expression");
    if expression.str().len() > EXPRESSION_MAX {
        return errors.push(expression.too_long(EXPRESSION_MAX));
    }
    match compile_device(expression.str()) {
        Err(problem) => errors.push(expression.invalid(told(problem))),
        Ok(program) => match program.returns() {
            Type::Bool | Type::Any if program.max_cost() > DEVICE_COST_LIMIT => {
                errors.push(expression.forbidden("too complex, exceeds cost limit"));
            }
            Type::Bool | Type::Any => {}
            other => {
                let other = other.written();
                let detail = format!("must evaluate to bool or the unknown type, not {other}");
                errors.push(expression.invalid(detail));
            }
        },
    }
}
