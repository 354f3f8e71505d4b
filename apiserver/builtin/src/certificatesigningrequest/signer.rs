//! Names of signers.

use crate::look::At;
use kubeplane_core::{
    field::Errors,
    names::{LABEL_MAX, SUBDOMAIN_MAX, is_dns1123_label, is_dns1123_subdomain},
};

const FORM: &str =
    "must be a fully qualified domain and path of the form 'example.com/signer-name'";

/// A domain, a slash and a path.
pub(crate) fn signer_name(at: &At<'_>, errors: &mut Errors) {
    let name = at.str();
    if name.is_empty() {
        return errors.push(at.required(""));
    }
    let parts: Vec<_> = name.split('/').collect();
    let [domain, path] = parts[..] else {
        return errors.push(at.invalid(FORM));
    };
    if domain.len() > SUBDOMAIN_MAX {
        errors.push(at.too_long(SUBDOMAIN_MAX));
    }
    labels(at, domain, is_dns1123_label, errors);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(at.invalid_as(domain, detail));
    }
    labels(at, path, is_dns1123_subdomain, errors);
    let longest = SUBDOMAIN_MAX + SUBDOMAIN_MAX + LABEL_MAX + 2;
    if name.len() > longest {
        errors.push(at.too_long(longest));
    }
}

/// What is wrong with the first wrong label.
fn labels(at: &At<'_>, text: &str, check: fn(&str) -> Vec<String>, errors: &mut Errors) {
    let problems =
        text.split('.').map(|label| (label, check(label))).find(|(_, found)| !found.is_empty());
    if let Some((label, found)) = problems {
        errors.extend(
            found.into_iter().map(|message| {
                at.invalid_as(text, format!("validating label {label:?}: {message}"))
            }),
        );
    }
}
