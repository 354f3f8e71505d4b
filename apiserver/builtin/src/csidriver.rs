//! CSIDrivers.

use crate::{
    check,
    defaulting::missing,
    look::{At, Look, sub},
    plain::Plain,
    row::Row,
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, definition::Context, field::Errors};
use serde_json::{Value, json};
use std::collections::HashSet;

const UNSET_TOKEN_PLACE: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";
const SHORTEST_TOKEN: i64 = 600;
const LONGEST_TOKEN: i64 = 1 << 32;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "storage.k8s.io",
        kind: "CSIDriver",
        plural: "csidrivers",
        columns: &[
            "Name",
            "AttachRequired:boolean",
            "PodInfoOnMount:boolean",
            "StorageCapacity:boolean",
            "TokenRequests",
            "RequiresRepublish:boolean",
            "Modes",
            "Age",
        ],
        unconditional_update: false,
        ..Row::CLUSTER
    };
    row.define(Plain {
        default,
        create: |context, object| drop_gated(context, object, None),
        change,
        warn,
        validate,
        update,
        row: cells,
        ..Plain::NEW
    })
}

fn default(object: &mut Object) {
    let spec = object.map_at_mut(&["spec"]);
    missing(spec, "attachRequired", true);
    missing(spec, "podInfoOnMount", false);
    missing(spec, "storageCapacity", false);
    missing(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if sub(spec, "volumeLifecycleModes").as_array().is_none_or(Vec::is_empty) {
        spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
    }
    missing(spec, "requiresRepublish", false);
    missing(spec, "seLinuxMount", false);
}

/// The field of a feature that is off by default: kept only where it already is.
fn drop_gated(context: &Context<'_>, object: &mut Object, old: Option<&Object>) {
    const FIELD: [&str; 2] = ["spec", "preventPodSchedulingIfMissing"];
    if context.features.is_on("VolumeLimitScaling") {
        return;
    }
    if old.is_none_or(|old| old.at(&FIELD).is_none_or(Value::is_null)) {
        object.remove(&FIELD);
    }
}

fn change(context: &Context<'_>, object: &mut Object, old: &Object) {
    drop_gated(context, object, Some(old));
    if object.at(&["spec"]) != old.at(&["spec"]) {
        object.set(&["metadata", "generation"], old.generation() + 1);
    }
}

fn warn(context: &Context<'_>, object: &Object, old: Option<&Object>) {
    let spec = sub(object.map(), "spec");
    let changed = old
        .is_none_or(|old| sub(old.map(), "spec").sub("tokenRequests") != spec.sub("tokenRequests"));
    let unset = !spec.has("serviceAccountTokenInSecrets");
    if changed && unset && !spec.list("tokenRequests").is_empty() {
        context.warnings.add(UNSET_TOKEN_PLACE);
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let spec = sub(object.map(), "spec");
    let joined = |texts: Vec<&str>| texts.join(",");
    let modes =
        joined(spec.list("volumeLifecycleModes").iter().filter_map(Value::as_str).collect());
    let audiences =
        joined(spec.list("tokenRequests").iter().map(|token| token.text("audience")).collect());
    vec![
        object.name().into(),
        spec.sub("attachRequired").as_bool().unwrap_or(true).into(),
        spec.flag("podInfoOnMount").into(),
        spec.flag("storageCapacity").into(),
        if spec.has("tokenRequests") { audiences.into() } else { "<unset>".into() },
        spec.flag("requiresRepublish").into(),
        crate::table::or(&modes, "<none>").into(),
        age(object, now),
    ]
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    // The misspelt path is the original's.
    if !spec.get("attachRequired").is_set() {
        errors.push(spec.get("attachedRequired").required(""));
    }
    for field in ["podInfoOnMount", "storageCapacity"] {
        if !spec.get(field).is_set() {
            errors.push(spec.get(field).required(""));
        }
    }
    const POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
    check::one_of_if_set(&spec.get("fsGroupPolicy"), &POLICIES, &mut errors);
    tokens(&spec.get("tokenRequests"), &mut errors);
    let modes = spec.get("volumeLifecycleModes");
    for mode in modes.items().filter(|mode| !matches!(mode.str(), "Persistent" | "Ephemeral")) {
        let here = modes.with(mode.value());
        errors.push(here.not_supported(&["Persistent", "Ephemeral"]));
    }
    if !spec.get("seLinuxMount").is_set() {
        errors.push(spec.get("seLinuxMount").required(""));
    }
    let period = spec.get("nodeAllocatableUpdatePeriodSeconds");
    if period.int().is_some_and(|seconds| seconds < 10) {
        errors.push(period.invalid("must be greater than or equal to 10 seconds"));
    }
    let secrets = spec.get("serviceAccountTokenInSecrets");
    if secrets.is_set() && spec.get("tokenRequests").is_empty() {
        errors.push(
            secrets
                .invalid("serviceAccountTokenInSecrets is set but no tokenRequests are specified"),
        );
    }
    errors
}

fn tokens(tokens: &At<'_>, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for token in tokens.items() {
        let (audience, seconds) = (token.get("audience"), token.get("expirationSeconds"));
        if !seen.insert(audience.str()) {
            errors.push(audience.duplicate());
            continue;
        }
        let Some(number) = seconds.int() else {
            continue;
        };
        if number < SHORTEST_TOKEN {
            errors.push(seconds.invalid("may not specify a duration less than 10 minutes"));
        }
        if number > LONGEST_TOKEN {
            errors.push(seconds.invalid("may not specify a duration larger than 2^32 seconds"));
        }
    }
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let (spec, before) = (At::top(object.map(), "spec"), sub(old.map(), "spec"));
    let attach = spec.get("attachedRequired").with(spec.get("attachRequired").value());
    check::unchanged(&attach, before.sub("attachRequired"), &mut errors);
    let modes = spec.get("volumeLifecycleModes");
    check::unchanged(&modes, before.sub("volumeLifecycleModes"), &mut errors);
    errors
}
