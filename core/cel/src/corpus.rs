//! Expressions with what the original 1.36 says of them: what is wrong, the type, the most they can cost, the value or the
//! failure, and what they did cost.
//!
//! `tests/expressions.jsonl` has an expression a line, after lines with a schema, a value and an old one.

use crate::{
    Activation, Bound, Environment, Scope, Shape, Type,
    value::{Key, Value},
};
use serde_json::{Value as Json, json};
use std::sync::Arc;

const CORPUS: &str = include_str!("../tests/expressions.jsonl");

fn shown(value: &Value<'_>) -> String {
    let mut entries: Vec<String> = Vec::new();
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => format!("{value}u"),
        Value::Double(value) => {
            let text = crate::library::convert::go_double(*value);
            if text.contains(['.', 'e', 'N', 'I']) { text } else { format!("{text}.0") }
        }
        Value::String(text) => json!(text.as_str()).to_string(),
        Value::Bytes(bytes) => format!("b:{}", crate::library::to_base64(bytes)),
        Value::Timestamp(moment) => format!("time:{moment}"),
        Value::Duration(span) => format!("span:{span}"),
        Value::Optional(Some(inner)) => format!("some({})", shown(inner)),
        Value::Optional(None) => "none".to_owned(),
        Value::Type(of) => format!("type:{}", of.name()),
        Value::List(list) => {
            entries.extend(list.iter().map(|item| shown(&item)));
            format!("[{}]", entries.join(", "))
        }
        Value::Map(map) => {
            let of = |(key, value): (Key<'_>, Value<'_>)| {
                format!("{}: {}", shown(&key.value()), shown(&value))
            };
            entries.extend(map.entries().map(of));
            entries.sort();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Extra(extra) => format!("<{}>", extra.type_name()),
        Value::Failed(why) => format!("<{why}>"),
    }
}

/// The answer of this implementation in the form of the corpus.
fn answer(source: &str, case: &Json, shape: &Arc<Shape>) -> Json {
    let of = Type::of(shape, "selfType1");
    let scope = Scope::new().with("self", of.clone()).with("oldSelf", of).with("any", Type::Dyn);
    let program = match Environment::new().compile_in(source, &scope, Some(shape)) {
        Ok(program) => program,
        Err(why) => return json!({"wrong": why.to_string(), "cost": 0}),
    };
    let mut answer =
        json!({"type": program.returns().written(), "max": program.max_cost().to_string()});
    let activation = Activation::new()
        .with("self", shape.bind(&case["self"]))
        .with("oldSelf", shape.bind(&case["old"]))
        .with("any", Bound::plain(&case["self"]));
    let evaluated = program.run(&activation, 1_000_000);
    answer["cost"] = evaluated.cost.into();
    match &evaluated.result {
        Ok(value) => answer["value"] = shown(&value.0).into(),
        Err(why) => answer["error"] = why.to_string().into(),
    }
    answer
}

#[test]
fn expressions_are_answered_as_by_the_original() {
    let mut differences = Vec::new();
    let (mut case, mut shape, mut count) = (Json::Null, None, 0);
    for line in CORPUS.lines() {
        let read: Json = serde_json::from_str(line).unwrap();
        if read.get("schema").is_some() {
            shape = Shape::of_schema(&read["schema"], false).map(Arc::new);
            case = read;
            continue;
        }
        count += 1;
        let source = read["in"].as_str().unwrap();
        let found = answer(source, &case, shape.as_ref().unwrap());
        let key_of = |key: &str| {
            read["out"].get(key).filter(|_| key == "wrong" || read["out"].get("wrong").is_none())
        };
        for key in ["wrong", "type", "max", "value", "error", "cost"] {
            if key_of(key) != found.get(key)
                && !(key == "cost" && read["out"].get("wrong").is_some())
            {
                let (wanted, found) = (&read["out"][key], &found[key]);
                differences
                    .push(format!("{source}\n  {key}: wanted {wanted}\n  {key}: found  {found}"));
            }
        }
    }
    assert!(count > 500);
    assert!(
        differences.is_empty(),
        "{} differences\n{}",
        differences.len(),
        differences.join("\n")
    );
}
