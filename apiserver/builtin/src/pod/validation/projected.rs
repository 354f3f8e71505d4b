//! Volumes projected from several sources.

mod certificates;

use super::volumes::{downward_file, key_to_path, mode};
use crate::{check, look::At};
use kubeplane_core::field::Errors;
use std::collections::BTreeSet;

const KINDS: [&str; 6] = [
    "secret",
    "configMap",
    "downwardAPI",
    "serviceAccountToken",
    "clusterTrustBundle",
    "podCertificate",
];

pub(super) fn projected(volume: &At<'_>, errors: &mut Errors) {
    mode(&volume.get("defaultMode"), errors);
    let mut paths = Paths::default();
    for source in volume.get("sources").items() {
        let kinds = KINDS.map(|kind| source.get(kind));
        let [secret, config_map, downward, token, bundle, certificate] = &kinds;
        for at in [secret, config_map].into_iter().filter(|at| at.is_set()) {
            let name = at.get("name");
            check::required(&name, errors);
            for item in at.get("items").items() {
                key_to_path(&item, errors);
                paths.add_if_set(volume, item.get("path").str(), name.str(), errors);
            }
        }
        for item in downward.get("items").items() {
            downward_file(&downward.with(item.value()), errors);
            let path = item.get("path").str();
            paths.add_if_set(volume, path, path, errors);
        }
        if token.is_set() {
            self::token(volume, token, errors);
        }
        if bundle.is_set() {
            certificates::bundle(volume, bundle, &mut paths, errors);
        }
        if certificate.is_set() {
            certificates::certificate(volume, certificate, &mut paths, errors);
        }
        if kinds.iter().filter(|kind| kind.is_set()).count() > 1 {
            errors.push(source.forbidden("may not specify more than 1 volume type per source"));
        }
    }
}

/// The paths of a volume, which may be there only once.
#[derive(Debug, Default)]
struct Paths<'a>(BTreeSet<&'a str>);

impl<'a> Paths<'a> {
    fn add(&mut self, volume: &At<'_>, path: &'a str, shown: &str, errors: &mut Errors) {
        if !self.0.insert(path) {
            errors.push(volume.invalid_as(shown, "conflicting duplicate paths"));
        }
    }

    fn add_if_set(&mut self, volume: &At<'_>, path: &'a str, shown: &str, errors: &mut Errors) {
        if !path.is_empty() {
            self.add(volume, path, shown, errors);
        }
    }
}

/// The original's path of the path of a token leaves out which source it is.
fn token(volume: &At<'_>, token: &At<'_>, errors: &mut Errors) {
    let lifetime = token.get("expirationSeconds");
    let seconds = lifetime.int().unwrap_or_default();
    if seconds < 600 {
        errors
            .push(lifetime.invalid_as(seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > 1 << 32 {
        errors.push(
            lifetime.invalid_as(seconds, "may not specify a duration larger than 2^32 seconds"),
        );
    }
    let path = volume.get("path").with(token.get("path").value());
    if check::required(&path, errors) {
        check::local_path(&path, errors);
    }
}
