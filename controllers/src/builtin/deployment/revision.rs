//! The annotations by which a deployment's history is kept.

use super::sets::{self, replicas};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use std::collections::BTreeMap;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// What is not copied between a deployment and its replica sets.
const OWN: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    ROLLBACK,
];

/// By which revision to go back to is asked for; zero stands for the last one.
pub(super) const ROLLBACK: &str = "deprecated.deployment.rollback.rollback-to";

/// The longest history that is kept, in bytes.
const LONGEST_HISTORY: usize = 2000;

/// The revision noted on a replica set; `None` when it is not a number.
pub(super) fn of(set: &ReplicaSet) -> Option<i64> {
    annotation(set, REVISION).map_or(Some(0), |text| text.parse().ok())
}

/// The next revision after those of `sets`.
pub(super) fn next<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> i64 {
    sets.into_iter().filter_map(of).max().unwrap_or_default().max(0).wrapping_add(1)
}

/// The second newest of the revisions of `sets`, zero when there is none.
pub(super) fn last<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> i64 {
    let mut all: Vec<_> = sets.into_iter().filter_map(of).filter(|own| *own > 0).collect();
    all.sort_unstable();
    all.iter().rev().nth(1).copied().unwrap_or_default()
}

/// Gives a deployment that goes back to this set the set's annotations in the place of its own.
pub(super) fn take_back(deployment: &mut Deployment, set: &ReplicaSet) {
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    let is_own = |name: &String| OWN.contains(&name.as_str());
    annotations.retain(|name, _| is_own(name));
    let of_set = set.metadata.annotations.iter().flatten().filter(|(name, _)| !is_own(name));
    annotations.extend(of_set.map(|(name, value)| (name.clone(), value.clone())));
}

fn annotation<'a>(set: &'a ReplicaSet, name: &str) -> Option<&'a str> {
    set.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The number of pods the deployment wanted when it scaled this set last.
pub(super) fn desired(set: &ReplicaSet) -> Option<i32> {
    annotation(set, DESIRED)?.parse().ok().filter(|count| *count >= 0)
}

/// The number of pods the deployment could have when it scaled this set last.
pub(super) fn max(set: &ReplicaSet) -> Option<i32> {
    annotation(set, MAX)?.parse().ok().filter(|count| *count >= 0)
}

/// Notes on a set what the deployment wants now; whether anything changed.
pub(super) fn note_replicas(set: &mut ReplicaSet, deployment: &Deployment) -> bool {
    let wanted = replicas(deployment);
    let largest = wanted + sets::fence(deployment).surge;
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (name, count) in [(DESIRED, wanted), (MAX, largest)] {
        changed |= put(annotations, name, count.to_string());
    }
    changed
}

/// Copies the deployment's annotations to its new replica set and notes the revision; whether anything changed.
pub(super) fn note(set: &mut ReplicaSet, deployment: &Deployment, revision: i64) -> bool {
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (name, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN.contains(&name.as_str()) {
            changed |= put(annotations, name, value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_number = match old.as_deref() {
        None | Some("") => 0,
        Some(text) => match text.parse::<i64>() {
            Ok(number) => number,
            Err(_) => return changed,
        },
    };
    if old_number >= revision {
        return changed;
    }
    annotations.insert(REVISION.to_owned(), revision.to_string());
    if let Some(old) = old {
        // This set served before and is rolled back to.
        remember(annotations, &old);
    }
    true
}

fn put(annotations: &mut BTreeMap<String, String>, name: &str, value: String) -> bool {
    annotations.get(name) != Some(&value) && {
        annotations.insert(name.to_owned(), value);
        true
    }
}

fn remember(annotations: &mut BTreeMap<String, String>, old: &str) {
    let history = annotations.get(HISTORY).cloned().unwrap_or_default();
    let mut revisions: Vec<&str> =
        history.split(',').filter(|revision| !revision.is_empty()).collect();
    revisions.push(old);
    let length =
        |revisions: &[&str]| revisions.iter().map(|revision| revision.len() + 1).sum::<usize>() - 1;
    while revisions.len() > 1 && length(&revisions) > LONGEST_HISTORY {
        revisions.remove(0);
    }
    annotations.insert(HISTORY.to_owned(), revisions.join(","));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rolling_back_raises_the_revision_and_remembers_the_old_one() {
        let deployment: Deployment = serde_json::from_value(json!({"metadata": {"annotations": {
            "kubernetes.io/change-cause": "why", REVISION: "9", "kubectl.kubernetes.io/last-applied-configuration": "{}"}}}))
        .unwrap();
        let mut set = ReplicaSet::default();
        assert!(note(&mut set, &deployment, 1));
        assert!(!note(&mut set, &deployment, 1));
        assert!(note(&mut set, &deployment, 3));
        assert!(note(&mut set, &deployment, 5));
        let annotations = set.metadata.annotations.clone().unwrap();
        assert_eq!(annotations.get(REVISION).map(String::as_str), Some("5"));
        assert_eq!(annotations.get(HISTORY).map(String::as_str), Some("1,3"));
        assert_eq!(annotations.len(), 3, "{annotations:?}");
        assert_eq!(next([&set]), 6);
        // As the original, it begins anew below all numbers.
        let most = i64::MAX.to_string();
        set.metadata.annotations = Some([(REVISION.to_owned(), most)].into());
        assert_eq!(next([&set]), i64::MIN);
    }
}
