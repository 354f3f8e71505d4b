//! Devices that are parts of others, and so consume common counters.

use super::*;

/// Counters by the name of their set, as `[("set", [("memory", "4Gi")])]`.
type Sets<'a> = &'a [(&'a str, &'a [(&'a str, &'a str)])];

fn amounts(counters: &[(&str, &str)]) -> Value {
    let mut all = json!({});
    for (name, value) in counters {
        all[*name] = json!({"value": value});
    }
    all
}

fn part(name: &str, sets: Sets<'_>) -> Value {
    let each = sets
        .iter()
        .map(|(set, counters)| json!({"counterSet": set, "counters": amounts(counters)}));
    device(name, json!({"consumesCounters": each.collect::<Vec<_>>()}))
}

fn sets(name: &str, pool: &str, count: i64, sets: Sets<'_>) -> Value {
    let each =
        sets.iter().map(|(set, counters)| json!({"name": set, "counters": amounts(counters)}));
    let each = json!(each.collect::<Vec<_>>());
    with(slice(name, pool, count, &[]), "/spec/sharedCounters", each)
}

fn memory(name: &str, memory: &str) -> Value {
    part(name, &[("set", &[("memory", memory)])])
}

fn in_pool(claim: Value, pool: &str) -> Value {
    with(claim, "/status/allocation/devices/results/0/pool", json!(pool))
}

const INVALID: &str = "error: invalid resource pools were encountered";

#[test]
fn parts_fit_when_each_counter_of_each_set_does() {
    let parts = [
        part("d1", &[("a", &[("cpus", "6"), ("mem", "4Gi")]), ("b", &[("cpus", "4")])]),
        part("d2", &[("a", &[("cpus", "4"), ("mem", "6Gi")]), ("b", &[("cpus", "6")])]),
        part("d3", &[("a", &[("cpus", "4"), ("mem", "4Gi")]), ("b", &[("cpus", "4")])]),
    ];
    let known: Sets<'_> =
        &[("a", &[("cpus", "8"), ("mem", "18Gi"), ("unused", "1")]), ("b", &[("cpus", "12")])];
    let own = world(&[slice("s", "p", 2, &parts), sets("t", "p", 2, known)]);
    let two = [request("r", json!({})), request("s", json!({}))];
    assert_eq!(own.gives_one(&two), "r=p/d2 s=p/d3");
    assert_eq!(own.gives_one(&[request("r", count(2))]), "r=p/d2 r=p/d3");
    assert_eq!(own.gives_one(&[request("r", all())]), "too few");
}

#[test]
fn what_pools_have_left_does_not_add_up() {
    let of = |first: &str, others: &str| {
        [
            part("d1", &[("set", &[("cpus", first)])]),
            part("d2", &[("set", &[("cpus", others)])]),
            part("d3", &[("set", &[("cpus", others)])]),
        ]
    };
    let eight: Sets<'_> = &[("set", &[("cpus", "8")])];
    let slices = [
        slice("s", "p", 2, &of("6", "4")),
        sets("t", "p", 2, eight),
        slice("u", "q", 2, &of("6", "1")),
        sets("v", "q", 2, eight),
    ];
    let taken = [given("x", "d2"), given("y", "d3"), in_pool(given("z", "d1"), "q")];
    let own = world(&slices).taken(&taken);
    assert_eq!(own.gives_one(&[request("r", count(2))]), "r=q/d2 r=q/d3");
    // More is in use than there is, but who consumes nothing does not mind.
    let parts = [memory("d1", "4Gi"), memory("d2", "20Gi"), device("d3", json!({}))];
    let over = world(&[slice("s", "p", 2, &parts), counters("t", "p", 2, "18Gi")]);
    let over = over.taken(&[given("x", "d2")]);
    assert_eq!(over.gives_one(&[request("r", json!({}))]), "r=p/d3");
    assert_eq!(over.gives_one(&[request("r", count(2))]), "too few");
}

