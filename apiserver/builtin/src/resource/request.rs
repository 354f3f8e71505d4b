//! The spec of a claim: what devices are asked for.

use super::{
    constraint::{CONFIG_MAX, REQUESTS_MAX, constraints, for_requests},
    lists::{list, set},
    selector::selectors,
    taint::toleration,
    values::class_name,
};
use crate::{
    check,
    defaulting::{map_in, maps_in, number, text},
    look::{At, Look},
};
use kubeplane_core::field::Errors;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

const ALTERNATIVES_MAX: usize = 8;
const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";

/// The names of requests, each with those of its alternatives.
pub(super) struct Names<'a>(HashMap<&'a str, HashSet<&'a str>>);

impl<'a> Names<'a> {
    pub(super) fn of(devices: &'a Value) -> Self {
        let alternatives = |request: &'a Value| {
            request.list("firstAvailable").iter().map(|one| one.text("name")).collect()
        };
        let requests = devices.list("requests").iter();
        Self(requests.map(|request| (request.text("name"), alternatives(request))).collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        match name.split_once('/') {
            None => self.0.contains_key(name),
            Some((request, alternative)) => {
                self.0.get(request).is_some_and(|known| known.contains(alternative))
            }
        }
    }
}

/// What the requests of a claim's spec leave out.
pub(super) fn default(spec: &mut Map<String, Value>) {
    let Some(devices) = map_in(spec, "devices") else {
        return;
    };
    for request in maps_in(devices, "requests") {
        if let Some(exactly) = map_in(request, "exactly") {
            amount(exactly);
        }
        maps_in(request, "firstAvailable").for_each(amount);
    }
}

fn amount(request: &mut Map<String, Value>) {
    text(request, "allocationMode", "ExactCount");
    if request.get("allocationMode").is_some_and(|mode| mode == "ExactCount") {
        number(request, "count", 1);
    }
}

/// The spec of a claim.
pub(super) fn claim_spec(spec: &At<'_>, errors: &mut Errors) {
    let devices = spec.get("devices");
    let names = Names::of(devices.value());
    let name = |item: &At<'_>| item.get("name").str().to_owned();
    set(&devices.get("requests"), REQUESTS_MAX, name, request, errors);
    constraints(&devices.get("constraints"), &names, errors);
    let each = |config: &At<'_>, errors: &mut Errors| for_requests(config, &names, errors);
    list(&devices.get("config"), CONFIG_MAX, each, errors);
}

fn request(at: &At<'_>, errors: &mut Errors) {
    check::dns_label(&at.get("name"), errors);
    let (exactly, first) = (at.get("exactly"), at.get("firstAvailable"));
    match (exactly.is_set(), !first.is_empty()) {
        (false, false) => errors.push(at.required(ONE)),
        (true, true) => {
            let detail = format!("{ONE}, but multiple fields are set");
            errors.push(at.invalid_as(Value::Null, detail));
        }
        (true, false) => wanted(&exactly, errors),
        (false, true) => {
            let name = |item: &At<'_>| item.get("name").str().to_owned();
            let each = |item: &At<'_>, errors: &mut Errors| {
                check::dns_label(&item.get("name"), errors);
                wanted(item, errors);
            };
            set(&first, ALTERNATIVES_MAX, name, each, errors);
        }
    }
}

fn wanted(at: &At<'_>, errors: &mut Errors) {
    class_name(&at.get("deviceClassName"), errors);
    selectors(&at.get("selectors"), errors);
    let (mode, count) = (at.get("allocationMode"), at.get("count"));
    let number = count.int().unwrap_or_default();
    match mode.str() {
        "All" if number != 0 => {
            errors.push(count.invalid("must not be specified when allocationMode is 'All'"));
        }
        "All" => {}
        "ExactCount" => check::positive(&count, errors),
        _ => errors.push(mode.not_supported(&["All", "ExactCount"])),
    }
    for one in at.get("tolerations").items() {
        toleration(&one, errors);
    }
}
