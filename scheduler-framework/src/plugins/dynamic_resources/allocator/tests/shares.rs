//! Devices that several claims share, and constraints among them.

use super::*;

/// A device that claims share, with so much memory.
fn shared(name: &str, memory: Value) -> Value {
    device(name, json!({"allowMultipleAllocations": true, "capacity": {"memory": memory}}))
}

fn dedicated(name: &str, memory: Value) -> Value {
    device(name, json!({"capacity": {"memory": memory}}))
}

/// Given out as it is asked for.
fn free(amount: &str) -> Value {
    json!({"value": amount})
}

/// Given out in twos, at most four at once.
fn by_twos(amount: &str) -> Value {
    json!({"value": amount, "requestPolicy":
        {"default": "2", "validRange": {"min": "2", "step": "2", "max": "4"}}})
}

/// Given out in one of these amounts.
fn one_of(amount: &str, values: &[&str]) -> Value {
    json!({"value": amount, "requestPolicy": {"default": values[0], "validValues": values}})
}

fn capacity(memory: &str) -> Value {
    json!({"capacity": {"requests": {"memory": memory}}})
}

fn wants(name: &str, memory: &str) -> Value {
    request(name, capacity(memory))
}

fn of(devices: &[Value]) -> World {
    world(&[slice("s", "p", 1, devices)])
}

/// Two claims for the same.
fn twice(request: &Value) -> [Value; 2] {
    ["a", "b"].map(|name| claim(name, std::slice::from_ref(request), &[]))
}

/// What of which device each claim consumes, as `request=device:memory`.
fn consumed(world: &World, claims: &[Value]) -> String {
    let Some(results) = world.results(claims).unwrap() else { return "too few".to_owned() };
    let one = |own: &DeviceRequestAllocationResult| {
        let memory = own.consumed_capacity.as_ref().map_or("-", |all| all["memory"].0.as_str());
        let kept = if own.share_id.is_none() { " alone" } else { "" };
        format!("{}={}:{memory}{kept}", own.request, own.device)
    };
    let each = results.iter().map(|result| {
        let devices = result.devices.iter().flat_map(|own| own.results.iter().flatten());
        devices.map(one).collect::<Vec<_>>().join(" ")
    });
    each.collect::<Vec<_>>().join("; ")
}

fn consumed_by(world: &World, requests: &[Value]) -> String {
    consumed(world, &[claim("c", requests, &[])])
}

#[test]
fn two_claims_get_of_a_device_what_its_policy_gives_them() {
    let (none, one, two) = (request("r", json!({})), wants("r", "1"), wants("r", "2"));
    let bare = device("d1", json!({"allowMultipleAllocations": true}));
    for (devices, request, expected) in [
        (vec![bare], &none, "r=d1:-; r=d1:-"),
        (vec![shared("d1", free("1")), shared("d2", free("1"))], &none, "r=d1:1; r=d2:1"),
        (vec![shared("d1", free("2"))], &none, "too few"),
        (vec![shared("d1", free("2"))], &one, "r=d1:1; r=d1:1"),
        (vec![shared("d1", by_twos("4"))], &none, "r=d1:2; r=d1:2"),
        (vec![shared("d1", by_twos("4"))], &one, "r=d1:2; r=d1:2"),
        (vec![shared("d1", by_twos("2"))], &one, "too few"),
        (vec![shared("d1", one_of("1", &["0"]))], &none, "r=d1:0; r=d1:0"),
        (vec![shared("d1", one_of("1", &["0"]))], &one, "too few"),
        (vec![shared("d1", one_of("4", &["1", "2"]))], &two, "r=d1:2; r=d1:2"),
        (vec![shared("d1", one_of("6", &["1", "3"]))], &two, "r=d1:3; r=d1:3"),
        (vec![dedicated("d1", by_twos("2"))], &one, "too few"),
        (
            vec![dedicated("d1", free("1")), dedicated("d2", free("1"))],
            &one,
            "r=d1:- alone; r=d2:- alone",
        ),
    ] {
        assert_eq!(consumed(&of(&devices), &twice(request)), expected, "{devices:?}: {request}");
    }
    let four = of(&[shared("d1", by_twos("10"))]);
    assert_eq!(consumed_by(&four, &[wants("r", "3")]), "r=d1:4");
    assert_eq!(consumed_by(&four, &[wants("r", "6")]), "too few", "more than four at once");
}

