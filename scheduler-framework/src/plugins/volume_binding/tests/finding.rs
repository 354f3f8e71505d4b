//! What claims get on a node, and whether that is still so when the node is chosen: the scenarios of the original's tests of
//! its binder.

use super::*;

const UNBOUND: &str = "pod has unbound immediate PersistentVolumeClaims";
const ELSEWHERE: &str = "node(s) didn't match PersistentVolume's node affinity";
const NO_MATCH: &str = "node(s) didn't find available persistent volumes to bind";
const NO_ROOM: &str = "node(s) did not have enough free storage";
const GONE: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

fn classes() -> Vec<Value> {
    let mut elsewhere = class("elsewhere", "WaitForFirstConsumer", "drv");
    elsewhere["allowedTopologies"] =
        json!([{"matchLabelExpressions": [{"key": "host", "values": ["b"]}]}]);
    vec![
        class("wait", "WaitForFirstConsumer", NONE),
        class("made", "WaitForFirstConsumer", "drv"),
        class("now", "Immediate", "drv"),
        elsewhere,
    ]
}

/// What the plugin says of node `a`: which claim gets which volume, `claim+` for one that is to be made; or why not.
fn on_a(objects: ClusterObjects, own: &[&str]) -> String {
    let (plugin, nodes, own) = (VolumeBinding::default(), two(objects), using(own));
    let mut state = CycleState::of(nodes.clone());
    match plugin.pre_filter(&mut state, &own, &nodes) {
        PreFilterVerdict::Continue => {}
        PreFilterVerdict::Unresolvable(why) => return why,
        other => panic!("{other:?}"),
    }
    match plugin.filter(&state, &own, nodes.node("a").unwrap()) {
        FilterVerdict::Fits => {}
        FilterVerdict::Unresolvable(why) => return why.join(", "),
        other => panic!("{other:?}"),
    }
    let found = state.value::<Volumes>().unwrap().found.lock().remove("a").unwrap_or_default();
    let name = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
        meta.name.clone().unwrap()
    };
    let mut all: Vec<_> = found
        .bindings
        .iter()
        .map(|(volume, claim)| format!("{}={}", name(&claim.metadata), name(&volume.metadata)))
        .chain(found.provisions.iter().map(|claim| format!("{}+", name(&claim.metadata))))
        .collect();
    all.sort();
    all.join(" ")
}

/// Of a class that makes volumes, perhaps where a node is chosen already.
fn made(name: &str, selected: Option<&str>) -> Value {
    let mut own = claim(name, "made", "1Gi");
    if let Some(selected) = selected {
        own["metadata"]["annotations"] = json!({SELECTED_NODE: selected});
    }
    own
}

