//! Scenarios of the original's allocator, by what each claim gets: `request=pool/device`, in order.

use super::*;
use crate::plugins::dynamic_resources::devices::Ledger;
use serde_json::{Value, json};

mod alternatives;
mod gates;
mod lists;
mod parts;
mod places;
mod shares;

const DRIVER: &str = "driver-a";

fn read<K: serde::de::DeserializeOwned>(values: &[Value]) -> Vec<Arc<K>> {
    values.iter().map(|own| Arc::new(serde_json::from_value(own.clone()).unwrap())).collect()
}

/// A device with attributes and the rest as JSON.
fn device(name: &str, more: Value) -> Value {
    let mut device = more;
    device["name"] = json!(name);
    device
}

fn plain(names: &str) -> Vec<Value> {
    names.split_whitespace().map(|name| device(name, json!({}))).collect()
}

/// A slice of a pool with so many slices, on node `n1`.
fn slice(name: &str, pool: &str, count: i64, devices: &[Value]) -> Value {
    json!({"metadata": {"name": name}, "spec": {"driver": DRIVER, "nodeName": "n1",
        "pool": {"name": pool, "generation": 1, "resourceSliceCount": count}, "devices": devices}})
}

fn with(mut value: Value, pointer: &str, change: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap()[key] = change;
    value
}

/// A slice that is there for others than one node.
fn elsewhere(slice: Value, place: &str, value: Value) -> Value {
    let mut slice = with(slice, &format!("/spec/{place}"), value);
    slice["spec"].as_object_mut().unwrap().remove("nodeName");
    slice
}

fn counters(name: &str, pool: &str, count: i64, memory: &str) -> Value {
    let set = json!([{"name": "set", "counters": {"memory": {"value": memory}}}]);
    with(slice(name, pool, count, &[]), "/spec/sharedCounters", set)
}

fn consuming(memory: &str) -> Value {
    json!({"consumesCounters": [{"counterSet": "set", "counters": {"memory": {"value": memory}}}]})
}

fn request(name: &str, more: Value) -> Value {
    let mut exactly =
        json!({"deviceClassName": "class-a", "allocationMode": "ExactCount", "count": 1});
    for (key, value) in more.as_object().unwrap() {
        exactly[key] = value.clone();
    }
    json!({"name": name, "exactly": exactly})
}

fn count(count: i64) -> Value {
    json!({"count": count})
}

fn all() -> Value {
    json!({"allocationMode": "All", "count": null})
}

fn selecting(expression: &str) -> Value {
    json!({"selectors": [{"cel": {"expression": expression}}]})
}

fn at_least(memory: &str) -> Value {
    selecting(&format!("device.capacity['{DRIVER}'].memory.compareTo(quantity('{memory}')) >= 0"))
}

fn choice(name: &str, alternatives: &[(&str, Value)]) -> Value {
    let each = alternatives.iter().map(|(own, more)| {
        let mut sub = request(own, more.clone())["exactly"].clone();
        sub["name"] = json!(own);
        sub
    });
    json!({"name": name, "firstAvailable": each.collect::<Vec<_>>()})
}

fn claim(name: &str, requests: &[Value], constraints: &[Value]) -> Value {
    json!({"metadata": {"name": name, "namespace": "d", "uid": name},
        "spec": {"devices": {"requests": requests, "constraints": constraints}}})
}

fn given(name: &str, device: &str) -> Value {
    json!({"metadata": {"name": name, "uid": name}, "spec": {}, "status": {"allocation": {"devices":
        {"results": [{"request": "r", "driver": DRIVER, "pool": "p", "device": device}]}}}})
}

fn sharing(name: &str, device: &str, memory: &str) -> Value {
    let mut claim = given(name, device);
    let result = &mut claim["status"]["allocation"]["devices"]["results"][0];
    result["shareID"] = json!(name);
    result["consumedCapacity"] = json!({"memory": memory});
    claim
}

struct World {
    slices: Vec<Value>,
    taken: Vec<Value>,
    gates: Gates,
}

fn world(slices: &[Value]) -> World {
    World { slices: slices.to_vec(), taken: Vec::new(), gates: Gates::default() }
}

