//! Tolerations of taints.

use crate::{check, look::At};
use kubeplane_core::{field::Errors, names};
use std::num::IntErrorKind;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(crate) fn tolerations(list: &At<'_>, errors: &mut Errors) {
    for toleration in list.items() {
        let (key, operator) = (toleration.get("key"), toleration.get("operator"));
        let (value, effect) = (toleration.get("value"), toleration.get("effect"));
        if !key.str().is_empty() {
            check::qualified_name(&key, errors);
        } else if operator.str() != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(operator.invalid(detail));
        }
        if toleration.get("tolerationSeconds").is_set() && effect.str() != "NoExecute" {
            errors
                .push(effect.invalid("effect must be 'NoExecute' when `tolerationSeconds` is set"));
        }
        match operator.str() {
            "Equal" | "" => {
                let problems = names::is_valid_label_value(value.str());
                if !problems.is_empty() {
                    errors.push(operator.invalid_as(value.str(), problems.join(";")));
                }
            }
            "Exists" if !value.str().is_empty() => {
                errors.push(
                    operator
                        .invalid_as(value.str(), "value must be empty when `operator` is 'Exists'"),
                );
            }
            "Exists" => {}
            "Lt" | "Gt" => errors.push(operator.not_supported(&["Equal", "Exists", "Lt", "Gt"])),
            _ => errors.push(operator.not_supported(&["Equal", "Exists"])),
        }
        if !effect.str().is_empty() {
            taint_effect(&effect, errors);
        }
    }
}

/// What tolerations compare with: whole numbers of 64 bits, where comparing is allowed.
pub(super) fn compared(list: &At<'_>, errors: &mut Errors) {
    let compares = |one: &At<'_>| matches!(one.get("operator").str(), "Lt" | "Gt");
    for value in list.items().filter(compares).map(|toleration| toleration.get("value")) {
        check::messages(&value, names::is_decimal_integer(value.str()), errors);
        if let Err(error) = value.str().parse::<i64>() {
            let why = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            let text = format!("strconv.ParseInt: parsing {:?}: {why}", value.str());
            errors.push(value.invalid(text));
        }
    }
}

/// One of the effects of taints.
pub(crate) fn taint_effect(effect: &At<'_>, errors: &mut Errors) {
    if !EFFECTS.contains(&effect.str()) {
        errors.push(effect.not_supported(EFFECTS));
    }
}
