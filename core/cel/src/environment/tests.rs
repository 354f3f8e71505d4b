use super::*;
use crate::{Activation, Bound};
use serde_json::json;

fn widget() -> Arc<Shape> {
    let schema = json!({"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer"}, "mode": {"type": "string", "maxLength": 10},
        "names": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 5},
        "wide": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
    }});
    Arc::new(Shape::of_schema(&schema, false).unwrap())
}

fn refused(source: &str) -> String {
    Environment::new().compile(source, &[("self", &widget())]).unwrap_err().to_string()
}

#[test]
fn mistakes_are_told_where_they_are() {
    assert_eq!(
        refused("self.size < 9 || self.mod == 'b'"),
        "ERROR: <input>:1:22: undefined field 'mod'\n | self.size < 9 || self.mod == 'b'\n | .....................^"
    );
    assert_eq!(
        refused("x y"),
        "ERROR: <input>:1:3: Syntax error: extraneous input 'y' expecting <EOF>\n | x y\n | ..^"
    );
    let deep = format!("{}1{}", "(".repeat(300), ")".repeat(300));
    assert_eq!(refused(&deep), "ERROR: <input>:-1:0: expression recursion limit exceeded: 250");
    // Characters count, not bytes.
    let long = |count: usize| format!("'{}' == ''", "ä".repeat(count - 8));
    let read = Environment::new().compile(&long(100_000), &[("self", &widget())]);
    assert!(read.is_ok(), "{:?}", read.err());
    assert_eq!(
        refused(&long(100_001)),
        "ERROR: <input>:-1:0: expression code point size exceeds limit: size: 100001, limit 100000"
    );
}

#[test]
fn costs_grow_with_what_the_schema_allows() {
    let shape = widget();
    let cost = |source| Environment::new().compile(source, &[("self", &shape)]).unwrap().max_cost();
    assert!(cost("self.size < 9") < 10);
    assert!(cost("self.names.all(n, n.contains('a'))") < 200);
    assert!(cost("self.wide.all(a, a.all(b, b.contains('a')))") > crate::EXPRESSION_COST_LIMIT);
}

#[test]
fn old_values_are_seen_and_optional() {
    let (environment, shape) = (Environment::new(), widget());
    let variables = [("self", &shape), ("oldSelf", &shape)];
    let program = environment.compile("self.size >= oldSelf.size", &variables).unwrap();
    assert!(program.uses("oldSelf"));
    assert!(!environment.compile("self.size > 0", &variables).unwrap().uses("oldSelf"));
    let of = Type::of(&shape, "selfType");
    let scope = Scope::new().with("self", of.clone()).with("oldSelf", Type::optional(of));
    let source = "!oldSelf.hasValue() || oldSelf.value().size == 1";
    let program = environment.compile_in(source, &scope, Some(&shape)).unwrap();
    let (new, old) = (json!({"size": 2}), json!({"size": 1}));
    let with = |old: Bound<'_>| {
        let activation = Activation::new().with("self", shape.bind(&new)).with("oldSelf", old);
        program.run(&activation, 1000).result.unwrap().as_bool()
    };
    assert_eq!(with(Bound::none()), Some(true));
    assert_eq!(with(shape.bind(&old).optional()), Some(true));
}

#[test]
fn names_are_bound_where_that_is_allowed() {
    let source = "cel.bind(a, 1, cel.bind(b, a + 1, a + b)) == 3";
    let program = Environment::new().with_binds().compile(source, &[]).unwrap();
    assert_eq!(program.run(&Activation::new(), 1000).result.unwrap().as_bool(), Some(true));
    assert!(refused(source).contains("undeclared reference to 'cel'"));
}