impl World {
    fn taken(mut self, claims: &[Value]) -> Self {
        self.taken = claims.to_vec();
        self
    }

    fn results(&self, claims: &[Value]) -> Result<Option<Vec<AllocationResult>>, Trouble> {
        let of_driver = json!([{"cel": {"expression": format!("device.driver == '{DRIVER}'")}}]);
        let config = json!([{"opaque": {"driver": DRIVER, "parameters": {"of": "class"}}}]);
        let of_other = json!([{"cel": {"expression": "device.driver == 'driver-b'"}}]);
        let classes = read(&[
            json!({"metadata": {"name": "class-a"}, "spec": {"selectors": of_driver}}),
            json!({"metadata": {"name": "class-b"}, "spec": {"selectors": of_other}}),
            json!({"metadata": {"name": "class-c"}, "spec": {"selectors": of_driver, "config": config}}),
        ]);
        let mut ledger = Ledger::default();
        for (index, claim) in read(&self.taken).into_iter().enumerate() {
            ledger.set(&index.to_string(), Some(claim));
        }
        let allocated = ledger.total();
        let shelf = Arc::new(Shelf::new(read(&self.slices)));
        let (limit, gates) = (None, self.gates);
        let selectors = Arc::new(Selectors::new(gates.lists));
        let allocator =
            Allocator::new(allocated, Arc::new(classes), shelf, selectors, gates, limit);
        let node = json!({"metadata": {"name": "n1", "labels": {"region": "west"}}});
        let node: Node = serde_json::from_value(node).unwrap();
        allocator.allocate(&node, &read(claims))
    }

    fn gives(&self, claims: &[Value]) -> String {
        match self.results(claims) {
            Ok(None) => "too few".to_owned(),
            Err(Trouble::Node(why) | Trouble::Wrong(why)) => format!("error: {why}"),
            Err(Trouble::Timeout) => "timeout".to_owned(),
            Ok(Some(results)) => {
                let each = results.iter().map(|result| {
                    let devices =
                        result.devices.iter().flat_map(|own| own.results.iter().flatten());
                    let one =
                        |own: &k8s_openapi::api::resource::v1::DeviceRequestAllocationResult| {
                            format!("{}={}/{}", own.request, own.pool, own.device)
                        };
                    devices.map(one).collect::<Vec<_>>().join(" ")
                });
                each.collect::<Vec<_>>().join("; ")
            }
        }
    }

    fn gives_one(&self, requests: &[Value]) -> String {
        self.gives(&[claim("c", requests, &[])])
    }
}

#[test]
fn devices_are_taken_in_order_and_only_once() {
    let two = world(&[slice("s", "p", 1, &plain("d1 d2"))]);
    let one = request("r", json!({}));
    assert_eq!(two.gives(&[]), "");
    assert_eq!(two.gives_one(std::slice::from_ref(&one)), "r=p/d1");
    assert_eq!(two.gives_one(&[request("r", count(2))]), "r=p/d1 r=p/d2");
    assert_eq!(two.gives_one(&[request("r", count(3))]), "too few");
    let (first, second) =
        (claim("a", std::slice::from_ref(&one), &[]), claim("b", std::slice::from_ref(&one), &[]));
    assert_eq!(two.gives(&[first, second]), "r=p/d1; r=p/d2");
    let used = world(&two.slices).taken(&[given("x", "d1")]);
    assert_eq!(used.gives_one(std::slice::from_ref(&one)), "r=p/d2");
    let none = world(&[]);
    assert_eq!(none.gives_one(&[one]), "too few");
    let many: Vec<_> = (0..40).map(|number| device(&format!("d{number:02}"), json!({}))).collect();
    let many = world(&[slice("s", "p", 1, &many)]);
    assert_eq!(many.gives_one(&[request("r", count(32))]).split(' ').count(), 32);
    assert_eq!(
        many.gives_one(&[request("r", count(33))]),
        "error: claim d/c: number of requested devices 33 exceeds the claim limit of 32"
    );
}

