//! How objects are converted between versions, as the definition says it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path},
    names, webhook,
};
use serde_json::Value;

/// The versions of ConversionReview a webhook may speak.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

/// What is asked of a conversion.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Asked {
    /// A version of ConversionReview that this server speaks must be among those named.
    pub(super) known_review: bool,
    /// The authorities of the webhook must be readable.
    pub(super) authorities: bool,
}

/// What is wrong with `spec.conversion`.
pub(super) fn validate(conversion: &Value, asked: Asked, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let strategy = text(conversion, "strategy");
    let at = path.child("strategy");
    match strategy.as_str() {
        "" => errors.push(Error::required(&at, "")),
        "None" | "Webhook" => {}
        other => errors.push(super::validation::unsupported(&at, other, &["None", "Webhook"])),
    }
    let own = conversion.get("webhook").filter(|own| !own.is_null());
    let client = own.and_then(|own| own.get("clientConfig")).filter(|client| !client.is_null());
    let reviews = own.and_then(|own| own.get("conversionReviewVersions")).and_then(Value::as_array);
    let reviews = reviews.map_or(&[][..], Vec::as_slice);
    let (client_path, reviews_path) =
        (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    if strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        if client.is_some() {
            errors.push(Error::forbidden(&client_path, detail));
        }
        if !reviews.is_empty() {
            errors.push(Error::forbidden(&reviews_path, detail));
        }
        return errors;
    }
    match client {
        None => {
            errors.push(Error::required(&client_path, "required when strategy is set to Webhook"))
        }
        Some(client) => {
            let set = |key: &str| client.get(key).is_some_and(|value| !value.is_null());
            match (set("url"), set("service")) {
                (true, false) => {
                    let at = client_path.child("url");
                    errors.extend(webhook::validate_url(&at, &text(client, "url")));
                }
                (false, true) => {
                    errors.extend(service(&client["service"], &client_path.child("service")))
                }
                _ => errors.push(Error::required(
                    &client_path,
                    "exactly one of url or service is required",
                )),
            }
            if asked.authorities {
                errors.extend(authorities(client, &client_path.child("caBundle")));
            }
        }
    }
    errors.extend(review_versions(reviews, asked.known_review, &reviews_path));
    errors
}

fn service(service: &Value, path: &Path) -> Errors {
    let text = |field: &str| service.get(field).and_then(Value::as_str).unwrap_or_default();
    let port = service.get("port").and_then(Value::as_i64).unwrap_or(443);
    webhook::validate_service(path, (text("namespace"), text("name")), text("path"), port)
}

/// What is wrong with the authorities of a webhook, by the client's configuration.
fn authorities(client: &Value, path: &Path) -> Option<Error> {
    let bundle = client.get("caBundle").filter(|bundle| !bundle.is_null())?;
    let decoded = STANDARD.decode(bundle.as_str().unwrap_or_default()).unwrap_or_default();
    let why = kubeplane_outbound::check_authorities(&decoded).err()?;
    Some(Error::invalid(path, bundle.clone(), why))
}

/// Whether a definition names authorities for its webhook that cannot be read.
pub(crate) fn has_invalid_authorities(crd: &Object) -> bool {
    let client = crd.at(&["spec", "conversion", "webhook", "clientConfig"]);
    client.is_some_and(|client| authorities(client, &Path::root()).is_some())
}

fn review_versions(versions: &[Value], known_review: bool, path: &Path) -> Errors {
    if versions.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errors = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let at = path.index(index);
        if versions[..index].contains(version) {
            errors.push(Error::invalid(&at, version.clone(), "duplicate version"));
            continue;
        }
        let wrong = names::is_dns1035_label(version.as_str().unwrap_or_default());
        errors.extend(wrong.into_iter().map(|wrong| Error::invalid(&at, version.clone(), wrong)));
    }
    let known = versions.iter().any(|version| REVIEWS.iter().any(|review| version == review));
    if known_review && !known {
        let detail = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.push(Error::invalid(path, versions.to_vec(), detail));
    }
    errors
}

/// Whether a stored definition names a version of ConversionReview this server speaks, or none at all.
pub(super) fn speaks_known_review(conversion: Option<&Value>) -> bool {
    let versions =
        conversion.and_then(|conversion| conversion.pointer("/webhook/conversionReviewVersions"));
    let versions = versions.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    versions.is_empty()
        || versions.iter().any(|version| REVIEWS.iter().any(|review| version == review))
}
