use super::*;
use crate::Shape;
use serde_json::json;

fn widget() -> Shape {
    let schema = json!({"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer"}, "mode": {"type": "string", "maxLength": 10},
        "port": {"x-kubernetes-int-or-string": true}, "share": {"type": "number"},
        "names": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 5},
        "wide": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "x-y": {"type": "integer"}, "until": {"type": "string", "format": "date-time"},
        "wait": {"type": "string", "format": "duration"}, "raw": {"type": "string", "format": "byte"},
    }});
    Shape::of_schema(&schema, false).unwrap()
}

fn evaluate(source: &str, value: serde_json::Value) -> Result<Outcome> {
    let (environment, shape) = (Environment::new(), widget());
    let program = environment.compile(source, &[("self", &shape)])?;
    program.evaluate(&environment, &[("self", &shape.bind(&value))])
}

fn refused(source: &str) -> String {
    evaluate(source, json!({})).unwrap_err().to_string()
}

#[test]
fn rules_hold_or_do_not() {
    let value = json!({
        "size": 3, "mode": "b", "port": "http", "share": 1, "names": ["a", "bc"], "labels": {"in-x": "y"}, "x-y": 1,
        "until": "2026-01-02T03:04:05Z", "wait": "1h30m", "raw": "aGVsbG8=",
    });
    for rule in [
        "self.size < 9 || self.mode == 'b'",
        "self.names.all(name, name.size() <= 2)",
        "self.names.exists(name, name.startsWith('b'))",
        "has(self.mode) && !has(self.labels.other)",
        "'in-x' in self.labels && self.labels['in-x'] == 'y'",
        "self.share > 0.5",
        "type(self.port) == string ? self.port == 'http' : self.port > 0",
        "self.x__dash__y == 1",
        "self.until < timestamp('2027-01-01T00:00:00Z')",
        "self.wait > duration('1h')",
        "self.raw == b'hello'",
        "sets.contains(self.names, ['a'])",
        "self.names.map(name, name + '!').join(',') == 'a!,bc!'",
        "isQuantity('1Gi') && quantity('1Gi').isGreaterThan(quantity('1Mi'))",
    ] {
        assert_eq!(evaluate(rule, value.clone()), Ok(Outcome::Bool(true)), "{rule}");
    }
}

#[test]
fn mistakes_are_told_where_they_are() {
    assert_eq!(
        refused("self.size < 9 || self.mod == 'b'"),
        "ERROR: <input>:1:22: undefined field 'mod'\n | self.size < 9 || self.mod == 'b'\n | .....................^"
    );
    assert_eq!(
        refused("-x"),
        "ERROR: <input>:1:2: undeclared reference to 'x' (in container '')\n | -x\n | .^"
    );
    assert_eq!(
        refused("x y"),
        "ERROR: <input>:1:3: Syntax error: extraneous input 'y' expecting <EOF>\n | x y\n | ..^"
    );
    assert!(refused("self.size.foo").contains("type 'int' does not support field selection"));
    assert!(refused("frobnicate(self.size)").contains("undeclared reference to 'frobnicate'"));
    assert!(
        refused("self.size > 'a'")
            .contains("found no matching overload for '_>_' applied to '(int, string)'")
    );
}

#[test]
fn failures_at_run_time_are_the_originals() {
    assert_eq!(
        evaluate("self.mode == 'b'", json!({})),
        Err(Error::Evaluate("no such key: mode".into()))
    );
    assert_eq!(
        evaluate("1 / self.size == 1", json!({"size": 0})),
        Err(Error::Evaluate("division by zero".into()))
    );
}

#[test]
fn costs_grow_with_what_the_schema_allows() {
    let (environment, shape) = (Environment::new(), widget());
    let cost = |source| environment.compile(source, &[("self", &shape)]).unwrap().max_cost();
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
    let program = environment
        .compile_with_optional(
            "!oldSelf.hasValue() || oldSelf.value().size == 1",
            &[("self", &shape)],
            "oldSelf",
        )
        .unwrap();
    let (new, old) = (shape.bind(&json!({"size": 2})), shape.bind(&json!({"size": 1})));
    let with = |old: &Bound| program.evaluate(&environment, &[("self", &new), ("oldSelf", old)]);
    assert_eq!(with(&Bound::none()), Ok(Outcome::Bool(true)));
    assert_eq!(with(&old.optional()), Ok(Outcome::Bool(true)));
}

#[test]
fn names_for_values_and_optional_fields() {
    let value = json!({"mode": "b", "names": ["a", "bc"]});
    for rule in [
        "cel.bind(n, self.names, n.size() == 2 && n.exists(x, x == 'a'))",
        "cel.bind(a, 1, cel.bind(b, a + 1, a + b)) == 3",
        "self.?mode.orValue('') == 'b'",
        "self.?size.orValue(7) == 7",
        "self.names[?5].orValue('none') == 'none'",
        "self.?names.optMap(n, n.size()).orValue(0) == 2",
        "self.?size.optMap(n, n + 1).orValue(0) == 0",
        "self.?names.optFlatMap(n, n[?1]).orValue('') == 'bc'",
    ] {
        assert_eq!(evaluate(rule, value.clone()).unwrap(), Outcome::Bool(true), "{rule}");
    }
    assert!(refused("cel.bind(n, self.names, m)").contains("undeclared reference to 'm'"));
}