#[test]
fn what_was_chosen_is_undone_when_the_rest_does_not_fit() {
    let (large, small) = (
        device("large", json!({"capacity": {"memory": {"value": "2Gi"}}})),
        device("small", json!({"capacity": {"memory": {"value": "1Gi"}}})),
    );
    let world = world(&[slice("s", "p", 1, &[large, small])]);
    let (r0, r1) = (request("r0", at_least("1Gi")), request("r1", at_least("2Gi")));
    assert_eq!(world.gives_one(&[r0.clone(), r1.clone()]), "r0=p/small r1=p/large");
    let claims = [claim("a", &[r0], &[]), claim("b", &[r1], &[])];
    assert_eq!(world.gives(&claims), "r0=p/small; r1=p/large");
}

#[test]
fn pools_count_when_they_are_whole_and_current() {
    let one = [request("r", json!({}))];
    let half = world(&[slice("s1", "p", 2, &plain("d1"))]);
    assert_eq!(half.gives_one(&one), "too few");
    let whole = world(&[slice("s2", "p", 2, &plain("d2")), slice("s1", "p", 2, &plain("d1"))]);
    assert_eq!(whole.gives_one(&[request("r", count(2))]), "r=p/d1 r=p/d2");
    let newer = with(slice("s1", "p", 1, &plain("d2")), "/spec/pool/generation", json!(2));
    let replaced = world(&[slice("s0", "p", 1, &plain("d1")), newer.clone()]);
    assert_eq!(replaced.gives_one(&one), "r=p/d2");
    // The newer one has nothing for this node.
    let moved = with(newer, "/spec/nodeName", json!("n2"));
    let replacing = world(&[slice("s0", "p", 2, &plain("d1")), moved]);
    assert_eq!(replacing.gives_one(&one), "too few");
    let spread = world(&[
        slice("s0", "p", 2, &plain("d1")),
        with(slice("s1", "p", 2, &plain("d2")), "/spec/nodeName", json!("n2")),
    ]);
    assert_eq!(spread.gives_one(&one), "r=p/d1");
    let twice = world(&[slice("s", "p", 1, &plain("d1 d1")), slice("t", "q", 1, &plain("e"))]);
    assert_eq!(twice.gives_one(&one), "r=q/e");
    let invalid = world(&[slice("s", "p", 1, &plain("d1 d1"))]);
    assert_eq!(invalid.gives_one(&one), "error: invalid resource pools were encountered");
    let every = [request("r", all())];
    assert_eq!(
        half.gives_one(&every),
        "error: claim d/c, request r: asks for all devices, but resource pool driver-a/p is currently being updated"
    );
    assert_eq!(
        invalid.gives_one(&every),
        "error: claim d/c, request r: asks for all devices, but resource pool driver-a/p is currently invalid"
    );
}

#[test]
fn all_devices_are_all_or_none() {
    let two = world(&[slice("s", "p", 1, &plain("d1 d2"))]);
    let every = [request("r", all())];
    assert_eq!(two.gives_one(&every), "r=p/d1 r=p/d2");
    let used = world(&two.slices).taken(&[given("x", "d1")]);
    assert_eq!(used.gives_one(&every), "too few");
    // Administrators look at what others use, too, but at each device once.
    let admin = |mut own: Value| {
        own["adminAccess"] = json!(true);
        request("r", own)
    };
    assert_eq!(used.gives_one(&[admin(all())]), "r=p/d1 r=p/d2");
    assert_eq!(used.gives_one(&[admin(count(2))]), "r=p/d1 r=p/d2");
    let also = request("s", json!({}));
    assert_eq!(two.gives_one(&[every[0].clone(), also.clone()]), "too few");
    assert_eq!(world(&[]).gives_one(&every), "too few");
    let choice = choice("r", &[("one", all()), ("two", count(1))]);
    assert_eq!(used.gives_one(&[choice]), "r/two=p/d2");
}

