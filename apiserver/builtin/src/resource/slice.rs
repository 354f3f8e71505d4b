//! ResourceSlices.

use super::{
    ROW,
    device::{counter_names, device},
    features::drop_from_slice,
    lists::set,
    taint::stamp,
    values::pool_name,
};
use crate::{
    check,
    csinode::driver_name,
    defaulting::{map_in, maps_in, missing},
    hooks::is_same,
    look::{At, Look, sub},
    plain::Plain,
    pod::validation::affinity::node_selector,
    row::Row,
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, definition::Context, field::Errors};
use serde_json::{Map, Value};

const DEVICES_MAX: usize = 128;
const ADVANCED_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];
const PLACES: &str =
    "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";

pub(super) fn definition() -> Definition {
    let row = Row {
        kind: "ResourceSlice",
        plural: "resourceslices",
        columns: &["Name", "Node", "Driver", "Pool", "Age"],
        fields: &["spec.nodeName", "spec.driver"],
        ..ROW
    };
    row.define(Plain {
        default,
        counted: &["spec"],
        create: |context, object| prepare(context, object, None),
        change,
        warn,
        validate: |object| spec(object, None),
        revalidate: false,
        update: |object, old| spec(object, Some(old)),
        row: cells,
        ..Plain::NEW
    })
}

fn default(object: &mut Object) {
    for device in maps_in(object.map_at_mut(&["spec"]), "devices") {
        let mappings = map_in(device, "nodeAllocatableResourceMappings");
        for mapping in mappings.into_iter().flat_map(|map| map.values_mut()) {
            if let Some(mapping) = mapping.as_object_mut() {
                missing(mapping, "allocationMultiplier", "1");
            }
        }
    }
}

fn change(context: &Context<'_>, object: &mut Object, old: &Object) {
    prepare(context, object, Some(old));
    // What was just dropped or filled in is no change.
    let changed = !is_same(object, old, &["spec"]);
    object.set(&["metadata", "generation"], old.generation() + i64::from(changed));
}

/// Takes out the fields of features that are off, unless the stored object uses them.
fn prepare(context: &Context<'_>, object: &mut Object, old: Option<&Object>) {
    let stored = old.map_or(&Value::Null, |old| sub(old.map(), "spec"));
    let before = stored.list("devices");
    let (features, mappings) = (context.features, "nodeAllocatableResourceMappings");
    drop_from_slice(features, object.map_at_mut(&["spec"]), stored);
    let mapped = features.is_on("DRANodeAllocatableResources")
        || before.iter().any(|device| device.has(mappings));
    let listed = features.is_on("DRAListTypeAttributes") || before.iter().any(has_lists);
    for device in maps_in(object.map_at_mut(&["spec"]), "devices") {
        stamp(device, context.now);
        if !mapped {
            device.remove(mappings);
        }
        if !listed {
            drop_lists(device);
        }
    }
}

fn has_lists(device: &Value) -> bool {
    let mut attributes = device.sub("attributes").as_object().into_iter().flatten();
    attributes.any(|(_, attribute)| LISTS.iter().any(|list| attribute.has(list)))
}

fn drop_lists(device: &mut Map<String, Value>) {
    let attributes = map_in(device, "attributes");
    for attribute in attributes.into_iter().flat_map(|map| map.values_mut()) {
        if let Some(attribute) = attribute.as_object_mut() {
            LISTS.iter().for_each(|list| drop(attribute.remove(*list)));
        }
    }
}

fn warn(context: &Context<'_>, object: &Object, _old: Option<&Object>) {
    let driver = object.text(&["spec", "driver"]);
    if driver != driver.to_lowercase() {
        context.warnings.add(format!(
            "spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters"
        ));
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![
        object.name().into(),
        object.text(&["spec", "nodeName"]).into(),
        object.text(&["spec", "driver"]).into(),
        object.text(&["spec", "pool", "name"]).into(),
        age(object, now),
    ]
}

fn spec(object: &Object, old: Option<&Object>) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    driver_name(&spec.get("driver"), &mut errors);
    pool(&spec.get("pool"), &mut errors);
    if let Some(before) = old.map(|old| sub(old.map(), "spec")) {
        let name = before.sub("pool").sub("name");
        check::unchanged(&spec.get("pool").get("name"), name, &mut errors);
        check::unchanged(&spec.get("driver"), before.sub("driver"), &mut errors);
        check::unchanged(&spec.get("nodeName"), before.sub("nodeName"), &mut errors);
    }
    places(&spec, &mut errors);
    let (devices, counters) = (spec.get("devices"), spec.get("sharedCounters"));
    if devices.is_set() && counters.is_set() {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(spec.invalid_as("", detail));
    }
    let advanced = devices.items().any(|device| {
        !device.get("taints").is_empty()
            || !device.get("consumesCounters").is_empty()
            || has_lists(device.value())
    });
    let limit = if advanced { ADVANCED_DEVICES_MAX } else { DEVICES_MAX };
    let known = old.map_or(&[][..], |old| sub(old.map(), "spec").list("devices"));
    let chosen = spec.get("perDeviceNodeSelection").bool();
    let name = |item: &At<'_>| item.get("name").str().to_owned();
    let each = |item: &At<'_>, errors: &mut Errors| {
        let before = known.iter().find(|known| known.text("name") == item.get("name").str());
        device(item, before, chosen, errors);
    };
    set(&devices, limit, name, each, &mut errors);
    set(&counters, COUNTER_SETS_MAX, name, counter_set, &mut errors);
    errors
}

fn pool(pool: &At<'_>, errors: &mut Errors) {
    pool_name(&pool.get("name"), errors);
    check::positive(&pool.get("resourceSliceCount"), errors);
    let generation = pool.get("generation");
    if generation.int().is_some_and(|number| number < 0) {
        errors.push(generation.invalid("must be greater than or equal to zero"));
    }
}

/// Where the devices are reached from.
fn places(spec: &At<'_>, errors: &mut Errors) {
    let mut given = Vec::new();
    let (node, selector) = (spec.get("nodeName"), spec.get("nodeSelector"));
    if node.is_set() && node.str().is_empty() {
        errors.push(node.invalid("must be either unset or set to a non-empty string"));
    } else if node.is_set() {
        given.push("`nodeName`");
        check::dns_subdomain(&node, errors);
    }
    if selector.is_set() {
        given.push("`nodeSelector`");
        node_selector(&selector, errors);
        let terms = selector.get("nodeSelectorTerms");
        if terms.len() != 1 {
            errors.push(terms.invalid("must have exactly one node selector term"));
        }
    }
    for (field, shown) in
        [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")]
    {
        let flag = spec.get(field);
        if flag.bool() {
            given.push(shown);
        } else if flag.is_set() {
            errors.push(flag.invalid("must be either unset or set to true"));
        }
    }
    match given.len() {
        0 => errors.push(spec.required(PLACES)),
        1 => {}
        _ => {
            let detail = format!("{PLACES}, but multiple fields are set");
            errors.push(spec.invalid_as(format!("{{{}}}", given.join(", ")), detail));
        }
    }
}

fn counter_set(at: &At<'_>, errors: &mut Errors) {
    check::required_dns_label(&at.get("name"), errors);
    counter_names(&at.get("counters"), errors);
}
