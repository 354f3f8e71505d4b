//! `anyOf`, `oneOf`, `allOf` and `not`.

use super::{Found, Outcome, check as check_node};
use crate::props::Props;
use kubeplane_core::field::go_quote;
use serde_json::Value;

pub(super) fn check(props: &Props, value: &Value, old: Option<&Value>, path: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let place = go_quote(path);
    let each = |schemas: &[Props]| -> Vec<Outcome> {
        schemas.iter().map(|schema| check_node(schema, value, old, path)).collect()
    };
    if !props.any_of.is_empty() {
        let mut results = each(&props.any_of);
        match results.iter().position(Outcome::is_valid) {
            Some(first) => outcome.merge(results.swap_remove(first)),
            None => {
                outcome.add(Found::loose(format!(
                    "{place} must validate at least one schema (anyOf)"
                )));
                best(results).into_iter().for_each(|best| outcome.merge(best));
            }
        }
    }
    if !props.one_of.is_empty() {
        let mut results = each(&props.one_of);
        let valid = results.iter().filter(|result| result.is_valid()).count();
        let what = match valid {
            1 => None,
            0 => Some("Found none valid".to_owned()),
            many => Some(format!("Found {many} valid alternatives")),
        };
        match (what, results.iter().position(Outcome::is_valid)) {
            (None, Some(first)) => outcome.merge(results.swap_remove(first)),
            (what, first) => {
                let what = what.unwrap_or_default();
                let text = format!("{place} must validate one and only one schema (oneOf). {what}");
                outcome.add(Found::loose(text));
                if first.is_none() {
                    best(results).into_iter().for_each(|best| outcome.merge(best));
                }
            }
        }
    }
    if !props.all_of.is_empty() {
        let results = each(&props.all_of);
        let valid = results.iter().filter(|result| result.is_valid()).count();
        let complete = valid == results.len();
        results.into_iter().for_each(|result| outcome.merge(result));
        if !complete {
            let none = if valid == 0 { ". None validated" } else { "" };
            outcome
                .add(Found::loose(format!("{place} must validate all the schemas (allOf){none}")));
        }
    }
    if let Some(not) = &props.not
        && check_node(not, value, old, path).is_valid()
    {
        outcome.add(Found::loose(format!("{place} must not validate the schema (not)")));
    }
    outcome.matches += 1;
    outcome
}

/// The alternative most checks of which applied; the first of equals.
fn best(results: Vec<Outcome>) -> Option<Outcome> {
    results.into_iter().reduce(|best, next| if next.matches > best.matches { next } else { best })
}