#[test]
fn nodes_have_what_is_theirs_near_them_or_everywhere() {
    let one = [request("r", json!({}))];
    let own = || slice("s", "p", 1, &plain("d1"));
    let on = |place: &str, value: Value| {
        let results = world(&[elsewhere(own(), place, value)]).results(&[claim("c", &one, &[])]);
        results.unwrap().map(|all| serde_json::to_value(&all[0].node_selector).unwrap())
    };
    let selector = |value: &str| {
        let terms = [json!({"key": "region", "operator": "In", "values": [value]})];
        json!({"nodeSelectorTerms": [{"matchExpressions": terms}]})
    };
    assert_eq!(on("allNodes", json!(true)), Some(Value::Null));
    assert_eq!(on("nodeSelector", selector("west")), Some(selector("west")));
    assert_eq!(on("nodeSelector", selector("east")), None);
    assert_eq!(on("nodeName", json!("n2")), None);
    let results = world(&[own()]).results(&[claim("c", &one, &[])]).unwrap().unwrap();
    let name = json!({"key": "metadata.name", "operator": "In", "values": ["n1"]});
    let here = json!({"nodeSelectorTerms": [{"matchFields": [name]}]});
    assert_eq!(serde_json::to_value(&results[0].node_selector).unwrap(), here);
    let devices = [
        device("there", json!({"nodeName": "n2"})),
        device("here", json!({"nodeName": "n1"})),
        device("any", json!({"allNodes": true})),
    ];
    let each = elsewhere(slice("s", "p", 1, &devices), "perDeviceNodeSelection", json!(true));
    assert_eq!(world(&[each]).gives_one(&[request("r", count(2))]), "r=p/here r=p/any");
}

#[test]
fn constraints_hold_among_devices() {
    let of = |name: &str, version: &str, text: &str| {
        device(
            name,
            json!({"attributes": {"version": {"version": version}, "text": {"string": text}}}),
        )
    };
    let world = world(&[slice(
        "s",
        "p",
        1,
        &[of("d1", "1.0.0", "a"), of("d2", "2.0.0", "b"), of("d3", "3.0.0", "b")],
    )]);
    let requests = [request("r0", json!({})), request("r1", json!({}))];
    let gives = |constraints: &[Value]| world.gives(&[claim("c", &requests, constraints)]);
    let same = |name: &str| json!({"matchAttribute": format!("{DRIVER}/{name}")});
    let differ = |name: &str| json!({"distinctAttribute": format!("{DRIVER}/{name}")});
    assert_eq!(gives(&[same("text")]), "r0=p/d2 r1=p/d3");
    assert_eq!(gives(&[same("version")]), "too few");
    assert_eq!(gives(&[same("none")]), "too few");
    assert_eq!(gives(&[differ("text")]), "r0=p/d1 r1=p/d2");
    let only = json!({"matchAttribute": format!("{DRIVER}/version"), "requests": ["r0"]});
    assert_eq!(gives(&[only.clone(), same("text")]), "r0=p/d2 r1=p/d3");
    assert_eq!(gives(&[only]), "r0=p/d1 r1=p/d2");
    assert_eq!(
        gives(&[json!({})]),
        "error: claim d/c, constraint #0: empty constraint (unsupported constraint type?)"
    );
    let every = claim("c", &[request("r", all())], &[same("text")]);
    assert_eq!(
        world.gives(&[every]),
        "error: claim d/c, request r: cannot add device driver-a/p/d2 because a claim constraint would not be satisfied"
    );
}

#[test]
fn alternatives_are_tried_in_their_order() {
    let of =
        |name: &str, memory: &str| device(name, json!({"capacity": {"memory": {"value": memory}}}));
    let world = world(&[slice("s", "p", 1, &[of("d1", "4Gi"), of("d2", "2Gi")])]);
    let best = choice("r", &[("large", at_least("4Gi")), ("small", at_least("1Gi"))]);
    assert_eq!(world.gives_one(std::slice::from_ref(&best)), "r/large=p/d1");
    let both = [best.clone(), request("s", at_least("4Gi"))];
    assert_eq!(world.gives_one(&both), "r/small=p/d2 s=p/d1");
    let none = choice("r", &[("huge", at_least("9Gi")), ("many", count(3))]);
    assert_eq!(world.gives_one(&[none]), "too few");
    let most = choice("r", &[("most", count(33)), ("one", count(1))]);
    assert_eq!(world.gives_one(&[most]), "r/one=p/d1");
}

