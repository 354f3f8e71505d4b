use super::*;
use serde_json::json;

/// What an update is told: its errors, and its warnings.
fn told(schema: &Value, old: Option<&Value>, value: &Value) -> (Vec<String>, Vec<String>) {
    let props = Props::parse(schema);
    let rules = Rules::of(schema, &props, false).unwrap();
    let warnings = Warnings::default();
    let errors = rules.validate(&props, value, old, &Path::new("spec"), &warnings);
    (errors.iter().map(ToString::to_string).collect(), warnings.take())
}

fn broken(extra: Value) -> Value {
    let mut schema = json!({"type": "object",
        "x-kubernetes-validations": [{"rule": "self.n > 5", "message": "too few"}],
        "properties": {"n": {"type": "integer"}}});
    for (key, value) in extra.as_object().unwrap() {
        schema["properties"][key] = value.clone();
    }
    schema
}

#[test]
fn what_was_broken_before_is_a_warning_where_nothing_changed() {
    let schema = broken(json!({}));
    let (errors, warnings) = told(&schema, Some(&json!({"n": 1})), &json!({"n": 1}));
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(warnings, ["spec: Invalid value: too few"]);
    let (errors, warnings) = told(&schema, Some(&json!({"n": 1})), &json!({"n": 2}));
    assert_eq!(errors, ["spec: Invalid value: too few"]);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn items_with_keys_may_change_places() {
    let schema = broken(json!({"list": {"type": "array", "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "properties": {
            "name": {"type": "string"}, "v": {"type": "integer"}}}}}));
    let list = |items: Value| json!({"n": 1, "list": items});
    let (a, b) = (json!({"name": "a", "v": 1}), json!({"name": "b", "v": 2}));
    let before = list(json!([a, b]));
    let (errors, warnings) = told(&schema, Some(&before), &list(json!([b, a])));
    assert_eq!((errors.len(), warnings.len()), (0, 1), "{errors:?}");
    let other = json!({"name": "b", "v": 3});
    let (errors, warnings) = told(&schema, Some(&before), &list(json!([other, a])));
    assert_eq!((errors.len(), warnings.len()), (1, 0), "{warnings:?}");
    // Without keys nobody knows which stands for which.
    let plain =
        broken(json!({"list": {"type": "array", "items": {"type": "integer"}, "maxItems": 9}}));
    let (errors, _) = told(&plain, Some(&list(json!([1, 2]))), &list(json!([2, 1])));
    assert_eq!(errors.len(), 1);
}

/// The original compares by the schema, and finds no counterpart of what that does not name.
#[test]
fn what_the_schema_does_not_name_counts_as_changed() {
    let mut schema = broken(json!({}));
    schema["x-kubernetes-preserve-unknown-fields"] = true.into();
    let value = json!({"n": 1, "unknown": true});
    let (errors, warnings) = told(&schema, Some(&value), &value);
    assert_eq!(errors, ["spec: Invalid value: too few"]);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn a_message_that_costs_too_much_ends_all_rules() {
    let schema = json!({"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [
        {"rule": "size(self) < 1", "messageExpression":
            "self.all(x, self.all(y, self.all(z, z >= 0))) ? 'all' : 'some'"},
        {"rule": "size(self) < 2"},
    ]});
    let many: Vec<_> = (0..300).collect();
    let (errors, _) = told(&schema, None, &json!(many));
    assert_eq!(
        errors,
        [
            r#"spec: Invalid value: "array": no further validation rules will be run due to call cost exceeds limit for messageExpression: "self.all(x, self.all(y, self.all(z, z >= 0))) ? 'all' : 'some'""#
        ]
    );
    // One that only fails leaves the rule's own words.
    let schema = json!({"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [
        {"rule": "size(self) < 1", "messageExpression": "string(self[7])"},
        {"rule": "size(self) < 2", "messageExpression": "'two\\nlines'"},
    ]});
    let (errors, _) = told(&schema, None, &json!([1, 2]));
    assert_eq!(
        errors,
        [
            "spec: Invalid value: failed rule: size(self) < 1",
            "spec: Invalid value: failed rule: size(self) < 2",
        ]
    );
}

