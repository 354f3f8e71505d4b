//! Tolerations of taints.

use crate::{check, look::At};
use kubeplane_core::{field::Errors, names};

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

/// One of the effects of taints.
pub(crate) fn taint_effect(effect: &At<'_>, errors: &mut Errors) {
    if !EFFECTS.contains(&effect.str()) {
        errors.push(effect.not_supported(EFFECTS));
    }
}