#[test]
fn devices_that_are_parts_take_of_common_counters() {
    let parts = [
        device("d1", consuming("4Gi")),
        device("d2", consuming("6Gi")),
        device("d3", consuming("4Gi")),
    ];
    let slices = [slice("s", "p", 2, &parts), counters("t", "p", 2, "8Gi")];
    let own = world(&slices);
    assert_eq!(own.gives_one(&[request("r", count(2))]), "r=p/d1 r=p/d3");
    assert_eq!(own.gives_one(&[request("r", count(3))]), "too few");
    let used = world(&slices).taken(&[given("x", "d2")]);
    assert_eq!(used.gives_one(&[request("r", json!({}))]), "too few");
    let elsewhere = [
        slice("s", "p", 3, &[device("d1", consuming("4Gi"))]),
        with(slice("u", "p", 3, &[device("d2", consuming("6Gi"))]), "/spec/nodeName", json!("n2")),
        counters("t", "p", 3, "8Gi"),
    ];
    let one = [request("r", json!({}))];
    assert_eq!(world(&elsewhere).gives_one(&one), "r=p/d1");
    // What another node's part takes is missing here.
    assert_eq!(world(&elsewhere).taken(&[given("x", "d2")]).gives_one(&one), "too few");
    let unknown = [slice("s", "p", 1, &[device("d1", consuming("4Gi"))])];
    assert_eq!(world(&unknown).gives_one(&one), "error: invalid resource pools were encountered");
}

#[test]
fn tainted_devices_go_to_those_who_tolerate_them() {
    let tainted = |effect: &str| {
        device("d1", json!({"taints": [{"key": "k", "value": "v", "effect": effect}]}))
    };
    let gives = |effect: &str, more: Value| {
        let world = world(&[slice("s", "p", 1, &[tainted(effect), device("d2", json!({}))])]);
        world.gives_one(&[request("r", more)])
    };
    let tolerating = |own: Value| json!({"tolerations": [own]});
    assert_eq!(gives("NoSchedule", json!({})), "r=p/d2");
    assert_eq!(gives("NoExecute", json!({})), "r=p/d2");
    assert_eq!(gives("None", json!({})), "r=p/d1");
    let same = tolerating(json!({"key": "k", "operator": "Equal", "value": "v"}));
    assert_eq!(gives("NoSchedule", same), "r=p/d1");
    let other = tolerating(json!({"key": "k", "operator": "Equal", "value": "w"}));
    assert_eq!(gives("NoSchedule", other), "r=p/d2");
    let any = tolerating(json!({"operator": "Exists", "effect": "NoExecute"}));
    assert_eq!(gives("NoSchedule", any.clone()), "r=p/d2");
    assert_eq!(gives("NoExecute", any), "r=p/d1");
}

#[test]
fn shared_devices_are_given_out_as_long_as_there_is_room() {
    let shared = |name: &str| {
        let capacity = json!({"memory": {"value": "4Gi", "requestPolicy":
            {"default": "1Gi", "validRange": {"min": "1Gi"}}}});
        device(name, json!({"allowMultipleAllocations": true, "capacity": capacity}))
    };
    let slices = [slice("s", "p", 1, &[shared("d1"), shared("d2")])];
    let wants = |name: &str, memory: &str| {
        request(name, json!({"capacity": {"requests": {"memory": memory}}}))
    };
    let own = world(&slices);
    let three = [wants("a", "2Gi"), wants("b", "2Gi"), wants("c", "1Gi")];
    assert_eq!(own.gives_one(&three), "a=p/d1 b=p/d1 c=p/d2");
    let used = world(&slices).taken(&[sharing("x", "d1", "3Gi")]);
    assert_eq!(used.gives_one(&[wants("a", "2Gi")]), "a=p/d2");
    assert_eq!(used.gives_one(&[wants("a", "1Gi")]), "a=p/d1");
    let alone = world(&slices).taken(&[given("x", "d1")]);
    assert_eq!(alone.gives_one(&[wants("a", "1Gi")]), "a=p/d2");
    assert_eq!(own.gives_one(&[wants("a", "5Gi")]), "too few");
    let result = own.results(&[claim("c", &[request("r", json!({}))], &[])]).unwrap().unwrap();
    let given = &result[0].devices.as_ref().unwrap().results.as_ref().unwrap()[0];
    assert!(given.share_id.is_some());
    assert_eq!(given.consumed_capacity.as_ref().unwrap()["memory"].0, "1Gi");
    let ids = |version: &str| -> Vec<String> {
        let both = claim("c", &[wants("a", "1Gi"), wants("b", "1Gi")], &[]);
        let both = with(both, "/metadata/resourceVersion", json!(version));
        let mut result = own.results(&[both]).unwrap().unwrap();
        let given = result.remove(0).devices.unwrap().results.unwrap();
        given.into_iter().filter_map(|one| one.share_id).collect()
    };
    let (first, later) = (ids("1"), ids("2"));
    assert_eq!(first, ids("1"), "what is allocated again, not having been written, is the same");
    let all: std::collections::BTreeSet<_> = first.iter().chain(&later).collect();
    assert_eq!(all.len(), 4, "each share has an id of its own: {all:?}");
}

