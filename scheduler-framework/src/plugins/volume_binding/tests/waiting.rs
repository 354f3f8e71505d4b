//! How long a pod waits for its volumes, and when it waits no more: the scenarios of the original's tests of its binder.

use super::{super::binding::check, *};

/// A volume as it was written: for the claim of that name.
fn taken(name: &str, host: &str, claim: &str) -> Value {
    let mut own = with_version(volume(name, host, "1Gi"), "6");
    own["spec"]["claimRef"] = json!({"name": claim, "namespace": "d", "uid": claim});
    own
}

/// Whether a pod's volumes are bound on node `a`; why they will never be.
fn checked(found: &Found, volumes: &[Value], claims: &[Value]) -> String {
    let node = node("a", "host=a", &[]);
    match check(&cluster(claims, volumes, &[]), "d", found, node.node()) {
        Ok(true) => "bound".to_owned(),
        Ok(false) => "waits".to_owned(),
        Err(why) => why,
    }
}

const AFFINITY: &str =
    "pv \"v\" node affinity doesn't match node \"a\": no matching NodeSelectorTerms";

#[test]
fn a_pod_waits_until_its_claims_have_the_volumes_chosen_for_them() {
    let found = |all: &[(&str, &str)]| {
        let one = |(own, of): &(&str, &str)| {
            (read(&taken(own, "a", of)), read(&claim(of, "wait", "1Gi")))
        };
        Found { bindings: all.iter().map(one).collect(), ..Found::default() }
    };
    let one = found(&[("v", "c")]);
    let mut prebound = claim("c", "wait", "1Gi");
    prebound["spec"]["volumeName"] = json!("v");
    let unbound = claim("c", "wait", "1Gi");
    let mut nameless = taken("v", "a", "c");
    nameless["spec"]["claimRef"]["uid"] = json!("");
    let free = volume("v", "a", "1Gi");
    let reset = "ClaimRef got reset for pv \"v\"";
    for (volumes, claims, expected) in [
        (vec![taken("v", "a", "c")], vec![bound("c", "v")], "bound"),
        (vec![taken("v", "a", "c")], vec![prebound], "waits"),
        (vec![taken("v", "a", "c")], vec![unbound], "waits"),
        (
            vec![taken("v", "a", "c")],
            vec![],
            "failed to check binding: persistentvolumeclaims \"d/c\" not found",
        ),
        (
            vec![],
            vec![bound("c", "v")],
            "failed to check binding: persistentvolumes \"v\" not found",
        ),
        (vec![free.clone()], vec![bound("c", "v")], "waits"),
        (vec![with_version(free.clone(), "6")], vec![bound("c", "v")], reset),
        (vec![with_version(free, "7")], vec![bound("c", "v")], reset),
        (vec![nameless], vec![bound("c", "v")], reset),
        (vec![taken("v", "b", "c")], vec![bound("c", "v")], AFFINITY),
    ] {
        assert_eq!(checked(&one, &volumes, &claims), expected, "{volumes:?} and {claims:?}");
    }
    let volumes = [taken("v", "a", "c"), taken("w", "a", "e")];
    let claims = [bound("c", "v"), claim("e", "wait", "1Gi")];
    assert_eq!(checked(&found(&[("v", "c"), ("w", "e")]), &volumes, &claims), "waits");
    assert_eq!(checked(&found(&[]), &volumes, &claims), "bound", "there is nothing to do");
}

#[test]
fn a_pod_waits_until_volumes_are_made_or_its_node_is_given_up() {
    let chosen = |annotations: Value, version: &str, volume: Option<&str>| {
        let mut own = with_version(claim("p", "made", "1Gi"), version);
        own["metadata"]["annotations"] = annotations;
        if let Some(volume) = volume {
            own["spec"]["volumeName"] = json!(volume);
        }
        own
    };
    let here = || json!({SELECTED_NODE: "a"});
    let done = || json!({SELECTED_NODE: "a", BIND_COMPLETED: "yes"});
    let found = Found { provisions: vec![read(&chosen(here(), "6", None))], ..Found::default() };
    let failed = "provisioning failed for PVC \"p\"";
    for (volumes, claims, expected) in [
        (vec![taken("v", "a", "p")], vec![chosen(done(), "7", Some("v"))], "bound"),
        (vec![], vec![chosen(here(), "6", None)], "waits"),
        (
            vec![],
            vec![],
            "failed to check provisioning pvc: persistentvolumeclaims \"d/p\" not found",
        ),
        (
            vec![],
            vec![chosen(Value::Null, "7", None)],
            "selectedNode annotation reset for PVC \"p\"",
        ),
        (vec![], vec![chosen(Value::Null, "5", None)], "waits"),
        (vec![], vec![chosen(json!({}), "7", None)], failed),
        (vec![], vec![chosen(json!({SELECTED_NODE: "b"}), "7", None)], failed),
        (vec![], vec![chosen(done(), "7", Some("v"))], "waits"),
        (vec![taken("v", "b", "p")], vec![chosen(done(), "7", Some("v"))], AFFINITY),
        (vec![taken("v", "a", "p")], vec![chosen(here(), "7", Some("v"))], "waits"),
    ] {
        assert_eq!(checked(&found, &volumes, &claims), expected, "{volumes:?} and {claims:?}");
    }
    let both = Found {
        bindings: vec![(read(&taken("v", "a", "c")), read(&claim("c", "wait", "1Gi")))],
        ..found
    };
    let claims = [bound("c", "v"), chosen(here(), "6", None)];
    assert_eq!(checked(&both, &[taken("v", "a", "c")], &claims), "waits");
}