#[test]
fn capacities_that_are_asked_for_have_to_be_there() {
    let other = json!({"allowMultipleAllocations": true, "capacity": {"other": free("1")}});
    let own = of(&[device("d1", other)]);
    assert_eq!(own.gives_one(&[wants("r", "1")]), "too few");
    let mut every = capacity("1");
    every["allocationMode"] = json!("All");
    assert_eq!(own.gives_one(&[request("r", every)]), "too few");
    let alone = selecting("device.allowMultipleAllocations == false");
    let both = of(&[shared("d1", free("1")), dedicated("d2", free("1"))]);
    assert_eq!(consumed_by(&both, &[request("r", alone)]), "r=d2:- alone");
}

#[test]
fn what_others_consume_is_missing() {
    let two = [wants("r", "2")];
    let used = |devices: &[Value]| of(devices).taken(&[sharing("x", "d1", "2")]);
    assert_eq!(consumed_by(&used(&[shared("d1", by_twos("4"))]), &two), "r=d1:2");
    let both = [shared("d1", by_twos("2")), shared("d2", by_twos("2"))];
    assert_eq!(consumed_by(&used(&both), &two), "r=d2:2");
    assert_eq!(used(&both[..1]).gives_one(&two), "too few");
    // It was shared once.
    assert_eq!(used(&[dedicated("d1", by_twos("2"))]).gives_one(&two), "too few");
}

#[test]
fn shares_are_given_back_when_the_rest_does_not_fit() {
    let of_kind = |name: &str, memory: &str, kind: &str| {
        with(shared(name, by_twos(memory)), "/attributes", json!({"kind": {"string": kind}}))
    };
    let own = of(&[of_kind("d2", "2", "a"), of_kind("d1", "4", "b")]);
    let same = json!({"matchAttribute": format!("{DRIVER}/kind")});
    let both = claim("a", &[wants("r", "2"), wants("s", "2")], &[same]);
    let one = claim("b", &[wants("r", "2")], &[]);
    assert_eq!(consumed(&own, &[both, one]), "r=d1:2 s=d1:2; r=d2:2");
    let best = choice("r", &[("four", capacity("4")), ("two", capacity("2"))]);
    assert_eq!(consumed_by(&of(&[shared("d1", by_twos("2"))]), &[best]), "r/two=d1:2");
}

#[test]
fn all_devices_are_those_with_room_beside_what_is_in_use() {
    let every = |name: &str, memory: &str| {
        let mut own = capacity(memory);
        own["allocationMode"] = json!("All");
        request(name, own)
    };
    let bare = device("d2", json!({"allowMultipleAllocations": true}));
    let two = |second: Value| of(&[shared("d1", free("2")), second]);
    assert_eq!(consumed_by(&two(bare), &[every("r", "2")]), "r=d1:2");
    let small = || two(shared("d2", free("1")));
    assert_eq!(consumed_by(&small(), &[every("r", "2")]), "r=d1:2");
    let also = [wants("r", "1"), every("s", "1")];
    assert_eq!(consumed_by(&small(), &also), "r=d1:1 s=d1:1 s=d2:1");
    let used = small().taken(&[sharing("x", "d1", "1")]);
    assert_eq!(consumed_by(&used, &[every("r", "1")]), "r=d1:1 r=d2:1");
    let tight = || of(&[shared("d1", free("1")), shared("d2", free("1"))]);
    assert_eq!(consumed_by(&tight(), &also), "too few");
    let used = tight().taken(&[sharing("x", "d1", "1")]);
    assert_eq!(consumed_by(&used, &[every("r", "1")]), "r=d2:1");
}

#[test]
fn a_shared_part_takes_its_counters_once() {
    let part = |name: &str, amount: &str, kind: &str| {
        let own =
            with(shared(name, free(amount)), "/attributes", json!({"kind": {"string": kind}}));
        with(own, "/consumesCounters", consuming(amount)["consumesCounters"].clone())
    };
    let of = |devices: &[Value], memory: &str| {
        world(&[slice("s", "p", 2, devices), counters("t", "p", 2, memory)])
    };
    let three = [part("d1", "4Gi", "a"), part("d2", "6Gi", "a"), part("d3", "4Gi", "a")];
    let best = choice("s", &[("large", at_least("6Gi")), ("small", at_least("4Gi"))]);
    let given = consumed_by(&of(&three, "8Gi"), &[request("r", json!({})), best]);
    assert_eq!(given, "r=d1:4Gi s/small=d3:4Gi");
    let two = [part("d1", "2Gi", "a"), part("d2", "2Gi", "b")];
    let used = of(&two, "2Gi").taken(&[sharing("x", "d1", "1Gi")]);
    let wanting = |kind: &str| {
        let mut own = selecting(&format!("device.attributes['{DRIVER}'].kind == '{kind}'"));
        own["capacity"] = json!({"requests": {"memory": "1Gi"}});
        [request("r", own)]
    };
    assert_eq!(consumed_by(&used, &wanting("b")), "too few");
    assert_eq!(consumed_by(&used, &wanting("a")), "r=d1:1Gi");
}