#[test]
fn counters_are_free_again_for_whatever_is_tried_next() {
    let special = |name: &str, value: bool, cpu: &str| {
        let own = part(name, &[("cpus", &[(cpu, "1")]), ("mem", &[("mem", "10Gi")])]);
        with(own, "/attributes", json!({"special": {"bool": value}}))
    };
    let parts =
        [special("d1", true, "cpu1"), special("d2", false, "cpu2"), special("d3", false, "cpu3")];
    let known: Sets<'_> =
        &[("cpus", &[("cpu1", "1"), ("cpu2", "1"), ("cpu3", "1")]), ("mem", &[("mem", "30Gi")])];
    let own = world(&[slice("s", "p", 2, &parts), sets("t", "p", 2, known)]);
    let needs = request("s", selecting(&format!("device.attributes['{DRIVER}'].special")));
    let requests = [request("r", count(2)), needs];
    assert_eq!(own.gives_one(&requests), "r=p/d2 r=p/d3 s=p/d1");
}

#[test]
fn pools_are_invalid_when_counters_are_not_as_devices_say() {
    let one = [request("r", json!({}))];
    let gives = |slices: &[Value]| world(slices).gives_one(&one);
    let twice = [
        slice("s", "p", 3, &plain("d1")),
        counters("t", "p", 3, "1Gi"),
        counters("u", "p", 3, "1Gi"),
    ];
    assert_eq!(gives(&twice), INVALID);
    let uses = |set: &str, counter: &str| [part("d1", &[(set, &[(counter, "1Gi")])])];
    for (set, counter) in [("other", "memory"), ("set", "other")] {
        let slices = [slice("s", "p", 2, &uses(set, counter)), counters("t", "p", 2, "8Gi")];
        assert_eq!(gives(&slices), INVALID, "{set}/{counter}");
    }
    let apart = [slice("s", "p", 1, &uses("set", "memory")), counters("t", "q", 1, "8Gi")];
    assert_eq!(gives(&apart), INVALID);
    // What other nodes have of the pool must be sound, too.
    let wrong = slice("u", "p", 3, &uses("other", "memory"));
    let slices = [
        slice("s", "p", 3, &uses("set", "memory")),
        counters("t", "p", 3, "8Gi"),
        with(wrong, "/spec/nodeName", json!("n2")),
    ];
    assert_eq!(gives(&slices), INVALID);
}

#[test]
fn parts_of_other_nodes_leave_less() {
    let sized = |name: &str, amount: &str| {
        with(memory(name, amount), "/capacity", json!({"memory": {"value": amount}}))
    };
    let slices = [
        counters("s", "p", 3, "8Gi"),
        slice("t", "p", 3, &[sized("d1", "6Gi"), sized("d2", "2Gi")]),
        with(slice("u", "p", 3, &[memory("d3", "6Gi")]), "/spec/nodeName", json!("n2")),
    ];
    let best = [choice("r", &[("large", at_least("6Gi")), ("small", at_least("2Gi"))])];
    assert_eq!(world(&slices).gives_one(&best), "r/large=p/d1");
    assert_eq!(world(&slices).taken(&[given("x", "d3")]).gives_one(&best), "r/small=p/d2");
}

#[test]
fn parts_can_be_tainted_or_have_to_be_made_ready() {
    let slow = with(memory("d1", "4Gi"), "/bindingConditions", json!(["ready"]));
    let tainted = json!([{"key": "k", "value": "v", "effect": "NoSchedule"}]);
    let both = [with(slow.clone(), "/taints", tainted), memory("d2", "4Gi")];
    let own = world(&[slice("s", "p", 2, &both), counters("t", "p", 2, "8Gi")]);
    assert_eq!(own.gives_one(&[request("r", count(2))]), "too few");
    let exists = json!([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]);
    let tolerant = request("r", json!({"count": 2, "tolerations": exists}));
    assert_eq!(own.gives_one(&[tolerant]), "r=p/d1 r=p/d2");
    // Slices are taken by name, with and without conditions.
    let slices = [
        slice("4", "p", 4, &[slow]),
        counters("3", "p", 4, "8Gi"),
        slice("2", "p", 4, &[part("d2", &[("other", &[("memory", "4Gi")])])]),
        sets("1", "p", 4, &[("other", &[("memory", "8Gi")])]),
    ];
    assert_eq!(world(&slices).gives_one(&[request("r", count(2))]), "r=p/d2 r=p/d1");
}
