//! Where devices come from: drivers, nodes, pools and their slices.

use super::*;

/// A device of the other driver, in its pool `p`.
fn other(names: &str) -> Value {
    with(slice("other", "p", 1, &plain(names)), "/spec/driver", json!("driver-b"))
}

fn of_generation(slice: Value, generation: i64) -> Value {
    with(slice, "/spec/pool/generation", json!(generation))
}

fn on_n2(slice: Value) -> Value {
    with(slice, "/spec/nodeName", json!("n2"))
}

fn node_selector(world: &World, requests: &[Value]) -> Value {
    let results = world.results(&[claim("c", requests, &[])]).unwrap().unwrap();
    serde_json::to_value(&results[0].node_selector).unwrap()
}

#[test]
fn claims_for_devices_of_several_drivers_get_each_theirs() {
    let both = world(&[slice("s", "p", 1, &plain("d1 d2")), other("e1")]);
    let every = claim("a", &[request("r", all())], &[]);
    let of_other = claim("b", &[request("r", json!({"deviceClassName": "class-b"}))], &[]);
    assert_eq!(both.gives(&[every.clone(), of_other.clone()]), "r=p/d1 r=p/d2; r=p/e1");
    assert_eq!(both.gives(&[of_other, every.clone()]), "r=p/e1; r=p/d1 r=p/d2");
    let one = claim("b", &[request("r", json!({}))], &[]);
    let single = world(&[slice("s", "p", 1, &plain("d1"))]);
    assert_eq!(single.gives(&[one.clone(), every.clone()]), "too few");
    assert_eq!(single.gives(&[every, one]), "too few");
    let empty = world(&[slice("s", "p", 1, &[]), other("e1")]);
    assert_eq!(empty.gives_one(&[request("r", all())]), "too few");
}

#[test]
fn an_invalid_pool_matters_when_no_other_has_devices() {
    let of = |name: &str| slice(name, "p", 2, &plain("d1"));
    let slices = [of("s1"), of("s2"), slice("t", "q", 1, &plain("e"))];
    let one = [request("r", json!({}))];
    assert_eq!(world(&slices).gives_one(&one), "r=q/e");
    let pool = "/status/allocation/devices/results/0/pool";
    let used = world(&slices).taken(&[with(given("x", "e"), pool, json!("q"))]);
    assert_eq!(used.gives_one(&one), "error: invalid resource pools were encountered");
}

#[test]
fn pools_and_slices_are_taken_by_name_and_those_to_be_made_ready_last() {
    let two = [request("r", count(2))];
    let pool = |name: &str| slice(name, name, 1, &plain("d"));
    assert_eq!(world(&[pool("c"), pool("b"), pool("a")]).gives_one(&two), "r=a/d r=b/d");
    let slow = || [device("slow", json!({"bindingConditions": ["ready"]}))];
    let pools = [slice("s", "a", 1, &slow()), pool("c"), pool("b")];
    assert_eq!(world(&pools).gives_one(&two), "r=b/d r=c/d");
    let of = |name: &str, devices: &[Value]| slice(name, "p", 3, devices);
    let slices = [of("3", &plain("d3")), of("2", &plain("d2")), of("1", &plain("d1"))];
    assert_eq!(world(&slices).gives_one(&two), "r=p/d1 r=p/d2");
    // Within a pool names alone count.
    let slices = [of("1", &slow()), of("3", &plain("d3")), of("2", &plain("d2"))];
    assert_eq!(world(&slices).gives_one(&two), "r=p/slow r=p/d2");
}

#[test]
fn pools_of_several_nodes_count_as_the_node_sees_them() {
    let one = [request("r", json!({}))];
    let of = |name: &str, devices: &str| slice(name, "p", 2, &plain(devices));
    let spread = world(&[of("s1", "d1"), on_n2(of("s2", "d2"))]);
    assert_eq!(spread.gives_one(&[request("r", all())]), "r=p/d1");
    // All of the older generation is there, and nothing here tells of the newer one.
    let newer = |name: &str, devices: &str| of_generation(of(name, devices), 2);
    let away = [of("s1", "d1"), of("s2", "d2"), on_n2(newer("t1", "d1")), on_n2(newer("t2", "d2"))];
    assert_eq!(world(&away).gives_one(&one), "r=p/d1");
    assert_eq!(world(&away[..3]).gives_one(&one), "r=p/d1");
    let here = [on_n2(of("s1", "d1")), on_n2(of("s2", "d2")), newer("t1", "d1"), newer("t2", "d2")];
    assert_eq!(world(&here).gives_one(&one), "r=p/d1");
    assert_eq!(world(&here[..3]).gives_one(&one), "too few");
    let stale = world(&[of("s1", "d1"), on_n2(newer("t1", "d2"))]);
    assert_eq!(stale.gives_one(&one), "too few");
}

