//! CertificateSigningRequests.

use crate::{
    hooks::{keep, put},
    look::{Look, sub},
    row::{Part, READ_PATCH_UPDATE, Row},
    table::{age, human_duration, or},
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object, Strategy,
    apply::Filter,
    definition::{Context, NameRule},
    field::Errors,
};
use serde_json::{Value, json};

mod pem;
mod signer;
mod validation;

pub(crate) use signer::signer_name;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "certificates.k8s.io",
        kind: "CertificateSigningRequest",
        plural: "certificatesigningrequests",
        short: &["csr"],
        columns: &["Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition"],
        parts: &[Part::Of("approval", READ_PATCH_UPDATE), Part::Status],
        fields: &["spec.signerName"],
        ..Row::CLUSTER
    };
    row.define(Requests)
}

#[derive(Debug)]
struct Requests;

impl Strategy for Requests {
    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        let user = context.user;
        let spec = object.map_at_mut(&["spec"]);
        let about = [
            ("username", (!user.name.is_empty()).then(|| json!(user.name))),
            ("uid", (!user.uid.is_empty()).then(|| json!(user.uid))),
            ("groups", (!user.groups.is_empty()).then(|| json!(user.groups))),
            ("extra", (!user.extra.is_empty()).then(|| json!(user.extra))),
        ];
        for (field, value) in about {
            spec.remove(field);
            if let Some(value) = value {
                spec.insert(field.to_owned(), value);
            }
        }
        object.set(&["status"], json!({}));
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        keep(object, old, "spec");
        match context.subresource {
            "status" => {
                for kind in ["Approved", "Denied"] {
                    keep_conditions(object, old, kind);
                }
                stamp_conditions(context, object, old);
            }
            "approval" => {
                stamp_conditions(context, object, old);
                let conditions = object.at(&["status", "conditions"]).cloned();
                keep(object, old, "status");
                match conditions {
                    Some(conditions) => object.set(&["status", "conditions"], conditions),
                    None => drop(object.remove(&["status", "conditions"])),
                }
            }
            _ => put(object, "status", old.at(&["status"]).cloned()),
        }
    }

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        let also: &[&'static str] = match subresource {
            "approval" => &["status", "certificate"],
            "status" => &["status", "conditions"],
            _ => &["status"],
        };
        Some(Filter::exclude(&[&["spec"], also]))
    }

    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        validation::create(object)
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        validation::update(object, old, context.subresource)
    }

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = sub(object.map(), "spec");
        let duration = spec
            .sub("expirationSeconds")
            .as_i64()
            .map_or("<none>".to_owned(), |seconds| human_duration(i128::from(seconds) * 1000));
        vec![
            object.name().into(),
            age(object, now),
            or(spec.text("signerName"), "<none>").into(),
            spec.text("username").into(),
            duration.into(),
            state(sub(object.map(), "status")).into(),
        ]
    }
}

fn state(status: &Value) -> String {
    let has = |kind: &str| {
        status.list("conditions").iter().any(|condition| condition.text("type") == kind)
    };
    let mut words = vec![match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }];
    if has("Failed") {
        words.push("Failed");
    }
    if !status.text("certificate").is_empty() {
        words.push("Issued");
    }
    words.join(",")
}

fn places(object: &Object, kind: &str) -> Vec<usize> {
    let conditions = sub(object.map(), "status").list("conditions").iter().enumerate();
    conditions.filter(|(_, condition)| condition.text("type") == kind).map(|(at, _)| at).collect()
}

/// Puts the stored conditions of a type in the place of as many given ones.
fn keep_conditions(object: &mut Object, old: &Object, kind: &str) {
    let (before, after) = (places(old, kind), places(object, kind));
    if before.len() != after.len() || before.is_empty() {
        return;
    }
    let known = sub(old.map(), "status").list("conditions");
    if let Some(Value::Array(list)) = object.map_at_mut(&["status"]).get_mut("conditions") {
        for (from, to) in before.into_iter().zip(after) {
            list[to] = known[from].clone();
        }
    }
}

/// Fills in the times a client left out.
fn stamp_conditions(context: &Context<'_>, object: &mut Object, old: &Object) {
    let now = context.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let known = sub(old.map(), "status").list("conditions");
    if let Some(Value::Array(list)) = object.map_at_mut(&["status"]).get_mut("conditions") {
        for condition in list {
            if condition.text("lastUpdateTime").is_empty() {
                condition["lastUpdateTime"] = now.as_str().into();
            }
            if !condition.text("lastTransitionTime").is_empty() {
                continue;
            }
            let same = known.iter().find(|known| {
                known.text("type") == condition.text("type")
                    && known.text("status") == condition.text("status")
                    && !known.text("lastTransitionTime").is_empty()
            });
            let since = same.map_or(now.as_str(), |known| known.text("lastTransitionTime"));
            condition["lastTransitionTime"] = since.into();
        }
    }
}