/// An expression that expects more than messages are shown leaves the rule's own words.
#[test]
fn messages_see_the_old_value_as_it_is() {
    let rule = |rule: &str, message: &str| json!({"rule": rule, "messageExpression": message});
    let found = |rules: &[&Value], old: Option<i32>| {
        let schema = json!({"type": "integer", "x-kubernetes-validations": rules});
        told(&schema, old.map(Value::from).as_ref(), &json!(1)).0
    };
    let plain = rule("self > oldSelf", "'was ' + string(oldSelf)");
    assert_eq!(found(&[&plain], Some(3)), ["spec: Invalid value: 1: was 3"]);
    let optional = |message: &str| {
        let mut rule = rule("oldSelf.hasValue() && self > oldSelf.value()", message);
        rule["optionalOldSelf"] = true.into();
        rule
    };
    let own = "spec: Invalid value: 1: failed rule: oldSelf.hasValue() && self > oldSelf.value()";
    let asks = optional("oldSelf.hasValue() ? 'was ' + string(oldSelf.value()) : 'was not'");
    assert_eq!(found(&[&asks], Some(3)), [own]);
    assert_eq!(found(&[&asks], None), [own]);
    let takes = optional("'was ' + string(oldSelf.orValue(0))");
    assert_eq!(found(&[&takes], Some(3)), ["spec: Invalid value: 1: was 3"]);
    // Only where a rule asks for it is there an old value.
    let curious = rule("self > 5", "'was ' + string(oldSelf)");
    let alone = found(&[&curious], Some(3));
    assert_eq!(alone, ["spec: Invalid value: 1: failed rule: self > 5"]);
    assert_eq!(found(&[&plain, &curious], Some(3))[1], "spec: Invalid value: 1: was 3");
}

/// Each evaluation costs less than one may; together they cost more than those over one object may.
#[test]
fn rules_that_cost_too_much_together_are_stopped() {
    let numbers = json!({"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [
        {"rule": "self.all(x, self.all(y, x >= 0 || y >= 0))"},
        {"rule": "size(self) > 300", "message": "too few"},
    ]});
    let schema = json!({"type": "array", "items": numbers});
    let numbers: Vec<_> = (0..300).collect();
    let (errors, _) = told(&schema, None, &json!(vec![numbers; 30]));
    let (last, before) = errors.split_last().unwrap();
    assert!((10..29).contains(&before.len()), "{errors:?}");
    for (index, error) in before.iter().enumerate() {
        assert_eq!(*error, format!("spec[{index}]: Invalid value: too few"));
    }
    let spent = "validation failed due to running out of cost budget, no further validation rules will be run";
    let wanted = format!(r#"spec[{}]: Invalid value: "array": {spent}"#, before.len());
    assert_eq!(*last, wanted);
}

/// The original has no type for what may be anything, and looks at no rule below it.
#[test]
fn rules_below_values_of_unknown_type_are_not_run() {
    let inner = json!({"type": "object", "properties": {"n": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.n > 5", "message": "too few inside"}]});
    let found = |outer: Value, value: Value| {
        let schema = broken(json!({"outer": outer}));
        told(&schema, None, &json!({"n": 9, "outer": value})).0
    };
    let known = json!({"type": "object", "properties": {"inner": inner}});
    let value = json!({"inner": {"n": 1}});
    assert_eq!(found(known, value.clone()), ["spec.outer.inner: Invalid value: too few inside"]);
    let unknown =
        json!({"x-kubernetes-preserve-unknown-fields": true, "properties": {"inner": inner}});
    assert_eq!(found(unknown.clone(), value.clone()), Vec::<String>::new());
    let map = json!({"type": "object", "additionalProperties": unknown});
    assert_eq!(found(map, json!({"key": value})), Vec::<String>::new());
}
