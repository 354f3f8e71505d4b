//! Which requests are well formed, and which changes each subresource allows.

use super::{
    pem::{certificate_problem, request_problem},
    signer::signer_name,
};
use crate::{
    check,
    look::{At, Look, sub},
};
use kubeplane_core::{Object, field::Errors};
use serde_json::Value;
use std::collections::HashSet;

const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const SHORTEST: i64 = 600;
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// What is tolerated because the stored object has it already.
#[derive(Default)]
struct Tolerated {
    both_decisions: bool,
    legacy_signer: bool,
    duplicate_conditions: bool,
    empty_conditions: bool,
    any_certificate: bool,
    duplicate_usages: bool,
    unknown_usages: bool,
}

impl Tolerated {
    fn by(old: &Object, object: &Object) -> Self {
        let (usages, status) = (usages(old), sub(old.map(), "status"));
        let kinds: Vec<_> =
            status.list("conditions").iter().map(|condition| condition.text("type")).collect();
        let certificate = status.text("certificate");
        Self {
            both_decisions: DECISIONS.iter().all(|kind| kinds.contains(kind)),
            legacy_signer: sub(old.map(), "spec").text("signerName") == LEGACY_SIGNER,
            duplicate_conditions: repeats(&kinds),
            empty_conditions: kinds.contains(&""),
            any_certificate: certificate == sub(object.map(), "status").text("certificate")
                || certificate_problem(certificate).is_some(),
            duplicate_usages: repeats(&usages),
            unknown_usages: usages.iter().any(|usage| !USAGES.contains(usage)),
        }
    }
}

fn usages(object: &Object) -> Vec<&str> {
    sub(object.map(), "spec").list("usages").iter().filter_map(Value::as_str).collect()
}

fn repeats(list: &[&str]) -> bool {
    list.iter().collect::<HashSet<_>>().len() < list.len()
}

pub(super) fn create(object: &Object) -> Errors {
    request(object, &Tolerated::default())
}

fn request(object: &Object, tolerated: &Tolerated) -> Errors {
    let mut errors = Errors::new();
    let (spec, status) = (At::top(object.map(), "spec"), At::top(object.map(), "status"));
    let (request, signer) = (spec.get("request"), spec.get("signerName"));
    if let Some(problem) = request_problem(request.str()) {
        errors.push(request.invalid(problem));
    }
    check_usages(&spec.get("usages"), tolerated, &mut errors);
    if !tolerated.legacy_signer && signer.str() == LEGACY_SIGNER {
        errors.push(signer.invalid("the legacy signerName is not allowed via this API version"));
    } else {
        signer_name(&signer, &mut errors);
    }
    let seconds = spec.get("expirationSeconds");
    if seconds.int().is_some_and(|number| number < SHORTEST) {
        errors
            .push(seconds.invalid("may not specify a duration less than 600 seconds (10 minutes)"));
    }
    conditions(&status.get("conditions"), tolerated, &mut errors);
    let certificate = status.get("certificate");
    let problem = certificate_problem(certificate.str()).filter(|_| !tolerated.any_certificate);
    if let Some(problem) = problem {
        errors.push(certificate.invalid_as("<certificate data>", problem));
    }
    errors
}

fn check_usages(usages: &At<'_>, tolerated: &Tolerated, errors: &mut Errors) {
    if usages.is_empty() {
        errors.push(usages.required(""));
    }
    if !tolerated.unknown_usages {
        let unknown = usages.items().filter(|usage| !USAGES.contains(&usage.str()));
        errors.extend(unknown.map(|usage| usage.not_supported(&USAGES)));
    }
    if !tolerated.duplicate_usages {
        let mut seen = HashSet::new();
        let again = usages.items().filter(|usage| !seen.insert(usage.str()));
        errors.extend(again.map(|usage| usage.duplicate()));
    }
}

fn conditions(list: &At<'_>, tolerated: &Tolerated, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for condition in list.items() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        if !tolerated.empty_conditions {
            check::required(&kind, errors);
        }
        let allowed: &[&str] = if matches!(kind.str(), "Approved" | "Denied" | "Failed") {
            &["True"]
        } else {
            &["False", "True", "Unknown"]
        };
        check::one_of(&status, allowed, errors);
        let other = match kind.str() {
            "Approved" => Some("Denied"),
            "Denied" => Some("Approved"),
            _ => None,
        };
        if !tolerated.both_decisions && other.is_some_and(|other| seen.contains(other)) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(list.invalid_as(kind.str(), detail));
        }
        if !seen.insert(kind.str()) && !tolerated.duplicate_conditions {
            errors.push(kind.duplicate());
        }
    }
}

pub(super) fn update(object: &Object, old: &Object, subresource: &str) -> Errors {
    let mut errors = request(object, &Tolerated::by(old, object));
    let conditions = At::top(object.map(), "status").get("conditions");
    let (before, after) = (sub(old.map(), "status"), sub(object.map(), "status"));
    let of = |status: &Value, kind: &str| -> Vec<Value> {
        let list = status.list("conditions").iter();
        list.filter(|condition| condition.text("type") == kind).cloned().collect()
    };
    for kind in ["Approved", "Denied", "Failed"] {
        if of(after, kind).len() < of(before, kind).len() {
            let detail = format!("updates may not remove a condition of type {kind:?}");
            errors.push(conditions.forbidden(detail));
        }
    }
    for kind in DECISIONS.into_iter().filter(|_| subresource != "approval") {
        let (before, after) = (of(before, kind), of(after, kind));
        if after.len() > before.len() {
            let detail = format!("updates may not add a condition of type {kind:?}");
            errors.push(conditions.forbidden(detail));
        } else if after.len() == before.len() && after != before {
            let detail = format!("updates may not modify a condition of type {kind:?}");
            errors.push(conditions.forbidden(detail));
        }
    }
    let certificate = At::top(object.map(), "status").get("certificate");
    if certificate.str() != before.text("certificate") {
        if subresource != "status" {
            errors.push(certificate.forbidden("updates may not set certificate content"));
        } else if !before.text("certificate").is_empty() {
            let detail = "updates may not modify existing certificate content";
            errors.push(certificate.forbidden(detail));
        }
    }
    errors
}
