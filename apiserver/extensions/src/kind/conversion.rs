//! How objects are converted between versions, as the definition says it.

use kubeplane_core::{
    field::{Error, Errors, Path},
    names,
};
use serde_json::Value;

/// The versions of ConversionReview a webhook may speak.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

/// What is wrong with `spec.conversion`; `known_review` whether a version this server speaks must be among them.
pub(super) fn validate(conversion: &Value, known_review: bool, path: &Path) -> Errors {
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
    let webhook = conversion.get("webhook").filter(|webhook| !webhook.is_null());
    let client =
        webhook.and_then(|webhook| webhook.get("clientConfig")).filter(|client| !client.is_null());
    let reviews = webhook
        .and_then(|webhook| webhook.get("conversionReviewVersions"))
        .and_then(Value::as_array);
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
                    errors.extend(url(&text(client, "url"), &client_path.child("url")))
                }
                (false, true) => {
                    errors.extend(service(&client["service"], &client_path.child("service")))
                }
                _ => errors.push(Error::required(
                    &client_path,
                    "exactly one of url or service is required",
                )),
            }
        }
    }
    errors.extend(review_versions(reviews, known_review, &reviews_path));
    errors
}

fn url(url: &str, path: &Path) -> Errors {
    let form = "desired format: https://host[/path]";
    let invalid = |detail: String| vec![Error::invalid(path, url, detail)];
    let Some((scheme, rest)) = url.split_once("://") else {
        return invalid(format!("'https' is the only allowed URL scheme; {form}"));
    };
    if scheme != "https" {
        return invalid(format!("'https' is the only allowed URL scheme; {form}"));
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let mut errors = Vec::new();
    if host.is_empty() {
        errors.push(Error::invalid(path, host, format!("host must be specified; {form}")));
    }
    for (found, what) in
        [(host.contains('@'), "user information"), (rest.contains('#'), "fragments")]
    {
        if found {
            errors.push(Error::invalid(path, url, format!("{what} not permitted in the URL")));
        }
    }
    if rest.contains('?') {
        errors.push(Error::invalid(path, url, "query parameters not permitted in the URL"));
    }
    errors
}

fn service(service: &Value, path: &Path) -> Errors {
    let mut errors = Vec::new();
    for (field, detail) in
        [("name", "service name is required"), ("namespace", "service namespace is required")]
    {
        if service.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
            errors.push(Error::required(&path.child(field), detail));
        }
    }
    let port = service.get("port").and_then(Value::as_i64).unwrap_or(443);
    let wrong = names::is_valid_port_num(port);
    if !wrong.is_empty() {
        let detail = format!("port is not valid: {}", wrong.join(", "));
        errors.push(Error::invalid(&path.child("port"), port, detail));
    }
    if let Some(url_path) = service.get("path").and_then(Value::as_str) {
        let at = path.child("path");
        if !url_path.starts_with('/') {
            errors.push(Error::invalid(&at, url_path, "must start with a '/'"));
        }
        let inner = url_path.trim_start_matches('/').trim_end_matches('/');
        if inner.split('/').any(str::is_empty) && !inner.is_empty() {
            errors.push(Error::invalid(&at, url_path, "segment may not be empty"));
        }
    }
    errors
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
