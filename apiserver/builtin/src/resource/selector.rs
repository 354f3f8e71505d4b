//! Selectors of devices.

use super::lists::list;
use crate::{
    expressions::{any, compile, name_of},
    look::At,
};
use kubeplane_cel::Type;
use kubeplane_core::field::Errors;
use serde_json::{Value, json};

const SELECTORS_MAX: usize = 32;
const EXPRESSION_MAX: usize = 10 * 1024;
const COST_MAX: u64 = 1_000_000;
const ENTRIES_MAX: usize = 32;
const VALUE_MAX: usize = 64;

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
    match compile(expression.str(), &[("device", device())]) {
        Err(problem) => errors.push(expression.invalid(problem)),
        Ok(program) => match program.returns() {
            Type::Bool | Type::Dyn if program.max_cost() > COST_MAX => {
                errors.push(expression.forbidden("too complex, exceeds cost limit"));
            }
            Type::Bool | Type::Dyn => {}
            other => {
                let name = name_of(other);
                let detail = format!("must evaluate to bool or the unknown type, not {name}");
                errors.push(expression.invalid(detail));
            }
        },
    }
}

/// The schema of `device`.
fn device() -> Value {
    let mut value = any();
    value["maxLength"] = VALUE_MAX.into();
    let by_name = |value: Value| json!({"type": "object", "additionalProperties": value, "maxProperties": ENTRIES_MAX});
    let by_domain = by_name(by_name(value));
    json!({"type": "object", "properties": {
        "driver": {"type": "string", "maxLength": VALUE_MAX - 1},
        "attributes": by_domain,
        "capacity": by_domain,
        "allowMultipleAllocations": {"type": "boolean"},
    }})
}
