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
