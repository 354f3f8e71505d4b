//! IPAddresses: one for each address that a Service holds.

use crate::{
    check,
    look::{At, Look, sub},
    plain::Plain,
    row::Row,
    table::age,
};
use kubeplane_core::{Definition, Object, definition::NameRule, field::Errors, names};

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "networking.k8s.io",
        kind: "IPAddress",
        plural: "ipaddresses",
        short: &["ip"],
        columns: &["Name", "ParentRef"],
        ..Row::CLUSTER
    };
    row.define(Plain {
        name: NameRule::IpAddress,
        validate,
        update,
        // As in the original, whose rows have one cell more than there are columns.
        row: |object, now| vec![object.name().into(), parent(object).into(), age(object, now)],
        ..Plain::NEW
    })
}

fn parent(object: &Object) -> String {
    let parent = sub(object.map(), "spec").sub("parentRef");
    if parent.is_null() {
        return "<none>".to_owned();
    }
    let mut text = parent.text("resource").to_lowercase();
    if !parent.text("group").is_empty() {
        text.push('.');
        text.push_str(&parent.text("group").to_lowercase());
    }
    let place = ["namespace", "name"].map(|field| parent.text(field));
    for part in place.into_iter().enumerate().filter(|(at, part)| *at == 1 || !part.is_empty()) {
        text.push('/');
        text.push_str(part.1);
    }
    text
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let parent = At::top(object.map(), "spec").get("parentRef");
    if !parent.is_set() {
        errors.push(parent.required(""));
        return errors;
    }
    check::optional_dns_subdomain(&parent.get("group"), &mut errors);
    for field in ["resource", "name"] {
        if check::required(&parent.get(field), &mut errors) {
            path_segment(&parent.get(field), &mut errors);
        }
    }
    path_segment(&parent.get("namespace"), &mut errors);
    errors
}

fn path_segment(at: &At<'_>, errors: &mut Errors) {
    check::messages(at, names::is_path_segment_name(at.str()), errors);
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let parent = At::top(object.map(), "spec").get("parentRef");
    check::unchanged(&parent, sub(old.map(), "spec").sub("parentRef"), &mut errors);
    errors
}
