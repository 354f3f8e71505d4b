//! Volumes projected from several sources.

use super::volumes::{downward_file, key_to_path, mode};
use crate::{check, look::At};
use kubeplane_core::field::Errors;
use std::collections::BTreeSet;

pub(super) fn projected(volume: &At<'_>, errors: &mut Errors) {
    mode(&volume.get("defaultMode"), errors);
    let mut paths = BTreeSet::new();
    for source in volume.get("sources").items() {
        let kinds = ["secret", "configMap", "downwardAPI", "serviceAccountToken"]
            .map(|kind| source.get(kind));
        let [secret, config_map, downward, token] = &kinds;
        for at in [secret, config_map].into_iter().filter(|at| at.is_set()) {
            let name = at.get("name");
            check::required(&name, errors);
            for item in at.get("items").items() {
                key_to_path(&item, errors);
                once(volume, item.get("path").str(), name.str(), &mut paths, errors);
            }
        }
        for item in downward.get("items").items() {
            downward_file(&downward.with(item.value()), errors);
            let path = item.get("path").str();
            once(volume, path, path, &mut paths, errors);
        }
        if token.is_set() {
            self::token(volume, token, errors);
        }
        if kinds.iter().filter(|kind| kind.is_set()).count() > 1 {
            errors.push(source.forbidden("may not specify more than 1 volume type per source"));
        }
    }
}

fn once<'a>(
    volume: &At<'_>,
    path: &'a str,
    value: &str,
    paths: &mut BTreeSet<&'a str>,
    errors: &mut Errors,
) {
    if !path.is_empty() && !paths.insert(path) {
        errors.push(volume.invalid_as(value, "conflicting duplicate paths"));
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