/// Claims of a pod, all claims, all volumes, and what comes of them.
type Case<'a> = (&'a [&'a str], &'a [&'a Value], &'a [&'a Value], &'a str);

#[test]
fn claims_get_the_smallest_volumes_that_suit_or_have_some_made() {
    let (small, large) = (claim("c1", "wait", "1Gi"), claim("c2", "wait", "5Gi"));
    let (v1, v2) = (volume("v1", "a", "1Gi"), volume("v2", "a", "5Gi"));
    let far = volume("far", "b", "1Gi");
    let now = claim("now", "now", "1Gi");
    let mut prebound = claim("pre", "wait", "1Gi");
    prebound["spec"]["volumeName"] = json!("v1");
    let with = |base: &Value, path: [&str; 2], value: Value| {
        let mut changed = base.clone();
        changed[path[0]][path[1]] = value;
        changed
    };
    let many = with(&v1, ["spec", "accessModes"], json!(["ReadWriteMany", "ReadWriteOnce"]));
    let read = with(&v1, ["spec", "accessModes"], json!(["ReadOnlyMany"]));
    let released = with(&v1, ["status", "phase"], json!("Released"));
    let dying = with(&v1, ["metadata", "deletionTimestamp"], json!("2026-01-01T00:00:00Z"));
    let used = json!({"name": "v", "namespace": "d", "uid": "v"});
    let used = with(&v2, ["spec", "claimRef"], used);
    let gold =
        with(&volume("gold", "a", "1Gi"), ["spec", "volumeAttributesClassName"], json!("gold"));
    let golden = with(&small, ["spec", "volumeAttributesClassName"], json!("gold"));
    let other_class = with(&v1, ["spec", "storageClassName"], json!("other"));
    let block = with(&v1, ["spec", "volumeMode"], json!("Block"));
    let cases: &[Case<'_>] = &[
        (&["v"], &[&bound("v", "v1")], &[&v1], ""),
        (&["v"], &[&bound("v", "v1")], &[], GONE),
        (&["v"], &[&bound("v", "far")], &[&far], ELSEWHERE),
        (&["pre"], &[&prebound], &[&v1], UNBOUND),
        (&["c1"], &[&small], &[&far, &v1, &v2], "c1=v1"),
        (&["c1"], &[&small], &[&far], NO_MATCH),
        (&["c1", "c2"], &[&small, &large], &[&v1, &v2], "c1=v1 c2=v2"),
        (&["c2", "c1"], &[&small, &large], &[&v2, &v1], "c1=v1 c2=v2"),
        (&["c1", "c2"], &[&small, &large], &[&v1], NO_MATCH),
        (&["c1", "v"], &[&small, &bound("v", "v2")], &[&v1, &used], "c1=v1"),
        (&["c1", "v"], &[&small, &bound("v", "v2")], &[&far, &used], NO_MATCH),
        (&["c1", "pre"], &[&small, &prebound], &[&v1, &v2], UNBOUND),
        (&["now"], &[&now], &[&v1], UNBOUND),
        (&["now", "v"], &[&now, &bound("v", "v1")], &[&v1], UNBOUND),
        (&["now", "c1"], &[&now, &small], &[&v1], UNBOUND),
        (&["c1"], &[&small], &[&many], "c1=v1"),
        (&["c1"], &[&small], &[&read], NO_MATCH),
        (&["c1"], &[&small], &[&released], NO_MATCH),
        (&["c1"], &[&small], &[&dying], NO_MATCH),
        (&["c1"], &[&small], &[&gold], NO_MATCH),
        (&["c1"], &[&golden], &[&v1, &gold], "c1=gold"),
        (&["c1"], &[&small], &[&other_class], NO_MATCH),
        (&["c1"], &[&small], &[&block], NO_MATCH),
        (&["p"], &[&made("p", None)], &[], "p+"),
        (&["c1", "p"], &[&small, &made("p", None)], &[&v1], "c1=v1 p+"),
        (&["v", "p"], &[&bound("v", "v1"), &made("p", None)], &[&v1], "p+"),
        (&["v", "p"], &[&bound("v", "v1"), &made("p", Some("a"))], &[&v1], "p+"),
        (&["p"], &[&made("p", Some("b"))], &[], NO_MATCH),
        (&["now", "p"], &[&now, &made("p", None)], &[], UNBOUND),
        (&["e"], &[&claim("e", "elsewhere", "1Gi")], &[], NO_MATCH),
        (&["g"], &[&claim("g", "gone", "1Gi")], &[], UNBOUND),
    ];
    for (own, claims, volumes, expected) in cases {
        let owned = |all: &[&Value]| all.iter().map(|one| (*one).clone()).collect::<Vec<_>>();
        let objects = cluster(&owned(claims), &owned(volumes), &classes());
        assert_eq!(on_a(objects, own), *expected, "{own:?} of {claims:?} and {volumes:?}");
    }
    let both = format!("{ELSEWHERE}, {NO_MATCH}");
    let objects = cluster(&[small, bound("v", "far")], &[far], &classes());
    assert_eq!(on_a(objects, &["c1", "v"]), both);
}

#[test]
fn volumes_are_made_where_the_driver_has_room_if_it_tells() {
    let here = || json!({"matchLabels": {"host": "a"}});
    let there = || json!({"matchLabels": {"host": "b"}});
    let room = |class: &str, capacity: Value, largest: Value, nodes: Value| {
        json!({"metadata": {"name": "r", "namespace": "d"}, "storageClassName": class,
            "capacity": capacity, "maximumVolumeSize": largest, "nodeTopology": nodes})
    };
    let (none, enough) = (|| Value::Null, || json!("1Gi"));
    for (rooms, expected) in [
        (vec![room("made", enough(), none(), json!({}))], "p+"),
        (vec![room("made", enough(), none(), here())], "p+"),
        (
            vec![room("made", enough(), none(), there()), room("made", enough(), none(), here())],
            "p+",
        ),
        (vec![], NO_ROOM),
        (vec![room("made", enough(), none(), there())], NO_ROOM),
        (vec![room("made", enough(), none(), none())], NO_ROOM),
        (vec![room("wait", enough(), none(), here())], NO_ROOM),
        (vec![room("made", json!("1Mi"), none(), here())], NO_ROOM),
        (vec![room("made", enough(), json!("1Mi"), here())], NO_ROOM),
        (vec![room("made", json!("1Mi"), enough(), here())], "p+"),
        (vec![room("made", json!("0"), none(), here())], NO_ROOM),
        (vec![room("made", none(), json!("0"), here())], NO_ROOM),
        (vec![room("made", none(), none(), here())], NO_ROOM),
    ] {
        let objects = |counts: bool| {
            let mut objects = cluster(&[made("p", None)], &[], &classes());
            objects.csi_drivers =
                all(&[json!({"metadata": {"name": "drv"}, "spec": {"storageCapacity": counts}})]);
            objects.capacities = all(&rooms);
            objects
        };
        assert_eq!(on_a(objects(true), &["p"]), expected, "{rooms:?}");
        assert_eq!(on_a(objects(false), &["p"]), "p+", "nobody counts {rooms:?}");
    }
}

fn binding(volume: &Value, claim: &Value) -> Found {
    Found { bindings: vec![(read(volume), read(claim))], ..Found::default() }
}

#[test]
fn what_has_changed_since_it_was_found_is_not_taken() {
    let (c1, c2) = (claim("c1", "wait", "1Gi"), claim("c2", "wait", "1Gi"));
    let (v1, v2) = (volume("v1", "a", "1Gi"), volume("v2", "a", "1Gi"));
    let p = made("p", None);
    let claims = [c1.clone(), c2.clone(), with_version(p.clone(), "6")];
    let objects = cluster(&claims, &[v1.clone(), with_version(v2.clone(), "6")], &classes());
    let assumed = Assumed::default();
    let is_free = || {
        let now = assumed.volume(&objects, "v1").unwrap();
        now.spec.as_ref().unwrap().claim_ref.is_none()
    };
    let mut found = binding(&v1, &c1);
    found.bindings.extend(binding(&v2, &c2).bindings);
    let why = assumed.assume(Some(&objects), found, "a").unwrap_err();
    assert_eq!(why, "\"v2\" is out of sync (stored: 6, assume: 5)");
    assert!(is_free(), "what was taken before it is given up");
    let found = Found { provisions: vec![read(&p)], ..binding(&v1, &c1) };
    let why = assumed.assume(Some(&objects), found, "a").unwrap_err();
    assert_eq!(why, "\"d/p\" is out of sync (stored: 6, assume: 5)");
    assert!(is_free());
    let gone = binding(&volume("gone", "a", "1Gi"), &c1);
    let why = assumed.assume(Some(&objects), gone, "a").unwrap_err();
    assert_eq!(why, "persistentvolumes \"gone\" not found");
    assert!(assumed.assume(Some(&objects), binding(&v1, &c1), "a").is_ok() && !is_free());
}

#[test]
fn what_the_api_server_was_told_holds_when_the_pod_is_given_up() {
    let (c1, v1) = (claim("c1", "wait", "1Gi"), volume("v1", "a", "1Gi"));
    let objects = cluster(std::slice::from_ref(&c1), std::slice::from_ref(&v1), &classes());
    let taken = |told: bool| {
        let assumed = Assumed::default();
        let found = assumed.assume(Some(&objects), binding(&v1, &c1), "a").unwrap();
        if told {
            let mut written = PersistentVolume::clone(&found.bindings[0].0);
            written.metadata.resource_version = Some("6".to_owned());
            assumed.confirm_volume(Arc::new(written));
        }
        assumed.revert(&found);
        let now = assumed.volume(&objects, "v1").unwrap();
        now.spec.as_ref().unwrap().claim_ref.is_some()
    };
    assert_eq!([taken(false), taken(true)], [false, true]);
}
