//! Workloads and PodGroups: pods that are scheduled together. Alpha: served when asked for.

use crate::{
    check,
    conditions::conditions,
    defaulting::{map_in, maps_in, missing},
    look::{At, Look, sub},
    plain::Plain,
    row::{Part, Row},
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object,
    definition::Context,
    features::Features,
    field::Errors,
    names::{is_path_segment_name, is_qualified_name},
};
use serde_json::{Map, Value, json};

const TEMPLATES_MAX: usize = 8;
const CLAIMS_MAX: usize = 4;
const PRIORITY_MAX: i64 = 1_000_000_000;
/// The fields of groups and their templates that have gates of their own.
const GATED: [(&str, &str); 5] = [
    ("schedulingConstraints", "TopologyAwareWorkloadScheduling"),
    ("resourceClaims", "DRAWorkloadResourceClaims"),
    ("disruptionMode", "WorkloadAwarePreemption"),
    ("priorityClassName", "WorkloadAwarePreemption"),
    ("priority", "WorkloadAwarePreemption"),
];
const ROW: Row = Row { group: "scheduling.k8s.io", version: "v1alpha2", ..Row::NAMESPACED };

/// The kinds of the group that are off by default; they also need the gate `GenericWorkload`.
pub(crate) fn optional() -> Vec<Definition> {
    let workload = Row { kind: "Workload", plural: "workloads", ..ROW };
    let group = Row {
        kind: "PodGroup",
        plural: "podgroups",
        columns: &["Name", "Policy", "Workload", "Status", "Age"],
        parts: &[Part::Status],
        ..ROW
    };
    vec![
        workload.define(Plain {
            create: |context, object| drop_of_templates(context.features, object, None),
            change: |context, object, old| drop_of_templates(context.features, object, Some(old)),
            validate: workload_spec,
            // What does not change is not looked at again, and nothing may change.
            revalidate: false,
            update: workload_update,
            ..Plain::NEW
        }),
        group.define(Plain {
            default: |object| missing(object.map_at_mut(&["spec"]), "disruptionMode", "Pod"),
            status: Some(|| json!({})),
            create: |context, object| {
                drop_disabled(context.features, object.map_at_mut(&["spec"]), &Value::Null);
            },
            change: change_group,
            validate: group_spec,
            revalidate: false,
            update: group_update,
            update_status: group_status,
            row: cells,
            ..Plain::NEW
        }),
    ]
}

/// Drops the fields of features that are off, but those in use.
fn drop_disabled(features: &Features, spec: &mut Map<String, Value>, old: &Value) {
    for (field, gate) in GATED {
        if !features.is_on(gate) && !old.has(field) {
            spec.remove(field);
        }
    }
}

fn drop_of_templates(features: &Features, object: &mut Object, old: Option<&Object>) {
    let before = old.map_or(&[][..], |old| sub(old.map(), "spec").list("podGroupTemplates"));
    let templates = maps_in(object.map_at_mut(&["spec"]), "podGroupTemplates");
    for (index, template) in templates.enumerate() {
        drop_disabled(features, template, before.get(index).unwrap_or(&Value::Null));
    }
}

fn change_group(context: &Context<'_>, object: &mut Object, old: &Object) {
    let before = sub(old.map(), "spec");
    if context.subresource != "status" {
        return drop_disabled(context.features, object.map_at_mut(&["spec"]), before);
    }
    if !context.features.is_on("DRAWorkloadResourceClaims")
        && !before.has("resourceClaims")
        && let Some(status) = map_in(object.map_mut(), "status")
    {
        status.remove("resourceClaimStatuses");
    }
}

fn workload_spec(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    let owner = spec.get("controllerRef");
    if owner.is_set() {
        check::optional_dns_subdomain(&owner.get("apiGroup"), &mut errors);
        for field in ["kind", "name"] {
            let part = owner.get(field);
            if check::required(&part, &mut errors) {
                check::messages(&part, is_path_segment_name(part.str()), &mut errors);
            }
        }
    }
    let templates = spec.get("podGroupTemplates");
    if templates.is_empty() {
        errors.push(templates.required(""));
    }
    named(&templates, TEMPLATES_MAX, &mut errors);
    for template in templates.items() {
        group(&template, &mut errors);
    }
    errors
}

fn workload_update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let (spec, before) = (At::top(object.map(), "spec"), sub(old.map(), "spec"));
    for field in ["controllerRef", "podGroupTemplates"] {
        check::unchanged(&spec.get(field), before.sub(field), &mut errors);
    }
    errors
}

fn group_spec(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    let reference = spec.get("podGroupTemplateRef");
    if reference.is_set() {
        let workload = reference.get("workload");
        one_of(&reference, &["workload"], &mut errors);
        if workload.is_set() {
            let name = workload.get("workloadName");
            if check::required(&name, &mut errors) {
                check::dns_subdomain(&name, &mut errors);
            }
            check::required_dns_label(&workload.get("podGroupTemplateName"), &mut errors);
        }
    }
    group(&spec, &mut errors);
    errors
}

