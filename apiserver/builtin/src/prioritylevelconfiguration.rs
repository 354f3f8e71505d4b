//! PriorityLevelConfigurations: how many requests of a level run and how many wait.

use crate::{
    check,
    defaulting::{map_in, missing, number},
    look::{At, Look, sub},
    plain::Plain,
    row::{Part, Row},
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, field::Errors};
use serde_json::{Value, json};
use std::collections::HashSet;

const KEEP_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
const QUEUES_MAX: i64 = 10_000_000;
const HASH_BITS: f64 = 60.0;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "flowcontrol.apiserver.k8s.io",
        kind: "PriorityLevelConfiguration",
        plural: "prioritylevelconfigurations",
        columns: &[
            "Name",
            "Type",
            "NominalConcurrencyShares",
            "Queues",
            "HandSize",
            "QueueLengthLimit",
            "Age",
        ],
        parts: &[Part::Status],
        ..Row::CLUSTER
    };
    row.define(Plain {
        default,
        status: Some(|| json!({})),
        counted: &["spec"],
        validate,
        update_status: |object, _| conditions(object),
        row: cells,
        ..Plain::NEW
    })
}

fn default(object: &mut Object) {
    let spec = object.map_at_mut(&["spec"]);
    if let Some(exempt) = map_in(spec, "exempt") {
        missing(exempt, "nominalConcurrencyShares", 0);
        missing(exempt, "lendablePercent", 0);
    }
    let Some(limited) = map_in(spec, "limited") else {
        return;
    };
    missing(limited, "nominalConcurrencyShares", 30);
    missing(limited, "lendablePercent", 0);
    let queuing = map_in(limited, "limitResponse").and_then(|response| map_in(response, "queuing"));
    if let Some(queuing) = queuing {
        number(queuing, "handSize", 8);
        number(queuing, "queues", 64);
        number(queuing, "queueLengthLimit", 50);
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let spec = sub(object.map(), "spec");
    let (limited, queuing) =
        (spec.sub("limited"), spec.sub("limited").sub("limitResponse").sub("queuing"));
    let number = |of: &Value, field: &str| {
        if of.is_null() { "<none>".into() } else { of.int(field).into() }
    };
    vec![
        object.name().into(),
        spec.text("type").into(),
        number(limited, "nominalConcurrencyShares"),
        number(queuing, "queues"),
        number(queuing, "handSize"),
        number(queuing, "queueLengthLimit"),
        age(object, now),
    ]
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    if object.annotation(KEEP_ZERO).is_some() {
        let annotations = At::top(object.map(), "metadata").get("annotations");
        errors.push(annotations.forbidden(format!("annotation '{KEEP_ZERO}' is forbidden")));
    }
    let spec = At::top(object.map(), "spec");
    self::spec(&spec, object.name(), &mut errors);
    fixed(&spec, object.name(), &mut errors);
    errors.extend(conditions(object));
    errors
}

fn spec(spec: &At<'_>, name: &str, errors: &mut Errors) {
    let (kind, exempt, limited) = (spec.get("type"), spec.get("exempt"), spec.get("limited"));
    if (name == "exempt") != (kind.str() == "Exempt") {
        errors.push(kind.invalid("must be 'Exempt' if and only if `name` is 'exempt'"));
    }
    match kind.str() {
        "Exempt" => {
            if limited.is_set() {
                errors.push(limited.forbidden("must be nil if the type is not Limited"));
            }
            if exempt.is_set() {
                shares(&exempt, errors);
                lendable(&exempt, errors);
            }
        }
        "Limited" => {
            if exempt.is_set() {
                errors.push(exempt.forbidden("must be nil if the type is Limited"));
            }
            if limited.is_set() {
                self::limited(&limited, errors);
            } else {
                errors.push(limited.required("must not be empty when type is Limited"));
            }
        }
        _ => errors.push(kind.not_supported(&["Exempt", "Limited"])),
    }
}

fn shares(level: &At<'_>, errors: &mut Errors) {
    let shares = level.get("nominalConcurrencyShares");
    if shares.int().is_some_and(|number| number < 0) {
        errors.push(shares.invalid("must be a non-negative integer"));
    }
}

fn lendable(level: &At<'_>, errors: &mut Errors) {
    let percent = level.get("lendablePercent");
    if percent.int().is_some_and(|number| !(0..=100).contains(&number)) {
        errors.push(percent.invalid("must be between 0 and 100, inclusive"));
    }
}

fn limited(limited: &At<'_>, errors: &mut Errors) {
    shares(limited, errors);
    response(&limited.get("limitResponse"), errors);
    lendable(limited, errors);
    let borrowing = limited.get("borrowingLimitPercent");
    if borrowing.int().is_some_and(|number| number < 0) {
        errors.push(borrowing.invalid("if specified, must be a non-negative integer"));
    }
}

fn response(response: &At<'_>, errors: &mut Errors) {
    let (kind, queuing) = (response.get("type"), response.get("queuing"));
    match kind.str() {
        "Reject" if queuing.is_set() => errors
            .push(queuing.forbidden("must be nil if limited.limitResponse.type is not Limited")),
        "Reject" => {}
        "Queue" if queuing.is_set() => self::queuing(&queuing, errors),
        "Queue" => errors
            .push(queuing.required("must not be empty if limited.limitResponse.type is Limited")),
        _ => errors.push(kind.not_supported(&["Queue", "Reject"])),
    }
}

fn queuing(queuing: &At<'_>, errors: &mut Errors) {
    let number = |field| queuing.get(field).int().unwrap_or_default();
    let (queues, hand) = (number("queues"), number("handSize"));
    for field in ["queueLengthLimit", "queues"] {
        if number(field) <= 0 {
            errors.push(queuing.get(field).invalid_as(number(field), "must be positive"));
        }
    }
    if queues > QUEUES_MAX {
        let detail = format!("must not be greater than {QUEUES_MAX}");
        errors.push(queuing.get("queues").invalid(detail));
    }
    let size = queuing.get("handSize");
    if hand <= 0 {
        errors.push(size.invalid_as(hand, "must be positive"));
    } else if hand > queues {
        errors.push(size.invalid(format!("should not be greater than queues ({queues})")));
    } else if bits(queues, hand) > HASH_BITS {
        errors.push(size.invalid(format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        )));
    }
}

/// How many bits of a hash it takes to deal a hand of so many cards.
fn bits(deck: i64, hand: i64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "both are far below 2^52")]
    let (deck, hand) = (deck as f64, hand as f64);
    (deck.log2() * hand).ceil()
}

fn fixed(spec: &At<'_>, name: &str, errors: &mut Errors) {
    let without_exempt = |value: &Value| {
        let mut value = value.clone();
        value.as_object_mut().map(|map| map.remove("exempt"));
        value
    };
    if name == "exempt" && without_exempt(spec.value()) != json!({"type": "Exempt"}) {
        let detail = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value";
        errors.push(spec.invalid(detail));
    }
    let catch_all = || {
        json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0,
            "limitResponse": {"type": "Reject"}}})
    };
    if name == "catch-all" && *spec.value() != catch_all() {
        errors.push(spec.invalid("spec of 'catch-all' must equal the fixed value"));
    }
}

/// Conditions, each of a type of its own.
pub(crate) fn conditions(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let mut seen = HashSet::new();
    for condition in At::top(object.map(), "status").get("conditions").items() {
        let kind = condition.get("type");
        if !seen.insert(kind.str()) {
            errors.push(kind.duplicate());
        }
        check::required(&kind, &mut errors);
    }
    errors
}
