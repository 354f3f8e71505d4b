//! LimitRanges.

use crate::{
    check,
    defaulting::{map_in, maps_in},
    look::{At, Look, sub},
    pod::{
        defaults::resources::round,
        validation::resources::{container_resource, is_overcommit_allowed, resource_name},
    },
    row::Row,
    table::created_at,
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object, Strategy,
    definition::Context,
    field::Errors,
    names,
    quantity::{Format, Quantity},
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The least amount whose thousandths do not fit.
const MILLI_MAX: i64 = i64::MAX / 1000;

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "LimitRange",
        plural: "limitranges",
        short: &["limits"],
        columns: &["Name", "Created At:date"],
        create_on_update: true,
        ..Row::NAMESPACED
    };
    row.define(LimitRanges)
}

#[derive(Debug)]
struct LimitRanges;

impl Strategy for LimitRanges {
    fn default(&self, object: &mut Object) {
        for limit in maps_in(object.map_at_mut(&["spec"]), "limits") {
            default_limit(limit);
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Object) {
        if object.name().is_empty() {
            let uid = object.uid().to_owned();
            object.set(&["metadata", "name"], uid);
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = Errors::new();
        let mut types = BTreeSet::new();
        for limit in At::top(object.map(), "spec").get("limits").items() {
            let kind = limit.get("type");
            limit_type(&kind, &mut errors);
            if !types.insert(kind.str()) {
                errors.push(kind.duplicate());
            }
            item(&limit, &mut errors);
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, _old: &Object) -> Errors {
        self.validate(context, object)
    }

    fn table_row(&self, object: &Object, _now: Timestamp) -> Vec<Value> {
        vec![object.name().into(), created_at(object)]
    }
}

fn default_limit(limit: &mut Map<String, Value>) {
    if sub(limit, "type") == "Container" {
        fill(limit, "default", "max");
        fill(limit, "defaultRequest", "default");
        fill(limit, "defaultRequest", "min");
    }
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        if let Some(amounts) = map_in(limit, field) {
            round(amounts);
        }
    }
}

/// Takes amounts that are missing from another list.
fn fill(limit: &mut Map<String, Value>, field: &str, from: &str) {
    let amounts = sub(limit, from).as_object().cloned().unwrap_or_default();
    if amounts.is_empty() {
        return;
    }
    let list = crate::defaulting::map(limit, field);
    for (name, amount) in amounts {
        list.entry(name).or_insert(amount);
    }
}

fn limit_type(kind: &At<'_>, errors: &mut Errors) {
    let problems = names::is_qualified_name(kind.str());
    let standard = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind.str());
    if !problems.is_empty() {
        check::messages(kind, problems, errors);
    } else if !kind.str().contains('/') && !standard {
        errors.push(kind.invalid("must be a standard limit type or fully qualified"));
    }
}

fn item(limit: &At<'_>, errors: &mut Errors) {
    let kind = limit.get("type").str();
    let mut names = BTreeSet::new();
    let mut take = |field: &'static str, errors: &mut Errors| {
        for (name, amount) in limit.get(field).entries() {
            match kind {
                "Pod" | "Container" => container_resource(&amount, name, errors),
                _ => drop(resource_name(&amount, name, errors)),
            }
            names.insert(name);
        }
    };
    take("max", errors);
    take("min", errors);
    for field in ["default", "defaultRequest"] {
        if kind != "Pod" {
            take(field, errors);
        } else if !limit.get(field).is_empty() {
            errors.push(limit.get(field).forbidden("may not be specified when `type` is 'Pod'"));
        }
    }
    let bound = |field| limit.get(field).value().has("storage");
    if kind == "PersistentVolumeClaim" && !bound("min") && !bound("max") {
        errors.push(limit.get("limits").required(
            "either minimum or maximum storage value is required, but neither was provided",
        ));
    }
    take("maxLimitRequestRatio", errors);
    for name in names {
        amounts(limit, name, errors);
    }
}

/// The amounts of one resource, each with the place it stands at.
fn amounts(limit: &At<'_>, name: &str, errors: &mut Errors) {
    let pod = limit.get("type").str() == "Pod";
    let found = |field: &'static str, wanted: bool| {
        let at = limit.get(field).key(name);
        let quantity = check::quantity(&at);
        (wanted && at.is_set()).then_some((at, quantity))
    };
    let (min, max) = (found("min", true), found("max", true));
    let (default, request) = (found("default", !pod), found("defaultRequest", !pod));
    let mut order = |low: &Found<'_>,
                     high: &Found<'_>,
                     place: Place,
                     detail: fn(&str, &str) -> String| {
        let (Some((low_at, low)), Some((high_at, high))) = (low, high) else { return };
        if low > high {
            let at =
                if matches!(place, Place::Low | Place::LowValueHigh) { low_at } else { high_at };
            let value = if matches!(place, Place::Low | Place::HighValueLow) { low } else { high };
            errors.push(
                at.invalid_as(value.to_string(), detail(&low.to_string(), &high.to_string())),
            );
        }
    };
    order(&min, &max, Place::Low, |a, b| format!("min value {a} is greater than max value {b}"));
    order(&min, &request, Place::High, |a, b| {
        format!("min value {a} is greater than default request value {b}")
    });
    order(&request, &max, Place::Low, |a, b| {
        format!("default request value {a} is greater than max value {b}")
    });
    order(&request, &default, Place::Low, |a, b| {
        format!("default request value {a} is greater than default limit value {b}")
    });
    order(&min, &default, Place::HighValueLow, |a, b| {
        format!("min value {a} is greater than default value {b}")
    });
    order(&default, &max, Place::LowValueHigh, |a, b| {
        format!("default value {a} is greater than max value {b}")
    });
    if let Some((at, ratio)) = found("maxLimitRequestRatio", true) {
        check_ratio(&at, &ratio, min.as_ref(), max.as_ref(), errors);
    }
    if let (Some((_, default)), Some((at, request))) = (&default, &request)
        && !is_overcommit_allowed(name)
        && default != request
    {
        errors.push(at.invalid_as(
            request.to_string(),
            format!(
                "default value {default} must equal to defaultRequest value {request} in {name}"
            ),
        ));
    }
}

type Found<'a> = Option<(At<'a>, Quantity)>;

/// Where the original reports two amounts in the wrong order, and which of them it prints.
#[derive(Debug, Clone, Copy)]
enum Place {
    Low,
    High,
    HighValueLow,
    LowValueHigh,
}

fn check_ratio(
    at: &At<'_>,
    ratio: &Quantity,
    min: Option<&(At<'_>, Quantity)>,
    max: Option<&(At<'_>, Quantity)>,
    errors: &mut Errors,
) {
    if *ratio < Quantity::new(1, Format::DecimalSi) {
        errors.push(at.invalid_as(ratio.to_string(), format!("ratio {ratio} is less than 1")));
    }
    let (Some((_, min)), Some((_, max))) = (min, max) else { return };
    let fits = [ratio, min, max].iter().all(|amount| amount.value() < MILLI_MAX);
    let number = |amount: &Quantity| {
        if fits { amount.milli_value() as f64 } else { amount.value() as f64 }
    };
    let wanted = if fits { ratio.milli_value() as f64 / 1000.0 } else { ratio.value() as f64 };
    let possible = number(max) / number(min);
    if wanted > possible {
        let shown = match possible {
            infinite if infinite.is_infinite() => "+Inf".to_owned(),
            finite => format!("{finite:.6}"),
        };
        let detail = format!("ratio {ratio} is greater than max/min = {shown}");
        errors.push(at.invalid_as(ratio.to_string(), detail));
    }
}