#[test]
fn long_sets_and_keyed_lists_are_compared_without_regard_to_their_order() {
    let schema = json!({"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "properties": {
                "name": {"type": "string"}, "size": {"type": "integer"}}}},
    }});
    let shape = Shape::of_schema(&schema, false).unwrap();
    let numbers: Vec<usize> = (0..30_000).collect();
    let object = |numbers: &mut dyn Iterator<Item = &usize>, last: usize| {
        let numbers: Vec<_> = numbers.collect();
        let set: Vec<_> = numbers.iter().map(|number| format!("i{number}")).collect();
        let size = |number: usize| if number == 29_999 { last } else { number };
        let keyed = numbers.iter().map(|at| json!({"name": format!("i{at}"), "size": size(**at)}));
        json!({"set": set, "keyed": keyed.collect::<Vec<_>>()})
    };
    let (new, old) = (object(&mut numbers.iter().rev(), 1), object(&mut numbers.iter(), 2));
    let of = Type::of(&Arc::new(shape.clone()), "selfType");
    let scope = Scope::new().with("self", of.clone()).with("oldSelf", of);
    let holds = |source: &str| {
        let program = Environment::new().compile_in(source, &scope, None).unwrap();
        let activation =
            Activation::new().with("self", shape.bind(&new)).with("oldSelf", shape.bind(&old));
        program.run(&activation, 1_000_000).result.unwrap().as_bool()
    };
    assert_eq!(holds("self.set == oldSelf.set"), Some(true));
    assert_eq!(holds("self.keyed == oldSelf.keyed"), Some(false));
    assert_eq!(holds("(self.set + oldSelf.set).size() == 30000"), Some(true));
    assert_eq!(holds("(self.keyed + oldSelf.keyed)[0].size == 2"), Some(true));
}

/// A schema with a list of objects that have two lists, of which the first may have so many items and the second so many.
fn two_lists(first: u32, second: u32) -> serde_json::Value {
    let numbers =
        |most: u32| json!({"type": "array", "maxItems": most, "items": {"type": "integer"}});
    let item = json!({"type": "object",
        "properties": {"a": numbers(first), "b": numbers(second)}});
    json!({"type": "array", "maxItems": 3, "items": item})
}

#[test]
fn loops_over_two_fields_of_an_item_cost_what_the_later_one_allows() {
    let costs = |source: &str, schema: serde_json::Value| {
        let shape = Arc::new(Shape::of_schema(&schema, false).unwrap());
        Environment::new().compile(source, &[("self", &shape)]).unwrap().max_cost()
    };
    let object =
        |lists: serde_json::Value| json!({"type": "object", "properties": {"items": lists}});
    let nested = "self.items.all(x, x.a.all(y, x.b.exists(z, z == y)))";
    let cost = |first, second| costs(nested, object(two_lists(first, second)));
    // The place of `x.a` has become that of `x.b` when the rounds are counted.
    assert_eq!(cost(10, 2), cost(2, 2));
    assert_eq!(cost(2, 10), cost(10, 10));
    assert!(cost(2, 2) < cost(2, 10));
    // Above that, and for one list alone, nothing is shared.
    let nested = "self.all(x, x.a.all(y, x.b.exists(z, z == y)))";
    assert!(costs(nested, two_lists(2, 2)) < costs(nested, two_lists(10, 2)));
    let one = "self.items.all(x, x.a.all(y, y > 0) && x.b.all(y, y > 0))";
    let cost = |first, second| costs(one, object(two_lists(first, second)));
    assert!(cost(2, 2) < cost(10, 2) && cost(2, 2) < cost(2, 10));
}

