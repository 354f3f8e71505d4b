//! More of NodeAffinity: terms by names, added rules, and terms that are malformed.

use super::{
    node,
    nodes::{assert_fits, expression, required},
    said,
};
use crate::{
    CycleState, NodeAffinity, PodInfo, PreScoreVerdict, SchedulerPlugin, Snapshot, Tracking,
    plugins::fixtures::pod,
};
use serde_json::{Value, json};
use std::{slice, sync::Arc};

#[test]
fn one_of_several_terms_is_enough() {
    let matching = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [expression(key, operator, values)]});
    let named = |names: &[&str]| {
        let all: Vec<_> =
            names.iter().map(|name| expression("metadata.name", "In", &[*name])).collect();
        json!({"matchFields": all})
    };
    let (none, has) = (Value::Null, json!({"foo": "bar"}));
    for (terms, fits) in [
        // The first names two nodes at once.
        (vec![named(&["other", "n"]), matching("foo", "In", &["bar"])], true),
        (vec![named(&["other"]), matching("foo", "In", &["not-bar"])], false),
        (vec![named(&["other"]), named(&["n"])], true),
        (vec![named(&["other", "n"])], false),
        // A term that is malformed matches nothing, whatever it says.
        (vec![matching("foo", "NotIn", &["invalid value: ___@#$%^"])], false),
        (vec![matching("foo", "In", &["bar", "invalid value"])], false),
        (vec![matching("foo", "In", &["invalid value"]), matching("foo", "In", &["bar"])], true),
    ] {
        assert_fits(&none, Some(&terms), &has, fits);
    }
    let unasked = pod("p", "", json!({"affinity": {"nodeAffinity": {}}}));
    let there = node(&json!({"metadata": {"labels": has}}), &[]);
    assert_eq!(said(&NodeAffinity::default(), &unasked, &there), "ok");
}

#[test]
fn added_rules_and_those_of_the_pod_both_hold() {
    let by_name = json!({"matchFields": [expression("metadata.name", "In", &["n"])]});
    let zone = |value: &str| json!({"matchExpressions": [expression("zone", "In", &[value])]});
    let there = node(&json!({"metadata": {"labels": {"zone": "foo"}}}), &[]);
    for (added, own, expected) in [
        (&by_name, Some(zone("foo")), "ok"),
        (&by_name, Some(zone("bar")), "never: node(s) didn't match Pod's node affinity/selector"),
        (&zone("bar"), None, "never: node(s) didn't match scheduler-enforced node affinity"),
    ] {
        let rules = required(slice::from_ref(added))["nodeAffinity"].clone();
        let plugin = NodeAffinity::with_added(serde_json::from_value(rules).unwrap());
        let affinity = own.map(|own| required(&[own]));
        let own = pod("p", "", json!({"affinity": affinity}));
        assert_eq!(said(&plugin, &own, &there), expected, "{added} and {affinity:?}");
    }
}

/// Preferring nodes by one requirement.
fn preferring(key: &str, operator: &str, values: &[&str]) -> Arc<PodInfo> {
    let preference = json!({"matchExpressions": [expression(key, operator, values)]});
    let terms = json!([{"weight": 2, "preference": preference}]);
    let rules = json!({"preferredDuringSchedulingIgnoredDuringExecution": terms});
    pod("p", "", json!({"affinity": {"nodeAffinity": rules}}))
}

#[test]
fn nodes_are_not_scored_by_terms_that_are_malformed() {
    let plugin = NodeAffinity::default();
    let prepared =
        |own: &PodInfo| plugin.as_pre_score().unwrap().pre_score(&mut CycleState::new(), own, &[]);
    let nodes = Snapshot::default();
    let opaque =
        |own: &PodInfo| matches!(plugin.as_track().unwrap().track(own, &nodes), Tracking::Opaque);
    let key = "[0].matchExpressions[0].key: Invalid value: \"invalid key\": name part must consist \
        of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
        character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
        '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let value = "[0].matchExpressions[0].values[1][foo]: Invalid value: \"{bad}\": a valid label \
        must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
        start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
        regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    for (own, why) in [
        (preferring("invalid key", "In", &["bar"]), key),
        (preferring("foo", "NotIn", &["bar", "{bad}"]), value),
    ] {
        assert_eq!(prepared(&own), PreScoreVerdict::Error(why.to_owned()));
        assert!(opaque(&own), "{why}");
    }
    let good = preferring("foo", "Gt", &["1"]);
    assert_eq!(prepared(&good), PreScoreVerdict::Continue);
    assert!(!opaque(&good));
}
