//! Names and values that the fields of several kinds hold.

use crate::{check, csinode::driver_name, look::At};
use kubeplane_core::{
    field::Errors,
    names::{self, SUBDOMAIN_MAX},
};
use serde_json::Value;

pub(super) const NO_LIMIT: usize = usize::MAX;
const ID_MAX: usize = 32;

/// Subdomains joined by slashes.
pub(super) fn pool_name(at: &At<'_>, errors: &mut Errors) {
    if !check::required(at, errors) {
        return;
    }
    if at.str().len() > SUBDOMAIN_MAX {
        errors.push(at.too_long(SUBDOMAIN_MAX));
    }
    for part in at.str().split('/') {
        let problems = names::is_dns1123_subdomain(part).into_iter();
        errors.extend(problems.map(|problem| at.invalid_as(part, problem)));
    }
}

pub(super) fn class_name(at: &At<'_>, errors: &mut Errors) {
    if check::required(at, errors) {
        check::dns_subdomain(at, errors);
    }
}

fn identifier(at: &At<'_>, name: &str, errors: &mut Errors) {
    if name.len() > ID_MAX {
        errors.push(at.too_long(ID_MAX));
    }
    let problems = names::is_c_identifier(name).into_iter();
    errors.extend(problems.map(|problem| at.invalid_as(name, problem)));
}

/// An identifier, perhaps with a domain before it.
pub(super) fn qualified_name(at: &At<'_>, errors: &mut Errors) {
    let parts: Vec<_> = at.str().split('/').collect();
    match parts[..] {
        [name] => identifier(at, name, errors),
        [domain, name] => {
            if domain.is_empty() {
                errors.push(at.invalid_as("", "the domain must not be empty"));
            } else {
                driver_name(&at.with(&Value::from(domain)), errors);
            }
            if name.is_empty() {
                errors.push(at.invalid_as("", "the name must not be empty"));
            } else {
                identifier(at, name, errors);
            }
        }
        // The original lets these pass.
        _ => {}
    }
}

/// An identifier with a domain before it.
pub(super) fn fully_qualified_name(at: &At<'_>, errors: &mut Errors) {
    qualified_name(at, errors);
    if !at.str().contains('/') {
        errors.push(
            at.invalid("a fully qualified name must be a domain and a name separated by a slash"),
        );
    }
}

/// A UUID in lower case, with dashes and nothing else around it.
pub(super) fn uid(at: &At<'_>, errors: &mut Errors) {
    let text = at.str();
    if let Some(problem) = uuid_problem(text) {
        errors.push(at.invalid(format!("error validating uid: {problem}")));
    } else if text.len() != 36 || text != text.to_lowercase() {
        errors.push(at.invalid(
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters",
        ));
    }
}

fn uuid_problem(text: &str) -> Option<String> {
    let inner = match text.len() {
        36 => text,
        45 if text.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("urn:uuid:")) => {
            &text[9..]
        }
        45 => return Some(format!("invalid urn prefix: {:?}", text.get(..9).unwrap_or_default())),
        38 if text.starts_with('{') && text.ends_with('}') => &text[1..37],
        38 => return Some("invalid bracketed UUID format".to_owned()),
        32 if text.bytes().all(|byte| byte.is_ascii_hexdigit()) => return None,
        32 => return Some("invalid UUID format".to_owned()),
        length => return Some(format!("invalid UUID length: {length}")),
    };
    let fits = inner.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    (!fits).then(|| "invalid UUID format".to_owned())
}

/// A JSON object that only its driver understands.
pub(super) fn opaque(at: &At<'_>, limit: usize, errors: &mut Errors) {
    match at.value() {
        Value::Null => errors.push(at.required("")),
        value if value.to_string().len() > limit => errors.push(at.too_long(limit)),
        Value::Object(_) => {}
        _ => errors.push(at.invalid_as("<value omitted>", "must be a valid JSON object")),
    }
}