#[test]
fn choices_parts_and_shares_go_together() {
    let part = |name: &str, a: &str| {
        let counters = json!([{"counterSet": "x", "counters": {"a": {"value": a}}},
            {"counterSet": "y", "counters": {"b": {"value": "4"}}}]);
        device(
            name,
            json!({"allowMultipleAllocations": true, "consumesCounters": counters,
            "capacity": {"a": free(a), "b": by_twos("4")}}),
        )
    };
    let sets = json!([{"name": "x", "counters": {"a": {"value": "4"}}},
        {"name": "y", "counters": {"b": {"value": "8"}}}]);
    let own = world(&[
        slice("s", "p", 2, &[part("d1", "2"), part("d2", "4"), part("d3", "2")]),
        with(slice("t", "p", 2, &[]), "/spec/sharedCounters", sets),
    ]);
    let wanting = |amount: &str| json!({"capacity": {"requests": {"a": amount}}});
    let with_at_least = |amount: &str| {
        let mut own = selecting(&format!(
            "device.capacity['{DRIVER}'].a.compareTo(quantity('{amount}')) >= 0"
        ));
        own["capacity"] = json!({"requests": {"a": "1"}});
        own
    };
    let requests = [
        request("r", wanting("1")),
        request("s", wanting("2")),
        choice("t", &[("large", with_at_least("4")), ("small", with_at_least("2"))]),
    ];
    // The second part is too large beside the first, of which the last request takes the rest.
    assert_eq!(own.gives_one(&requests), "r=p/d1 s=p/d3 t/small=p/d1");
}

#[test]
fn shared_devices_differ_where_constraints_say_so() {
    let of_all = |name: &str, version: &str, number: i64, flag: bool| {
        let attributes = json!({"version": {"version": version}, "number": {"int": number},
            "flag": {"bool": flag}});
        device(name, json!({"allowMultipleAllocations": true, "attributes": attributes}))
    };
    let four = [
        of_all("d1", "1.0.0", 0, true),
        of_all("d2", "1.0.1", 1, false),
        of_all("d3", "1.0.2", 2, true),
        of_all("d4", "1.0.0", 3, true),
    ];
    let differ = |name: &str, requests: &[&str]| json!({"distinctAttribute": format!("{DRIVER}/{name}"), "requests": requests});
    let constraints = [
        differ("flag", &["r", "s"]),
        differ("version", &["r", "s", "t"]),
        differ("number", &["r", "s", "t", "u"]),
    ];
    let requests = ["r", "s", "t", "u"].map(|name| request(name, json!({})));
    let own = of(&four);
    let given = own.gives(&[claim("c", &requests, &constraints)]);
    assert_eq!(given, "r=p/d1 s=p/d2 t=p/d3 u=p/d4");
    let flagged = || selecting(&format!("device.attributes['{DRIVER}'].flag"));
    let choices =
        ["r", "s", "t"].map(|name| choice(name, &[("flagged", flagged()), ("any", json!({}))]));
    let given = of(&four[..2]).gives(&[claim("c", &choices, &[differ("flag", &["r", "s"])])]);
    assert_eq!(given, "r/flagged=p/d1 s/any=p/d2 t/flagged=p/d1");
    let unset = of(&[shared("d1", free("1"))]);
    let one = [request("r", json!({}))];
    assert_eq!(unset.gives(&[claim("c", &one, &[differ("flag", &["r"])])]), "too few");
    let kind = |name: &str, kind: &str| {
        with(shared(name, by_twos("4")), "/attributes", json!({"kind": {"string": kind}}))
    };
    let two = [wants("r", "2"), wants("s", "2")];
    let gives = |devices: &[Value]| of(devices).gives(&[claim("c", &two, &[differ("kind", &[])])]);
    assert_eq!(gives(&[kind("d1", "a")]), "too few");
    assert_eq!(gives(&[kind("d1", "a"), kind("d2", "b")]), "r=p/d1 s=p/d2");
}
