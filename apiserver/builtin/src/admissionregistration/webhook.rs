//! Validating and mutating webhooks.

use super::{
    FAILURE_POLICIES, REINVOCATION_POLICIES, ROW,
    expression::Variables,
    policy::match_conditions,
    reserve,
    rules::{MATCH_POLICIES, default_matching, default_rules, rule},
    url::{webhook_service, webhook_url},
    warn,
};
use crate::{
    check,
    defaulting::{map_in, maps_in, missing},
    look::{At, Look, sub},
    plain::Plain,
    row::Row,
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, field::Errors, names};
use serde_json::Value;
use std::collections::HashSet;

const SELECTORS: [&str; 2] = ["namespaceSelector", "objectSelector"];
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
const QUIET: [&str; 2] = ["None", "NoneOnDryRun"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];

const CONFIGURATION: Row = Row { columns: &["Name", "Webhooks:integer", "Age"], ..ROW };

const HOOKS: Plain = Plain {
    default,
    counted: &["webhooks"],
    warn,
    gates: reserve,
    validate: |object| configuration(object, None),
    revalidate: false,
    update: |object, old| configuration(object, Some(old)),
    row: cells,
    ..Plain::NEW
};

pub(super) fn validating() -> Definition {
    let row = Row {
        kind: "ValidatingWebhookConfiguration",
        plural: "validatingwebhookconfigurations",
        ..CONFIGURATION
    };
    row.define(HOOKS)
}

pub(super) fn mutating() -> Definition {
    let row = Row {
        kind: "MutatingWebhookConfiguration",
        plural: "mutatingwebhookconfigurations",
        ..CONFIGURATION
    };
    row.define(Plain {
        default: |object| {
            default(object);
            for webhook in maps_in(object.map_mut(), "webhooks") {
                missing(webhook, "reinvocationPolicy", "Never");
            }
        },
        ..HOOKS
    })
}

fn default(object: &mut Object) {
    for webhook in maps_in(object.map_mut(), "webhooks") {
        missing(webhook, "failurePolicy", "Fail");
        default_matching(webhook);
        missing(webhook, "timeoutSeconds", 10);
        default_rules(webhook, "rules");
        let service = map_in(webhook, "clientConfig").and_then(|config| map_in(config, "service"));
        if let Some(service) = service {
            missing(service, "port", 443);
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let count = sub(object.map(), "webhooks").as_array().map_or(0, Vec::len);
    vec![object.name().into(), count.into(), age(object, now)]
}

/// What is asked of a changed configuration only if the stored one was that good already.
struct Strictness {
    quiet: bool,
    known_reviews: bool,
    unique_names: bool,
    conditions: bool,
    selectors: bool,
}

impl Strictness {
    fn of(old: Option<&Object>, object: &Object) -> Self {
        let Some(old) = old else {
            return Self {
                quiet: true,
                known_reviews: true,
                unique_names: true,
                conditions: true,
                selectors: true,
            };
        };
        let mut selectors = Errors::new();
        for hook in At::top(old.map(), "webhooks").items() {
            SELECTORS
                .iter()
                .for_each(|field| check::label_selector(&hook.get(field), &mut selectors));
        }
        let (before, after) = (sub(old.map(), "webhooks"), sub(object.map(), "webhooks"));
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let (before, after) = (list(before), list(after));
        let mut names = HashSet::new();
        let knows = |hook: &Value| {
            let versions = hook.list("admissionReviewVersions");
            versions.is_empty()
                || versions.iter().any(|one| REVIEWS.iter().any(|known| one == known))
        };
        let same = |(a, b): (&Value, &Value)| a.sub("matchConditions") == b.sub("matchConditions");
        Self {
            quiet: before.iter().all(|hook| QUIET.contains(&hook.text("sideEffects"))),
            known_reviews: before.iter().all(knows),
            unique_names: before.iter().all(|hook| names.insert(hook.text("name"))),
            conditions: before.len() != after.len() || !before.iter().zip(&after).all(same),
            selectors: selectors.is_empty(),
        }
    }
}

fn configuration(object: &Object, old: Option<&Object>) -> Errors {
    let mut errors = Errors::new();
    let strictness = Strictness::of(old, object);
    let mut seen = HashSet::new();
    for webhook in At::top(object.map(), "webhooks").items() {
        self::webhook(&webhook, &strictness, &mut errors);
        reviews(&webhook.get("admissionReviewVersions"), &strictness, &mut errors);
        let name = webhook.get("name");
        if strictness.unique_names && !name.str().is_empty() && !seen.insert(name.str()) {
            errors.push(name.duplicate());
        }
    }
    errors
}

fn webhook(at: &At<'_>, strictness: &Strictness, errors: &mut Errors) {
    if check::required(&at.get("name"), errors) {
        let problems = names::is_fully_qualified_name(at.get("name").str());
        check::messages(&at.get("name"), problems, errors);
    }
    for one in at.get("rules").items() {
        rule(&one, errors);
    }
    check::one_of_if_set(&at.get("failurePolicy"), &FAILURE_POLICIES, errors);
    check::one_of_if_set(&at.get("matchPolicy"), &MATCH_POLICIES, errors);
    side_effects(&at.get("sideEffects"), strictness, errors);
    let timeout = at.get("timeoutSeconds");
    if timeout.int().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        errors.push(timeout.invalid("the timeout value must be between 1 and 30 seconds"));
    }
    let mut selectors = Errors::new();
    SELECTORS.iter().for_each(|field| check::label_selector(&at.get(field), &mut selectors));
    if !strictness.selectors {
        check::forgive_selected_values(&mut selectors);
    }
    errors.append(&mut selectors);
    check::one_of_if_set(&at.get("reinvocationPolicy"), &REINVOCATION_POLICIES, errors);
    let client = at.get("clientConfig");
    match (client.get("url").is_set(), client.get("service").is_set()) {
        (true, false) => webhook_url(&client.get("url"), errors),
        (false, true) => webhook_service(&client.get("service"), errors),
        _ => errors.push(client.required("exactly one of url or service is required")),
    }
    if strictness.conditions {
        let variables = Variables::new(false, false);
        match_conditions(&at.get("matchConditions"), &variables, errors);
    }
}

fn side_effects(at: &At<'_>, strictness: &Strictness, errors: &mut Errors) {
    let allowed: &[&str] = if strictness.quiet { &QUIET } else { &SIDE_EFFECTS };
    if at.is_set() {
        check::one_of_if_set(at, allowed, errors);
    } else {
        errors.push(at.required(format!("must specify one of {}", allowed.join(", "))));
    }
}

fn reviews(versions: &At<'_>, strictness: &Strictness, errors: &mut Errors) {
    if versions.is_empty() {
        let detail = format!("must specify one of {}", REVIEWS.join(", "));
        return errors.push(versions.required(detail));
    }
    let mut seen = HashSet::new();
    for version in versions.items() {
        if seen.insert(version.str()) {
            check::messages(&version, names::is_dns1035_label(version.str()), errors);
        } else {
            errors.push(version.invalid("duplicate version"));
        }
    }
    if strictness.known_reviews && !REVIEWS.iter().any(|known| seen.contains(known)) {
        let detail = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.push(versions.invalid(detail));
    }
}