fn group_update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let (spec, before) = (At::top(object.map(), "spec"), sub(old.map(), "spec"));
    let gated = GATED.iter().map(|(field, _)| *field);
    for field in ["podGroupTemplateRef", "schedulingPolicy"].into_iter().chain(gated) {
        check::unchanged(&spec.get(field), before.sub(field), &mut errors);
    }
    errors
}

fn group_status(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let status = At::top(object.map(), "status");
    conditions(&status.get("conditions"), &mut errors);
    let spec = At::top(object.map(), "spec");
    let claims = check::texts(&spec.get("resourceClaims"), "name");
    let statuses = status.get("resourceClaimStatuses");
    for name in statuses.items().map(|claim| claim.get("name")) {
        if !claims.contains(name.str()) {
            let said = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(name.invalid(said));
        }
    }
    // What follows is declared in the original, and what is declared is looked at where it changed.
    let before = sub(old.map(), "status").sub("resourceClaimStatuses");
    if statuses.value() == before {
        return errors;
    }
    if statuses.len() > CLAIMS_MAX {
        errors.push(statuses.too_many(CLAIMS_MAX));
        return errors;
    }
    let mut seen = Vec::new();
    for claim in statuses.items() {
        let name = claim.get("name").str();
        if seen.contains(&name) {
            errors.push(claim.duplicate_as(json!({"name": name})));
        }
        seen.push(name);
        let known = before.as_array().is_some_and(|before| before.contains(claim.value()));
        if !known {
            check::optional_dns_subdomain(&claim.get("resourceClaimName"), &mut errors);
        }
    }
    errors
}

/// What groups and templates of groups have in common.
fn group(at: &At<'_>, errors: &mut Errors) {
    let policy = at.get("schedulingPolicy");
    one_of(&policy, &["basic", "gang"], errors);
    let least = policy.get("gang").get("minCount");
    match least.int().unwrap_or_default() {
        _ if !policy.get("gang").is_set() => {}
        0 => errors.push(least.required("")),
        count if count < 1 => errors.push(least.invalid("must be greater than or equal to 1")),
        _ => {}
    }
    let topology = at.get("schedulingConstraints").get("topology");
    if topology.len() > 1 {
        errors.push(topology.too_many(1));
    }
    for constraint in topology.items() {
        let key = constraint.get("key");
        if check::required(&key, errors) {
            check::messages(&key, is_qualified_name(key.str()), errors);
        }
    }
    let claims = at.get("resourceClaims");
    named(&claims, CLAIMS_MAX, errors);
    for claim in claims.items() {
        one_of(&claim, &["resourceClaimName", "resourceClaimTemplateName"], errors);
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            check::optional_dns_subdomain(&claim.get(field), errors);
        }
    }
    check::one_of_if_set(&at.get("disruptionMode"), &["Pod", "PodGroup"], errors);
    check::optional_dns_subdomain(&at.get("priorityClassName"), errors);
    let priority = at.get("priority");
    if priority.int().is_some_and(|value| value > PRIORITY_MAX) {
        errors.push(priority.invalid(format!("must be less than or equal to {PRIORITY_MAX}")));
    }
}

/// A list of so many at most, each with a name of its own that is a DNS label.
fn named(list: &At<'_>, limit: usize, errors: &mut Errors) {
    if list.len() > limit {
        errors.push(list.too_many(limit));
        return;
    }
    let mut seen = Vec::new();
    for item in list.items() {
        let name = item.get("name");
        check::required_dns_label(&name, errors);
        if seen.contains(&name.str()) {
            errors.push(item.duplicate_as(json!({"name": name.str()})));
        }
        seen.push(name.str());
    }
}

/// Exactly one of these fields is set.
fn one_of(at: &At<'_>, fields: &[&'static str], errors: &mut Errors) {
    let quoted =
        |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    let set: Vec<&str> = fields.iter().copied().filter(|field| at.get(field).is_set()).collect();
    let all = quoted(fields.to_vec()).join(", ");
    match set.len() {
        0 => errors.push(at.invalid_as("", format!("must specify one of: {all}"))),
        1 => {}
        _ => {
            let found = format!("{{{}}}", quoted(set).join(", "));
            errors.push(at.invalid_as(found, format!("must specify exactly one of: {all}")));
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
    let policy = if spec.sub("schedulingPolicy").has("gang") { "Gang" } else { "Basic" };
    let workload = spec.sub("podGroupTemplateRef").sub("workload").text("workloadName");
    let workload = if workload.is_empty() { "<none>" } else { workload };
    let condition = |kind| status.list("conditions").iter().find(|one| one.text("type") == kind);
    let scheduled = condition("PodGroupScheduled").map(|one| match one.text("status") {
        "True" => "Scheduled",
        _ => "Unschedulable",
    });
    let disrupted = condition("DisruptionTarget").map(|one| one.text("reason"));
    let state = disrupted.or(scheduled).unwrap_or("Pending");
    vec![object.name().into(), policy.into(), workload.into(), state.into(), age(object, now)]
}