#[test]
fn devices_that_must_be_made_ready_come_last_and_say_so() {
    let slow = device(
        "slow",
        json!({"bindingConditions": ["ready"], "bindingFailureConditions": ["failed"],
        "bindsToNode": true}),
    );
    let world = world(&[
        elsewhere(slice("s", "a", 1, &[slow]), "allNodes", json!(true)),
        slice("t", "b", 1, &plain("fast")),
    ]);
    assert_eq!(world.gives_one(&[request("r", count(2))]), "r=b/fast r=a/slow");
    let result = world.results(&[claim("c", &[request("r", count(2))], &[])]).unwrap().unwrap();
    let devices = result[0].devices.as_ref().unwrap().results.as_ref().unwrap();
    assert_eq!(devices[1].binding_conditions, Some(vec!["ready".to_owned()]));
    assert!(result[0].node_selector.is_some());
}

#[test]
fn configurations_of_classes_come_before_those_of_the_claim() {
    let world = world(&[slice("s", "p", 1, &plain("d1 d2 d3"))]);
    let of_class = |name: &str| request(name, json!({"deviceClassName": "class-c"}));
    let mut own = claim("c", &[of_class("r0"), of_class("r1"), request("r2", json!({}))], &[]);
    let opaque = json!({"driver": DRIVER, "parameters": {"of": "claim"}});
    own["spec"]["devices"]["config"] =
        json!([{"requests": ["r2"], "opaque": opaque}, {"opaque": opaque}]);
    let result = world.results(&[own]).unwrap().unwrap();
    let config = result[0].devices.as_ref().unwrap().config.as_ref().unwrap();
    let told: Vec<_> = config
        .iter()
        .map(|own| format!("{} {}", own.source, own.requests.clone().unwrap_or_default().join(" ")))
        .collect();
    assert_eq!(told, ["FromClass r0 r1", "FromClaim r2", "FromClaim "]);
}

#[test]
fn what_is_wrong_with_a_claim_is_told() {
    let world = world(&[slice("s", "p", 1, &plain("d1"))]);
    let gives = |more: Value| world.gives_one(&[request("r", more)]);
    assert_eq!(
        gives(json!({"deviceClassName": "none"})),
        "error: claim d/c, request r: could not retrieve device class none: deviceclass.resource.k8s.io \"none\" not found"
    );
    assert_eq!(
        gives(json!({"deviceClassName": ""})),
        "error: claim d/c, request r: missing device class name (unsupported request type?)"
    );
    assert_eq!(
        gives(json!({"allocationMode": "Some"})),
        "error: claim d/c, request r: unsupported count mode Some"
    );
    assert_eq!(
        gives(json!({"selectors": [{}]})),
        "error: claim d/c, request r: selector #0: CEL expression empty (unsupported selector type?)"
    );
    let attribute = format!("device.attributes['{DRIVER}'].none");
    assert_eq!(
        gives(selecting(&attribute)),
        "error: claim d/c: selector #0: CEL runtime error: no such key: none"
    );
    let wrong = gives(selecting("noSuchVar"));
    assert!(
        wrong.starts_with("error: claim d/c: selector #0: CEL compile error: compilation failed: "),
        "{wrong}"
    );
}