#[test]
fn claims_can_be_used_where_all_their_devices_are() {
    let region = json!({"key": "region", "operator": "In", "values": ["west"]});
    let name = json!({"key": "metadata.name", "operator": "In", "values": ["n1"]});
    let near = |pool: &str, term: &Value| {
        let selector = json!({"nodeSelectorTerms": [term]});
        elsewhere(slice(pool, pool, 1, &plain("d")), "nodeSelector", selector)
    };
    let by_region = json!({"matchExpressions": [region]});
    let wide = [
        near("a", &by_region),
        elsewhere(slice("b", "b", 1, &plain("d")), "allNodes", json!(true)),
        near("c", &json!({"matchFields": [name]})),
        near("d", &by_region),
    ];
    let four = [request("r", count(4))];
    assert_eq!(world(&wide).gives_one(&four), "r=a/d r=b/d r=c/d r=d/d");
    let term = json!({"matchExpressions": [region], "matchFields": [name]});
    assert_eq!(node_selector(&world(&wide), &four), json!({"nodeSelectorTerms": [term]}));
    let local = [wide[0].clone(), slice("e", "e", 1, &plain("d"))];
    let here = json!({"nodeSelectorTerms": [{"matchFields": [name]}]});
    assert_eq!(node_selector(&world(&local), &[request("r", count(2))]), here);
    let bound = [device("d", json!({"bindsToNode": true}))];
    let bound = elsewhere(slice("f", "f", 1, &bound), "allNodes", json!(true));
    assert_eq!(node_selector(&world(&[bound]), &[request("r", json!({}))]), here);
}

#[test]
fn devices_say_themselves_where_they_are() {
    let region = json!({"key": "region", "operator": "In", "values": ["west"]});
    let selector = json!({"nodeSelectorTerms": [{"matchExpressions": [region]}]});
    let devices = [
        device("near", json!({"nodeSelector": selector})),
        device("here", json!({"nodeName": "n1"})),
        device("any", json!({"allNodes": true})),
        device("nowhere", json!({})),
    ];
    let each = elsewhere(slice("s", "p", 1, &devices), "perDeviceNodeSelection", json!(true));
    let own = world(&[each]);
    assert_eq!(own.gives_one(&[request("r", count(3))]), "r=p/near r=p/here r=p/any");
    assert_eq!(own.gives_one(&[request("r", count(4))]), "too few");
    assert_eq!(node_selector(&own, &[request("r", json!({}))]), selector);
    let name = json!({"key": "metadata.name", "operator": "In", "values": ["n1"]});
    let here = json!({"nodeSelectorTerms": [{"matchFields": [name]}]});
    assert_eq!(node_selector(&own, &[request("r", count(2))]), here);
}

#[test]
fn a_request_gives_up_what_a_later_one_needs() {
    let of =
        |name: &str, kind: &str| device(name, json!({"attributes": {"kind": {"string": kind}}}));
    let one = [of("d1", "x"), of("d2", "y"), of("d3", "y")];
    let special = request("s", selecting(&format!("device.attributes['{DRIVER}'].kind == 'x'")));
    let requests = [request("r", count(2)), special];
    let expected = "r=p/d2 r=p/d3 s=p/d1";
    assert_eq!(world(&[slice("s", "p", 1, &one)]).gives_one(&requests), expected);
    let parted = [slice("s1", "p", 2, &one[..1]), slice("s2", "p", 2, &one[1..])];
    assert_eq!(world(&parted).gives_one(&requests), expected);
    let five = [request("r", count(5))];
    assert_eq!(world(&[slice("s", "p", 1, &plain("a b c d"))]).gives_one(&five), "too few");
}

#[test]
fn administrators_see_what_others_use_but_nothing_twice_in_one_claim() {
    let two = world(&[slice("s", "p", 1, &plain("d1 d2"))]);
    let admin = |name: &str, mut own: Value| {
        own["adminAccess"] = json!(true);
        request(name, own)
    };
    let of = |name: &str, own: Value| claim(name, &[own], &[]);
    let (a, b) = (of("a", admin("r", json!({}))), of("b", admin("r", json!({}))));
    assert_eq!(two.gives(&[a.clone(), b]), "r=p/d1; r=p/d1");
    assert_eq!(two.gives(&[of("b", request("r", json!({}))), a]), "r=p/d1; r=p/d1");
    assert_eq!(two.gives_one(&[admin("r", json!({})), admin("s", all())]), "too few");
    // It does not make taints matter less.
    let taint = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
    let tainted = world(&[slice("s", "p", 1, &[device("d1", taint)])]);
    assert_eq!(tainted.gives_one(&[admin("r", json!({}))]), "too few");
    assert_eq!(tainted.gives_one(&[request("r", all())]), "too few");
    assert_eq!(tainted.without("DRADeviceTaints").gives_one(&[admin("r", all())]), "r=p/d1");
}

#[test]
fn a_device_is_taken_when_each_of_its_taints_is_tolerated() {
    let taints = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"},
        {"key": "k", "value": "w", "effect": "NoExecute"}]});
    let both = world(&[slice("s", "p", 1, &[device("d1", taints)])]);
    let schedule = json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"});
    let execute = json!({"key": "k", "operator": "Equal", "value": "w", "effect": "NoExecute"});
    let gives = |tolerations: &[&Value]| {
        both.gives_one(&[request("r", json!({"tolerations": tolerations}))])
    };
    assert_eq!(gives(&[]), "too few");
    assert_eq!(gives(&[&execute]), "too few");
    assert_eq!(gives(&[&schedule, &execute]), "r=p/d1");
    let tolerant = claim("c", &[request("r", json!({"tolerations": [schedule, execute]}))], &[]);
    let results = both.results(&[tolerant]).unwrap().unwrap();
    let given = &results[0].devices.as_ref().unwrap().results.as_ref().unwrap()[0];
    assert_eq!(given.tolerations.as_ref().unwrap().len(), 2, "the claim keeps what it tolerates");
    let choice = choice(
        "r",
        &[("plain", json!({})), ("tolerant", json!({"tolerations": [schedule, execute]}))],
    );
    assert_eq!(both.gives_one(&[choice]), "r/tolerant=p/d1");
}
