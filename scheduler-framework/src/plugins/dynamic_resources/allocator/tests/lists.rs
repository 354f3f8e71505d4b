//! What must hold among devices of which attributes are lists.

use super::*;
use kubeplane_core::features::Features;

/// What a constraint gives of so many of devices with these attributes, named `d1` and so on.
fn gives(constraint: &str, count: usize, attributes: &[Value]) -> String {
    let devices = attributes
        .iter()
        .enumerate()
        .map(|(index, own)| device(&format!("d{}", index + 1), json!({"attributes": {"x": own}})));
    let devices: Vec<_> = devices.collect();
    let mut world = world(&[slice("s", "p", 1, &devices)]);
    let features: Features = "DRAListTypeAttributes=true".parse().unwrap();
    world.gates = Gates::from(&features);
    let mut holds = json!({});
    holds[constraint] = json!(format!("{DRIVER}/x"));
    world.gives(&[claim("c", &[request("r", json!({"count": count}))], &[holds])])
}

fn texts(values: &[&str]) -> Value {
    json!({"strings": values})
}

fn text(value: &str) -> Value {
    json!({"string": value})
}

#[test]
fn devices_match_by_what_all_of_them_have() {
    let both = "r=p/d1 r=p/d2";
    for (attributes, expected) in [
        (vec![text("a"), text("a")], both),
        (vec![texts(&["a", "b", "c"]), texts(&["b", "c", "d"])], both),
        (vec![texts(&["a", "b"]), texts(&["b", "c"]), texts(&["c", "a"])], "too few"),
        (vec![texts(&["a", "b"]), texts(&["c", "d"])], "too few"),
        (vec![text("a"), texts(&["a", "b"])], both),
        (vec![text("a"), texts(&["a", "b"]), texts(&["b", "c"])], "too few"),
        (vec![text("a"), texts(&["b", "c"])], "too few"),
        (vec![json!({"ints": [0, 1, 2]}), json!({"ints": [1, 2, 3]})], both),
        (vec![json!({"bools": [true, false]}), json!({"bools": [true]})], both),
        (vec![json!({"versions": ["1.0.0", "1.1.0"]}), json!({"versions": ["1.1.0"]})], both),
        (vec![json!({"versions": ["1.0.0"]}), json!({"strings": ["1.0.0"]})], "too few"),
    ] {
        let given = gives("matchAttribute", attributes.len(), &attributes);
        assert_eq!(given, expected, "{attributes:?}");
    }
    // What one of them narrowed is wide again without it.
    let back = [texts(&["a", "b"]), texts(&["b", "c"]), texts(&["a"]), texts(&["a", "d"])];
    assert_eq!(gives("matchAttribute", 3, &back), "r=p/d1 r=p/d3 r=p/d4");
}

#[test]
fn devices_differ_when_no_two_have_anything_in_common() {
    let around = "r=p/d1 r=p/d3";
    for (attributes, expected) in [
        (vec![text("a"), text("b")], "r=p/d1 r=p/d2"),
        (vec![text("a"), text("a")], "too few"),
        (vec![texts(&["a", "b"]), texts(&["b", "c"]), texts(&["c", "d"])], around),
        (vec![texts(&["a", "b", "c"]), texts(&["b", "d", "e"])], "too few"),
        (vec![text("a"), texts(&["a", "b"]), texts(&["b", "c"])], around),
        (vec![text("a"), texts(&["a", "b"])], "too few"),
        (vec![json!({"ints": [0, 1]}), json!({"ints": [1, 2]}), json!({"ints": [2]})], around),
        (
            vec![
                json!({"bools": [true]}),
                json!({"bools": [true, false]}),
                json!({"bools": [false]}),
            ],
            around,
        ),
    ] {
        assert_eq!(gives("distinctAttribute", 2, &attributes), expected, "{attributes:?}");
    }
}

#[test]
fn lists_are_no_attributes_without_their_gate() {
    let lists = [device("d1", json!({"attributes": {"x": texts(&["a"])}}))];
    let world = world(&[slice("s", "p", 1, &lists)]);
    assert_eq!(
        world.gives_one(&[request("r", json!({}))]),
        "error: class class-a: selector #0: CEL runtime error: attribute x: unsupported attribute value"
    );
    let unknown = [json!({}), texts(&[])];
    let given = gives("matchAttribute", 2, &unknown);
    assert!(given.ends_with("attribute x: unsupported attribute value"), "{given}");
}
