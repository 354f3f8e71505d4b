//! Requests with a choice.

use super::*;

fn of_kind(name: &str, kind: &str) -> Value {
    device(name, json!({"attributes": {"kind": {"string": kind}}}))
}

fn kind(kind: &str) -> Value {
    selecting(&format!("device.attributes['{DRIVER}'].kind == '{kind}'"))
}

fn so_many(mut wish: Value, count: usize) -> Value {
    wish["count"] = json!(count);
    wish
}

fn all_of(mut wish: Value) -> Value {
    wish["allocationMode"] = json!("All");
    wish["count"] = Value::Null;
    wish
}

#[test]
fn configurations_are_those_of_what_was_chosen() {
    let world = world(&[slice("s", "p", 1, &plain("d1 d2"))]);
    let two = json!({"deviceClassName": "class-c", "count": 2});
    let best = choice("r", &[("one", json!({"deviceClassName": "class-b"})), ("two", two)]);
    let mut own = claim("c", &[best], &[]);
    let config = |of: &str| json!({"requests": [of], "opaque": {"driver": DRIVER, "parameters": {"of": of}}});
    own["spec"]["devices"]["config"] = json!([config("r/one"), config("r/two"), config("r")]);
    let result = world.results(&[own]).unwrap().unwrap();
    let config = result[0].devices.as_ref().unwrap().config.as_ref().unwrap();
    let told: Vec<_> = config
        .iter()
        .map(|own| format!("{} {}", own.source, own.requests.clone().unwrap_or_default().join(" ")))
        .collect();
    assert_eq!(told, ["FromClass r/two", "FromClaim r/two", "FromClaim r"]);
}

#[test]
fn a_choice_takes_what_others_leave() {
    let of =
        |name: &str, memory: &str| device(name, json!({"capacity": {"memory": {"value": memory}}}));
    let three = [of("d1", "2Gi"), of("d2", "2Gi"), of("d3", "1Gi")];
    let own = world(&[slice("s", "p", 1, &three)]);
    let first = request("r", at_least("1Gi"));
    let second = [("one", at_least("4Gi")), ("two", so_many(at_least("2Gi"), 2))];
    let requests = [first, choice("s", &second)];
    assert_eq!(own.gives_one(&requests), "r=p/d3 s/two=p/d1 s/two=p/d2");
    let parts = [of_kind("d1", "x"), of_kind("d2", "y"), of_kind("d3", "y")];
    let own = world(&[slice("s", "p", 1, &parts)]);
    let first = choice("r", &[("y", so_many(kind("y"), 3)), ("any", count(2))]);
    let second = choice("s", &[("any", count(2)), ("x", kind("x"))]);
    assert_eq!(own.gives_one(&[first, second]), "r/any=p/d2 r/any=p/d3 s/x=p/d1");
}

#[test]
fn constraints_name_a_choice_or_one_of_it() {
    let of = |name: &str, memory: &str, version: &str| {
        let capacity = json!({"memory": {"value": memory}});
        device(name, json!({"capacity": capacity, "attributes": {"v": {"version": version}}}))
    };
    let (d1, d2) = (of("d1", "8Gi", "1.0.0"), of("d2", "2Gi", "2.0.0"));
    let requests = [
        request("r", at_least("8Gi")),
        choice("s", &[("large", at_least("2Gi")), ("small", at_least("1Gi"))]),
    ];
    let gives = |devices: &[Value], named: &str| {
        let same = json!({"matchAttribute": format!("{DRIVER}/v"), "requests": ["r", named]});
        world(&[slice("s", "p", 1, devices)]).gives(&[claim("c", &requests, &[same])])
    };
    let three = [d1.clone(), d2.clone(), of("d3", "1Gi", "1.0.0")];
    assert_eq!(gives(&three, "s"), "r=p/d1 s/small=p/d3");
    assert_eq!(gives(&[d1.clone(), d2.clone()], "s/large"), "r=p/d1 s/small=p/d2");
    assert_eq!(gives(&[d1, d2], "s"), "too few");
}

#[test]
fn all_devices_are_one_alternative_when_there_are_any() {
    let slices = [
        slice("s", "p", 1, &[of_kind("d1", "v5")]),
        slice("t", "q", 1, &[of_kind("d2", "v5")]),
        with(slice("u", "o", 1, &[of_kind("d3", "v6")]), "/spec/nodeName", json!("n2")),
    ];
    let best = choice("r", &[("new", all_of(kind("v6"))), ("old", all_of(kind("v5")))]);
    assert_eq!(world(&slices).gives_one(&[best]), "r/old=p/d1 r/old=q/d2");
    let two = world(&[slice("s", "p", 1, &plain("d1 d2"))]);
    let best = choice("s", &[("all", all()), ("one", json!({}))]);
    assert_eq!(two.gives_one(&[request("r", json!({})), best.clone()]), "r=p/d1 s/one=p/d2");
    assert_eq!(two.gives_one(std::slice::from_ref(&best)), "s/all=p/d1 s/all=p/d2");
    assert_eq!(world(&[]).gives_one(&[best]), "too few");
}

#[test]
fn a_claim_has_as_many_devices_as_it_may_by_what_is_chosen() {
    let many = |count: usize| -> Vec<Value> {
        (0..count).map(|number| device(&format!("d{number:02}"), json!({}))).collect()
    };
    let sixty = world(&[slice("s", "p", 1, &many(64))]);
    let half = |name: &str| choice(name, &[("whole", count(32)), ("half", count(16))]);
    let given = sixty.gives_one(&[half("r"), half("s")]);
    assert_eq!((given.matches("r/half=").count(), given.matches("s/half=").count()), (16, 16));
    assert!(given.starts_with("r/half=p/d00 ") && given.ends_with(" s/half=p/d31"), "{given}");
    let other = with(slice("t", "q", 1, &plain("e1 e2")), "/spec/driver", json!("driver-b"));
    let both = world(&[slice("s", "p", 1, &many(31)), other]);
    let best = choice("r", &[("all", all()), ("two", count(2))]);
    let also = request("s", json!({"deviceClassName": "class-b", "count": 2}));
    assert_eq!(both.gives_one(&[best, also]), "r/two=p/d00 r/two=p/d01 s=q/e1 s=q/e2");
}
