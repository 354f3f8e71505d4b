//! Trust bundles and certificates as sources of a projected volume.

use super::Paths;
use crate::{certificatesigningrequest::signer_name, check, look::At};
use kubeplane_core::{field::Errors, names};

const KEY_TYPES: [&str; 6] =
    ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
/// Bytes of the keys and values of annotations.
const ANNOTATIONS: usize = 256 * 1024;
const HOUR: i64 = 3600;
/// The longest life of a certificate, by a signer of Kubernetes and by another one.
const LONGEST: [i64; 2] = [24 * HOUR, 91 * 24 * HOUR];

/// A bundle by its own name, or all those of a signer.
pub(super) fn bundle<'a>(
    volume: &At<'_>,
    bundle: &At<'a>,
    paths: &mut Paths<'a>,
    errors: &mut Errors,
) {
    let [name, signer, selector] = ["name", "signerName", "labelSelector"].map(|at| bundle.get(at));
    match (name.is_set(), signer.is_set()) {
        (true, true) => {
            errors.push(bundle.invalid("only one of name and signerName may be used"));
        }
        (true, false) => {
            if name.str().is_empty() {
                errors.push(name.required("must be a valid object name"));
            }
            let detail = |problem| format!("not a valid clustertrustbundlename: {problem}");
            errors.extend(bundle_name(name.str()).into_iter().map(detail).map(|d| name.invalid(d)));
            if selector.is_set() {
                errors.push(selector.invalid("labelSelector must be unset if name is specified"));
            }
        }
        (false, true) => {
            if signer.str().is_empty() {
                errors.push(signer.required("must be a valid signer name"));
            }
            signer_name(&signer, errors);
            check::label_selector(&selector, errors);
        }
        (false, false) => {
            errors.push(bundle.required("either name or signerName must be specified"));
        }
    }
    let path = bundle.get("path");
    check::required(&path, errors);
    check::local_path(&path, errors);
    paths.add(volume, path.str(), path.str(), errors);
}

/// A name after that of its signer, if it has one, in which colons stand for slashes.
fn bundle_name(name: &str) -> Vec<String> {
    let Some((signer, own)) = name.rsplit_once(':') else {
        return names::is_dns1123_subdomain(name);
    };
    if signer.is_empty() {
        let detail = "ClusterTrustBundle without signer name must not have \":\" in its name";
        return vec![detail.to_owned()];
    }
    if signer.contains('/') {
        let [signer, prefix] = [signer.replace(':', "/"), signer.replace('/', ":")];
        return vec![format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}:"
        )];
    }
    names::is_dns1123_subdomain(own)
}

/// A certificate that is asked for.
pub(super) fn certificate<'a>(
    volume: &At<'_>,
    certificate: &At<'a>,
    paths: &mut Paths<'a>,
    errors: &mut Errors,
) {
    let signer = certificate.get("signerName");
    signer_name(&signer, errors);
    user_annotations(&certificate.get("userAnnotations"), errors);
    let keys = certificate.get("keyType");
    if !KEY_TYPES.contains(&keys.str()) {
        errors.push(keys.not_supported(&KEY_TYPES));
    }
    life(&certificate.get("maxExpirationSeconds"), signer.str(), errors);
    let fields = ["credentialBundlePath", "keyPath", "certificateChainPath"];
    let mut none = true;
    for path in fields.map(|field| certificate.get(field)) {
        if path.str().is_empty() {
            continue;
        }
        none = false;
        check::local_path(&path, errors);
        paths.add(volume, path.str(), path.str(), errors);
    }
    if none {
        let detail =
            "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(certificate.required(detail));
    }
}

/// How long a certificate may be good for.
fn life(at: &At<'_>, signer: &str, errors: &mut Errors) {
    let Some(seconds) = at.int() else { return };
    if seconds < HOUR {
        let detail = format!("if provided, maxExpirationSeconds must be >= {HOUR}");
        errors.push(at.invalid_as(seconds, detail));
    }
    let host = signer.split('/').next().unwrap_or_default();
    let of_kubernetes = host == "kubernetes.io" || host.ends_with(".kubernetes.io");
    let longest = LONGEST[usize::from(!of_kubernetes)];
    if seconds > longest {
        let detail = format!("if provided, maxExpirationSeconds must be <= {longest}");
        errors.push(at.invalid_as(seconds, detail));
    }
}

/// Keys with domains, in either case, and no more of them than of annotations.
fn user_annotations(at: &At<'_>, errors: &mut Errors) {
    for (key, _) in at.entries() {
        let key = key.to_lowercase();
        if key.is_empty() {
            errors.push(at.required(""));
            continue;
        }
        let problems = names::is_qualified_name(&key);
        if problems.is_empty() && !key.contains('/') {
            let detail = "must be a domain-prefixed key (such as \"acme.io/foo\")";
            errors.push(at.invalid_as(key, detail));
        } else {
            errors.extend(problems.into_iter().map(|problem| at.invalid_as(&*key, problem)));
        }
    }
    let size: usize = at.entries().map(|(key, value)| key.len() + value.str().len()).sum();
    if size > ANNOTATIONS {
        errors.push(at.too_long(ANNOTATIONS));
    }
}
