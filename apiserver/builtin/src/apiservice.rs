//! APIServices: who serves a group version.

use crate::{
    check,
    defaulting::{map_in, missing},
    look::{At, Look, sub},
    plain::Plain,
    row::{Part, Row},
    table::age,
};
use base64::Engine as _;
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object,
    definition::{Context, NameRule},
    field::Errors,
    names,
    schema::builtin,
};
use serde_json::{Value, json};

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "apiregistration.k8s.io",
        kind: "APIService",
        plural: "apiservices",
        categories: &["api-extensions"],
        columns: &["Name", "Service", "Available", "Age"],
        parts: &[Part::Status],
        unconditional_update: false,
        ..Row::CLUSTER
    };
    let mut definition = row.define(Plain {
        default,
        status: Some(|| json!({})),
        create,
        name: NameRule::PathSegment,
        validate,
        update_status: |object, _| status(object),
        row: cells,
        ..Plain::NEW
    });
    if let Some(schema) = builtin("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService") {
        definition.schema = schema;
    }
    definition
}

fn default(object: &mut Object) {
    if let Some(service) = map_in(object.map_at_mut(&["spec"]), "service") {
        missing(service, "port", 443);
    }
}

/// What this server serves by itself is there at once.
fn create(context: &Context<'_>, object: &mut Object) {
    if !sub(object.map(), "spec").has("service") {
        let now = context.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let condition = json!({"type": "Available", "status": "True", "lastTransitionTime": now,
            "reason": "Local", "message": "Local APIServices are always available"});
        object.set(&["status", "conditions"], json!([condition]));
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let service = sub(object.map(), "spec").sub("service");
    let place = format!("{}/{}", service.text("namespace"), service.text("name"));
    let conditions = sub(object.map(), "status").list("conditions").iter();
    let available = conditions.into_iter().find(|condition| condition.text("type") == "Available");
    let available = match available.map(|found| (found.text("status"), found.text("reason"))) {
        None => "Unknown".to_owned(),
        Some(("True", _) | (_, "")) => {
            available.map(|found| found.text("status")).unwrap_or_default().to_owned()
        }
        Some((status, reason)) => format!("{status} ({reason})"),
    };
    vec![
        object.name().into(),
        if service.is_null() { "Local".into() } else { place.into() },
        available.into(),
        age(object, now),
    ]
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    let (group, version) = (spec.get("group"), spec.get("version"));
    name(object, &format!("{}.{}", version.str(), group.str()), &mut errors);
    if group.str().is_empty() && version.str() != "v1" {
        errors.push(group.required("only v1 may have an empty group and it better be legacy kube"));
    }
    check::optional_dns_subdomain(&group, &mut errors);
    check::messages(&version, names::is_dns1035_label(version.str()), &mut errors);
    for (field, limit) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let number = spec.get(field).int().unwrap_or_default();
        if !(1..=limit).contains(&number) {
            let detail = format!("must be positive and less than {limit}");
            errors.push(spec.get(field).invalid_as(number, detail));
        }
    }
    let service = spec.get("service");
    if service.is_set() {
        remote(&spec, &service, &mut errors)
    } else {
        local(&spec, &mut errors)
    }
    errors
}

fn name(object: &Object, wanted: &str, errors: &mut Errors) {
    let name = At::top(object.map(), "metadata").get("name");
    if !name.str().is_empty()
        && name.str() != wanted
        && names::is_path_segment_name(name.str()).is_empty()
    {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(name.invalid(detail));
    }
}

fn local(spec: &At<'_>, errors: &mut Errors) {
    let (bundle, insecure) = (spec.get("caBundle"), spec.get("insecureSkipTLSVerify"));
    if !bundle.str().is_empty() {
        let bytes = base64::engine::general_purpose::STANDARD.decode(bundle.str());
        let size = format!("{} bytes", bytes.unwrap_or_default().len());
        errors.push(bundle.invalid_as(size, "local APIServices may not have a caBundle"));
    }
    if insecure.bool() {
        errors.push(insecure.invalid("local APIServices may not have insecureSkipTLSVerify"));
    }
}

fn remote(spec: &At<'_>, service: &At<'_>, errors: &mut Errors) {
    let insecure = spec.get("insecureSkipTLSVerify");
    check::required(&service.get("namespace"), errors);
    check::required(&service.get("name"), errors);
    let port = service.get("port").int().unwrap_or_default();
    let problems = names::is_valid_port_num(port);
    if !problems.is_empty() {
        let detail = format!("port is not valid: {}", problems.join(", "));
        errors.push(service.get("port").invalid_as(port, detail));
    }
    if insecure.bool() && !spec.get("caBundle").str().is_empty() {
        errors.push(insecure.invalid("may not be true if caBundle is present"));
    }
}

fn status(object: &Object) -> Errors {
    let mut errors = Errors::new();
    for condition in At::top(object.map(), "status").get("conditions").items() {
        let status = condition.get("status");
        if !matches!(status.str(), "True" | "False" | "Unknown") {
            errors.push(status.not_supported(&["True", "False", "Unknown"]));
        }
    }
    errors
}