/// The most an expression can cost, by what the schema says of the value.
#[test]
fn what_no_schema_bounds_is_bounded_by_the_request() {
    const REQUEST: u64 = 3 * 1024 * 1024;
    let cost = |source: &str, schema: serde_json::Value| {
        let shape = Arc::new(Shape::of_schema(&schema, false).unwrap());
        Environment::new().compile(source, &[("self", &shape)]).unwrap().max_cost()
    };
    let text = |limits: serde_json::Value| {
        let mut schema = json!({"type": "string"});
        schema.as_object_mut().unwrap().extend(limits.as_object().cloned().unwrap());
        schema
    };
    // One for `self`, and a tenth of each character, twice over for an empty pattern.
    let traversed = |length: u64| 1 + length.div_ceil(10);
    for (schema, length) in [
        (text(json!({})), REQUEST - 2),
        (text(json!({"maxLength": 25})), 100),
        (text(json!({"maxLength": -1})), 0),
        (text(json!({"enum": ["a", "abc"]})), 3),
        (text(json!({"enum": []})), REQUEST - 2),
        (text(json!({"enum": ["a"], "maxLength": 5})), 20),
    ] {
        let shown = schema.to_string();
        assert_eq!(cost("self.trim() != ''", schema), traversed(length), "{shown}");
    }
    // A round for each item: the item itself, and what holds the rounds together.
    let per_item = 4;
    let base = cost(
        "self.all(x, x)",
        json!({"type": "array", "maxItems": 0, "items": {"type": "boolean"}}),
    );
    for (schema, items) in [
        (json!({"type": "array", "maxItems": 7, "items": {"type": "boolean"}}), 7),
        (json!({"type": "array", "items": {"type": "boolean"}}), (REQUEST - 2) / 5),
        (
            json!({"type": "array", "items": {"type": "string", "format": "duration"}}),
            (REQUEST - 2) / 4,
        ),
        (
            json!({"type": "array", "items": {"type": "string", "format": "date"}}),
            (REQUEST - 2) / 13,
        ),
        (
            json!({"type": "array", "items": {"type": "string", "format": "date-time"}}),
            (REQUEST - 2) / 22,
        ),
        (
            json!({"type": "array", "items": {"type": "object", "required": ["ab"],
            "properties": {"ab": {"type": "integer"}}}}),
            (REQUEST - 2) / (2 + 2 + 1 + 4 + 1),
        ),
        (
            json!({"type": "array", "items": {"type": "object", "required": ["ab"],
            "properties": {"ab": {"type": "integer", "default": 1}}}}),
            (REQUEST - 2) / (2 + 1),
        ),
        (
            json!({"type": "object", "maxProperties": 9, "additionalProperties": {"type": "integer"}}),
            9,
        ),
        (json!({"type": "object", "additionalProperties": {"type": "integer"}}), (REQUEST - 2) / 7),
    ] {
        let shown = schema.to_string();
        let cost = cost("self.all(x, true)", schema) - base;
        assert_eq!(cost % items, 0, "{shown}: {cost}");
        assert!(cost / items < per_item, "{shown}: {cost}");
    }
}

#[test]
fn maps_of_unknown_values_are_unknown_and_resources_may_say_what_they_are() {
    let open = json!({"x-kubernetes-preserve-unknown-fields": true});
    let map = json!({"type": "object", "additionalProperties": open});
    assert!(Shape::of_schema(&map, false).is_none() && !Shape::is_known(&map));
    let schema = json!({"type": "object", "properties": {"map": map, "size": {"type": "integer"}}});
    assert!(Shape::is_known(&schema));
    let shape = Arc::new(Shape::of_schema(&schema, false).unwrap());
    let compile = |source: &str| Environment::new().compile(source, &[("self", &shape)]);
    assert!(compile("self.size > 0").is_ok());
    assert!(compile("has(self.map)").unwrap_err().to_string().contains("undefined field 'map'"));
    assert!(!Shape::is_known(&json!({"type": "array", "items": open})));
    assert!(Shape::is_known(&json!({"x-kubernetes-int-or-string": true})));

    let text = |most: u32| json!({"type": "string", "maxLength": most});
    let plain = json!({"type": "string"});
    let names = |names: serde_json::Value| {
        json!({"type": "object", "properties": {
        "kind": plain, "apiVersion": plain, "metadata": {"type": "object", "properties": names}}})
    };
    let cost = |schema: &serde_json::Value| {
        let shape = Arc::new(Shape::of_schema(schema, true).unwrap());
        let source = "self.metadata.name.contains('a')";
        Environment::new().compile(source, &[("self", &shape)]).unwrap().max_cost()
    };
    let whole = names(json!({"name": text(5), "generateName": plain}));
    let part = names(json!({"name": text(5)}));
    assert!(cost(&whole) < 10);
    assert!(cost(&part) > 300_000);
}

/// What two optional values cost to compare is what is in them.
#[test]
fn optional_values_are_compared_for_what_is_in_them() {
    let shape = widget();
    let source = "optional.of(self.mode) == optional.of(self.mode)";
    let program = Environment::new().compile(source, &[("self", &shape)]).unwrap();
    let cost = |length: usize| {
        let value = json!({"mode": "a".repeat(length)});
        let ran = program.run(&Activation::new().with("self", shape.bind(&value)), 1000);
        assert_eq!(ran.result.unwrap().as_bool(), Some(true));
        ran.cost
    };
    assert_eq!(cost(100) - cost(10), 9);
    assert_eq!(cost(10), cost(1));
}
