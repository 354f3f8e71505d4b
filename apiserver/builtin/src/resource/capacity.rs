//! How much a device has to give, and in what portions.

use super::{
    attributes::KEY_SHOWN,
    lists::{map, set},
    values::{NO_LIMIT, qualified_name},
};
use crate::{check::quantity, look::At};
use kubeplane_core::{field::Errors, quantity::Quantity};

const OPTIONS_MAX: usize = 10;

pub(super) fn capacities(device: &At<'_>, errors: &mut Errors) {
    let shared = device.get("allowMultipleAllocations").bool();
    let each = |at: &At<'_>, errors: &mut Errors| {
        let policy = at.get("requestPolicy");
        if policy.is_set() && shared {
            self::policy(&policy, &quantity(&at.get("value")), errors);
        } else if policy.is_set() {
            errors.push(policy.forbidden("allowMultipleAllocations must be true"));
        }
    };
    map(&device.get("capacity"), NO_LIMIT, KEY_SHOWN, qualified_name, each, errors);
}

fn policy(at: &At<'_>, most: &Quantity, errors: &mut Errors) {
    let (values, range, default) = (at.get("validValues"), at.get("validRange"), at.get("default"));
    match (!values.is_empty(), range.is_set()) {
        (true, true) => errors.push(at.forbidden(
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        )),
        (true, false) if default.is_set() => options(&values, &quantity(&default), most, errors),
        (true, false) => errors.push(default.required("required when validValues is defined")),
        (false, true) if default.is_set() => {
            self::range(&range, &quantity(&default), most, errors);
        }
        (false, true) => errors.push(default.required("required when validRange is defined")),
        (false, false) => {}
    }
}

fn options(list: &At<'_>, default: &Quantity, most: &Quantity, errors: &mut Errors) {
    let amounts: Vec<_> = list.items().map(|item| quantity(&item)).collect();
    for (at, pair) in amounts.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        let detail = "values must be sorted in ascending order";
        errors.push(list.index(at + 1).invalid_as(pair[1].to_string(), detail));
    }
    let each = |item: &At<'_>, errors: &mut Errors| {
        let amount = quantity(item);
        if amount > *most {
            let detail = format!("option is larger than capacity value: {most}");
            errors.push(item.invalid_as(amount.to_string(), detail));
        }
    };
    set(list, OPTIONS_MAX, |item| quantity(item).value().to_string(), each, errors);
    let looked_at = list.len() <= OPTIONS_MAX;
    if !(looked_at && amounts.contains(default)) {
        let detail = "default value is not valid according to the requestPolicy";
        errors.push(list.invalid_as(default.to_string(), detail));
    }
}

fn range(at: &At<'_>, default: &Quantity, most: &Quantity, errors: &mut Errors) {
    let (min, max, step) = (at.get("min"), at.get("max"), at.get("step"));
    if !min.is_set() {
        return errors.push(min.required("required when validRange is defined"));
    }
    let least = quantity(&min);
    if least > *most {
        let detail = format!("min is larger than capacity value: {most}");
        errors.push(min.invalid_as(least.to_string(), detail));
    }
    if *default < least {
        let detail = format!("default is less than min: {least}");
        errors.push(min.invalid_as(default.to_string(), detail));
    }
    let highest = max.is_set().then(|| quantity(&max));
    if let Some(highest) = &highest {
        for (wrong, shown, detail) in [
            (least > *highest, &least, format!("min is larger than max: {highest}")),
            (*highest > *most, highest, format!("max is larger than capacity value: {most}")),
            (*default > *highest, default, format!("default is more than max: {highest}")),
        ] {
            if wrong {
                errors.push(max.invalid_as(shown.to_string(), detail));
            }
        }
    }
    if step.is_set() {
        let width = quantity(&step);
        let mut next = least.clone();
        next.add(&width);
        if next > *most {
            let detail = format!("one step {next} is larger than capacity value: {most}");
            errors.push(step.invalid_as(width.to_string(), detail));
        }
        for value in [Some(default), highest.as_ref()].into_iter().flatten() {
            let over = value.value() - least.value();
            if width.value() != 0 && over % width.value() != 0 {
                let detail =
                    format!("value is not a multiple of a given step ({width}) from ({least})");
                errors.push(step.invalid_as(value.to_string(), detail));
            }
        }
    }
}
